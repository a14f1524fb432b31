#!/usr/bin/env python3
"""test_example.py - examples/embed.c compiles without warnings against the shared library and runs.
SPDX-License-Identifier: Apache-2.0"""
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SARD_BUILD", os.path.join(ROOT, "build"))
FIXTURES = os.path.join(ROOT, "models", "fixtures")
passed = failed = 0


def check(what, ok, detail=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print("FAILED", what, detail)


def main():
    if os.environ.get("SARD_SANITIZED") == "1":
        print("the example is built without sanitizers, as users build it: skipped here")
        print("0 passed, 0 failed, 1 skipped")
        return 77
    if not os.path.exists(os.path.join(BUILD, "libsard.so")):
        print("no shared library in this build\n0 passed, 0 failed, 1 skipped")
        return 77
    with tempfile.TemporaryDirectory() as tmp:
        exe = os.path.join(tmp, "embed")
        for std in ("c11", "c17"):
            made = subprocess.run([os.environ.get("CC", "cc"), "-std=" + std, "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                                   os.path.join(ROOT, "examples", "embed.c"), "-I" + os.path.join(ROOT, "include"),
                                   "-L" + BUILD, "-lsard", "-Wl,-rpath," + BUILD, "-o", exe], capture_output=True, text=True)
            check("compiles as " + std, made.returncode == 0, made.stderr)
        header = subprocess.run([os.environ.get("CC", "cc"), "-x", "c++", "-fsyntax-only", "-Wall", "-Werror",
                                 os.path.join(ROOT, "include", "sard.h"), "-Wno-pragma-once-outside-header"],
                                capture_output=True, text=True)
        check("the header is C++ too", header.returncode == 0 or "c++" in header.stderr, header.stderr)
        for model in ("encoder/ts17", "resnet/dynamo", "gru_tagger/dynamo"):
            path = os.path.join(FIXTURES, model, "model.onnx")
            runs = [subprocess.run([exe, path], capture_output=True, text=True) for _ in range(2)]
            check(model, runs[0].returncode == 0, runs[0].stderr)
            check(model + ": lines", runs[0].stdout.count("[") > 1, runs[0].stdout)
            check(model + ": the same again", runs[0].stdout == runs[1].stdout)
        bad = subprocess.run([exe, os.path.join(tmp, "none.onnx")], capture_output=True, text=True)
        check("a missing file", bad.returncode == 1 and "none.onnx" in bad.stderr, bad.stderr)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


sys.exit(main())
