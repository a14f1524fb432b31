"""test_ahead.py - sard compile for the device cuda, over a driver and an nvJitLink of our own (null/): every kind of output computes
what the same code computes just in time; of several GPUs' code the right one is taken; what cannot be is said clearly; and real machine
code, where the toolkit is.

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
import models  # noqa: E402
from harness import Checks, sard  # noqa: E402

BUILD = os.environ.get("SARD_BUILD", os.path.join(ROOT, "build"))
NULL = os.path.join(BUILD, "tests", "null")
FIXTURES = os.path.join(ROOT, "models", "fixtures")
FIXTURE = os.path.join(FIXTURES, "minilm", "dynamo", "model.onnx")
FEED = ["--bind", "batch=2,seq=3", "--input", "input_ids=[[1,2,3],[3,2,1]]", "--input", "attention_mask=ones", "--input",
        "token_type_ids=zeros"]
CC = os.environ.get("CC", "cc")
SANITIZED = os.environ.get("SARD_SANITIZED") == "1"  # programs and libraries we make are not, and cannot load stand-ins that are
REAL_LINK = "/usr/local/cuda/lib64/libnvJitLink.so.13"

USE = r"""
#include "add.h"
#include <stdio.h>
int main(void) {
  float x[6] = {1, 2, 3, 4, 5, 6}, y[6];
  add *m;
  sard_status st = add_init(NULL, &m);
  if (st)
    return printf("%d %s\n", st == SARD_ERROR_DEVICE, add_error()), 1;
  st = add_run(m, &(add_inputs){.batch = 2, .x = x}, &(add_outputs){y});
  printf("%d %g %g %g %g %g %g\n", st, y[0], y[1], y[2], y[3], y[4], y[5]);
  add_free(m);
  return 0;
}
"""


class Suite(Checks):
    def __init__(self, folder):
        super().__init__()
        self.dir = folder
        models.write_all(folder)
        self.bare, self.real = self.path("bare"), self.path("real")
        for place in (self.bare, self.real):  # a driver without nvJitLink, and with the real one
            os.mkdir(place)
            for name in ("libcuda.so.1", "libcublasLt.so.13"):
                os.symlink(os.path.join(NULL, name), os.path.join(place, name))
        os.symlink(REAL_LINK, os.path.join(self.real, "libnvJitLink.so.13"))

    def path(self, name):
        return os.path.join(self.dir, name)

    def compile(self, model, *args, cuda=NULL):
        run = sard("compile", model, "--device", "cuda", *args, env={"SARD_CUDA_DIR": cuda})
        self.check("compile " + " ".join(args), run.returncode == 0 and not run.stdout and (cuda == self.bare or not run.stderr), run.stderr)
        return run

    def outputs(self, model, name, *args, **env):
        run = sard("run", model, *FEED, *args, "--cache", "off", "--output", self.path(name), env=dict(env, SARD_CUDA_DIR=NULL))
        self.check("run " + os.path.basename(model), run.returncode == 0, run.stderr)
        with open(self.path(name), "rb") as f:
            return f.read()

    def code(self, model, gpu, cuda=NULL):
        """what a GPU of this compute capability runs"""
        run = sard("explain", model, env={"SARD_CUDA_DIR": cuda, "SARD_NULL_GPU": gpu})
        return next((l for l in run.stdout.splitlines() if l.startswith("cuda runs")), "") if run.returncode == 0 else run.stderr


def kinds(s):
    """every kind of output gives the bits of the same code made just in time"""
    want = s.outputs(FIXTURE, "jit.npz", "--device", "cuda")
    for name in ("m.sard", "m.so", "m.o", "m.a"):
        s.compile(FIXTURE, "-o", s.path(name), "--gpu", "sm_80")
        s.check("same bits from " + name, s.outputs(s.path(name), name + ".npz", "--device", "cuda") == want)
    s.check("the device need not be named", s.outputs(s.path("m.so"), "again.npz") == want)
    s.compile(FIXTURE, "--exe", s.path("program"), "--gpu", "sm_80")
    feed = ["input_ids=ones:2x3", "attention_mask=ones:2x3", "token_type_ids=zeros:2x3"]
    run = subprocess.run([s.path("program"), *feed], capture_output=True, text=True, env=dict(os.environ, SARD_CUDA_DIR=NULL))
    s.check("a program runs", SANITIZED or run.returncode == 0 and "sentence_embedding  f32[2,32]" in run.stdout, run.stdout + run.stderr)
    for name in ("m.so", "m.sard"):
        shutil.copy(s.path(name), s.path("first." + name))
        s.compile(FIXTURE, "-o", s.path(name), "--gpu", "sm_80")
        with open(s.path(name), "rb") as a, open(s.path("first." + name), "rb") as b:
            s.check("the same bytes again: " + name, a.read() == b.read())
    run = sard("cache", "verify", s.path("m.sard"), s.path("m.so"), s.path("m.a"))
    s.check("verified", run.returncode == 0 and run.stdout.count("ok  ") == 3, run.stdout)
    with open(s.path("m.sard"), "rb") as f:
        data = bytearray(f.read())
    data[data.index(b".visible .entry") + 3] ^= 1
    with open(s.path("broken.sard"), "wb") as f:
        f.write(data)
    s.error("damaged code", sard("run", s.path("broken.sard"), *FEED, env={"SARD_CUDA_DIR": NULL}), 3, "damaged")


def fixtures(s):
    """all models in their own runtimes, with code for this very GPU"""
    folders = sorted(glob.glob(os.path.join(FIXTURES, "*", "ts17")))
    run = sard("test", "--ahead", "so", "--device", "cuda", "--relative", "1e-5", "--json", *folders, env={"SARD_CUDA_DIR": NULL}, timeout=600)
    cases = json.loads(run.stdout)["cases"] if run.returncode in (0, 1) else []
    s.check("fixtures", len(cases) >= 20 and all(x["result"] == "passed" for x in cases),
            [(x["case"], x.get("reason")) for x in cases if x["result"] != "passed"] or run.stderr)


def c_interface(s):
    s.compile(s.path("add.onnx"), "-o", s.path("add.a"))
    with open(s.path("use.c"), "w") as f:
        f.write(USE)
    line = re.search("Link with: (.*)", open(s.path("add.h")).read())[1].split()
    run = subprocess.run([CC, "-Wall", "-Wextra", "-Werror", "-pedantic", "use.c", "add.a", *line, "-o", "use"], cwd=s.dir, capture_output=True, text=True)
    s.check("a program in C links", run.returncode == 0, run.stderr)
    for gpu, code, said in () if SANITIZED else (("", 0, "0 11 22 33 14 25 36\n"), ("none", 1, "1 no GPU for device 'cuda': cuInit: CUDA_ERROR_NO_DEVICE"), ("8.6", 0, "0 11 "),
                            ("12.0", 0, "0 11 "), ("old", 1, "1 device 'cuda' needs a GPU of compute capability 8.0")):
        run = subprocess.run([s.path("use")], capture_output=True, text=True, env=dict(os.environ, SARD_CUDA_DIR=NULL, SARD_NULL_GPU=gpu))
        s.check("it runs on the GPU '%s'" % gpu, run.returncode == code and run.stdout.startswith(said), run.stdout + run.stderr)
    run = subprocess.run([s.path("use")], capture_output=True, text=True, env=dict(os.environ, SARD_CUDA_DIR=s.dir))
    s.check("no driver", run.returncode == 1 and run.stdout.startswith("1 device 'cuda' needs libcuda.so.1 (the NVIDIA driver)"), run.stdout)
    run = subprocess.run(["ldd", s.path("m.so")], capture_output=True, text=True)
    needs = set(re.findall(r"^\s*(\S+?)\.so", run.stdout, re.M))
    s.check("a library needs none of CUDA to load", needs <= {"linux-vdso", "libm", "libc", "libdl", "/lib64/ld-linux-x86-64", "libpthread"}, run.stdout)
    run = sard("compile", s.path("add.onnx"), "-o", s.path("cpu.o"))
    for name, has in (("cpu.o", False), ("m.o", True)):
        names = subprocess.run(["nm", s.path(name)], capture_output=True, text=True).stdout
        s.check("only a model for GPUs has what opens one: " + name, (" cuda_open\n" in names) == has and (" U dlopen\n" in names) == has, names[-500:])


def choice(s):
    """machine code that runs there, else PTX, else an error that says what there is"""
    s.compile(FIXTURE, "-o", s.path("two.sard"))
    run = sard("inspect", s.path("two.sard"))
    s.check("inspect", re.search(r"^machine +x86_64 with a GPU: sm_80, sm_90a, and PTX$", run.stdout, re.M), run.stdout)
    d = json.loads(sard("inspect", s.path("two.sard"), "--json").stdout)["compiled"]
    s.check("the same as JSON", d["device"] == "cuda" and d["levels"] == ["sm_80", "sm_90a"], d)
    by_driver = "which the driver compiles at every start"
    for gpu, said in (("8.0", "cuda runs machine code for sm_80"), ("8.9", "cuda runs machine code for sm_80"),
                      ("9.0", "cuda runs machine code for sm_90a"), ("10.0", "cuda runs PTX for sm_80, " + by_driver)):
        s.check("code for " + gpu, s.code(s.path("two.sard"), gpu) == said, s.code(s.path("two.sard"), gpu))
    s.compile(FIXTURE, "-o", s.path("one.sard"), "--gpu", "sm_90a")
    s.compile(FIXTURE, "-o", s.path("plain.sard"), "--gpu", "sm_90,sm_90")
    for name, gpu, part in (("one", "8.0", "compiled for sm_90a, and this GPU has compute capability 8.0"),
                            ("one", "10.0", "compiled for sm_90a, and this GPU has compute capability 10.0"),
                            ("plain", "8.9", "compiled for sm_90, and this GPU has compute capability 8.9")):
        run = sard("run", s.path(name + ".sard"), *FEED, env={"SARD_CUDA_DIR": NULL, "SARD_NULL_GPU": gpu})
        s.error("%s on %s" % (name, gpu), run, 6, part, "--gpu sm_80")
    s.check("PTX of a level goes on", s.code(s.path("plain.sard"), "12.0") == "cuda runs PTX for sm_90, " + by_driver)
    run = s.compile(FIXTURE, "-o", s.path("bare.sard"), cuda=s.bare)
    s.check("no nvJitLink is said", "only PTX in it" in run.stderr and "No such file" in run.stderr, run.stderr)
    run = sard("inspect", s.path("bare.sard"))
    s.check("and shown", ": sm_80, sm_90a, as PTX alone\n" in run.stdout, run.stdout)
    for gpu, said in (("8.0", "sm_80"), ("9.0", "sm_90a"), ("10.0", "sm_80")):
        s.check("PTX for " + gpu, s.code(s.path("bare.sard"), gpu) == "cuda runs PTX for %s, %s" % (said, by_driver))


def usage(s):
    model, out = s.path("add.onnx"), s.path("x.sard")
    s.error("--gpu alone", sard("compile", model, "-o", out, "--gpu", "sm_80"), 2, "--gpu sm_80 is for the device 'cuda'", "--device cuda")
    cuda = ("compile", model, "-o", out, "--device", "cuda")
    s.error("a GPU that there is no code for", sard(*cuda, "--gpu", "sm_80,sm_75"), 2, "'sm_75'", "sm_80, sm_90, sm_90a")
    s.error("no level", sard(*cuda, "--gpu", ""), 2, "no level")
    s.error("--cpu with it", sard(*cuda, "--cpu", "x86-64"), 2, "--cpu x86-64 is for the device 'cpu'")
    s.error("--static-arena with it", sard(*cuda, "--static-arena"), 2, "no --static-arena")
    s.error("reference", sard("compile", model, "-o", out, "--device", "reference"), 2, "not for 'reference'")
    s.error("nvJitLink takes no PTX", sard(*cuda, env={"SARD_CUDA_DIR": NULL, "SARD_NULL_LINK": "refuses"}), 6, "error 4, compiling for sm_80", "is not for me")
    s.error("nvJitLink is too old", sard(*cuda, env={"SARD_CUDA_DIR": NULL, "SARD_NULL_LINK": "old"}), 6, "it makes no code for sm_90a")
    s.check("nothing is left of it", not glob.glob(out + "*"), glob.glob(out + "*"))
    s.error("on a CPU", sard("run", s.path("two.sard"), *FEED, "--device", "cpu"), 2, "runs on the device 'cuda', not on 'cpu'")
    run = sard("run", s.path("two.sard"), *FEED, env={"SARD_CUDA_DIR": NULL, "SARD_NULL_GPU": "none"})
    s.error("no GPU", run, 6, "CUDA_ERROR_NO_DEVICE", "two.sard")
    s.error("no driver", sard("run", s.path("m.so"), *FEED, env={"SARD_CUDA_DIR": s.dir}), 6, "needs libcuda.so.1")


def real(s):
    """what nvJitLink itself makes is in the file, for each GPU"""
    if not os.path.exists(REAL_LINK):
        print("no nvJitLink here: its machine code is not looked at")
        return
    s.compile(FIXTURE, "-o", s.path("real.sard"), cuda=s.real)
    with open(s.path("real.sard"), "rb") as f:
        data = f.read()
    images = [data[m.start():] for m in re.finditer(b"\x7fELF\x02\x01", data)]
    images = [x for x in images if int.from_bytes(x[18:20], "little") == 190]
    found = {}
    for i, image in enumerate(images):
        path = s.path("%d.elf" % i)
        with open(path, "wb") as f:
            f.write(image)
        run = subprocess.run(["readelf", "-hsW", path], capture_output=True, text=True)
        flags = int(re.search(r"Flags: +0x(\w+)", run.stdout)[1], 16)
        sm = next((n for n in (80, 90) if n in (flags & 0xFF, flags >> 8 & 0xFF)), 0)
        found.setdefault(sm, []).extend(re.findall(r" FUNC +GLOBAL .* (\w+)$", run.stdout, re.M))
    names = set(re.findall(rb"\.visible \.entry (\w+)\(", data))
    s.check("machine code for sm_80 and sm_90a", set(found) == {80, 90}, {k: len(v) for k, v in found.items()})
    s.check("with all kernels", all({n.encode() for n in found.get(sm, [])} == names for sm in (80, 90)) and len(names) > 5, (found, names))


def main():
    if not os.path.exists(os.path.join(BUILD, "libsard-codegen.so")):
        print("this build has no code generator\n0 passed, 0 failed, 1 skipped")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        s = Suite(folder)
        tests = [kinds, c_interface, choice, usage, real]
        if not SANITIZED:
            tests.append(fixtures)
        for test in tests:
            test(s)
        return s.done()


sys.exit(main())
