#!/usr/bin/env python3
"""The operator table against the onnx package: see check_operators.py.

SPDX-License-Identifier: Apache-2.0
"""
import os
import sys

import wheel

SARD = os.path.join(os.environ.get("SARD_BUILD", os.path.join(wheel.ROOT, "build")), "sard")

if __name__ == "__main__":
    sys.exit(wheel.python("check_operators.py", SARD).returncode)
