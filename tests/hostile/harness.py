"""harness.py - runs the sard command on hand-written model files and judges exit code, message, time and memory.

SPDX-License-Identifier: Apache-2.0
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

BUILD = os.environ.get("SARD_BUILD", "build")
SARD = os.path.join(BUILD, "sard")
SANITIZED = os.environ.get("SARD_SANITIZED") == "1"
SECONDS, MEGABYTES = (30, 4096) if SANITIZED else (1.0, 256)
OK, INVALID, UNSUPPORTED, BUDGET = 0, 3, 4, 5


class Result:
    def __init__(self, args):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            start = time.monotonic()
            p = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            killer = threading.Timer(60, p.kill)
            killer.start()
            _, status, usage = os.wait4(p.pid, 0)
            self.seconds = time.monotonic() - start
            killer.cancel()
            self.code = p.returncode = os.waitstatus_to_exitcode(status)
            self.megabytes = usage.ru_maxrss / 1024
            out.seek(0), err.seek(0)
            self.out, self.err = out.read(), err.read()

    def complaint(self, codes, text):
        """What is wrong with this result, or None."""
        where = f"exit code {self.code}: {self.err.decode(errors='replace').strip()[:600]}"
        if self.code not in codes:
            return f"expected exit code {' or '.join(map(str, codes))}, {where}"
        if self.code and sum(line.startswith(b"error: ") for line in self.err.splitlines()) != 1:
            return f"not one error message, {where}"
        if self.code and text.encode() not in self.err:
            return f"{text!r} is not in the message, {where}"
        if b"\x1b" in self.out + self.err:
            return f"an escape character is printed, {where}"
        for stream in (self.out, self.err):
            try:
                stream.decode()
            except UnicodeDecodeError:
                return f"what is printed is not UTF-8, {where}"
        if self.seconds > SECONDS or self.megabytes > MEGABYTES:
            return f"took {self.seconds:.2f} s and {self.megabytes:.0f} MB, {where}"
        return None


CASES = []


def case(name, codes, content, text="", command=("inspect",), files=None):
    """content: the model's bytes, or a function of the case's directory that makes the files and returns the model's
    path. files: called with the directory before the run, for files beside the model."""
    CASES.append((name, codes if isinstance(codes, tuple) else (codes,), content, text, command, files))


def beside(name, content):
    def make(d):
        with open(os.path.join(d, name), "wb") as f:
            f.write(content)
    return make


def run_case(d, content, command, files):
    os.mkdir(d)
    if callable(content):
        path = content(d)
    else:
        path = os.path.join(d, "model.onnx")
        beside("model.onnx", content)(d)
    if files:
        files(d)
    return Result([SARD, command[0], path, *command[1:]])


def main(*more):
    """Runs the cases whose names contain the first argument, then the functions in more, which get a directory and
    return a complaint or None. Returns the exit code."""
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    if not os.path.exists(SARD):
        print(f"{SARD} is not built\n0 passed, 0 failed, {len(CASES) + len(more)} skipped")
        return 77
    passed = failed = 0
    tmp = tempfile.mkdtemp(prefix="sard-hostile-")

    def judged(name, complaint):
        nonlocal passed, failed
        passed, failed = passed + (not complaint), failed + bool(complaint)
        if complaint:
            print(f"FAILED {name}: {complaint}")

    try:
        for i, (name, codes, content, text, command, files) in enumerate(CASES):
            if only not in name:
                continue
            parent = os.path.join(tmp, str(i))
            os.mkdir(parent)
            judged(name, run_case(os.path.join(parent, "d"), content, command, files).complaint(codes, text))
            shutil.rmtree(parent)
        for test in more:
            if only in test.__name__:
                judged(test.__name__, test(tmp))
    finally:
        shutil.rmtree(tmp)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0
