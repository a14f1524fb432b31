#!/usr/bin/env python3
"""The demo: it runs, and its embeddings equal those of onnx.reference (expected.npz) to 1e-5 of their largest magnitude.

expected.npz was made from the demo's sentences, tokenized by Hugging Face tokenizers 0.23 from the same tokenizer.json and
padded to the longest, by onnx.reference.ReferenceEvaluator of onnx 1.23.2. The demo fetches its model (63 MB) on first use.
SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.path.abspath(os.environ.get("SARD_BUILD", os.path.join(ROOT, "build")))
SARD = os.path.join(BUILD, "sard")
DATA = os.path.join(ROOT, "demo", "data")


def first_row(path):
    """row 0 of the float32 matrix in an .npz file"""
    with zipfile.ZipFile(path) as z:
        data = z.read(z.namelist()[0])
    length = int.from_bytes(data[8:10], "little")
    return struct.unpack_from("<384f", data, 10 + length)


def compiled_program():
    """examples/compiled.c, which README.md shows, with the demo's model compiled to an archive: the first sentence's embedding"""
    source = os.path.join(ROOT, "examples", "compiled.c")
    with open(source, encoding="utf-8") as f:
        program = f.read()
    program = program[program.index("#include"):]
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        shown = "".join("    " + x if x.strip() else x for x in program.splitlines(True)) in f.read()
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run([SARD, "compile", os.path.join(DATA, "model.onnx"), "-o", os.path.join(folder, "embed.a")],
                              capture_output=True, text=True)
        exe = os.path.join(folder, "compiled")
        built = subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-Werror", source, "-I" + folder,
                                os.path.join(folder, "embed.a"), "-lm", "-lpthread", "-o", exe], capture_output=True, text=True)
        run = subprocess.run([exe], capture_output=True, text=True) if not built.returncode else built
    want = first_row(os.path.join(ROOT, "tests", "demo", "expected.npz"))
    got = [float(x) for x in run.stdout.split()]
    near = len(got) == 384 and max(abs(a - b) for a, b in zip(got, want)) <= 1e-5 * max(map(abs, want))
    return [("the model compiles ahead of time: " + made.stderr, made.returncode == 0),
            ("a program with it builds: " + built.stderr, built.returncode == 0),
            ("it prints the embedding: " + run.stderr, near),
            ("it is what the README shows, of at most 30 lines", shown and program.count("\n") <= 30)]


def main():
    shutil.rmtree(os.path.join(DATA, "cache"), ignore_errors=True)
    demo = subprocess.run([os.path.join(ROOT, "demo", "run.sh")], capture_output=True, text=True, env=dict(os.environ, SARD=SARD))
    if demo.returncode:
        print(demo.stdout + demo.stderr)
        print("0 passed, 1 failed, 0 skipped")
        return 1
    with open(os.path.join(DATA, "sentences.txt"), encoding="utf-8") as f:
        texts = [x for line in f for x in ("--text", line.rstrip("\n"))]
    run = subprocess.run([SARD, "run", os.path.join(DATA, "model.onnx"), "--tokenizer", os.path.join(DATA, "tokenizer.json")] + texts
                         + ["--expect", os.path.join(ROOT, "tests", "demo", "expected.npz"), "--relative", "1e-5"],
                         capture_output=True, text=True)
    said = demo.stdout + demo.stderr
    cat = re.search(r"The cat sat on the mat +- +(0\.\d\d)", demo.stdout)
    checks = [
        ("the embeddings equal onnx.reference's", run.returncode == 0),
        ("at least six sentences, one of them Chinese", len(texts) >= 12 and "我爱学习编程" in texts),
        ("the cat and the kitten come to about 0.64", cat and abs(float(cat.group(1)) - 0.64) < 0.015),
        ("times of load, compile and run", re.search(r"load +[\d.]+ ms.*compile [\d.]+", said) and re.search(r"run +[\d.]+ ms", said)),
        ("the first run compiles and keeps, the second starts from the cache",
         re.search(r"cache +miss: compiled, and kept.*once more.*cache +hit: nothing was compiled", demo.stdout, re.S)),
        ("the head of sard inspect", "pytorch 2.3.0" in demo.stdout),
    ]
    checks += compiled_program()
    failed = [name for name, ok in checks if not ok]
    if failed:
        print(demo.stdout + demo.stderr + run.stdout + run.stderr)
        print("failed: " + "; ".join(failed))
    print("%d passed, %d failed, 0 skipped" % (len(checks) - len(failed), len(failed)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
