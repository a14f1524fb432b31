#!/usr/bin/env python3
"""Fixtures of models/ in every precision of the CPU, against PyTorch's outputs in f32.

A number is off by at most u of itself in bf16 (u = 2^-8) and fp16 (2^-11), of its block's largest in int8 (1/254). Errors of numbers are
of either sign, so that a rounded operand's is about u of its product, and E of them add up to sqrt(E) u: these models have 21 products
at most, of two operands each. So sqrt(42) u bounds an output's largest difference over its largest magnitude. It is above what
f32 is held to (1e-5), or nothing was rounded; int8 leaves convolutions alone.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SARD = os.path.join(os.environ.get("SARD_BUILD", os.path.join(ROOT, "build")), "sard")
FIXTURES = os.path.join(ROOT, "models", "fixtures")
UNIT = {"bf16": 2.0 ** -8, "fp16": 2.0 ** -11, "int8": 1 / 254}
OPERANDS = 42
CONVOLUTIONS = ["resnet", "unet"]
MODELS = ["bert_qa", "gpt2", "llama", "mobilenet", "t5_encoder", "vit", "whisper_encoder"]


def worst(precision, models):
    """{model: error}, NaN where it failed"""
    folders = [os.path.join(FIXTURES, m, "dynamo") for m in models]
    run = subprocess.run([SARD, "test", "--precision", precision, "--relative", "1", "--json", *folders], capture_output=True, text=True)
    if run.returncode not in (0, 1):
        sys.exit(run.stderr + "0 passed, 1 failed, 0 skipped")
    cases = json.loads(run.stdout)["cases"]
    return {os.path.basename(os.path.dirname(c["path"])): c["worst"] if c["result"] == "passed" else float("nan") for c in cases}


def main():
    passed = failed = 0
    for precision, u in UNIT.items():
        models = MODELS + (CONVOLUTIONS if precision != "int8" else [])
        errors = worst(precision, models)
        for m in models:
            e = errors.get(m, float("nan"))
            ok = 1e-5 < e <= OPERANDS ** 0.5 * u
            passed, failed = passed + ok, failed + (not ok)
            print("%-16s %s %.1e, %.1f u%s" % (m, precision, e, e / u, "" if ok else ": FAILED"))
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
