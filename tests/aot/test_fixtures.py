#!/usr/bin/env python3
"""One export of every fixture, compiled to a library and run in its own runtime. `make test-ci` has all exports and other machines.
SPDX-License-Identifier: Apache-2.0"""
import glob
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SARD = os.path.join(os.environ.get("SARD_BUILD", os.path.join(ROOT, "build")), "sard")


def main():
    if os.environ.get("SARD_SANITIZED") == "1":
        print("a library cannot bring a second runtime into a sanitized process: see build/")
        return 77
    fixtures = sorted(glob.glob(os.path.join(ROOT, "models", "fixtures", "*", "ts17")))
    run = subprocess.run([SARD, "test", "-q", "--ahead", "so", *fixtures], capture_output=True, text=True)
    print(run.stdout + run.stderr)
    return 0 if run.returncode == 0 and len(fixtures) >= 20 else 1


if __name__ == "__main__":
    sys.exit(main())
