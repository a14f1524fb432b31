#!/usr/bin/env python3
"""Runs the tests of a build folder through ctest and closes with `N passed, N failed, N skipped`.

usage: check.py BUILD [-j N] [-L REGEX]

A cmocka program counts as many tests as it ran, a script that ends with a line `N passed, N failed, N skipped` counts
those, anything else counts one. Exit code 1 when something failed, or nothing ran.
SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

PLAIN = re.compile(r"^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.M)
SHOWN = ["models/models", "onnx/official"]  # results worth reading when they are good
CMOCKA = {"PASSED": 0, "FAILED": 1, "SKIPPED": 2}
CMOCKA_LINE = re.compile(r"^\[  (PASSED|FAILED|SKIPPED) \S* *\] (\d+) test", re.M)


def counts(case):
    """passed, failed, skipped of one ctest test"""
    out = case.findtext("system-out") or ""
    status = case.get("status")
    n = [0, 0, 0]
    plain = PLAIN.findall(out)
    if plain:
        n = [int(x or 0) for x in plain[-1]]
    else:
        for what, k in CMOCKA_LINE.findall(out):
            n[CMOCKA[what]] += int(k)
    if case.find("skipped") is not None and not any(n):
        n[2] = 1
    elif status == "run" and not any(n):
        n[0] = 1
    elif status == "fail" and not n[1]:
        n[1] = 1
    return n


def main():
    build, rest = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory() as tmp:
        xml = os.path.join(tmp, "junit.xml")
        cmd = ["ctest", "--test-dir", build, "--output-on-failure", "--timeout", "600", "--output-junit", xml,
               "--test-output-size-passed", "9000000", "--test-output-size-failed", "9000000"] + rest
        code = subprocess.run(cmd, stdin=subprocess.DEVNULL).returncode
        if not os.path.exists(xml):
            print("0 passed, 1 failed, 0 skipped")
            return 1
        total = [0, 0, 0]
        for case in ET.parse(xml).getroot().iter("testcase"):
            total = [a + b for a, b in zip(total, counts(case))]
            if case.get("name") in SHOWN and case.get("status") == "run":
                print(case.findtext("system-out").strip().rpartition("\n")[0])
    if code and not total[1]:
        total[1] = 1
    print("%d passed, %d failed, %d skipped" % tuple(total))
    return 1 if code or total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
