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


def levels():
    """native, and those that this CPU has besides: it need not prefer the highest"""
    if platform.machine() != "x86_64":
        return ["native"]
    with open("/proc/cpuinfo") as f:
        flags = f.read().split()
    return ["native", "x86-64", "x86-64-v3"] + (["x86-64-v4-vnni-bf16"] if "avx512_bf16" in flags else [])


LEVELS = levels()


# Convolutions of an image of 6 and of 16 channels by 1x1 and 3x3 taps, strides 1 and 2, as sums in a table, as they are defined.
SIZE, INPUTS, MAPS = 5, (6, 16), 16
CONVS = [(0, 1, 1, 0), (1, 1, 1, 0), (0, 3, 1, 1), (1, 3, 1, 1), (1, 3, 2, 0), (1, 1, 2, 0)]  # which input, taps, stride, padding


def image(channels):
    return [(i * 5) % 3 - 1.0 for i in range(channels * SIZE * SIZE)]


def taps_of(i):
    x, taps, _, _ = CONVS[i]
    return [((j * 37 + i) % 101 - 50) * (1 + 2.0 ** -11) / 64 for j in range(MAPS * INPUTS[x] * taps * taps)]


def extent(i):
    _, taps, stride, pad = CONVS[i]
    return (SIZE + 2 * pad - taps) // stride + 1


def want_conv(i, rounded):
    which, taps, stride, pad = CONVS[i]
    x, weights, size, channels = image(INPUTS[which]), [rounded(v) for v in taps_of(i)], extent(i), INPUTS[which]

    def at(m, y0, x0):
        return sum(x[(k * SIZE + y0 + a) * SIZE + x0 + b] * weights[((m * channels + k) * taps + a) * taps + b] for k in range(channels)
                   for a in range(taps) for b in range(taps) if 0 <= y0 + a < SIZE and 0 <= x0 + b < SIZE)

    return [at(m, y * stride - pad, z * stride - pad) for m in range(MAPS) for y in range(size) for z in range(size)]


def conv_model():
    return w.model(
        [w.node("Conv", ["x%d" % x, "w%d" % i], ["y%d" % i], "conv%d" % i, strides=[s, s], pads=[p] * 4)
         for i, (x, _, s, p) in enumerate(CONVS)],
        [w.value("x%d" % x, w.tensor_type(w.F32, [1, c, SIZE, SIZE])) for x, c in enumerate(INPUTS)],
        [w.value("y%d" % i, w.tensor_type(w.F32, [1, MAPS, extent(i), extent(i)])) for i in range(len(CONVS))],
        [w.tensor("w%d" % i, w.F32, [MAPS, INPUTS[x], t, t], taps_of(i)) for i, (x, t, _, _) in enumerate(CONVS)],
        producer="tests",
    )


def reshaped(v, channels):
    return [[[v[(k * SIZE + y) * SIZE:][:SIZE] for y in range(SIZE)] for k in range(channels)]]


def convolutions(c, path, tmp):
    path = os.path.join(tmp, "conv.onnx")
    with open(path, "wb") as f:
        f.write(conv_model())
    inputs = [a for x, n in enumerate(INPUTS) for a in ("--input", "x%d=%s" % (x, json.dumps(reshaped(image(n), n))))]
    for p in ("bf16", "fp16"):
        expected = [want_conv(i, ROUNDED[p]) for i in range(len(CONVS))]
        for level in LEVELS:
            out = os.path.join(tmp, "conv.%s.%s.sard" % (p, level))
            r = sard("compile", path, "-o", out, "--precision", p, "--cpu", level)
            c.check("compile convolutions for %s in %s" % (level, p), r.returncode == 0, r.stderr)
            r = sard("run", out, *inputs, "--json")
            got = [[fp32(v) for v in o["data"]] for o in json.loads(r.stdout)["outputs"]] if not r.returncode else r.stderr
            c.check("… and run", got == expected, [i for i in range(len(CONVS)) if got[i] != expected[i]])
        d = json.loads(sard("explain", path, "--precision", p, "--json", "--cache", "off").stdout)
        kernels = [s["kernel"] for s in d["steps"] if "conv." in s["kernel"]]
        c.check("all in 16 bits", len(kernels) == len(CONVS) and all(".%s." % {"bf16": "bf16", "fp16": "f16"}[p] in k for k in kernels), kernels)


# Products by 8-bit numbers: the largest magnitude of each block of 32 is 127/64, so the scale is 1/64, a number of 1/8 of that is
# rounded to it, and sums are exact.
K8, N8 = 80, 20
WEIGHTS8 = [127 / 64 if k % 32 == 3 else ((k * N8 + n) * 37 % 1001 - 500) / 512 for k in range(K8) for n in range(N8)]
X8 = [[(i % 7) - 3.0 for i in range(K8)], [float(i % 3) for i in range(K8)]]


def want8():
    return [sum(row[k] * round(WEIGHTS8[k * N8 + n] * 64) / 64 for k in range(K8)) for row in X8 for n in range(N8)]


def eight_bits(c, path, tmp):
    path = os.path.join(tmp, "int8.onnx")
    columns = [WEIGHTS8[k * N8 + n] for n in range(N8) for k in range(K8)]
    with open(path, "wb") as f:
        f.write(w.model(
            [w.node("MatMul", ["x", "w"], ["y"], "product"), w.node("Gemm", ["x", "v", "b"], ["z"], "gemm", transB=1, alpha=2.0)],
            [w.value("x", w.tensor_type(w.F32, ["n", K8]))],
            [w.value("y", w.tensor_type(w.F32, ["n", N8])), w.value("z", w.tensor_type(w.F32, ["n", N8]))],
            [w.tensor("w", w.F32, [K8, N8], WEIGHTS8), w.tensor("v", w.F32, [N8, K8], columns), w.tensor("b", w.F32, [1], [0.5])],
            producer="tests"))
    run = ["--input", "x=" + json.dumps(X8), "--json"]
    expected = [want8(), [2 * v + 0.5 for v in want8()]]

    def got(*args):
        r = sard("run", *args, *run)
        return [[fp32(v) for v in o["data"]] for o in json.loads(r.stdout)["outputs"]] if not r.returncode else r.stderr

    for device in ("cpu", "reference"):
        y = got(path, "--precision", "int8", "--device", device, "--cache", "off")
        c.check("int8 on %s" % device, y == expected, y)
    c.check("without", got(path, "--cache", "off") != expected)
    for level in LEVELS:
        out = os.path.join(tmp, "int8.%s.sard" % level)
        r = sard("compile", path, "-o", out, "--precision", "int8", "--cpu", level)
        c.check("compile for %s in int8" % level, r.returncode == 0 and got(out) == expected, r.stderr)
    cache = os.path.join(tmp, "cache8")
    time.sleep(0.15)
    runs = [json.loads(sard("run", path, "--cache", cache, *p, *run).stdout)["cache"]
            for p in ((), ("--precision", "int8"), ("--precision", "int8"))]
    c.check("an entry of its own", runs == ["miss", "miss", "hit"], runs)
    d = json.loads(sard("explain", path, "--precision", "int8", "--json", "--cache", "off").stdout)
    c.check("explain", d["precision"] == "int8" and all(".8bits." in s["kernel"] for s in d["steps"] if s["kernel"]), d)
    packed = [json.loads(sard("plan", path, "--bind", "n=2", "--json", "--cache", "off", "--precision", p).stdout)["weights"]["packed"]
              for p in ("fp32", "int8")]
    each = packed[0] // 2 * 9 * 96 // (32 * 80)  # of two; each begins at a cache line
    c.check("9 of 32 bits, and whole blocks", packed[1] == 2 * ((each + 63) // 64 * 64), packed)


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
    for p in ("bf16", "fp16"):
        for level in LEVELS:
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
    c.error("tf32 is for GPUs", sard(*run, "--precision", "tf32"), 4, "the device 'cpu' has no precision 'tf32'", "fp32, bf16, fp16 and int8")
    c.error("on GPUs", sard(*run, "--precision", "bf16", "--device", "cuda"), 4, "the device 'cuda' has no precision 'bf16'", "tf32")
    c.error("ahead of time", sard("compile", path, "-o", os.path.join(tmp, "x.sard"), "--precision", "tf32"), 4, "no precision 'tf32'")
    c.error("no such one", sard(*run, "--precision", "half"), 2, "not a value of this option")


def main():
    c = Checks()
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "model.onnx")
        with open(path, "wb") as f:
            f.write(model())
        for test in (computed, convolutions, eight_bits, kept, told, ahead, refused):
            test(c, path, tmp)
    return c.done()


if __name__ == "__main__":
    sys.exit(main())
