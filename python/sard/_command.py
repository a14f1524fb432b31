"""The command `sard`, as the package carries it.

SPDX-License-Identifier: Apache-2.0
"""
import os
import sys


def main():
    exe = os.path.join(os.path.dirname(__file__), "sard")
    os.execv(exe, [exe, *sys.argv[1:]])


if __name__ == "__main__":
    main()
