#!/usr/bin/env python3
"""scripts/check.py counts what tests say, however much they print, and fails when one fails or none runs.

SPDX-License-Identifier: Apache-2.0
"""
import os
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
LONG = "print('x' * 5000);"
CASES = [
    ("counts behind long output", {"a": LONG + "print('7 passed, 0 failed, 2 skipped')"}, 0, "7 passed, 0 failed, 2 skipped"),
    ("cmocka", {"a": LONG + "print('[  PASSED  ] 3 test(s).')"}, 0, "3 passed, 0 failed, 0 skipped"),
    ("silence is one test", {"a": "", "b": LONG}, 0, "2 passed, 0 failed, 0 skipped"),
    ("a crash", {"a": "print('5 passed, 0 failed', flush=True); import os; os.abort()"}, 1, "5 passed, 1 failed, 0 skipped"),
    ("a failure", {"a": "print('5 passed, 2 failed'); exit(1)", "b": ""}, 1, "6 passed, 2 failed, 0 skipped"),
    ("no test", {}, 1, "0 passed, 0 failed, 0 skipped"),
]


def main():
    passed = failed = 0
    for name, tests, code, last in CASES:
        with tempfile.TemporaryDirectory() as d:
            with open(os.path.join(d, "CTestTestfile.cmake"), "w") as f:
                for test, script in tests.items():
                    f.write('add_test(%s "%s" "-c" "%s")\n' % (test, sys.executable, script))
            run = subprocess.run([sys.executable, os.path.join(ROOT, "scripts", "check.py"), d], capture_output=True, text=True)
        got = run.stdout.strip().split("\n")[-1]
        if (run.returncode, got) == (code, last):
            passed += 1
        else:
            failed += 1
            print("%s: exit code %d and '%s', expected %d and '%s'" % (name, run.returncode, got, code, last))
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
