"""test_device.py - what sard says of CUDA's libraries and of the GPU, over a driver of our own (null/) and without any.

SPDX-License-Identifier: Apache-2.0
"""

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
TOOLKIT = r"nvcc|cudart|-lcu\w|-lnv\w|/(usr/local|opt)/cuda"


def libraries(c, folder):
    """each library by itself: found or the reason"""
    nothing = sard("doctor", env={"SARD_CUDA_DIR": folder})
    for name in ("libcuda.so.1", "libcublasLt.so.13", "libnvJitLink.so.13"):
        line = next((x for x in nothing.stdout.splitlines() if x.startswith("  " + name)), "")
        c.check("%s is missing, by name" % name, "none" in line and "No such file" in line, nothing.stdout)
    facts = json.loads(sard("doctor", "--json", env={"SARD_CUDA_DIR": folder}).stdout)
    c.check("none of them", facts["cuda"] == {"libcuda": None, "libcublasLt": None, "libnvJitLink": None}, facts["cuda"])
    facts = json.loads(sard("doctor", "--json", env={"SARD_CUDA_DIR": NULL}).stdout)
    versions = {"libcuda": "13.0", "libcublasLt": "13.1", "libnvJitLink": "13.0"}
    c.check("versions", facts["cuda"] == versions, facts["cuda"])
    with open(os.path.join(folder, "libcuda.so.1"), "wb") as f:
        f.write(b"no library")
    run = sard("doctor", env={"SARD_CUDA_DIR": folder})
    c.check("a file that is no library", "libcuda.so.1" in run.stdout and "file too short" in run.stdout, run.stdout)
    os.remove(os.path.join(folder, "libcuda.so.1"))
    shutil.copy(os.path.join(NULL, "libcuda.so.1"), os.path.join(folder, "libcublasLt.so.13"))
    run = sard("doctor", env={"SARD_CUDA_DIR": folder})
    c.check("a library that lacks a function", "libcublasLt.so.13 has no cublasLtGetVersion" in run.stdout, run.stdout)


def errors(c, folder, model):
    """--device cuda without a GPU is an error of its kind, never another device"""
    args = ("run", model, "--device", "cuda", "--input", "x=ones:2x3")
    c.error("no driver", sard(*args, env={"SARD_CUDA_DIR": folder}), 6, "device 'cuda' needs libcuda.so.1", "hint:", model)
    for gpu, why in (("none", "CUDA_ERROR_NO_DEVICE, no CUDA-capable device is detected"), ("hidden", "shows no GPU"),
                     ("old", "compute capability 8.0 or more; Null GPU has 7.5"),
                     ("ancient", "the driver is for CUDA 11.4; 12.0 is needed")):
        run = sard(*args, env={"SARD_CUDA_DIR": NULL, "SARD_NULL_GPU": gpu})
        c.error("GPU %s" % gpu, run, 6, "cuda", why)
        doctor = sard("doctor", env={"SARD_CUDA_DIR": NULL, "SARD_NULL_GPU": gpu})
        c.check("doctor, GPU %s" % gpu, why in doctor.stdout, doctor.stdout)


def without_toolkit(c):
    """where CUDA's toolkit is installed, the build is that of a machine without it: it takes neither compiler, header nor library of it"""
    for name in ("build.ninja", "CMakeCache.txt"):
        with open(os.path.join(BUILD, name)) as f:
            found = re.search(TOOLKIT, f.read())
        c.check("nothing of the toolkit in " + name, not found, found)
    for name in ("sard", "libsard.so", "libsard-codegen.so"):
        path = os.path.join(BUILD, name)
        if os.path.exists(path):
            needed = re.findall(r"\(NEEDED\).*\[(.*)\]", subprocess.run(["readelf", "-d", path], capture_output=True, text=True).stdout)
            c.check(name + " loads without CUDA's libraries", needed and not re.search(r"cuda|cublas|nv", " ".join(needed)), needed)


def main():
    c = Checks()
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "add.onnx")
        models.write_all(folder)
        libraries(c, folder)
        os.remove(os.path.join(folder, "libcublasLt.so.13"))
        errors(c, folder, model)
    without_toolkit(c)
    doctor = sard("doctor", env={"SARD_CUDA_DIR": NULL})
    c.check("the GPU", "Null GPU, compute capability 9.0, 132 multiprocessors, 85.9 GB" in doctor.stdout, doctor.stdout)
    return c.done()


sys.exit(main())
