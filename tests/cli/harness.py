"""What the tests of the command line share: running it, checks with names, the closing line.

SPDX-License-Identifier: Apache-2.0
"""

import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SARD = os.path.join(os.environ.get("SARD_BUILD", os.path.join(ROOT, "build")), "sard")


def sard(*args, cwd=None, timeout=60, env=None):
    """runs the tool; stdout and stderr as text, bytes that are no UTF-8 replaced"""
    e = dict(os.environ, **(env or {}))
    return subprocess.run(
        [SARD, *args], capture_output=True, encoding="utf-8", errors="replace", cwd=cwd, timeout=timeout, env=e
    )


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, ok, detail=""):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            print("FAILED %s\n  %s" % (name, str(detail).replace("\n", "\n  ")))
        return ok

    def error(self, name, run, code, *parts):
        """run failed with this exit code, said all parts on stderr in one block, and nothing on stdout"""
        lines = run.stderr.splitlines()
        block = bool(lines) and lines[0].startswith("error: ") and all(x.startswith("  ") for x in lines[1:])
        ok = run.returncode == code and all(p in run.stderr for p in parts) and not run.stdout and block
        return self.check(
            name,
            ok,
            "exit code %d, wanted %d and %r\n%s%s" % (run.returncode, code, parts, run.stdout[:500], run.stderr),
        )

    def done(self):
        print("%d passed, %d failed, 0 skipped" % (self.passed, self.failed))
        return 1 if self.failed else 0
