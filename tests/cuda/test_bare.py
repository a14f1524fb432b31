"""test_bare.py - a machine without CUDA's toolkit, made of one that may have it: empty folders are mounted over it in a namespace of
this test's own. There the build is configured and the CUDA parts of it and of the tests compile, tests that need no toolkit pass, and
those that want ptxas or nvJitLink say that they have none.

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
from harness import Checks, sard  # noqa: E402

BUILD = os.environ.get("SARD_BUILD", os.path.join(ROOT, "build"))
TOOLS = ("nvcc", "ptxas", "nvlink", "cuobjdump")


def without_tools(path, scratch):
    """PATH with links to all else that is in its folders with a part of the toolkit"""
    for i, folder in enumerate(path):
        if any(os.path.exists(os.path.join(folder, t)) for t in TOOLS):
            path[i] = os.path.join(scratch, str(i))
            os.mkdir(path[i])
            for name in os.listdir(folder):
                if name not in TOOLS:
                    os.symlink(os.path.join(folder, name), os.path.join(path[i], name))
    return ":".join(path)


def hidden():
    """runs this file again where the toolkit is not; or None, and why that can't be"""
    folders = sorted({os.path.realpath(f) for f in glob.glob("/usr/local/cuda*") + glob.glob("/opt/cuda*")})
    mounts = "".join("mount -t tmpfs none '%s' && " % f for f in folders)
    alone = ["unshare", "-rm", "sh", "-c", mounts + 'exec "$@"', "sh"]
    if not shutil.which("unshare"):
        return None, "there is no unshare"
    tried = subprocess.run([*alone, "true"], capture_output=True, text=True)
    if tried.returncode:
        return None, tried.stderr.strip()
    with tempfile.TemporaryDirectory() as scratch:
        path = without_tools(os.environ["PATH"].split(":"), scratch)
        env = dict(os.environ, PATH=path, SARD_BARE=":".join(folders) or "none", CC=os.environ.get("CC", "cc"))
        return subprocess.run([*alone, sys.executable, __file__], env=env), ""


def nothing_is_there(c):
    for tool in ("nvcc", "ptxas"):
        run = subprocess.run(["sh", "-c", "command -v " + tool], capture_output=True, text=True)
        c.check("no " + tool, run.returncode, run.stdout)
    run = subprocess.run([os.environ["CC"], "-fsyntax-only", "-xc", "-"], input="#include <cuda.h>\n", capture_output=True, text=True)
    c.check("no cuda.h", run.returncode, run.stdout)
    for folder in os.environ["SARD_BARE"].split(":"):
        c.check(folder + " is empty", not os.path.exists(folder) or not os.listdir(folder))


def builds(c, folder):
    """the build from nothing, as far as CUDA goes"""
    run = subprocess.run(["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"], capture_output=True, text=True)
    c.check("the build is configured", not run.returncode, run.stdout[-2000:] + run.stderr[-2000:])
    with open(os.path.join(folder, "build.ninja")) as f:
        objects = [line.split(":")[0][6:] for line in f if re.match(r"build CMakeFiles/\w+\.dir/(cuda/\w+|codegen/(llvm/)?gpu)\.c\.o:", line)]
    c.check("there is something to compile", len(objects) > 6, objects)
    run = subprocess.run(["ninja", "-C", folder, "-j", "1", "null_driver", "null_blas", "null_link", *objects], capture_output=True, text=True)
    c.check("the CUDA parts compile", not run.returncode, run.stdout[-3000:] + run.stderr[-3000:])


def tests_say_so(c):
    """what has been built, where the toolkit was or was not"""
    env = dict(os.environ, ONLY="/softmax.k", SARD_BUILD=BUILD)
    run = subprocess.run([os.path.join(BUILD, "tests", "test_cuda_kernels")], capture_output=True, text=True, env=env, cwd=ROOT)
    c.check("kernels: they run, and it is said that nothing is assembled",
            not run.returncode and "3 kernels compiled, 0 of them assembled: no ptxas here" in run.stdout, run.stdout + run.stderr)
    run = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "cuda", "test_ptxas.py")], capture_output=True, text=True, env=env)
    c.check("ptxas: skipped, with the reason", run.returncode == 77 and "no ptxas here" in run.stdout, run.stdout + run.stderr)
    run = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "cuda", "test_device.py")], capture_output=True, text=True, env=env)
    c.check("device", not run.returncode, run.stdout + run.stderr)
    facts = json.loads(sard("doctor", "--json").stdout)
    c.check("doctor finds no libraries", not any(facts["cuda"].values()), facts["cuda"])


def main():
    if not os.path.exists(os.path.join(BUILD, "libsard-codegen.so")):
        print("this build has no code generator\n0 passed, 0 failed, 1 skipped")
        return 77
    if "SARD_BARE" not in os.environ:
        run, why = hidden()
        if not run:
            print("the toolkit can't be hidden here: %s\n0 passed, 0 failed, 1 skipped" % why)
        return run.returncode if run else 77
    c = Checks()
    nothing_is_there(c)
    with tempfile.TemporaryDirectory() as folder:
        builds(c, folder)
    tests_say_so(c)
    return c.done()


sys.exit(main())
