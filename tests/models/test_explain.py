#!/usr/bin/env python3
"""What `sard explain` must say of an encoder: bert_qa (two layers) in every export.

Everything runs compiled or on the host; a layer is at most one attention step and two steps with a normalisation (and one
more behind the embeddings); no transposition is left. Nothing in it depends on how the exporter wrote these parts.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SARD = os.path.join(os.environ.get("SARD_BUILD", os.path.join(ROOT, "build")), "sard")
FOLDER = os.path.join(ROOT, "models", "fixtures", "bert_qa")
LAYERS = 2


def steps_of(export):
    run = subprocess.run([SARD, "explain", os.path.join(FOLDER, export, "model.onnx"), "--json"], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr + "0 passed, 1 failed, 0 skipped")
    return json.loads(run.stdout)


def checks_of(steps):
    kernels = [s["kernel"] or "" for s in steps]
    norms = [s for s in steps if any("norm" in n.lower() for n in s["nodes"])]
    return [
        ("no reference step", all(s["kind"] in ("compiled", "host") for s in steps)),
        ("one attention step per layer", sum(k.startswith("attention") for k in kernels) == LAYERS),
        ("two norm steps per layer, one for the embeddings", 0 < len(norms) <= 2 * LAYERS + 1),
        ("no transposition", not any("transpose" in k or s["op"] == "Transpose" for k, s in zip(kernels, steps))),
        ("every kernel says how its work is cut", all(s["tile"] for s in steps if s["kind"] == "compiled")),
        ("no other step does", not any(s["tile"] for s in steps if s["kind"] != "compiled")),
    ]


def main():
    passed = failed = 0
    for export in sorted(os.listdir(FOLDER)):
        x = steps_of(export)
        if x["device"] != "cpu":
            print("this build has no device cpu\n0 passed, 0 failed, 1 skipped")
            return 77
        for name, ok in checks_of(x["steps"]):
            passed, failed = passed + ok, failed + (not ok)
            if not ok:
                print("FAILED %s: %s" % (export, name))
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or passed < 24 else 0


if __name__ == "__main__":
    sys.exit(main())
