"""The onnx wheel and the official cases in it, made once below build/onnx, for the tests that need them.

Nothing is installed outside of the build folder: pip unpacks the wheels of requirements.txt into build/onnx/site. A folder
appears under its name when it is whole, so that an interrupted run leaves nothing half done; its name carries a hash of what
made it, so that a change of that makes it again. Where nothing can be installed, SARD_CASES names a folder of cases made
elsewhere, and python3 itself has numpy and onnx.

SPDX-License-Identifier: Apache-2.0
"""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
HOME = os.path.join(ROOT, "build", "onnx")  # shared by all build folders


def _hash(*names):
    h = hashlib.sha256(sys.version.encode())
    for name in names:
        with open(os.path.join(HERE, name), "rb") as f:
            h.update(f.read())
    return h.hexdigest()[:12]


def _make(kind, key, fill):
    """the folder HOME/kind-key, made by fill(path) unless it is there"""
    path = os.path.join(HOME, "%s-%s" % (kind, key))
    if os.path.isdir(path):
        return path
    os.makedirs(HOME, exist_ok=True)
    with open(os.path.join(HOME, kind + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        return path if os.path.isdir(path) else _fill(path, kind, fill)


def _fill(path, kind, fill):
    temp = "%s.%d" % (path, os.getpid())
    try:
        fill(temp)
        for old in os.listdir(HOME):
            if old.startswith(kind + "-") and "." not in old:
                shutil.rmtree(os.path.join(HOME, old), ignore_errors=True)
        os.rename(temp, path)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return path


def _install(path):
    run = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-script-location",
                          "--only-binary", ":all:", "--no-deps", "--target", path, "-r", os.path.join(HERE, "requirements.txt")],
                         capture_output=True, text=True)
    if run.returncode:
        sys.exit("pip cannot install the onnx wheel:\n%s0 passed, 1 failed, 0 skipped" % run.stderr)


def site():
    """where onnx, numpy and what they need are: for PYTHONPATH"""
    return _make("site", _hash("requirements.txt"), _install)


def python(script, *args, path=(), **options):
    """runs a script of this folder with the wheel's packages, and those of the folders in path"""
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    if not os.environ.get("SARD_CASES"):
        path = [*path, site()]
    if path:
        env["PYTHONPATH"] = os.pathsep.join(path)
    return subprocess.run([sys.executable, os.path.join(HERE, script), *args], env=env, **options)


def package(build):
    """where the Python package is in a build folder; exits as skipped where its extension was not built"""
    folder = os.path.join(build, "python")
    if not os.path.exists(os.path.join(folder, "sard", "_native.abi3.so")):
        print("the extension module is not built: no headers of Python's (python3-dev)")
        sys.exit(77)
    return folder


def cases():
    """the folder with the official cases: one folder per kind (node, pytorch-converted, …), one per case in it"""
    if os.environ.get("SARD_CASES"):
        return os.environ["SARD_CASES"]

    def fill(path):
        if python("write_cases.py", path).returncode:
            sys.exit("the official cases cannot be written\n0 passed, 1 failed, 0 skipped")
    return _make("cases", _hash("requirements.txt", "write_cases.py"), fill)
