#!/usr/bin/env python3
"""Parts of models as each exporter writes them (exporters/, by gen_exporters.py): the numbers, and what they run as.

Outputs are ONNX Runtime's, or onnx.reference's, to 1e-5 of their largest magnitude, on the cpu and on the reference device. EXPECTED has
for each case the kernels that must be there, with their number, and words that no kernel's name may have: what shows that a part was not
recognised.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SARD = os.path.join(os.environ.get("SARD_BUILD", os.path.join(ROOT, "build")), "sard")
FOLDER = os.path.join(ROOT, "tests", "models", "exporters")

ENCODER = ({"attention": 1, "layernormalization": 1, "product": 4, "split": 1}, "erf softmax slice batched sqrt")
CONV = ({"conv": 5, "reducemean": 1}, "div clip hardsigmoid sub")  # activations and norms are part of the convolutions
GATED = ({"rmsnormalization": 1, "product": 3}, "sigmoid pow sqrt")
EINSUM = ({"attention": 1}, "product softmax transpose")
EXPECTED = {
    "attention_paddle11": ({"attention": 1, "layernormalization": 2, "product": 4, "split": 1}, "erf softmax slice batched sqrt"),
    "conv_paddle7": CONV,
    "conv_paddle11": CONV,
    "conv_paddle13": CONV,
    "conv_tf13": ({"conv": 2, "product": 3, "reducemean": 1, "pad": 1}, "transpose clip"),
    "decoder_builder21": ({"attention": 1, "rmsnormalization": 2, "product.4bits": 7}, "sigmoid softmax dequantizelinear"),
    "dynamic_int8_optimum": ({"product.integers": 1}, "dequantizelinear"),
    "einsum_dynamo20": EINSUM,
    "einsum_ts13": EINSUM,
    "encoder_tf13": ({"attention": 1, "layernormalization": 2, "product": 6}, "erf softmax batched reducemean transpose"),
    "encoder_ts11": ENCODER,
    "encoder_ts13": ENCODER,
    "flex_preview1": ({"attention": 1}, "softmax batched"),
    "gated_mlp_dynamo24": GATED,
    "gated_mlp_ts11": GATED,
    "packed_dynamo20": ({"attention": 1, "product": 1, "split": 1}, "softmax slice batched"),
    "qdq_attention_optimum": ({"product.integers": 4, "product.batched": 2}, "erf"),
    "weight_int4_dynamo21": ({"product.4bits": 1}, "dequantizelinear"),
    "weight_int8_ts17": ({"product.8bits": 1}, "cast"),
}


def kernels_of(name):
    run = subprocess.run([SARD, "explain", os.path.join(FOLDER, name, "model.onnx"), "--json"], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr + "0 passed, 1 failed, 0 skipped")
    x = json.loads(run.stdout)
    if x["device"] != "cpu":
        print("this build has no device cpu\n0 passed, 0 failed, 1 skipped")
        sys.exit(77)
    return [s["kernel"] for s in x["steps"] if s["kind"] == "compiled"]


def faults_of(name):
    """what is wrong with the kernels of a case"""
    wanted, unwanted = EXPECTED[name]
    kernels = kernels_of(name)
    for start, n in wanted.items():
        found = sum(k.startswith(start) for k in kernels)
        if found != n:
            yield "%d kernels %s, not %d" % (found, start, n)
    for k in kernels:
        for word in unwanted.split():
            if k.split(".")[0] == word or word in ("softmax", "batched", "erf") and word in k.split("."):
                yield "a kernel %s" % k


def results_on(device):
    run = subprocess.run([SARD, "test", "--relative", "1e-5", "--json", "--device", device, FOLDER], capture_output=True, text=True)
    if run.returncode not in (0, 1):
        sys.exit(run.stderr + "0 passed, 1 failed, 0 skipped")
    return {case["case"]: case for case in json.loads(run.stdout)["cases"]}


def main():
    passed = failed = 0
    results = {device: results_on(device) for device in ("cpu", "reference")}
    for name in sorted(set(EXPECTED) | set(os.listdir(FOLDER))):
        faults = list(faults_of(name)) if name in EXPECTED else ["nothing is expected of it"]
        for device, result in results.items():
            case = result.get(name, {"result": "failed", "reason": "not run"})
            if case["result"] != "passed":
                faults.append("%s: %s" % (device, case["reason"]))
        passed, failed = passed + (not faults), failed + bool(faults)
        for fault in faults:
            print("FAILED %s: %s" % (name, fault))
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
