#!/usr/bin/env python3
"""--precision from the command line: what is computed, on every CPU level, where it is told, and that it is part of what a
compiled model is kept under. The inputs are whole numbers that bf16 holds and the sums are exact in f32, so the results are those of
the weights as they are rounded, to the last bit, whether the CPU multiplies bf16 or not.

SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import platform
import struct
import sys
import tempfile
import time

import onnx_writer as w
from harness import Checks, sard

K, N = 24, 20
WEIGHTS = [((i * 37) % 101 - 50) * (1 + 2.0 ** -11) / 64 for i in range(K * N)]
X = [[(i % 7) - 3.0 for i in range(K)], [float(i % 3) for i in range(K)]]


def bf16(x):
    """to nearest even"""
    bits = struct.unpack("<I", struct.pack("<f", x))[0]
    return struct.unpack("<f", struct.pack("<I", (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000))[0]


def fp32(x):
    """the number that nine digits stand for"""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def fp16(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


def want(rounded, weights=WEIGHTS):
    return [sum(row[k] * rounded(weights[k * N + n]) for k in range(K)) for row in X for n in range(N)]


ROUNDED = {"fp32": fp32, "bf16": bf16, "fp16": fp16}


def model():
    """y = x @ w, and z = x @ transposed v, of the same numbers"""
    columns = [WEIGHTS[k * N + n] for n in range(N) for k in range(K)]
    return w.model(
        [w.node("MatMul", ["x", "w"], ["y"], "product"), w.node("Gemm", ["x", "v"], ["z"], "gemm", transB=1)],
        [w.value("x", w.tensor_type(w.F32, ["n", K]))],
        [w.value("y", w.tensor_type(w.F32, ["n", N])), w.value("z", w.tensor_type(w.F32, ["n", N]))],
        [w.tensor("w", w.F32, [K, N], WEIGHTS), w.tensor("v", w.F32, [N, K], columns)],
        producer="tests",
    )


def outputs(path, *args):
    r = sard("run", path, "--input", "x=" + json.dumps(X), "--json", *args)
    d = json.loads(r.stdout) if not r.returncode else {"cache": r.stderr, "outputs": []}
    return d["cache"], [[fp32(v) for v in o["data"]] for o in d["outputs"]]


def computed(c, path, tmp):
    c.check("the three differ", len({tuple(want(f)) for f in ROUNDED.values()}) == 3)
    for p, f in ROUNDED.items():
        for device in ("cpu", "reference"):
            got = outputs(path, "--precision", p, "--device", device, "--cache", "off")
            c.check("%s on %s" % (p, device), got[1] == [want(f)] * 2, got)
    c.check("fp32 is the default", outputs(path, "--cache", "off")[1] == [want(ROUNDED["fp32"])] * 2)


def kept(c, path, tmp):
    cache = os.path.join(tmp, "cache")
    time.sleep(0.15)
    runs = [outputs(path, "--cache", cache, *(["--precision", p] if p else [])) for p in (None, "bf16", "bf16", "fp16", "fp32")]
    c.check("each has an entry of its own", [r[0] for r in runs] == ["miss", "miss", "hit", "miss", "hit"], runs)
    c.check("and its results", [r[1][0] for r in runs] == [want(ROUNDED[p]) for p in ("fp32", "bf16", "bf16", "fp16", "fp32")])


def told(c, path, tmp):
    d = json.loads(sard("explain", path, "--precision", "bf16", "--json", "--cache", "off").stdout)
    c.check("explain", d["precision"] == "bf16" and all(".bf16." in s["kernel"] for s in d["steps"] if s["kernel"]), d)
    c.check("explain in text", " in fp16: " in sard("explain", path, "--precision", "fp16", "--cache", "off").stdout)
    d = json.loads(sard("explain", path, "--json", "--cache", "off").stdout)
    c.check("without", d["precision"] == "fp32" and not any("bf16" in s["kernel"] for s in d["steps"] if s["kernel"]), d)
    run = ["bench", path, "--input", "x=ones:2x%d" % K, "--runs", "2", "--cache", "off"]
    c.check("bench", json.loads(sard(*run, "--json", "--precision", "fp16").stdout)["precision"] == "fp16")
    c.check("bench in text", ", bf16\n" in sard(*run, "--precision", "bf16").stdout)
    packed = [json.loads(sard("plan", path, "--bind", "n=2", "--json", "--cache", "off", "--precision", p).stdout)["weights"]["packed"]
              for p in ("fp32", "bf16")]
    c.check("half the memory", packed[0] == 2 * packed[1] > 0, packed)


def ahead(c, path, tmp):
    levels = ["native"] + (["x86-64", "x86-64-v3"] if platform.machine() == "x86_64" else [])
    for p in ("bf16", "fp16"):
        for level in levels:
            out = os.path.join(tmp, "%s.%s.sard" % (p, level))
            r = sard("compile", path, "-o", out, "--precision", p, "--cpu", level)
            c.check("compile for %s in %s" % (level, p), r.returncode == 0, r.stderr)
            got = outputs(out)
            c.check("… and run", got[1] == [want(ROUNDED[p])] * 2, got)
            c.check("it says so", json.loads(sard("explain", out, "--json").stdout)["precision"] == p)
    c.check("asked for by name", outputs(out, "--precision", "fp16")[1] == [want(fp16)] * 2)
    c.error("another", sard("run", out, "--input", "x=ones:1x%d" % K, "--precision", "bf16"), 2, "has the precision fp16, not bf16")


def refused(c, path, tmp):
    run = ["run", path, "--input", "x=ones:1x%d" % K, "--cache", "off"]
    c.error("tf32 is for GPUs", sard(*run, "--precision", "tf32"), 4, "the device 'cpu' has no precision 'tf32'", "fp32, bf16 and fp16")
    c.error("on GPUs", sard(*run, "--precision", "bf16", "--device", "cuda"), 4, "the device 'cuda' has no precision 'bf16'", "tf32")
    c.error("ahead of time", sard("compile", path, "-o", os.path.join(tmp, "x.sard"), "--precision", "tf32"), 4, "no precision 'tf32'")
    c.error("no such one", sard(*run, "--precision", "half"), 2, "not a value of this option")


def main():
    c = Checks()
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "model.onnx")
        with open(path, "wb") as f:
            f.write(model())
        for test in (computed, kept, told, ahead, refused):
            test(c, path, tmp)
    return c.done()


if __name__ == "__main__":
    sys.exit(main())
