"""test_models.py - whole models on the device cuda, over a driver of our own that runs the PTX of every kernel in an interpreter, and a
cuBLASLt of our own: the exported fixtures against PyTorch's outputs, to 1e-5 of each output's largest magnitude, with nothing left to the host but what is
there by nature; and checks of kernels, by the node that fails. Where the CUDA toolkit is, ptxas assembles the same PTX.

SPDX-License-Identifier: Apache-2.0
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "cli"))
import models as small  # noqa: E402
from harness import Checks, sard  # noqa: E402

BUILD = os.environ.get("SARD_BUILD", os.path.join(ROOT, "build"))
FIXTURES = os.path.join(ROOT, "models", "fixtures")
PTXAS = "/usr/local/cuda/bin/ptxas"
ENV = {"SARD_CUDA_DIR": os.path.join(BUILD, "tests", "null"), "SARD_CACHE": "off"}
EXPORTS = ("ts17", "dynamo")  # of four: the others make hardly another kernel
ASSEMBLED = ("bert_qa", "llama", "resnet", "speech_stochastic")  # models whose kernels go through ptxas, which takes its time


def fixtures(c):
    """every model passes, and every numeric step of it is a kernel, or a product of cuBLASLt"""
    folders = sorted(f for f in glob.glob(os.path.join(FIXTURES, "*", "*")) if f.endswith(EXPORTS))
    run = sard("test", "--device", "cuda", "--relative", "1e-5", "--json", *folders, env=ENV, timeout=600)
    if run.returncode not in (0, 1):
        c.check("sard test", False, run.stderr)
        return
    cases = json.loads(run.stdout)["cases"]
    products = 0
    c.check("all of them", len(cases) == len(folders) > 30, len(cases))
    for case in cases:
        steps = case["steps"]
        ok = case["result"] == "passed" and steps["compiled"] and not steps["reference"]
        c.check(case["case"], ok, case.get("reason", steps))
        products += steps["library"]
    c.check("products of the library", products > 300, products)


def attentions(c):
    """every attention of a model is one kernel of the generator's"""
    for model, count in (("bert_qa", 2), ("llama", 2), ("gpt2", 2)):
        run = sard("explain", os.path.join(FIXTURES, model, "ts17", "model.onnx"), "--device", "cuda", env=ENV)
        found = re.findall(r"compiled +attention\S* +64 rows x 64 keys or 16 rows x 64 keys of a split", run.stdout)
        c.check("attentions of " + model, len(found) == count, found or run.stdout[-2000:] + run.stderr)


def assembled(c):
    """registers of a thread at most as many as a block of 256 may have each, nothing spilled"""
    if not os.access(PTXAS, os.X_OK):
        print("no ptxas here: nothing is assembled")
        return
    most, kernels = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for model in ASSEMBLED:
            sard("test", "--device", "cuda", os.path.join(FIXTURES, model, "ts17"), env=dict(ENV, SARD_NULL_PTX=folder))
        for path in sorted(glob.glob(os.path.join(folder, "*.ptx"))):
            run = subprocess.run([PTXAS, "-v", "-arch=sm_90", path, "-o", os.devnull], capture_output=True, text=True)
            registers = [int(n) for n in re.findall(r"Used (\d+) registers", run.stderr)]
            spilled = [int(n) for n in re.findall(r"(\d+) bytes spill stores", run.stderr)]
            c.check(os.path.basename(path), run.returncode == 0 and registers and not any(spilled), run.stderr[-2000:])
            most, kernels = max([most] + registers), kernels + len(registers)
        c.check("registers", 0 < most <= 255, most)
    print("%d kernels assembled for sm_90, none spills, %d registers at most" % (kernels, most))


def failing(c):
    """an index out of range is the same error as on a CPU, with the node"""
    with tempfile.TemporaryDirectory() as folder:
        small.write_all(folder)
        path = os.path.join(folder, "gather.onnx")
        said = {}
        for device in ("cpu", "cuda"):
            run = sard("run", path, "--device", device, "--input", "i=[9]", env=ENV)
            said[device] = run.stderr
            c.check("an index out of range on %s" % device, run.returncode == 3 and "9" in run.stderr, run.stderr)
        c.check("the same words on both", said["cpu"] == said["cuda"], said)


def without_blas(c):
    """cuBLASLt is needed where there are products, and only there"""
    with tempfile.TemporaryDirectory() as folder:
        small.write_all(folder)
        shutil.copy(os.path.join(ENV["SARD_CUDA_DIR"], "libcuda.so.1"), folder)
        env = dict(ENV, SARD_CUDA_DIR=folder)
        run = sard("run", os.path.join(folder, "mlp.onnx"), "--device", "cuda", env=env)
        c.error("no cuBLASLt", run, 6, "device 'cuda' needs libcublasLt.so.13 (matrix products)", "hint:")
        run = sard("run", os.path.join(folder, "gather.onnx"), "--device", "cuda", "--input", "i=[3]", env=env)
        c.check("no product", run.returncode == 0 and "[[6 7]]" in run.stdout.replace(".0", ""), run.stdout + run.stderr)


def main():
    c = Checks()
    if not os.path.exists(os.path.join(BUILD, "libsard-codegen.so")):
        print("this build has no code generator\n0 passed, 0 failed, 1 skipped")
        return 77
    fixtures(c)
    attentions(c)
    assembled(c)
    failing(c)
    without_blas(c)
    return c.done()


sys.exit(main())
