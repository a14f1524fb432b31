"""test_ptxas.py - where the CUDA toolkit is, its assembler takes the kernels of some models for every GPU, and no kernel spills;
scripts/ptxas.py, which `make test-ci` runs for all models, notices when one does.

SPDX-License-Identifier: Apache-2.0
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "cli"))
from harness import Checks  # noqa: E402

BUILD = os.environ.get("SARD_BUILD", os.path.join(ROOT, "build"))
SCRIPT = os.path.join(ROOT, "scripts", "ptxas.py")
MODELS = ("llama", "resnet")


def ptxas(models, *args):
    folders = [os.path.join(ROOT, "models", "fixtures", m, "ts17") for m in models]
    return subprocess.run([sys.executable, SCRIPT, "-j", "1", *args, *folders], capture_output=True, text=True)


def main():
    if not os.path.exists(os.path.join(BUILD, "libsard-codegen.so")):
        print("this build has no code generator\n0 passed, 0 failed, 1 skipped")
        return 77
    c = Checks()
    run = ptxas(MODELS)
    if run.returncode == 77:
        print(run.stdout + "0 passed, 0 failed, 1 skipped")
        return 77
    c.check("no kernel spills", run.returncode == 0 and not run.stderr, run.stdout + run.stderr)
    for model in MODELS:
        row = re.search(r"^\| %s \| (\d+)[^|]*\| (\d+) \| (\d+) \| (\d+) \| \d+ B \| 0 \|$" % model, run.stdout, re.M)
        c.check("a row for " + model, row and int(row[1]) > 3 and all(8 <= int(n) <= 255 for n in row.groups()[1:]), run.stdout)
    squeezed = ptxas(MODELS[:1], "--most", "24")
    c.check("spills are noticed", squeezed.returncode == 1 and re.search(r"^FAILED .*: \d+ bytes spilled", squeezed.stdout, re.M), squeezed.stdout)
    return c.done()


sys.exit(main())
