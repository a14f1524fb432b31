#!/usr/bin/env python3
"""The Python package as it is in the build folder: the checks that need numpy and onnx only. `make test-python` runs the rest.

SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "onnx"))
import wheel  # noqa: E402

CHECKS = ("check_package", "check_onnxruntime", "check_cuda")


def main():
    build = os.environ["SARD_BUILD"]
    if not os.path.exists(os.path.join(build, "python", "sard", "_native.abi3.so")):
        print("the extension module is not built: no headers of Python's (python3-dev)")
        return 77
    total = [0, 0, 0]
    with tempfile.TemporaryDirectory() as cache:
        env = dict(os.environ, SARD_CACHE=cache, PYTHONPATH=os.pathsep.join([os.path.join(build, "python"), wheel.site(), HERE]))
        for check in CHECKS:
            if check == "check_cuda":
                env["SARD_CUDA_DIR"] = os.path.join(build, "tests", "null")
            run = subprocess.run([sys.executable, "-W", "error::ResourceWarning", "-m", "unittest", check], env=env,
                                 capture_output=True, text=True)
            print(run.stderr)
            ran = re.search(r"^Ran (\d+) tests?", run.stderr, re.M)
            bad = sum(map(int, re.findall(r"(?:failures|errors)=(\d+)", run.stderr))) or int(run.returncode != 0)
            skipped = sum(map(int, re.findall(r"skipped=(\d+)", run.stderr)))
            total[0] += (int(ran[1]) if ran else 0) - bad - skipped if ran else 0
            total[1] += bad
            total[2] += skipped
    print("%d passed, %d failed, %d skipped" % tuple(total))
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
