"""test_dynamic.py - models whose shapes depend on values: axes, starts, repeats, sizes and counts as inputs of the model.

Each case is a model, inputs and outputs worked out here with plain lists. All must pass on the cpu device, and run
without a reference step where the case says so.
SPDX-License-Identifier: Apache-2.0
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))
import onnx_writer as w  # noqa: E402

SARD = os.path.join(os.environ.get("SARD_BUILD", "build"), "sard")
F, I, B = w.F32, w.I64, w.BOOL
CASES = []


def case(name, nodes, ins, outs, reference=0, initializers=(), opset=20):
    """ins, outs: (name, dtype, shape, flat values); declared without shapes where a value decides them.
    reference: steps that are not compiled"""
    declared = [w.value(n, w.tensor_type(t, s)) for n, t, s, _ in ins]
    m = w.model(nodes, declared, [w.value(n, w.tensor_type(t, None)) for n, t, _, _ in outs], initializers, opset)
    CASES.append((name, m, ins, outs, reference))


def strides(shape):
    r = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        r[i] = r[i + 1] * shape[i + 1]
    return r


def moved(shape, values, axis_positions):
    """the elements at the positions listed per axis (NumPy: values[np.ix_(…)])"""
    st = strides(shape)
    picked = [values[sum(i * s for i, s in zip(at, st))] for at in itertools.product(*axis_positions)]
    return [len(p) for p in axis_positions], picked


def iota(shape):
    n = 1
    for d in shape:
        n *= d
    return [float(i) for i in range(n)]


# --- Slice: Python's own slices clamp as ONNX's do, except that an end before the front is written None ---

LEAST, MOST = -(1 << 63), (1 << 63) - 1


def python_slice(d, s, e, step):
    if step > 0:
        return list(range(d))[s:e:step]
    e = None if e < -d else e  # before the front; -1 is the last element in both
    return list(range(d))[s:e:step]


SLICES = [(0, 3, 1), (1, MOST, 1), (-3, -1, 1), (4, 1, 1), (-100, 2, 1), (7, 9, 1), (2, LEAST, 1), (0, 5, 2), (1, MOST, 3),
          (4, 0, -1), (MOST, LEAST, -1), (-1, -6, -2), (1, 4, -1), (-2, -100, -3), (LEAST, MOST, MOST), (0, 0, 5)]
for k, (s, e, step) in enumerate(SLICES):
    shape, want = moved([5, 3], iota([5, 3]), [python_slice(5, s, e, step), [0, 1, 2]])
    case(f"slice {s}:{e}:{step}", [w.node("Slice", ["x", "s", "e", "a", "t"], ["y"])],
         [("x", F, [5, 3], iota([5, 3])), ("s", I, [1], [s]), ("e", I, [1], [e]), ("t", I, [1], [step])],
         [("y", F, shape, want)], initializers=[w.tensor("a", I, [1], [0])])
    case(f"slice {s}:{e}:{step}, then a sum", [w.node("Slice", ["x", "s", "e", "a", "t"], ["z"]),
                                               w.node("ReduceSum", ["z", "a"], ["y"], keepdims=0)],
         [("x", F, [5, 3], iota([5, 3])), ("s", I, [1], [s]), ("e", I, [1], [e]), ("t", I, [1], [step])],
         [("y", F, [3], [sum(want[i::3]) for i in range(3)])], initializers=[w.tensor("a", I, [1], [0])])


# --- axes as an input: those of Slice and Pad, and of views ---

for starts, ends, axes, steps in (([1], [3], [0], [1]), ([1, 0], [3, 2], [1, 0], [1, 1]), ([-1, 0], [0, 2], [-1, 0], [-1, 1])):
    cut = {a % 2: (s, e, t) for s, e, a, t in zip(starts, ends, axes, steps)}
    at = [python_slice(d, *cut.get(i, (0, d, 1))) for i, d in enumerate([3, 4])]
    shape, want = moved([3, 4], iota([3, 4]), at)
    n = len(axes)
    case(f"slice {starts} {ends} of axes {axes}", [w.node("Slice", ["x", "s", "e", "a", "t"], ["y"])],
         [("x", F, [3, 4], iota([3, 4])), ("s", I, [n], starts), ("e", I, [n], ends), ("a", I, [n], axes), ("t", I, [n], steps)],
         [("y", F, shape, want)])
    case(f"slice {starts} {ends} of axes {axes} in i32", [w.node("Slice", ["x", "s", "e", "a"], ["y"])],
         [("x", F, [3, 4], iota([3, 4])), ("s", w.I32, [n], [0] * n), ("e", w.I32, [n], [2] * n), ("a", w.I32, [n], axes)],
         [("y", F, *moved([3, 4], iota([3, 4]), [[0, 1] if i in cut else list(range(d)) for i, d in enumerate([3, 4])]))])
for axis in (0, 1, -1, -2):
    shape = [2 + (axis % 2 == 0), 2 + (axis % 2)]
    want = [float(2 * i + j + 1) if i < 2 and j < 2 else 0.0 for i in range(shape[0]) for j in range(shape[1])]
    case(f"pad axis {axis}", [w.node("Pad", ["x", "p", "", "a"], ["y"])],
         [("x", F, [2, 2], [1.0, 2.0, 3.0, 4.0]), ("p", I, [2], [0, 1]), ("a", I, [1], [axis])], [("y", F, shape, want)])
for op, shape, axes, out in (("Squeeze", [1, 3, 1], [0], [3, 1]), ("Squeeze", [1, 3, 1], [-1, 0], [3]),
                             ("Unsqueeze", [3], [1], [3, 1]), ("Unsqueeze", [3], [0, -1], [1, 3, 1])):
    case(f"{op} {axes}, then Exp", [w.node(op, ["x", "a"], ["v"]), w.node("Exp", ["v"], ["y"])],
         [("x", F, shape, [0.0] * 3), ("a", I, [len(axes)], axes)], [("y", F, out, [1.0] * 3)])
for to, out in (([3, 2], [3, 2]), ([0, -1], [2, 3]), ([-1, 1], [6, 1]), ([6, 1], [6, 1])):
    case(f"Reshape to {to}, then Exp", [w.node("Reshape", ["x", "s"], ["v"]), w.node("Exp", ["v"], ["y"])],
         [("x", F, [2, 3], [0.0] * 6), ("s", I, [2], to)], [("y", F, out, [1.0] * 6)])

# --- reductions ---

def reduced(shape, values, axes, keep, f):
    axes = [a % len(shape) for a in axes]
    groups = {}
    for at, v in zip(itertools.product(*[range(d) for d in shape]), values):
        groups.setdefault(tuple(0 if i in axes else p for i, p in enumerate(at)), []).append(v)
    out = [1 if i in axes else d for i, d in enumerate(shape)]
    want = [f(groups[at]) for at in itertools.product(*[range(d) for d in out])]
    return out if keep else [d for i, d in enumerate(shape) if i not in axes], want


for op, f in (("ReduceSum", sum), ("ReduceMax", max), ("ReduceMean", lambda v: sum(v) / len(v))):
    for axes in ([0], [1], [2], [-1], [-3], [0, 2], [2, 1], [0, 1, 2], [-2, 0]):
        for keep in (0, 1):
            shape, want = reduced([2, 3, 4], iota([2, 3, 4]), axes, keep, f)
            case(f"{op} axes {axes} keepdims {keep}", [w.node(op, ["x", "a"], ["y"], keepdims=keep)],
                 [("x", F, [2, 3, 4], iota([2, 3, 4])), ("a", I, [len(axes)], axes)], [("y", F, shape, want)])
for axis in (0, 1, -1, -2):
    total, want = {}, []
    for i, j in itertools.product(range(2), range(3)):
        at = i if axis in (1, -1) else j
        total[at] = total.get(at, 0) + 3 * i + j
        want.append(float(total[at]))
    case(f"CumSum axis {axis}", [w.node("CumSum", ["x", "a"], ["y"])],
         [("x", F, [2, 3], iota([2, 3])), ("a", I, [], [axis])], [("y", F, [2, 3], want)])

# --- shapes from values ---

case("ConstantOfShape", [w.node("ConstantOfShape", ["s"], ["y"])], [("s", I, [2], [2, 3])], [("y", F, [2, 3], [0.0] * 6)])
case("ConstantOfShape, empty", [w.node("ConstantOfShape", ["s"], ["y"])], [("s", I, [2], [0, 3])], [("y", F, [0, 3], [])])
for s, want in (([3], [1.0] * 3), ([1], [1.0]), ([0], [])):
    case(f"Expand one element to {s}", [w.node("Expand", ["x", "s"], ["y"])],
         [("x", F, [1], [1.0]), ("s", I, [1], s)], [("y", F, s, want)])
case("Expand by ones", [w.node("Expand", ["x", "s"], ["y"])],
     [("x", F, [2, 1], [1.0, 2.0]), ("s", I, [2], [1, 3])], [("y", F, [2, 3], [1.0] * 3 + [2.0] * 3)])
case("Tile", [w.node("Tile", ["x", "n"], ["y"])], [("x", F, [2], [1.0, 2.0]), ("n", I, [1], [3])],
     [("y", F, [6], [1.0, 2.0] * 3)])
case("Tile by 0", [w.node("Tile", ["x", "n"], ["y"])], [("x", F, [2], [1.0, 2.0]), ("n", I, [1], [0])],
     [("y", F, [0], [])])
for pads, want in (([1, 2], [0.0, 1.0, 2.0, 0.0, 0.0]), ([-1, 0], [2.0]), ([-1, 2], [2.0, 0.0, 0.0]), ([3, -4], [0.0])):
    case(f"Pad by {pads}", [w.node("Pad", ["x", "p"], ["y"])],
         [("x", F, [2], [1.0, 2.0]), ("p", I, [2], pads)], [("y", F, [len(want)], want)])
for start, limit, delta in ((0, 5, 1), (0, 5, 2), (5, 0, -1), (5, 0, -2), (0, 5, -1), (3, 3, 1), (-4, 9, 5)):
    want = list(range(start, limit, delta))
    case(f"Range {start} {limit} {delta}", [w.node("Range", ["s", "e", "d"], ["y"])],
         [("s", I, [], [start]), ("e", I, [], [limit]), ("d", I, [], [delta])], [("y", I, [len(want)], want)])
for k in (-3, -1, 0, 1, 7, MOST, LEAST):
    want = [float(3 * i + j + 1) if j - i >= k else 0.0 for i in range(2) for j in range(3)]
    case(f"Trilu above {k}", [w.node("Trilu", ["x", "k"], ["y"], upper=1)],
         [("x", F, [2, 3], [float(i + 1) for i in range(6)]), ("k", I, [], [k])], [("y", F, [2, 3], want)])
case("Split", [w.node("Split", ["x", "s"], ["a", "b"], axis=0)],
     [("x", F, [5], iota([5])), ("s", I, [2], [2, 3])], [("a", F, [2], [0.0, 1.0]), ("b", F, [3], [2.0, 3.0, 4.0])])
case("arithmetic on a size", [w.node("Mul", ["n", "n"], ["m"]), w.node("Add", ["m", "n"], ["k"]),
                              w.node("ConstantOfShape", ["k"], ["z"]), w.node("Exp", ["z"], ["y"])],
     [("n", I, [1], [2])], [("y", F, [6], [1.0] * 6)])


# --- running ---

def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def main():
    if not os.path.exists(SARD):
        print(f"{SARD} is not built\n0 passed, 0 failed, {len(CASES)} skipped")
        return 77
    failed = 0
    with tempfile.TemporaryDirectory(prefix="sard-dynamic-") as tmp:
        dirs = []
        for i, (_, model, ins, outs, _) in enumerate(CASES):
            d = os.path.join(tmp, str(i))
            os.makedirs(os.path.join(d, "test_data_set_0"))
            dirs.append(d)
            write(os.path.join(d, "model.onnx"), model)
            for what, values in (("input", ins), ("output", outs)):
                for k, (name, t, shape, flat) in enumerate(values):
                    write(os.path.join(d, "test_data_set_0", f"{what}_{k}.pb"), w.tensor(name, t, shape, flat))
        run = subprocess.run([SARD, "test", *dirs, "--device", "cpu", "--json"], capture_output=True, text=True)
        results = json.loads(run.stdout)["cases"]
    for (name, _, _, _, reference), r in zip(CASES, results):
        if r["result"] != "passed":
            print(f"FAILED {name}: {r['reason']}")
        elif r["steps"]["reference"] != reference:
            print(f"FAILED {name}: {r['steps']['reference']} reference steps, not {reference}")
        else:
            continue
        failed += 1
    failed += len(CASES) - len(results)
    print(f"{len(CASES) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
