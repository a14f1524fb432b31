#!/usr/bin/env python3
"""Runs an installed wheel in a root directory that holds Python, numpy, libc and the wheel, and nothing else. As root.

usage: test_wheel_alone.py VENV MODEL
SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

CHECK = """
import sys
sys.path.insert(0, "/site")
import numpy as np, sard
m = sard.load("/model.onnx", device="cpu")
y = m(np.zeros((7, 2), np.int64))
assert y.shape == (7, 2, 96) and np.isfinite(y).all(), y
assert m.explain().count("compiled") > 0 and m.explain().count("reference") == 0
print("runs alone:", m)
"""


def put(root, path):
    """A file at its own place below the root."""
    to = Path(f"{root}{path}")
    to.parent.mkdir(parents=True, exist_ok=True)
    if not to.exists():
        shutil.copy2(path, to)


def libraries(binary):
    out = subprocess.run(["ldd", binary], capture_output=True, text=True).stdout
    return re.findall(r"(/\S+) \(0x", out)


def main():
    venv, model = map(Path, sys.argv[1:])
    python, stdlib = os.path.realpath(venv / "bin" / "python"), sysconfig.get_paths()["stdlib"]
    site = next((venv / "lib").glob("python3*")) / "site-packages"
    with tempfile.TemporaryDirectory() as root:
        shutil.copytree(stdlib, root + stdlib, symlinks=False, ignore_dangling_symlinks=True,
                        ignore=shutil.ignore_patterns("site-packages", "dist-packages", "__pycache__", "test", "config-*"))
        put(root, python)
        for binary in [python, *Path(stdlib, "lib-dynload").glob("*.so"), *(site / "numpy").rglob("*.so")]:
            for lib in libraries(binary):
                if str(site) not in os.path.realpath(lib):
                    put(root, lib)
        for package in ("numpy", "numpy.libs", "sard"):
            shutil.copytree(site / package, Path(root, "site", package))
        Path(root, "tmp").mkdir()
        Path(root, "check.py").write_text(CHECK)
        shutil.copy(model, Path(root, "model.onnx"))
        return subprocess.run(["chroot", root, python, "/check.py"], env={"HOME": "/", "PATH": os.environ["PATH"]}).returncode


if __name__ == "__main__":
    sys.exit(main())
