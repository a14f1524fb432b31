#!/usr/bin/env python3
"""A run that a node rejects names the node, the module and the line of Python, when the export has them.

bert_qa declares sequences of up to 512 tokens but has 64 positions: the declared inputs admit 200 tokens, a Gather does not.
SPDX-License-Identifier: Apache-2.0
"""
import os
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SARD = os.path.join(os.environ.get("SARD_BUILD", os.path.join(ROOT, "build")), "sard")
MODEL = os.path.join(ROOT, "models", "fixtures", "bert_qa", "dynamo", "model.onnx")


def run(seq):
    return subprocess.run([SARD, "run", MODEL, "--input", "input_ids=ones:1x%d" % seq, "--input", "attention_mask=ones:1x%d" % seq],
                          capture_output=True, text=True)


def main():
    good, bad = run(60), run(200)
    checks = [
        ("60 tokens run", good.returncode == 0),
        ("200 tokens are refused with exit code 3", bad.returncode == 3),
        ("nothing on stdout", bad.stdout == ""),
        ("the file", "bert_qa/dynamo/model.onnx" in bad.stderr),
        ("the node", "node_embedding_2" in bad.stderr),
        ("the operator", "Gather" in bad.stderr),
        ("the module", "bert.embeddings.position_embeddings" in bad.stderr),
        ("the line of Python", "modeling_bert.py:" in bad.stderr or "models/zoo/bert.py:" in bad.stderr),
        ("the index and the extent", "64" in bad.stderr),
    ]
    failed = [name for name, ok in checks if not ok]
    if failed:
        print("stderr was:\n" + bad.stderr)
        print("missing: " + "; ".join(failed))
    print("%d passed, %d failed, 0 skipped" % (len(checks) - len(failed), len(failed)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
