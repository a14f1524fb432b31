#!/usr/bin/env python3
"""Archives are read and written by a shared object of its own: loaded when an .npz is named, found beside the tool, missed with a clear
error; and no other process carries libzip and what it brings.

SPDX-License-Identifier: Apache-2.0
"""

import os
import shutil
import subprocess
import sys
import tempfile

import onnx_writer as w
from harness import SARD, Checks

NPZ = "libsard-npz.so"
CODE = 4  # something that is not supported


def run(tool, folder, *more):
    command = [tool, "run", "m.onnx", "--device", "reference", *more]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, cwd=folder)


def main():
    c = Checks()
    loaded = subprocess.run([SARD], env=dict(os.environ, LD_TRACE_LOADED_OBJECTS="1"), capture_output=True, text=True).stdout
    c.check("the list of what the tool loads", "libc.so" in loaded, loaded)
    for name in ("libzip", "libcrypto", "libbz2"):
        c.check("the tool does without %s" % name, name not in loaded, loaded)
    with tempfile.TemporaryDirectory() as tmp:
        at = lambda *name: os.path.join(tmp, *name)
        two = w.tensor_type(w.F32, [2])
        with open(at("m.onnx"), "wb") as f:
            f.write(w.model([w.node("Neg", ["x"], ["y"])], [w.value("x", two)], [w.value("y", two)]))
        x = w.npy(w.F32, [2], [1, -2])
        with open(at("x.npy"), "wb") as f:
            f.write(x)
        w.npz(at("x.npz"), {"x": x}, compress=True)
        os.mkdir(at("bin"))
        alone = shutil.copy(SARD, at("bin", "sard"))
        r = run(alone, tmp, "--input", "x=x.npy", "--output", "y=y.npy")
        with open(at("y.npy"), "rb") as f:
            c.check("arrays of their own need no library", r.returncode == 0 and list(w.read_npy(f.read())[2]) == [-1, 2], r.stderr)
        reads, writes = ("--inputs", "x.npz", "--output", "y=y.npy"), ("--input", "x=x.npy", "--output", "y.npz")
        for name, files in (("read", reads), ("written", writes)):
            r = run(alone, tmp, *files)
            c.error("%s without the library" % name, r, CODE, NPZ + " was not found", "looked for " + at("bin"), ".npy files need none")
        c.check("nothing is left behind", not [x for x in os.listdir(tmp) if x.startswith("y.npz")], os.listdir(tmp))
        beside = shutil.copy(os.path.join(os.path.dirname(SARD), "libsard.so"), at("bin", NPZ))
        c.error("another library of its name", run(alone, tmp, *reads), CODE, "belongs to another build")
        shutil.copy(os.path.join(os.path.dirname(SARD), NPZ), beside)
        r = run(alone, tmp, "--inputs", "x.npz", "--output", "y.npz")
        c.check("with the library", r.returncode == 0 and list(w.read_npz(at("y.npz"))["y"][2]) == [-1, 2], r.stderr)
    return c.done()


if __name__ == "__main__":
    sys.exit(main())
