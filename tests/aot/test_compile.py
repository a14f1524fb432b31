#!/usr/bin/env python3
"""sard compile: what it makes computes what the just-in-time compiler computes, bit for bit; links with other code; is refused when it
is damaged or foreign; and what cannot be made is said clearly.
SPDX-License-Identifier: Apache-2.0"""
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
import models  # noqa: E402
import onnx_writer as w  # noqa: E402
from harness import ROOT, SARD, Checks, sard  # noqa: E402

FIXTURE = os.path.join(ROOT, "models", "fixtures", "minilm", "dynamo", "model.onnx")
FEED = ["--bind", "batch=2,seq=3", "--input", "input_ids=[[1,2,3],[3,2,1]]", "--input", "attention_mask=ones", "--input",
        "token_type_ids=zeros"]
HERE = os.path.dirname(os.path.abspath(__file__))
CC = os.environ.get("CC", "cc")
LINK = ["-lm", "-lpthread"]

USE = r"""
#include "%(name)s.h"
#include <stdio.h>
int main(void) {
  int64_t ids[6] = {1, 2, 3, 3, 2, 1}, mask[6] = {1, 1, 1, 1, 1, 1}, types[6] = {0};
  int64_t dim[SARD_MAX_RANK];
  int32_t rank;
  float y[2 * 32];
  %(name)s *m;
  %(name)s_inputs in = {2, 3, ids, mask, types};
  %(name)s_outputs out = {NULL, y};
  if (%(name)s_init(NULL, &m) || %(name)s_run(m, &in, &out) || %(name)s_output_shape(m, &in, 0, dim, &rank)) {
    fprintf(stderr, "%%s\n", %(name)s_error());
    return 1;
  }
  printf("%%d %%d %%d %%d\n", (int)rank, (int)dim[0], (int)dim[1], (int)dim[2]);
  fwrite(y, sizeof y, 1, stdout);
  in.input_ids = NULL;
  if (%(name)s_run(m, &in, &out) != SARD_ERROR_USAGE)
    return 2;
  fprintf(stderr, "%%s\n", %(name)s_error());
  %(name)s_free(m);
  return 0;
}
"""

TWO = r"""
#include "first.h"
#include "second.h"
#include <stdio.h>
int main(void) {
  float x[6] = {1, 2, 3, 4, 5, 6}, y[6], u[4] = {1, 2, 3, 4}, v[2];
  first *a;
  second *b;
  first_inputs ai = {.batch = 2, .x = x};
  second_inputs bi = {.batch = 1, .x = u};
  if (first_init(NULL, &a) || first_run(a, &ai, &(first_outputs){y}))
    return fprintf(stderr, "%s\n", first_error()), 1;
  if (second_init(NULL, &b) || second_run(b, &bi, &(second_outputs){v}))
    return fprintf(stderr, "%s\n", second_error()), 1;
  printf("%g %g %g %g %g %g, %g %g, %s %s\n", y[0], y[1], y[2], y[3], y[4], y[5], v[0], v[1], first_api()->name(),
         second_api()->name());
  first_free(a), second_free(b);
  return 0;
}
"""

# The CPU's features as libgcc and compiler-rt keep them for __builtin_cpu_supports, without AVX2, which is bit 10.
LESSER = r"""
#include "level.h"
#include <stdio.h>
extern struct { unsigned vendor, type, subtype, features; } __cpu_model;
int main(void) {
  float x[3] = {1, 2, 3}, y[3];
  level *m;
  __builtin_cpu_init();
  __cpu_model.features &= ~(1u << 10);
  if (level_init(NULL, &m))
    return printf("%s\n", level_error()), 1;
  int st = level_run(m, &(level_inputs){.batch = 1, .x = x}, &(level_outputs){y});
  printf("%d %g %g %g\n", st, y[0], y[1], y[2]);
  level_free(m);
  return 0;
}
"""

# One of two translation units that each use a model of the prefix `same`: y = f(x), one row of x and of y.
SAME = r"""
#include "%(header)s"
#include <stdio.h>
int %(function)s(void) {
  float x[%(nx)d] = {1, 2, 3}, y[%(ny)d] = {0};
  same *m;
  const sard_compiled_api *api = same_api();
  if (same_init(NULL, &m) || same_run(m, &(same_inputs){.batch = 1, .x = x}, &(same_outputs){y}))
    return printf("%%s\n", same_error()), 1;
  printf("%%s %%g\n", api->name(), y[0]);
  same_free(m);
  return 0;
}
"""
BOTH = "int one(void);\nint other(void);\nint main(void) { return one() | other(); }\n"

INCLUDES = r"""
#include "first.h"
#include "first.h"
%s
int check(void) {
  sard_compiled_options o = SARD_COMPILED_OPTIONS_INIT;
  sard_io io = SARD_IO_INIT;
  first *m = 0;
  first_free(m);
  return o.size == sizeof o && !o.threads && io.size == sizeof io && !io.name;
}
"""

STATIC = r"""
#include "fixed.h"
#include <stdio.h>
static _Alignas(64) char memory[1 << 20];
int main(void) {
  float x[3] = {1, 2, 3}, y[3];
  fixed *m;
  fixed_inputs in = {.batch = 1, .x = x};
  if (fixed_init_static(memory, 4096, NULL, &m) != SARD_ERROR_MEMORY)
    return 1;
  if (fixed_init_static(memory, sizeof memory, NULL, &m))
    return fprintf(stderr, "%s\n", fixed_error()), 2;
  for (int i = 0; i < 1000; i++)
    if (fixed_run(m, &in, &(fixed_outputs){y}))
      return fprintf(stderr, "%s\n", fixed_error()), 3;
  printf("%g %g %g, %d\n", y[0], y[1], y[2], fixed_memory_peak(m) < sizeof memory);
  fixed_free(m);
  return 0;
}
"""


def large():
    """y = x w, w of 3 MB: element (i, j) is (31 i + 17 j) mod 64"""
    size, n = 1024, 768
    data = [float((31 * i + 17 * j) % 64) for i in range(size) for j in range(n)]
    return w.model([w.node("MatMul", ["x", "w"], ["y"])], [w.value("x", w.tensor_type(w.F32, ["batch", size]))],
                   [w.value("y", w.tensor_type(w.F32, ["batch", n]))], [w.tensor("w", w.F32, [size, n], data)])


class Suite(Checks):
    def __init__(self, folder):
        super().__init__()
        self.dir = folder

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
        return self.path(name)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def compile(self, model, *args, **more):
        run = sard("compile", model, *args, **more)
        self.check("compile " + " ".join(args), run.returncode == 0 and not run.stdout and not run.stderr, run.stderr)
        return run

    def build(self, source, objects, exe, compiler=CC, flags=("-std=c11",)):
        run = subprocess.run([compiler, *flags, "-Wall", "-Wextra", "-Werror", source, *objects, *LINK, "-o", exe],
                             capture_output=True, text=True, cwd=self.dir)
        return self.check("%s builds" % exe, run.returncode == 0, run.stderr)

    def outputs(self, model, name):
        run = sard("run", model, *FEED, "--cache", "off", "--output", self.path(name))
        self.check("run " + os.path.basename(model), run.returncode == 0, run.stderr)
        return self.read(name)


def test_kinds(s):
    """every kind of output, read by the command, gives the bits of the just-in-time compiler"""
    want = s.outputs(FIXTURE, "jit.npz")
    for name in ("m.sard", "m.so", "m.o", "m.a"):
        s.compile(FIXTURE, "-o", s.path(name))
        s.check("same bits from " + name, s.outputs(s.path(name), name + ".npz") == want)
    s.compile(FIXTURE, "--exe", s.path("program"))
    s.check("same bits from a program", s.outputs(s.path("program"), "program.npz") == want)
    for command in ("explain", "profile", "bench"):
        args = [] if command == "explain" else FEED + ["--runs", "3"]
        run = sard(command, s.path("m.so"), *args)
        s.check(command + " takes a .so", run.returncode == 0 and "compiled" in run.stdout, run.stdout + run.stderr)
    for name in ("m.sard", "m.so", "m.o", "m.a", "program"):
        run = sard("inspect", s.path(name))
        s.check("inspect " + name, re.search(r"^machine +x86_64: x86-64", run.stdout, re.M)
                and "  input_ids  i64[batch, seq]" in run.stdout, run.stdout + run.stderr)
    d = json.loads(sard("inspect", s.path("m.so"), "--json").stdout)
    s.check("the same as JSON", d["compiled"]["machine"] == "x86_64" and d["compiled"]["steps"]["compiled"] == 26
            and d["outputs"][1] == {"name": "sentence_embedding", "type": "f32[batch, 32]"}, d)
    run = sard("run", s.path("m.sard"), *FEED, "--device", "reference")
    s.error("a compiled model is not interpreted", run, 2, "runs on the device 'cpu'")


def test_program(s):
    run = subprocess.run([s.path("program"), "--help"], capture_output=True, text=True)
    s.check("the program tells its inputs", "input_ids  i64[batch,seq]" in run.stdout, run.stdout + run.stderr)
    feed = ["input_ids=ones:2x3", "attention_mask=ones:2x3", "token_type_ids=zeros:2x3"]
    run = subprocess.run([s.path("program"), *feed, "--output", s.path("npy")], capture_output=True, text=True)
    s.check("the program runs", run.returncode == 0, run.stderr)
    run = sard("run", FIXTURE, "--bind", "batch=2,seq=3", "--input", "input_ids=ones", "--input", "attention_mask=ones",
               "--input", "token_type_ids=zeros", "--cache", "off", "--output", "sentence_embedding=" + s.path("want.npy"))
    s.check("it computes what the command computes", s.read("npy/sentence_embedding.npy")[-256:] == s.read("want.npy")[-256:], run.stderr)
    for args, part in ((["nothing=x.npy"], "no such input"), (["input_ids=missing.npy"], "cannot be opened"), ([], "is not given")):
        run = subprocess.run([s.path("program"), *args], capture_output=True, text=True)
        s.check("the program says: " + part, run.returncode == 3 and part in run.stderr, run.stderr)


def test_c(s):
    """a C and a C++ program with the model inside, and its structs"""
    want = s.read("jit.npz")
    s.write("use.c", USE % {"name": "m"})
    for objects, flags in ((["m.o"], ["-std=c11"]), (["m.a"], ["-std=c11"]), (["m.a"], ["-std=c11", "-static"])):
        if not s.build("use.c", objects, "use", flags=flags):
            continue
        run = subprocess.run([s.path("use")], capture_output=True)
        head, _, data = run.stdout.partition(b"\n")
        s.check("shape from %s" % objects, head == b"3 2 3 32", head + run.stderr)
        s.check("same bits in a program of C %s" % flags, len(data) == 256 and data in want)
        s.check("a missing input is told", b"input 'input_ids'" in run.stderr, run.stderr)
    cxx = shutil.which("g++")
    if cxx:
        s.write("use.cpp", USE % {"name": "m"})
        s.build("use.cpp", ["m.a"], "usexx", compiler=cxx, flags=["-std=c++17"])


def test_library(s):
    run = subprocess.run(["nm", "-D", "--defined-only", s.path("m.so")], capture_output=True, text=True)
    names = {line.split()[-1] for line in run.stdout.splitlines()}
    s.check("a library exports what its header declares",
            names and all(n.startswith("m_") or n == "sard_compiled_model" for n in names) and "m_run" in names, names)
    run = subprocess.run(["ldd", s.path("m.so")], capture_output=True, text=True)
    needs = re.findall(r"^\s*(\S+?)\.so", run.stdout, re.M)
    s.check("it needs libc and libm alone", set(needs) <= {"linux-vdso", "libm", "libc", "/lib64/ld-linux-x86-64", "libpthread"}, run.stdout)
    run = subprocess.run(["readelf", "-lW", s.path("m.so")], capture_output=True, text=True)
    s.check("no page is writable and executable", run.returncode == 0 and not re.search(r"\bRWE\b", run.stdout), run.stdout)
    s.write("mlp.onnx", models.mlp())
    s.compile(s.path("mlp.onnx"), "-o", s.path("mlp.so"), "--bind", "batch=1")
    size = os.path.getsize(s.path("mlp.so"))
    s.check("a small model of fixed shape is below 300 kB", size < 300000, size)
    s.check("--bind fixes the dimension", "f32[1,4]" in sard("run", s.path("mlp.so"), "--input", "x=ones:2x4").stderr
            or "batch" not in s.read("mlp.h").decode().split("_inputs {")[1].split("}")[0])


def test_two(s):
    """two models in one program: y = x + [10, 20, 30], and an mlp"""
    s.write("add.onnx", models.add())
    s.compile(s.path("add.onnx"), "-o", s.path("first.a"))
    s.compile(s.path("mlp.onnx"), "-o", s.path("other.a"), "--prefix", "second")
    os.rename(s.path("other.h"), s.path("second.h"))
    s.write("two.c", TWO)
    if s.build("two.c", ["first.a", "other.a"], "two"):
        run = subprocess.run([s.path("two")], capture_output=True, text=True)
        # h = relu([1,2,3,4] w1), w1[i][j] = (8i + j) / 32: h[j] = (160 + 10 j) / 32; y[k] = sum h[j] (2j + k) / 16
        h = [(160 + 10 * j) / 32 for j in range(8)]
        y = [sum(h[j] * (2 * j + k) / 16 for j in range(8)) for k in range(2)]
        want = "11 22 33 14 25 36, %g %g, first other\n" % tuple(y)
        s.check("two models in one program", run.stdout == want, run.stdout + run.stderr + want)


def test_headers(s):
    """every C and C++ takes a header with all warnings; two models of one name are told apart"""
    compilers = [("cc", "c", std) for std in ("c99", "c11", "c17")] + [("c++", "cpp", std) for std in ("c++11", "c++17", "c++20")]
    for cc, end, std in compilers:
        for which in {"cc": (CC, "gcc", "clang"), "c++": ("g++", "clang++")}[cc]:
            if not shutil.which(which):
                continue
            source = s.write("includes." + end, INCLUDES % "")
            run = subprocess.run([which, "-std=" + std, "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", source, "-o", s.path("includes.o")],
                                 capture_output=True, text=True)
            s.check("%s -std=%s takes the header" % (which, std), run.returncode == 0, run.stderr)
    os.makedirs(s.path("same"))
    s.compile(s.path("mlp.onnx"), "-o", s.path("same/second.o"), "--prefix", "first")
    s.compile(s.path("add.onnx"), "-o", s.path("same/first.o"))
    source = s.write("includes.c", INCLUDES % '#include "same/second.h"')
    run = subprocess.run([CC, "-c", source, "-o", s.path("includes.o")], capture_output=True, text=True)
    s.check("two headers of one prefix", run.returncode and "two compiled models have the prefix 'first'" in run.stderr, run.stderr)
    source = s.write("includes.c", INCLUDES % "int main(void) { return check(); }".replace("check()", "0"))
    run = subprocess.run([CC, source, s.path("same/first.o"), s.path("same/second.o"), *LINK, "-o", s.path("same/x")], capture_output=True, text=True)
    s.check("two objects of one prefix", run.returncode and "first_init" in run.stderr and re.search("multiple|duplicate", run.stderr), run.stderr)


def test_one_prefix(s):
    """two models of one prefix, each in a translation unit of its own: archives are a link error; libraries, which are none, an error
    at the first call; the very same model twice is one"""
    file = {"one": "f", "other": "g", "twin": "f"}
    for name in file:
        os.makedirs(s.path(name))
        for end in ("a", "so"):
            s.compile(s.path("mlp.onnx" if name == "other" else "add.onnx"), "-o", s.path("%s/%s.%s" % (name, file[name], end)), "--prefix", "same")
    for function, header, nx, ny in (("one", "one/f.h", 3, 3), ("other", "other/g.h", 4, 2), ("twin", "twin/f.h", 3, 3)):
        s.write(function + ".c", SAME % {"header": header, "function": "one" if function == "one" else "other", "nx": nx, "ny": ny})
    s.write("both.c", BOTH)
    line = [CC, "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "both.c", "one.c"]
    for order in (["one/f.a", "other/g.a"], ["other/g.a", "one/f.a"]):
        run = subprocess.run([*line, "other.c", *order, *LINK, "-o", "both"], capture_output=True, text=True, cwd=s.dir)
        s.check("two archives of one prefix do not link", run.returncode and re.search(r"(multiple|duplicate)\D*\bsame_run\b", run.stderr), run.stderr)
    run = subprocess.run([*line, "other.c", "one/f.so", "other/g.so", "-Wl,-rpath,%s:%s" % (s.path("one"), s.path("other")), "-o", "both"], capture_output=True, text=True, cwd=s.dir)
    s.check("two libraries do", run.returncode == 0, run.stderr)
    run = subprocess.run([s.path("both")], capture_output=True, text=True, cwd=s.dir)
    s.check("the second one's instance is refused by the first one's functions", run.returncode == 1 and
            run.stdout == "f 11\nrun: the instance is one of another compiled model with the same prefix\n", run.stdout + run.stderr)
    run = subprocess.run([*line, "twin.c", "one/f.a", "twin/f.a", *LINK, "-o", "both"], capture_output=True, text=True, cwd=s.dir)
    s.check("the same model twice links", run.returncode == 0, run.stderr)
    run = subprocess.run([s.path("both")], capture_output=True, text=True)
    s.check("and runs", run.stdout == "f 11\nf 11\n", run.stdout + run.stderr)
    run = subprocess.run(["nm", "-D", "--defined-only", s.path("one/f.so")], capture_output=True, text=True)
    names = {x.split()[-1] for x in run.stdout.splitlines()}
    s.check("dlsym finds the plain names", {"same_init", "same_api", "same_run", "sard_compiled_model"} <= names, names)


def test_lesser_cpu(s):
    """code for a level that the CPU lacks is refused in words; of two levels the lesser one runs"""
    s.write("level.c", LESSER)
    for levels, want in (("x86-64-v3", (1, "the model was compiled for x86-64-v3, which this CPU (x86-64) does not have\n")),
                         ("x86-64,x86-64-v3", (0, "0 11 22 33\n"))):
        s.compile(s.path("add.onnx"), "-o", s.path("level.a"), "--cpu", levels)
        if s.build("level.c", ["level.a"], "level", flags=("-std=gnu11",)):
            run = subprocess.run([s.path("level")], capture_output=True, text=True)
            s.check("code for " + levels, run.returncode == want[0] and run.stdout.startswith(want[1].rstrip("\n")), run.stdout + run.stderr)
    qemu = shutil.which("qemu-x86_64")
    if qemu:
        run = subprocess.run([qemu, "-cpu", "qemu64", s.path("open"), s.path("v3.so")], capture_output=True, text=True)
        s.check("a library on a lesser CPU", run.returncode == 1 and "which this CPU (x86-64) does not have" in run.stderr, run.stderr)
        run = subprocess.run([qemu, "-cpu", "qemu64", s.path("open"), s.path("v.so")], capture_output=True, text=True)
        s.check("a library of two levels there", run.stdout == "ready\n", run.stdout + run.stderr)


def test_names_of_kernels(s):
    """debuggers and profilers see the kernels by their names, at the places where they are"""
    for name in ("m.o", "m.so", "program"):
        run = subprocess.run(["readelf", "-sW", s.path(name)], capture_output=True, text=True)
        kernels = re.findall(r"^ *\d+: (\w+) +(\w+) FUNC +LOCAL +DEFAULT +(\d+) sard:(\S+)$", run.stdout, re.M)
        sections = subprocess.run(["readelf", "-SW", s.path(name)], capture_output=True, text=True).stdout
        code = re.search(r"\[ *(\d+)\] \.sard\.code +PROGBITS +(\w+) +\w+ +(\w+)", sections)
        begin, size = int(code[2], 16), int(code[3], 16)
        s.check("kernels of " + name, len(kernels) > 20 and any("attention" in k for *_, k in kernels)
                and all(n == code[1] and begin <= int(at, 16) and int(at, 16) + int(b, 0) <= begin + size and int(b, 0) for at, b, n, _ in kernels),
                kernels[:3])


def test_needs(s):
    """the header names the libraries that strings, regular expressions and images need, and with them it links"""
    text = w.tensor_type(w.STRING, ["n"])
    cases = {
        "regex": (w.node("RegexFullMatch", ["x"], ["y"], pattern="a+b"), text, w.tensor_type(w.BOOL, ["n"]), ["-lpcre2-8"]),
        "upper": (w.node("StringNormalizer", ["x"], ["y"], case_change_action="UPPER"), text, text, ["-lutf8proc"]),
        "image": (w.node("ImageDecoder", ["x"], ["y"]), w.tensor_type(w.U8, ["n"]), w.tensor_type(w.U8, ["h", "w", 3]),
                  ["-lturbojpeg", "-lpng16", "-lwebp", "-ltiff", "-lopenjp2"]),
    }
    for name, (node, into, out, libraries) in cases.items():
        s.write(name + ".onnx", w.model([node], [w.value("x", into)], [w.value("y", out)]))
        s.compile(s.path(name + ".onnx"), "-o", s.path(name + ".a"), "--allow", "reference")
        line = re.search(r"Link with: (.*)", s.read(name + ".h").decode())[1].split()
        s.check(name + " names its libraries", line == libraries + ["-lm", "-lpthread"], line)
        s.write(name + ".c", '#include "%s.h"\nint main(void) { %s *m; return %s_init(0, &m); }\n' % (name, name, name))
        run = subprocess.run([CC, name + ".c", name + ".a", *line, "-o", name], capture_output=True, text=True, cwd=s.dir)
        s.check(name + " links with them", run.returncode == 0, run.stderr)
        s.check(name + " starts", run.returncode == 0 and subprocess.run([s.path(name)]).returncode == 0)
        run = subprocess.run([CC, name + ".c", name + ".a", *LINK, "-o", name], capture_output=True, text=True, cwd=s.dir)
        s.check(name + " does not without", run.returncode and "undefined" in run.stderr, run.stderr)


def pss(process):
    """bytes of a process's memory, what it shares divided among those who do"""
    with open("/proc/%d/smaps_rollup" % process.pid) as f:
        return int(re.search(r"^Pss: +(\d+) kB", f.read(), re.M)[1]) * 1024


def mapped_pss(process, folder):
    """the same, of the files in a folder alone"""
    with open("/proc/%d/smaps" % process.pid) as f:
        maps = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", f.read(), flags=re.M)
    return sum(int(re.search(r"^Pss: +(\d+) kB", m, re.M)[1]) * 1024 for m in maps if " " + folder + "/" in m)


def settled(bytes_of, good):
    """what bytes_of() is when it is good, or after a long time"""
    for _ in range(1200):
        now = bytes_of()
        if good(now):
            break
        time.sleep(0.05)
    return now


def test_shared(s):
    """two processes of one library have its weights once"""
    size = 1024 * 768 * 4
    s.compile(s.path("large.onnx"), "-o", s.path("large.so"), "--cpu", "x86-64-v3")
    if not s.build(os.path.join(HERE, "open.c"), ["-ldl"], "open", flags=("-std=gnu11", "-I.")):
        return
    shutil.copy(s.path("large.so"), s.path("v3.so"))
    s.compile(s.path("large.onnx"), "-o", s.path("v.so"), "--cpu", "x86-64,x86-64-v3")
    for name in ("large.so", "beside2.so"):
        if name == "beside2.so":
            s.compile(s.path("large.onnx"), "-o", s.path(name), "--weights", "external")
        run = [s.path("open"), s.path(name), "wait"]
        processes = [subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE)]
        ready = processes[0].stdout.readline() == b"ready\n"
        alone = pss(processes[0])
        processes.append(subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        ready = ready and processes[1].stdout.readline() == b"ready\n"
        both = [pss(p) for p in processes]
        s.check("two processes of " + name, ready and alone > size and all(x < alone - 0.45 * size for x in both), (alone, both, size))
        for p in processes:
            p.communicate()
    run = [SARD, "bench", s.path("large.onnx"), "--input", "x=ones:1x1024", "--seconds", "3600", "--cache", s.path("cache")]
    first = sard(*run[1:5], "--runs", "1", "--cache", s.path("cache"))
    s.check("the cache is filled", first.returncode == 0 and os.listdir(s.path("cache")), first.stderr)
    processes = [subprocess.Popen(run, stdout=subprocess.DEVNULL)]
    entry = os.path.realpath(s.path("cache"))
    alone = settled(lambda: mapped_pss(processes[0], entry), lambda now: now > size)
    processes.append(subprocess.Popen(run, stdout=subprocess.DEVNULL))
    both = settled(lambda: mapped_pss(processes[0], entry), lambda now: now < alone - 0.45 * size)
    s.check("two processes of one cache entry", alone > size and both < alone - 0.45 * size, (alone, both, size))
    for p in processes:
        p.kill()
        p.wait()


def test_static(s):
    s.compile(s.path("add.onnx"), "-o", s.path("fixed.a"), "--static-arena")
    run = subprocess.run(["nm", "-u", s.path("fixed.a")], capture_output=True, text=True)
    calls = set(re.findall(r"\bU (\S+)", run.stdout))
    s.check("with the caller's memory there is no malloc", calls and not calls & {"malloc", "calloc", "realloc", "posix_memalign", "free"}, calls)
    s.write("fixed.c", STATIC)
    if s.build("fixed.c", ["fixed.a"], "fixed"):
        run = subprocess.run([s.path("fixed")], capture_output=True, text=True)
        s.check("it runs in the caller's memory", run.returncode == 0 and run.stdout == "11 22 33, 1\n", (run.returncode, run.stdout, run.stderr))


def test_decoder(s):
    """a decoder whose caller gives all memory: threads give the same bits, and its cache grows in place"""
    model = os.path.join(ROOT, "models", "fixtures", "llama", "dynamo", "model.onnx")
    tokens = [(7 * i * i + 3) % 100 for i in range(133)]
    s.compile(model, "-o", s.path("decoder.a"), "--static-arena")
    if not s.build(os.path.join(HERE, "decoder.c"), ["decoder.a"], "decoder", flags=("-std=gnu11", "-I.")):
        return
    runs = {}
    for threads in "0", "1", "2", "5":
        run = subprocess.run([s.path("decoder"), threads, *map(str, tokens)], capture_output=True)
        s.check("a decoder with threads %s" % threads, run.returncode == 0, (run.returncode, run.stderr))
        runs[threads] = run
    s.check("the bits are the same", len({r.stdout for r in runs.values()}) == 1 and len(runs["1"].stdout) == 133 * 100 * 4)
    peak = {t: int(re.search(rb"peak (\d+)", r.stderr)[1]) for t, r in runs.items() if b"peak" in r.stderr}
    s.check("stacks are in that memory", peak["0"] == peak["1"] and peak["5"] - peak["1"] >= 4 * 256 << 10, peak)
    want = sard("run", model, "--device", "reference", "--input", "input_ids=" + json.dumps([tokens]), "--input", "attention_mask=ones",
                "--bind", "batch=1,seq=133,past=0,total=133", *[x for i in "01" for k in ("key", "value")
                                                               for x in ("--input", "past.%s.%s=zeros" % (i, k))],
                "--output", "logits=" + s.path("want.npy"))
    s.check("the reference runs", want.returncode == 0, want.stderr)
    want, got = (struct.unpack("<13300f", x[-53200:]) for x in (s.read("want.npy"), runs["1"].stdout))
    worst = max(abs(a - b) for a, b in zip(want, got))
    s.check("all at once and step by step agree", worst <= 1e-4 * max(map(abs, want)), worst)


def test_external(s):
    s.compile(FIXTURE, "-o", s.path("ext.so"), "--weights", "external")
    s.check("weights of their own", os.path.getsize(s.path("ext.so.weights")) > 80000)
    s.check("same bits with weights beside", s.outputs(s.path("ext.so"), "ext.npz") == s.read("jit.npz"))
    run = sard("test", "--ahead", "so", os.path.dirname(FIXTURE))
    s.check("in its own runtime", run.returncode == 0 and "1 passed" in run.stdout, run.stdout + run.stderr)
    s.compile(s.path("add.onnx"), "-o", s.path("other.sard"), "--weights", "external")
    good = s.read("ext.so.weights")
    s.write("ext.so.weights", good[:-100])
    s.error("weights cut short", sard("run", s.path("ext.so"), *FEED), 3, "cut short", "ext.so.weights")
    shutil.copy(s.path("other.sard.weights"), s.path("ext.so.weights"))
    s.error("weights of another model", sard("run", s.path("ext.so"), *FEED), 3, "another compiled model")
    os.remove(s.path("ext.so.weights"))
    s.error("no weights", sard("run", s.path("ext.so"), *FEED), 3, "ext.so.weights")


def test_levels(s):
    levels = ["x86-64", "x86-64-v3"]
    s.compile(FIXTURE, "-o", s.path("v.sard"), "--cpu", ",".join(levels))
    s.compile(FIXTURE, "-o", s.path("v1.sard"), "--cpu", "x86-64")
    s.compile(FIXTURE, "-o", s.path("v3.sard"), "--cpu", "x86-64-v3")
    best = s.outputs(s.path("v3.sard"), "v3.npz")
    s.check("of two levels the better one runs", s.outputs(s.path("v.sard"), "v.npz") == best)
    s.check("levels differ", s.outputs(s.path("v1.sard"), "v1.npz") != best)


def test_same_bytes(s):
    os.makedirs(s.path("elsewhere"))
    copy = shutil.copy(FIXTURE, s.path("elsewhere/copy.onnx"))
    for name in ("m.sard", "m.so", "m.o", "m.a", "program", "m.h"):
        if name != "m.h":
            s.compile(copy, "--exe" if name == "program" else "-o", s.path("elsewhere/" + name))
        s.check("the same bytes again: " + name, s.read(name) == s.read("elsewhere/" + name))


def test_damage(s):
    """single bits flipped in the head, the program, the code; files cut short; other versions; files of another kind"""
    data = bytearray(s.read("m.sard"))
    head = int.from_bytes(data[32:40], "little")
    code = int.from_bytes(data[40:48], "little")
    places = [9, 13, 20, 60, 100, head // 2, head - 70, (head + 4095) // 4096 * 4096 + code // 3]
    for at in places:
        broken = bytearray(data)
        broken[at] ^= 4
        run = sard("run", s.write("broken.sard", bytes(broken)), *FEED)
        s.check("a flipped bit at %d" % at, run.returncode in (3, 4) and run.stderr.startswith("error: ") and not run.stdout, run.stderr)
    for n in (4, 8, 100, head - 1, head + 10, len(data) - 1):
        run = sard("run", s.write("broken.sard", bytes(data[:n])), *FEED)
        s.check("cut to %d bytes" % n, run.returncode in (2, 3, 4), run.stderr)
    library = bytearray(s.read("m.so"))
    at = library.index(b"SARDPACK\x02")
    library[at + 500] ^= 1
    s.error("a damaged library", sard("run", s.write("broken.so", bytes(library)), *FEED), 3, "damaged")
    text = subprocess.run(["readelf", "-SW", s.path("program")], capture_output=True, text=True).stdout
    for section, at in ((".sard.package", 500), (".sard.package", head // 2), (".sard.code", 100)):
        program = bytearray(s.read("program"))  # a whole program, whose own runtime looks
        program[int(re.search(re.escape(section) + r" +PROGBITS +\w+ +(\w+)", text)[1], 16) + at] ^= 16
        path = s.write("broken", bytes(program))
        os.chmod(path, 0o700)
        run = subprocess.run([path, "--help"], capture_output=True, text=True)
        s.check("a program finds damage in its " + section, run.returncode == 3 and "damaged" in run.stderr, (run.returncode, run.stderr))
    newer = bytearray(data)
    newer[8] = 99
    s.error("a newer format", sard("run", s.write("newer.sard", bytes(newer)), *FEED), 3, "format 99")
    s.error("a foreign library", sard("run", shutil.which("true"), *FEED), 3, "no compiled model")
    s.error("a foreign archive", sard("run", s.write("x.a", b"!<arch>\n"), *FEED), 3, "no compiled model")


def parts_of(data):
    """of a package at the beginning of data: the ranges of its head, its code and its weights, each on pages of their own"""
    at, parts = 0, []
    for field in (32, 40, 48):
        n = int.from_bytes(data[field : field + 8], "little")
        parts.append((at, at + n))
        at = (at + n + 4095) // 4096 * 4096
    return parts


def test_verify(s):
    """sard cache verify FILE reads what no start does: single bits anywhere in any kind of file"""
    s.write("large.onnx", large())
    kinds = ["v.sard", "v.so", "v.o", "v.a", "v.exe"]
    for name in kinds:
        s.compile(s.path("large.onnx"), *(["--exe"] if name == "v.exe" else ["-o"]), s.path(name), "--cpu", "x86-64,x86-64-v3")
    s.compile(s.path("large.onnx"), "-o", s.path("beside.so"), "--weights", "external")
    s.compile(s.path("large.onnx"), "-o", s.path("other.sard"), "--target", "riscv64-linux-gnu")
    files = [s.path(n) for n in kinds + ["beside.so", "other.sard"]]
    run = sard("cache", "verify", *files)
    s.check("whole files", run.returncode == 0 and run.stdout.count("ok  ") == len(files) and not run.stderr, run.stdout + run.stderr)
    package = s.read("v.sard")
    head, code, weights = parts_of(package)
    s.check("more than one block of weights", weights[1] - weights[0] > 2 << 20, weights)
    for name in kinds:
        good = s.read(name)
        start = good.index(b"SARDPACK\x02")
        starts = [start, good.index(package[slice(*code)][:200]), good.index(package[slice(*weights)][:4000])]
        for (low, high), at in zip((head, code, weights), starts):
            for k in range(6):
                broken = bytearray(good)
                broken[at + (high - low - 1) * k // 5] ^= 1 << k
                run = sard("cache", "verify", s.write("broken" + name[1:], bytes(broken)))
                first = "no compiled model" if name == "v.sard" else "not a model"  # the first bytes say what it is
                said = first if at == start and k == 0 else "damaged"
                s.check("%s: a bit at %d of %d" % (name, k, at), run.returncode == 1 and said in run.stdout and "DAMAGED" in run.stdout,
                        run.stdout + run.stderr)
    beside = bytearray(s.read("beside.so.weights"))
    beside[-5] ^= 64
    s.write("beside.so.weights", bytes(beside))
    run = sard("run", s.path("beside.so"), "--input", "x=ones:1x1024")
    s.check("a run does not look", run.returncode == 0, run.stderr)
    run = sard("cache", "verify", s.path("v.so"), s.path("beside.so"), "--json")
    d = json.loads(run.stdout)["files"]
    s.check("weights beside", run.returncode == 1 and not d[0]["problem"] and "its weights, at byte 2097152" in d[1]["problem"], run.stdout)
    s.write("beside.so.weights", bytes(beside[:-100]))
    run = sard("cache", "verify", s.path("beside.so"), s.path("large.onnx"))
    s.check("cut short; and no model", run.returncode == 1 and "cut short" in run.stdout and "no compiled model" in run.stdout, run.stdout)
    s.error("no such file", sard("cache", "verify", s.path("nothing.so")), 3, "nothing.so")
    s.error("only verify takes files", sard("cache", "list", s.path("v.so")), 2, "verify does")


def test_usage(s):
    where = s.path("add.onnx")
    s.error("no output", sard("compile", where), 2, "-o FILE")
    s.error("two outputs", sard("compile", where, "-o", "a.so", "--exe", "b"), 2, "one of them")
    s.error("an end that says nothing", sard("compile", where, "-o", s.path("x.dll")), 2, ".sard, .so, .o or .a")
    s.error("no such level", sard("compile", where, "-o", s.path("x.so"), "--cpu", "i486"), 2, "no CPU level 'i486'")
    s.error("no such dimension", sard("compile", where, "-o", s.path("x.so"), "--bind", "nothing=3"), 2, "'nothing'")
    s.error("a prefix that is no name", sard("compile", where, "-o", s.path("x.so"), "--prefix", "1-x"), 2, "'1-x'")
    s.error("no linker", sard("compile", where, "-o", s.path("x.so"), env={"PATH": "/nowhere", "CC": ""}), 4, "no linker", "install a C compiler")
    s.check("the others need none", sard("compile", where, "-o", s.path("x.a"), env={"PATH": "/nowhere", "CC": ""}).returncode == 0)
    s.error("no folder", sard("compile", where, "-o", s.path("nowhere/x.so")), 3, "nowhere")
    s.error("a linker that fails", sard("compile", where, "-o", s.path("x.so"), env={"CC": shutil.which("false")}), 3, "cannot link")
    s.check("nothing half-made stays", not [f for f in os.listdir(s.dir) if f.startswith("x.so")], os.listdir(s.dir))
    run = sard("doctor")
    s.check("doctor looks for the linker", re.search(r"^compile +\S+ links .so and programs; runtimes for x86_64", run.stdout, re.M), run.stdout)
    run = sard("doctor", env={"PATH": "/nowhere", "CC": ""})
    s.check("doctor misses the linker", "no C compiler" in run.stdout, run.stdout)


def test_full_disk(s):
    """the file system is full: the tool says so and leaves nothing"""
    run = subprocess.run(["bash", "-c", "ulimit -f 20; exec \"$0\" compile \"$1\" -o \"$2\"", SARD, FIXTURE, s.path("full.so")],
                         capture_output=True, text=True)
    s.check("no room for the file", run.returncode == 3 and "cannot write" in run.stderr, run.stderr)
    s.check("nothing is left of it", not [f for f in os.listdir(s.dir) if f.startswith("full")], os.listdir(s.dir))


def main():
    with tempfile.TemporaryDirectory() as folder:
        s = Suite(folder)
        for test in (test_kinds, test_program, test_c, test_library, test_names_of_kernels, test_two, test_headers, test_one_prefix,
                     test_needs, test_static, test_decoder, test_external, test_levels, test_same_bytes,
                     test_damage, test_verify, test_shared, test_lesser_cpu, test_usage, test_full_disk):
            test(s)
        return s.done()


if __name__ == "__main__":
    sys.exit(main())
