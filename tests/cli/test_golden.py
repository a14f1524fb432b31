#!/usr/bin/env python3
"""Golden transcripts: transcript.txt holds command lines with what they print and return. `make bless` rewrites it.

Each command runs in a folder with the models of models.py. stdout comes first, then stderr, then the exit code when it
is not 0. Times are replaced by N.
SPDX-License-Identifier: Apache-2.0
"""

import os
import re
import shlex
import sys
import tempfile

import models
from harness import HERE, Checks, sard

PATH = os.path.join(HERE, "transcript.txt")
HEAD = (
    "# What commands print, checked by test_golden.py. Rewritten by `make bless`; SPDX-License-Identifier: Apache-2.0\n"
)


def transcript(command, folder):
    run = sard(*shlex.split(command)[1:], cwd=folder)
    out = run.stdout + run.stderr
    out = re.sub(r"\b(\w+_ms\": )[\d.]+", r"\1N", out)
    out = re.sub(r"[\d.]+ (ms|s\b)", r"N \1", out).replace(folder, "FOLDER")
    return out + ("[exit code %d]\n" % run.returncode if run.returncode else "")


def main():
    os.environ["SARD_CACHE"] = "off"  # whoever runs this: what is printed must not hang on what ran before
    os.environ["SARD_CUDA_DIR"] = "no-cuda"  # nor on this machine's GPU
    c = Checks()
    with open(PATH, encoding="utf-8") as f:
        blocks = re.split(r"^\$ ", f.read(), flags=re.M)[1:]
    new = [HEAD]
    with tempfile.TemporaryDirectory() as folder:
        models.write_all(folder)
        for b in blocks:
            command, _, want = b.partition("\n")
            got = transcript(command, folder)
            new.append("$ %s\n%s\n" % (command, got))
            if not os.environ.get("SARD_BLESS"):
                c.check(command, got.rstrip("\n") == want.rstrip("\n"), "printed\n%s\nwanted\n%s" % (got, want))
    if os.environ.get("SARD_BLESS"):
        with open(PATH, "w", encoding="utf-8") as f:
            f.write("\n".join(n.rstrip("\n") + "\n" for n in new))
    return c.done()


if __name__ == "__main__":
    sys.exit(main())
