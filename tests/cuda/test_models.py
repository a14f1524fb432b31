"""test_models.py - whole models on the device cuda, over a driver of our own that runs the PTX of every kernel in an interpreter, and a
cuBLASLt of our own: the exported fixtures against PyTorch's outputs, to 1e-5 of each output's largest magnitude, with nothing left to the host but what is
there by nature; and checks of kernels, by the node that fails.

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
ENV = {"SARD_CUDA_DIR": os.path.join(BUILD, "tests", "null"), "SARD_CACHE": "off"}
EXPORTS = ("ts17", "dynamo")  # of four: the others make hardly another kernel


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


def graphs(c):
    """explain, profile and bench say whether runs are CUDA graphs, and what stands in the way"""
    said = {}
    for model in ("bert_qa", "speech"):
        path = os.path.join(FIXTURES, model, "ts17", "model.onnx")
        said[model] = sard("explain", "--device", "cuda", path, env=ENV).stdout.splitlines()[-1]
    c.check("in one", re.match(r"CUDA graphs: \d+ steps in one; 0 runs recorded, 0 replayed$", said["bert_qa"]), said)
    c.check("none", re.match(r"CUDA graphs: none, for step \d+: shapes hang on what it computes$", said["speech"]), said)
    path = os.path.join(FIXTURES, "encoder", "ts17", "model.onnx")
    args = ("--device", "cuda", path, "--input", "tokens=zeros:7x2", "--runs", "3", "--json")
    facts = {what: json.loads(sard(what, *args, env=ENV).stdout)["graphs"] for what in ("bench", "profile")}
    c.check("a bench replays", facts["bench"]["on"] and facts["bench"]["recorded"] == 1 and facts["bench"]["replayed"] > 1, facts)
    c.check("a profile goes step by step", facts["profile"]["on"] and facts["profile"]["replayed"] == 0, facts)
    off = sard("explain", "--device", "cuda", path, env=dict(ENV, SARD_CUDA_GRAPHS="off")).stdout
    c.check("turned off", off.endswith("CUDA graphs: none: SARD_CUDA_GRAPHS turns graphs off\n"), off[-200:])


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
    failing(c)
    graphs(c)
    without_blas(c)
    return c.done()


sys.exit(main())
