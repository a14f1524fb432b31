"""test_conv_transpose.py - ConvTranspose with constant weights against its definition, numbers that are not finite among the inputs.

Expected values are worked out here with plain lists: every input number meets every tap and is added where the two put it. All
numbers are small integers, so that sums are exact in any order; an infinity or NaN must reach the outputs that its taps reach, and
no other.
SPDX-License-Identifier: Apache-2.0
"""

import itertools
import json
import math
import os
import random
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))
import onnx_writer as w  # noqa: E402

SARD = os.path.join(os.environ.get("SARD_BUILD", "build"), "sard")
ODD = (math.inf, -math.inf, math.nan)
CASES = []


def extents_and_begin(size, kernel, a, i):
    """the output's extent on axis i and the padding in front, as the operator's text has them"""
    n = len(kernel)
    s, d = a.get("strides", [1] * n)[i], a.get("dilations", [1] * n)[i]
    pads, more = a.get("pads", [0] * 2 * n), a.get("output_padding", [0] * n)[i]
    full = s * (size - 1) + more + (kernel[i] - 1) * d + 1
    auto = a.get("auto_pad", "NOTSET")
    if "output_shape" not in a and not auto.startswith("SAME"):
        return full - pads[i] - pads[n + i], pads[i]
    out = a["output_shape"][i] if "output_shape" in a else size * s
    total = max(full - out, 0)
    return out, total // 2 if auto == "SAME_UPPER" else total - total // 2


def expected(x, xs, wt, ws, bias, a):
    """the outputs' extents and their values"""
    n, group = len(xs) - 2, a.get("group", 1)
    s, d = a.get("strides", [1] * n), a.get("dilations", [1] * n)
    axes = [extents_and_begin(xs[2 + i], ws[2:], a, i) for i in range(n)]
    shape = [xs[0], ws[1] * group] + [e for e, _ in axes]
    y = {at: float(bias[at[1]]) if bias else 0.0 for at in itertools.product(*map(range, shape))}
    weights = list(itertools.product(*map(range, ws[1:])))
    count = math.prod(ws[1:])
    for k, at in enumerate(itertools.product(*map(range, xs))):
        c = at[1]
        for j, tap in enumerate(weights):
            to = (at[0], c // (xs[1] // group) * ws[1] + tap[0]) + tuple(
                at[2 + i] * s[i] + tap[1 + i] * d[i] - axes[i][1] for i in range(n))
            if to in y:
                y[to] += x[k] * wt[c * count + j]
    return shape, [y[at] for at in itertools.product(*map(range, shape))]


def case(name, xs, ws, bias=True, symbols=False, **a):
    r = random.Random(name)
    n, outs = len(xs) - 2, ws[1] * a.get("group", 1)
    x = [float(r.randint(-4, 4)) for _ in range(math.prod(xs))]
    for i in range(math.ceil(len(x) / 40)):
        x[r.randrange(len(x))] = ODD[i % 3]
    wt = [float(r.choice([-3, -2, -1, 1, 2, 3])) for _ in range(math.prod(ws))]
    b = [float(r.randint(-4, 4)) for _ in range(outs)] if bias else None
    shape, y = expected(x, xs, wt, ws, b, a)
    node = w.node("ConvTranspose", ["x", "w"] + ["b"] * bias, ["y"], kernel_shape=ws[2:], **a)
    weights = [w.tensor("w", w.F32, ws, wt)] + ([w.tensor("b", w.F32, [outs], b)] if bias else [])
    stated = ["n", xs[1]] + [f"s{i}" for i in range(n)] if symbols else xs
    m = w.model([node], [w.value("x", w.tensor_type(w.F32, stated))], [w.value("y", w.tensor_type(w.F32, None))], weights)
    CASES.append((name, m, (xs, x), (shape, y)))


for kernel in range(1, 6):
    for stride in range(1, 5):
        pad = min(kernel, 2) // 2
        case(f"{kernel} taps, stride {stride}", [1, 3, 5, 4], [3, 8, kernel, kernel], strides=[stride] * 2, pads=[pad] * 4,
             output_padding=[stride - 1] * 2)
        case(f"{kernel} taps, stride {stride}, 1-D, symbols", [2, 9, 11], [9, 5, kernel], symbols=True, strides=[stride])
for dilation, stride in itertools.product((2, 3, 4), (1, 2, 3, 4, 6)):
    case(f"dilation {dilation}, stride {stride}", [1, 2, 7], [2, 9, 3], strides=[stride], dilations=[dilation], pads=[1, 2])
for group, out in ((8, 1), (4, 1), (4, 3), (2, 8)):
    case(f"{group} groups of {out}, 3 taps", [2, 8, 4, 5], [8, out, 3, 3], strides=[2, 2], pads=[1] * 4, output_padding=[1, 1], group=group)
    case(f"{group} groups of {out}, 4 taps", [1, 8, 4, 5], [8, out, 4, 4], strides=[2, 2], pads=[1] * 4, group=group, symbols=True)
    case(f"{group} groups of {out}, 3 taps, 1-D", [1, 8, 9], [8, out, 3], strides=[3], pads=[0, 1], group=group)
case("as many taps as the stride", [2, 16, 6, 7], [16, 8, 2, 2], strides=[2, 2])
case("one position", [2, 9, 1, 1], [9, 5, 4, 3], strides=[1, 2])
case("one position, as many taps as the stride", [3, 9, 1], [9, 5, 4], bias=False, strides=[4])
case("one position, padding", [2, 9, 1, 1], [9, 5, 4, 4], pads=[1, 0, 2, 1])
case("many phases", [1, 4, 9], [4, 1, 32], strides=[8], pads=[12, 12])
case("one channel to one", [1, 1, 6, 6], [1, 1, 3, 3], strides=[2, 2])
case("two strides", [1, 4, 5, 6], [4, 6, 3, 5], strides=[2, 3], pads=[2, 0, 1, 2], output_padding=[1, 2])
case("more padding than the first phases reach", [1, 4, 9], [4, 8, 2], strides=[2], pads=[3, 1])
case("all outputs behind the padding", [1, 2, 12], [2, 8, 3], strides=[2], pads=[9, 5])
case("3-D", [1, 4, 3, 4, 3], [4, 8, 3, 3, 3], strides=[2, 2, 2], pads=[1] * 6, output_padding=[1, 0, 1])
case("3-D, one axis strided", [2, 4, 2, 3, 4], [4, 8, 1, 3, 4], strides=[1, 1, 2], pads=[0, 1, 1, 0, 1, 1])
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    case(f"{auto}", [1, 3, 5, 4], [3, 8, 3, 4], strides=[2, 3], auto_pad=auto)
    case(f"{auto}, symbols", [1, 3, 5, 4], [3, 8, 4, 3], strides=[2, 1], auto_pad=auto, symbols=True)
case("output_shape", [1, 3, 5, 4], [3, 8, 3, 3], strides=[2, 2], output_shape=[10, 8])
case("output_shape beyond the last tap", [1, 3, 5, 4], [3, 8, 3, 3], strides=[3, 2], output_shape=[16, 12])
case("output_shape SAME_UPPER", [1, 3, 5], [3, 8, 4], strides=[3], output_shape=[13], auto_pad="SAME_UPPER")
case("many more outputs than taps", [1, 3, 4], [3, 8, 2], bias=False, strides=[5], pads=[1, 0])
for symbols in (False, True):
    case(f"no output, symbols: {symbols}", [2, 7, 3, 1], [7, 5, 2, 2], pads=[1] * 4, symbols=symbols)
    case(f"no input, symbols: {symbols}", [2, 7, 0, 4], [7, 5, 3, 3], pads=[0] * 4, symbols=symbols)
    case(f"no input, stride 2, symbols: {symbols}", [2, 7, 0], [7, 5, 4], strides=[2], symbols=symbols)


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def main():
    if not os.path.exists(SARD):
        print(f"{SARD} is not built\n0 passed, 0 failed, {len(CASES)} skipped")
        return 77
    with tempfile.TemporaryDirectory(prefix="sard-conv-transpose-") as tmp:
        dirs = []
        for i, (_, model, x, y) in enumerate(CASES):
            d = os.path.join(tmp, str(i))
            os.makedirs(os.path.join(d, "test_data_set_0"))
            dirs.append(d)
            write(os.path.join(d, "model.onnx"), model)
            write(os.path.join(d, "test_data_set_0", "input_0.pb"), w.tensor("x", w.F32, *x))
            write(os.path.join(d, "test_data_set_0", "output_0.pb"), w.tensor("y", w.F32, *y))
        run = subprocess.run([SARD, "test", *dirs, "--device", "cpu", "--json"], capture_output=True, text=True)
        results = json.loads(run.stdout)["cases"]
    failed = len(CASES) - len(results)
    for (name, *_), r in zip(CASES, results):
        if r["result"] != "passed" or r["steps"]["reference"]:
            failed += 1
            print(f"FAILED {name}: {r.get('reason')}")
    print(f"{len(CASES) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
