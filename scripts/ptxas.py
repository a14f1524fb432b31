#!/usr/bin/env python3
"""What NVIDIA's assembler makes of the kernels of whole models: registers of a thread, shared memory of a block, and what is spilled,
which is to be nothing.

usage: ptxas.py [--write | --turns] [--most N] [-j N] [FOLDER...]

Compiles FOLDER/model.onnx (default: all exports of all fixtures) for each GPU that there is code generation for, to PTX alone, and
assembles all of it. Needs ptxas (of the CUDA toolkit, in PATH or /usr/local/cuda/bin) and no GPU. --write puts the table into
docs/benchmarks-gpu.md; --turns: a model's exports, whose kernels hardly differ, take turns with the GPUs; --most gives a thread so
many registers at most. Exit code 1: ptxas refuses something, or a kernel spills; 77: there is no ptxas.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import collections
import concurrent.futures
import functools
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
from tables import write_table  # noqa: E402

LEVELS = ("sm_80", "sm_90", "sm_90a")
SARD = pathlib.Path(os.environ.get("SARD_BUILD", ROOT / "build")) / "sard"
ENTRY = re.compile(rb"\.entry (\w+)\(")
KERNEL = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
                    r"(\d+) bytes spill loads\s*\n.*?Used (\d+) registers([^\n]*)", re.S)

Kernel = collections.namedtuple("Kernel", "name stack spilled registers shared")


def find_ptxas():
    usual = "/usr/local/cuda/bin/ptxas"
    return shutil.which("ptxas") or (usual if os.access(usual, os.X_OK) else None)


def modules(program):
    """the PTX in a program, by ProgObject: as runtime/program.h has it"""
    sections = re.findall(r"^  (SEC_\w+),", (ROOT / "runtime" / "program.h").read_text(), re.M)
    place = {name: struct.unpack_from("<QQ", program, 40 + 16 * i) for i, name in enumerate(sections)}
    (objects, size), (code, _) = place["SEC_OBJECTS"], place["SEC_CODE"]
    for _, _, ptx, n, _, _ in struct.iter_unpack("<QQQQII", program[objects : objects + size]):
        yield program[code + ptx : code + ptx + n]


def compile_model(model, level, folder):
    """the PTX of a model, by module"""
    out = os.path.join(folder, "model.sard")
    run = subprocess.run([SARD, "compile", model, "--device", "cuda", "--gpu", level, "-o", out], capture_output=True, text=True,
                         env=dict(os.environ, SARD_CUDA_DIR=folder))  # where there is no nvJitLink
    if run.returncode:
        raise RuntimeError("%s for %s: %s" % (model, level, run.stderr.strip()))
    with open(out, "rb") as f:
        data = f.read()
    return list(modules(data[data.index(b"SARDPROG") :]))


@functools.cache  # a model's exports often have the same
def assemble(ptxas, module, level, most):
    """the kernels of a module"""
    limit = ["-maxrregcount=%d" % most] if most else []
    with tempfile.NamedTemporaryFile(suffix=".ptx") as f:
        f.write(module)
        f.flush()
        run = subprocess.run([ptxas, "-v", "-arch=" + level, *limit, f.name, "-o", os.devnull], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError("ptxas -arch=%s: %s" % (level, run.stderr.strip()[-2000:]))
    found = [Kernel(name, int(stack), int(stores) + int(loads), int(registers), int((re.search(r"(\d+) bytes smem", rest) or [0, 0])[1]))
             for name, target, stack, stores, loads, registers, rest in KERNEL.findall(run.stderr)]
    names = {n.decode() for n in ENTRY.findall(module)}
    if {k.name for k in found} != names:
        raise RuntimeError("ptxas says nothing of %s" % sorted(names - {k.name for k in found}))
    return found


def one(ptxas, folder, level, most):
    """all kernels of a model for one GPU"""
    with tempfile.TemporaryDirectory() as tmp:
        found = compile_model(os.path.join(folder, "model.onnx"), level, tmp)
        return [k for m in found for k in assemble(ptxas, m, level, most)]


def measure(ptxas, work, jobs, most):
    """{(model, level): [Kernel]}, exports of one model together; and what went wrong"""
    found, problems = collections.defaultdict(list), []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        work = {pool.submit(one, ptxas, f, level, most): (f, level) for f, level in work}
        for job, (folder, level) in work.items():
            try:
                kernels = job.result()
            except RuntimeError as e:
                problems.append(str(e))
                continue
            found[pathlib.Path(folder).resolve().parent.name, level] += kernels
            problems += ["%s, %s for %s: %d bytes spilled, a stack of %d" % (folder, k.name, level, k.spilled, k.stack)
                         for k in kernels if k.spilled or k.stack]
    return found, problems


def table(found):
    rows = ["| model | kernels | registers on %s | shared memory | spilled |" % " | on ".join(LEVELS),
            "|---|---:|" + "---:|" * len(LEVELS) + "---:|---:|"]
    for model in sorted({m for m, _ in found}):
        each = [found[model, level] for level in LEVELS]
        kernels = [k for level in each for k in level]
        rows.append("| %s | %s | %s | %d B | %d |" % (
            model, " / ".join(str(n) for n in sorted({len(x) for x in each})),
            " | ".join(str(max((k.registers for k in x), default=0)) for x in each),
            max((k.shared for k in kernels), default=0), sum(k.spilled for k in kernels)))
    return rows


def version(ptxas):
    return re.search(r"release ([\d.]+)", subprocess.run([ptxas, "--version"], capture_output=True, text=True).stdout)[1]


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    a.add_argument("folder", nargs="*", help="with a model.onnx; default: all fixtures")
    which = a.add_mutually_exclusive_group()
    which.add_argument("--write", action="store_true", help="the table, into docs/benchmarks-gpu.md")
    which.add_argument("--turns", action="store_true", help="each export for one GPU")
    a.add_argument("--most", type=int, default=0, help="registers of a thread")
    a.add_argument("-j", "--jobs", type=int, default=os.cpu_count())
    o = a.parse_args()
    ptxas = find_ptxas()
    if not ptxas:
        print("no ptxas here: nothing is assembled")
        return 77
    folders = o.folder or sorted(str(p.parent) for p in (ROOT / "models" / "fixtures").glob("*/*/model.onnx"))
    work = [(f, level) for f in folders for level in LEVELS]
    if o.turns:
        work = [(f, LEVELS[i % len(LEVELS)]) for i, f in enumerate(folders)]
    found, problems = measure(ptxas, work, o.jobs, o.most)
    rows = table(found)
    print("\n".join(rows + ["FAILED " + p for p in problems]))
    n = sum(len(k) for k in found.values())
    print("%d kernels of %d exports assembled by ptxas %s" % (n, len(folders), version(ptxas)))
    if o.write and not problems:
        note = "All kernels of all exports, by ptxas %s (`scripts/ptxas.py --write`): %d; the most that any of a model's needs." % (version(ptxas), n)
        write_table(ROOT / "docs" / "benchmarks-gpu.md", "scripts/ptxas.py", [note, "", *rows])
    return 1 if problems or not n else 0


if __name__ == "__main__":
    sys.exit(main())
