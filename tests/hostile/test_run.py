"""test_run.py - valid files that ask for too much or for nonsense when they are run.

Sizes in the terabytes, indices out of range, division by zero, loops that never end: an error that names the node,
within a second and 256 MB; the budget (--max-memory) decides before anything is allocated.
SPDX-License-Identifier: Apache-2.0
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import wire as w  # noqa: E402
from harness import BUDGET, INVALID, OK, case, main  # noqa: E402

RUN = ("run", "--input", "x=ones:2", "--max-memory", "64M")
NO_INPUT = ("run", "--max-memory", "64M")


def unary(op, second, attrs=(), ins=("x", "s")):
    """y = op(x, second) for x: f32[2]."""
    return w.model(w.graph([w.node(op, list(ins), ["y"], attrs, name="the node")], [second], [w.value("x")],
                           [w.value("y", dims=None)]))


def of_constants(op, *inits, dtype=w.INT64, attrs=()):
    names = [chr(ord("a") + i) for i in range(len(inits))]
    tensors = [w.ints(n, [v], []) if isinstance(v, int) else w.ints(n, v) for n, v in zip(names, inits)]
    return w.model(w.graph([w.node(op, names, ["y"], attrs, name="the node")], tensors, [],
                           [w.value("y", dtype, None)]))


def list_attr(name, values):
    return w.attr(name, w.A_INTS, w.data(8, b"".join(w.varint(v) for v in values)))


# --- sizes ---

case("ConstantOfShape of 4 TiB", BUDGET, of_constants("ConstantOfShape", [1 << 40], dtype=w.FLOAT), command=NO_INPUT)
case("Expand to 4 TiB", BUDGET, unary("Expand", w.ints("s", [1 << 39, 2])), command=RUN)
case("Tile to 4 TiB", BUDGET, unary("Tile", w.ints("s", [1 << 39])), command=RUN)
case("Pad to 8 TiB", BUDGET, unary("Pad", w.ints("s", [1 << 40, 1 << 40])), command=RUN)
case("Range of 2^50", BUDGET, of_constants("Range", 0, 1 << 50, 1), command=NO_INPUT)
case("Expand beyond 64 bits", INVALID, unary("Expand", w.ints("s", [1 << 40, 1 << 40, 2])), command=RUN)
case("ConstantOfShape of a negative extent", INVALID, of_constants("ConstantOfShape", [-1], dtype=w.FLOAT),
     command=NO_INPUT)
case("Reshape beyond 64 bits", INVALID, unary("Reshape", w.ints("s", [1 << 62, 4])), "the node", RUN)
case("Reshape with two unknowns", INVALID, unary("Reshape", w.ints("s", [-1, -1])), "the node", RUN)

# --- shapes from the values of an input ---

def told(op, n, consts=(), attrs=(), scalar=False):
    """y = op(x, s, …) for x: f32[2, 3] and integers s that the run gives."""
    return w.model(w.graph([w.node(op, ["x", "s", *[f"c{i}" for i in range(len(consts))]], ["z"], attrs, name="the node"),
                            w.node("Neg", ["z"], ["y"])],
                           [w.ints(f"c{i}", v) for i, v in enumerate(consts)],
                           [w.value("x", dims=[2, 3]), w.value("s", w.INT64, [] if scalar else [n])],
                           [w.value("y", dims=None)]))


def filled(n):
    return w.model(w.graph([w.node("ConstantOfShape", ["s"], ["z"], name="the node"), w.node("Exp", ["z"], ["e"]),
                            w.node("ReduceSum", ["e"], ["y"], [w.attr_int("keepdims", 0)])], [],
                           [w.value("s", w.INT64, [n])], [w.value("y", dims=None)]))


def with_s(values):
    return ("run", "--input", "x=ones:2x3", "--input", f"s={values}", "--max-memory", "64M")


FAR, BACK = (1 << 63) - 1, -(1 << 63)
for s, codes in (([2, 3], OK), ([0, 5], OK), ([-1, 3], INVALID), ([2, -7], INVALID), ([BACK, 1], INVALID),
                 ([FAR, 2], INVALID), ([1 << 40, 1], (OK, BUDGET)), ([1 << 31, 1 << 31], (INVALID, BUDGET))):
    case(f"a sum over {s} elements", codes, filled(2),
         command=("run", "--input", f"s={s}", "--max-memory", "64M", "--timeout", "0.5"))
for s in ([2, 4], [3, 3], [-1, 3], [0, 3], [FAR, 1], [BACK, 3]):
    case(f"Expand to {s}", INVALID, told("Expand", 2), command=with_s(s))
case("Expand to 4 TiB in the run", BUDGET, told("Expand", 3), command=with_s([1 << 40, 2, 3]))
for s in ([-1, 1], [1, -2], [-1, -1], [BACK, 0], [FAR, FAR]):
    case(f"Tile by {s}", INVALID, told("Tile", 2), command=with_s(s))
for s, codes in (([0, 1], OK), ([-2, 1], OK), ([0, 0], INVALID), ([0, -2], INVALID), ([2, 0], INVALID), ([-3, 1], INVALID),
                 ([FAR, 0], INVALID), ([BACK, 1], INVALID)):
    case(f"sum over axes {s}", codes, told("ReduceSum", 2), command=with_s(s))
for s, codes in ((1, OK), (-2, OK), (2, INVALID), (-3, INVALID), (FAR, INVALID), (BACK, INVALID)):
    case(f"CumSum along {s}", codes, told("CumSum", 1, scalar=True), command=with_s(s))
for s, codes in (([1, 2, 0, -1], OK), ([-3, 0, 0, 0], INVALID), ([0, FAR, 0, FAR], INVALID), ([BACK, 0, BACK, 0], INVALID)):
    case(f"Pad by {s}", codes, told("Pad", 4), command=with_s(s))
for s, codes in (([0, 0], OK), ([FAR, BACK], OK), ([BACK, FAR], OK)):
    case(f"Slice from {s}", codes, told("Slice", 2, [[FAR, FAR]]), command=with_s(s))

AXES_OF = {"Slice": [[0, 0], [1, 1]], "Pad": [[0, 0, 1, 1]]}
for op, before in AXES_OF.items():
    for s, codes in (([0, 1], OK), ([-1, 0], OK), ([1, 1], INVALID), ([0, -2], INVALID), ([2, 0], INVALID), ([BACK, 0], INVALID)):
        names = [f"c{i}" for i in range(len(before))] + ([""] if op == "Pad" else [])
        case(f"{op} along axes {s}", codes, w.model(w.graph(
            [w.node(op, ["x", *names, "s"], ["y"], name="the node")],
            [w.ints(f"c{i}", v) for i, v in enumerate(before)],
            [w.value("x", dims=[2, 3]), w.value("s", w.INT64, [2])], [w.value("y", dims=None)]), opset=18),
            "the node" if codes else "", with_s(s))
for s, codes in (([3, 2], OK), ([0, -1], OK), ([-1, -1], INVALID), ([-2, 3], INVALID), ([4, 2], INVALID), ([FAR, FAR], INVALID)):
    case(f"Reshape to {s} in the run", codes, told("Reshape", 2), command=with_s(s))

# --- values ---

case("integer division", OK, of_constants("Div", [7], [2]), command=NO_INPUT)
case("integer division by zero", INVALID, of_constants("Div", [7], [0]), "division by zero", NO_INPUT)
case("integer remainder of zero", INVALID, of_constants("Mod", [7], [0]), "division by zero", NO_INPUT)
case("smallest integer divided by -1", INVALID, of_constants("Div", [-(1 << 63)], [-1]), "overflow", NO_INPUT)
case("Range with delta 0", INVALID, of_constants("Range", 0, 9, 0), "delta is 0", NO_INPUT)
for index in (2, -3, 1 << 62, -(1 << 63)):
    case(f"Gather of index {index}", INVALID, unary("Gather", w.ints("s", [index])), "out of range", RUN)
case("ScatterND out of range", INVALID, w.model(w.graph(
    [w.node("ScatterND", ["x", "i", "u"], ["y"], name="the node")], [w.ints("i", [5], [1, 1]), w.floats("u", [1])],
    [w.value("x")], [w.value("y")])), "out of range", RUN)
case("Slice with step 0", INVALID, w.model(w.graph(
    [w.node("Slice", ["x", "a", "b", "axes", "step"], ["y"], name="the node")],
    [w.ints("a", [0]), w.ints("b", [2]), w.ints("axes", [0]), w.ints("step", [0])], [w.value("x")],
    [w.value("y", dims=None)])), "the node", RUN)

# --- convolution ---

CONV_RUN = ("run", "--input", "x=ones:1x1x4x4", "--max-memory", "64M")


def conv(*attrs):
    return w.model(w.graph([w.node("Conv", ["x", "w"], ["y"], attrs, name="the node")],
                           [w.floats("w", [1] * 9, [1, 1, 3, 3])], [w.value("x", dims=[1, 1, 4, 4])],
                           [w.value("y", dims=None)]))


case("convolution", OK, conv(), command=CONV_RUN)
case("Conv with pads of 2^40", (BUDGET, INVALID), conv(list_attr("pads", [1 << 40] * 4)), "", CONV_RUN)
case("Conv with pads of 2^20", (BUDGET, INVALID), conv(list_attr("pads", [1 << 20] * 4)), "", CONV_RUN)
case("Conv with negative pads", INVALID, conv(list_attr("pads", [-(1 << 62)] * 4)), "pads", CONV_RUN)
case("Conv with stride 0", INVALID, conv(list_attr("strides", [0, 0])), "strides", CONV_RUN)
case("Conv with dilation 2^62", INVALID, conv(list_attr("dilations", [1 << 62, 1])), "dilations", CONV_RUN)
case("Conv with three pads", INVALID, conv(list_attr("pads", [1] * 3)), "pads", CONV_RUN)
case("Conv of 0 groups", INVALID, conv(w.attr_int("group", 0)), "group", CONV_RUN)

# Windows on images whose extents the run tells: on both devices the same error, with the operator that has the window.
PADDED = list_attr("pads", [0, 0, 1, 0])
for op, attrs in (("Conv", []), ("MaxPool", [list_attr("kernel_shape", [3, 3])]), ("AveragePool", [list_attr("kernel_shape", [3, 3])]),
                  ("MaxPool", [list_attr("kernel_shape", [3, 3]), list_attr("strides", [4, 4]), w.attr_int("ceil_mode", 1)])):
    for device in ("cpu", "reference"):
        for (h, width), pads, codes in (((3, 3), [], OK), ((2, 5), [], INVALID), ((5, 1), [], INVALID), ((1, 1), [], INVALID),
                                        ((2, 3), [PADDED], OK), ((1, 3), [PADDED], INVALID)):
            case(f"{op} with {len(attrs)} attributes of {h} x {width}, {len(pads)} pads, on {device}", codes, w.model(w.graph(
                [w.node(op, ["x", "w"] if op == "Conv" else ["x"], ["c"], attrs + pads, name="the node"), w.node("Relu", ["c"], ["y"])],
                [w.floats("w", [1] * 9, [1, 1, 3, 3])] if op == "Conv" else [],
                [w.value("x", dims=[1, 1, "h", "w"])], [w.value("y", dims=None)])),
                "is larger than the padded input" if codes else "",
                ("run", "--input", f"x=ones:1x1x{h}x{width}", "--device", device))

# --- control flow ---

TRUE = w.tensor("c", 9, [], raw=b"\x01")


def loop(body_nodes):
    body = w.graph([w.node("Identity", ["cond"], ["again"]), *body_nodes],
                   inputs=[w.value("i", w.INT64, []), w.value("cond", 9, []), w.value("v", dims=None)],
                   outputs=[w.value("again", 9, []), w.value("vo", dims=None)], name="body")
    return w.model(w.graph([w.node("Loop", ["", "c", "x"], ["y"], [w.attr_graph("body", body)], name="the loop")],
                           [TRUE], [w.value("x")], [w.value("y", dims=None)]))


case("Loop that never ends", BUDGET, loop([w.node("Relu", ["v"], ["vo"])]), "the time limit",
     RUN + ("--timeout", "0.2"))
case("Loop that doubles for ever", BUDGET, loop([w.node("Concat", ["v", "v"], ["vo"], [w.attr_int("axis", 0)])]), "",
     RUN + ("--timeout", "0.5"))

if __name__ == "__main__":
    sys.exit(main())
