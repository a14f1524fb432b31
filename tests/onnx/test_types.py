#!/usr/bin/env python3
"""What `sard ops` says of types against what runs: see check_types.py.

SPDX-License-Identifier: Apache-2.0
"""
import os
import sys

import wheel

BUILD = os.environ.get("SARD_BUILD", os.path.join(wheel.ROOT, "build"))

if __name__ == "__main__":
    sys.exit(wheel.python("check_types.py", os.path.join(BUILD, "sard"), os.path.join(wheel.cases(), "node"), *sys.argv[1:], path=[wheel.package(BUILD)]).returncode)
