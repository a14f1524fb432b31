"""test_check.py - the products and convolutions of `make test-cuda` over the null driver: all pass, each is listed with how it is
computed, and a wrong result is noticed.

SPDX-License-Identifier: Apache-2.0
"""

import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "cli"))
import products  # noqa: E402
from harness import Checks, sard  # noqa: E402

BUILD = os.environ.get("SARD_BUILD", os.path.join(ROOT, "build"))
ENV = {"SARD_CUDA_DIR": os.path.join(BUILD, "tests", "null"), "SARD_CACHE": "off"}
LISTED = (
    r"f32 1x32x48: 8 rows, cuBLASLt",
    r"bf16 40x32x48, bias, gelu: 8 rows, cuBLASLt",
    r"f16 by f8e4m3fn 5x64x48, transposed: .*8 rows of f8e4m3fn, cuBLASLt",
    r"f32 by i4 9x64x48: .*8 rows of i4, cuBLASLt",
    r"f16 by 4 bits 8x64x48: 8 rows, \d+x\d+x32 on tensor cores",
    r"u8 by i8 40x64x48, integers: \d+x\d+x64 on tensor cores",
    r"f16 convolution \(3, 3\) of \[2, 8, 9, 10\] .* dilations \(2, 2\), 1 groups: serial; \d+x\d+x32 on tensor cores; serial",
    r"f32 convolution \(3, 3, 3\) of .*: 16x64x16",
)


def listed(c):
    run = subprocess.run([sys.executable, os.path.join(HERE, "check_cuda.py"), "products"], capture_output=True, text=True,
                         env=dict(os.environ, **ENV))
    c.check("products pass", run.returncode == 0 and re.search(r"^products: (\d{3,}) of \1 pass", run.stdout, re.M), run.stdout[-3000:] + run.stderr)
    for line in LISTED:
        c.check("listed: " + line, re.search("^  ok      " + line, run.stdout, re.M), run.stdout[:3000])


def wrong(c):
    """one number that is not what the model computes"""
    with tempfile.TemporaryDirectory() as folder:
        t = products.Table(folder)
        products.forms(t)
        for path in list(t.cases)[:3]:
            out = os.path.join(path, "test_data_set_0", "output_0.pb")
            data = bytearray(open(out, "rb").read())
            data[-1] ^= 0x04  # of the last number's exponent
            with open(out, "wb") as f:
                f.write(data)
            run = sard("test", "--device", "cuda", path, env=ENV)
            c.check("a wrong result of " + t.cases[path], run.returncode == 1, run.stdout)


def main():
    c = Checks()
    if not os.path.exists(os.path.join(BUILD, "libsard-codegen.so")):
        print("this build has no code generator\n0 passed, 0 failed, 1 skipped")
        return 77
    listed(c)
    wrong(c)
    return c.done()


sys.exit(main())
