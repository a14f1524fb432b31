#!/usr/bin/env python3
"""Random graphs as ONNX models, by onnx.reference: test_onnx.py [GRAPHS [FIRST SEED]].

Each processor runs test_random on its share of the seeds, with a process of onnx_reference.py that judges them. Prints the
smallest graph found for each that fails, as IR text. SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "onnx"))

import wheel

BUILD = os.environ.get("SARD_BUILD", os.path.join(wheel.ROOT, "build"))
GRAPHS = 60 if os.environ.get("SARD_SANITIZED") == "1" else 400


def start(first, count):
    judge = "PYTHONPATH=%s PYTHONDONTWRITEBYTECODE=1 exec %s %s" % tuple(
        shlex.quote(x) for x in (wheel.site(), sys.executable, os.path.join(HERE, "onnx_reference.py")))
    return subprocess.Popen([os.path.join(BUILD, "tests", "test_random_random"), "--peer", judge, str(count), str(first)],
                            stdout=subprocess.PIPE, text=True)


def main():
    graphs = int(sys.argv[1]) if len(sys.argv) > 1 else GRAPHS
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    jobs = min(len(os.sched_getaffinity(0)), graphs) or 1
    runs = [start(first + graphs * k // jobs, graphs * (k + 1) // jobs - graphs * k // jobs) for k in range(jobs)]
    total, wrong = [0, 0, 0, 0], False
    for run in runs:
        out = run.communicate()[0]
        *text, closing = out.rstrip().split("\n") if out.strip() else ["", ""]
        seen = re.findall(r"^(\d+) nodes, of which (\d+)", out, re.M)
        done = re.match(r"(\d+) passed, (\d+) failed", closing)
        wrong |= run.returncode != 0 or not seen or not done
        print("\n".join(line for line in text if not re.match(r"\d+ (nodes|graphs),", line)))
        total = [a + int(b) for a, b in zip(total, [*(seen or [(0, 0)])[0], *(done.groups() if done else (0, 1))])]
    print("%d nodes, of which %d are where onnx.reference is not to be asked (onnx_wrong.py)" % tuple(total[:2]))
    print("%d passed, %d failed, 0 skipped" % (total[2], total[3] or wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
