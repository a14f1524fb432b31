#!/usr/bin/env python3
"""Wrong data in single nodes, on every device: see check_bad_input.py, which `--long` here has try all forms.

SPDX-License-Identifier: Apache-2.0
"""
import os
import sys

import wheel

BUILD = os.environ.get("SARD_BUILD", os.path.join(wheel.ROOT, "build"))

if __name__ == "__main__":
    sys.exit(wheel.python("check_bad_input.py", *sys.argv[1:], path=[wheel.package(BUILD)]).returncode)
