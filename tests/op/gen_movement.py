#!/usr/bin/env python3
# gen_movement.py - writes movement.txt: cases of the movement, shape and sequence operators with expected values from
# onnx.reference (or NumPy, where said so). Needs onnx and numpy:  python3 tests/op/gen_movement.py > tests/op/movement.txt
# SPDX-License-Identifier: Apache-2.0
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

I64, I32, F32, BOOL = "i64", "i32", "f32", "bool"
NUMPY = {"f32": np.float32, "f64": np.float64, "i64": np.int64, "i32": np.int32, "bool": np.bool_, "u8": np.uint8, "u64": np.uint64}
# Types that move alike: the reference runs on int64, and the numbers are written with the type's name.
WIDTHS = ["f32", "i64", "bool", "u8", "f16", "bf16", "f64", "u4", "i4", "i2", "f4e2m1", "f8e4m3fn", "f8e8m0", "str"]
OPSET = onnx.defs.onnx_opset_version()


class T:
    """A tensor of our dtype; v: its elements as NumPy sees them."""

    def __init__(self, dtype, v, shape=None):
        self.dtype = dtype
        self.v = np.array(v) % 2 == 1 if dtype == "bool" else np.array(v, dtype=NUMPY.get(dtype, np.int64))
        if shape is not None:
            self.v = self.v.reshape(shape)


def value(dtype, x):
    """Number x as an element of the type: folded into its range, so that neighbours stay different."""
    if dtype == "str":
        return '"s%d"' % x if x else '""'
    if dtype == "bool":
        return str(int(x) % 2)
    if dtype == "f8e8m0":
        return repr(2.0 ** (int(x) % 7))
    fold = {"u4": 16, "i4": 8, "i2": 2, "f4e2m1": 5, "f8e4m3fn": 16, "u8": 256}.get(dtype)
    if fold:
        return str(int(x) % fold)
    if dtype in ("f32", "f64", "f16", "bf16"):
        return "%.9g" % float(x) if dtype != "f64" else repr(float(x))
    return str(int(x))


def text(dtype, v):
    if isinstance(v, list) and v and isinstance(v[0], np.ndarray):
        return "seq{ " + " | ".join(text(dtype, x) for x in v) + " }"
    v = np.asarray(v)
    return ("%s[%s] " % (dtype, ",".join(map(str, v.shape))) + " ".join(value(dtype, x) for x in v.reshape(-1))).strip()


def attr_text(a):
    def one(k, x):
        if isinstance(x, (list, tuple)):
            return "%s=[%s]" % (k, ",".join(map(str, x)))
        if isinstance(x, T):
            return "%s={%s}" % (k, text(x.dtype, x.v))
        return "%s=%s" % (k, x)

    return " ".join(one(k, x) for k, x in a.items())


def reference(op, ins, attrs, nout):
    names = ["x%d" % i if x is not None else "" for i, x in enumerate(ins)]
    given = {n: x for n, x in zip(names, ins) if n}
    real = {k: onnx.numpy_helper.from_array(x.v) if isinstance(x, T) else x for k, x in attrs.items()}
    node = helper.make_node(op, names, ["y%d" % i for i in range(nout)], **real)

    def info(n, x):
        if isinstance(x, list):
            return helper.make_value_info(n, helper.make_sequence_type_proto(helper.make_tensor_type_proto(
                helper.np_dtype_to_tensor_dtype(x[0].dtype) if x else TensorProto.INT64, None)))
        return helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)

    graph = helper.make_graph([node], "g", [info(n, x) for n, x in given.items()],
                              [helper.make_empty_tensor_value_info("y%d" % i) for i in range(nout)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=11)
    return ReferenceEvaluator(model).run(None, given)


def raw(x):
    return None if x is None else [t.v for t in x] if isinstance(x, list) else x.v


def put(op, ins, attrs, lines, note="", var=()):
    print("op %s%s" % (op, " " + note if note else ""))
    if attrs:
        print("attr " + attr_text(attrs))
    for i, x in enumerate(ins):
        word = "var" if i in var else "in"
        t = "-" if x is None else "seq{ " + " | ".join(text(t.dtype, t.v) for t in x) + " }" if isinstance(x, list) \
            else x.v if isinstance(x, str) else text(x.dtype, x.v)
        print("%s %s" % (word, t))
    for l in lines:
        print(l)
    print()


def case(op, ins, want=None, nout=1, out=None, note="", var=(), **attrs):
    """want: expected arrays; None: ask the reference. out: dtypes of the outputs, input 0's when not given."""
    if want is None:
        want = reference(op, [raw(x) for x in ins], attrs, nout)
    first = ins[0][0] if isinstance(ins[0], list) else ins[0]
    out = out or [first.dtype] * len(want)
    put(op, ins, attrs, ["out " + text(d, w) for d, w in zip(out, want)], note, var)


def bad(op, ins, error, infer=True, note="", **attrs):
    put(op, ins, attrs, ["error " + error] + (["infer error"] if infer else []), note)


def arr(dtype, *shape):
    return T(dtype, np.arange(int(np.prod(shape))), shape)


def ints(*v, t=I64):
    return T(t, list(v), (len(v),))


def reshapes():
    x = arr(F32, 2, 3, 4)
    for shape in [[4, 6], [-1], [2, -1], [0, 12], [0, -1, 2], [0, 0, 0], [-1, 0, 4], [1, 24, 1], [2, 3, 2, 2]]:
        case("Reshape", [x, ints(*shape)])
    case("Reshape", [T(F32, [7.0], ()), ints(1, 1)])
    case("Reshape", [T(F32, [7.0], (1,)), T(I64, [], (0,))], note="to a scalar")
    case("Reshape", [arr(F32, 0, 5), ints(0, 5)])
    case("Reshape", [arr(F32, 0, 5), ints(3, 0)], allowzero=1)
    case("Reshape", [arr(F32, 0, 6), ints(0, -1, 2)], [np.zeros((0, 3, 2))], note="a copied zero leaves -1 defined")
    for d in WIDTHS:
        case("Reshape", [arr(d, 3, 5), ints(5, 3)])
    bad("Reshape", [x, ints(5, -1)], "do not divide")
    bad("Reshape", [x, ints(5, 5)], "element counts differ")
    bad("Reshape", [x, ints(-1, -1)], "more than one")
    bad("Reshape", [x, ints(-2, 12)], "is -2")
    bad("Reshape", [x, ints(0, -1)], "both 0 and -1", allowzero=1)
    bad("Reshape", [arr(F32, 2), ints(2, 0)], "is 0 (copy)")
    bad("Reshape", [x, ints(*[1] * 17)], "is above 16")
    bad("Reshape", [x, ints(1 << 40, 1 << 40)], "element counts differ", infer=False)
    for axis in range(-3, 4):
        case("Flatten", [x], axis=axis)
    case("Flatten", [T(F32, 5.0)], axis=0)
    case("Flatten", [arr(F32, 2, 0, 3)], [np.zeros((0, 3))], axis=2)
    bad("Flatten", [x], "is not in [-3, 3]", axis=4)
    y = arr(F32, 1, 3, 1, 2)
    case("Squeeze", [y, ints(0)])
    case("Squeeze", [y, ints(-2, 0)])
    case("Squeeze", [y])
    case("Squeeze", [y, None])
    case("Squeeze", [arr("i4", 1, 3, 1), ints(2)])
    bad("Squeeze", [y, ints(1)], "extent 3")
    bad("Squeeze", [y, ints(4)], "axis 4")
    bad("Squeeze", [y, ints(0, -4)], "twice")
    for axes in [[0], [-1], [0, 4], [4, 0], [-1, -3], [1, 2]]:
        case("Unsqueeze", [x, ints(*axes)])
    case("Unsqueeze", [T(F32, 3.0), ints(0, 1)])
    case("Unsqueeze", [arr("str", 2), ints(0)])
    bad("Unsqueeze", [x, ints(5)], "axis 5")
    bad("Unsqueeze", [x, ints(0, 0)], "twice")
    bad("Unsqueeze", [x, ints(*range(14))], "is above 16")
    for d in WIDTHS:
        case("Identity", [arr(d, 2, 3)])
    case("Identity", [T(F32, 1.0)])
    case("Identity", [[arr(F32, 2), arr(F32, 1, 3)]], note="a sequence")


def transposes():
    for d in WIDTHS:
        case("Transpose", [arr(d, 3, 5)])
        case("Transpose", [arr(d, 2, 3, 5)], perm=[1, 2, 0])
    case("Transpose", [arr("u8", 3, 37)])
    case("Transpose", [arr(F32, 2, 4, 50)], perm=[0, 2, 1])
    x = arr(F32, 2, 3, 4, 5)
    for perm in [[0, 2, 1, 3], [3, 2, 1, 0], [0, 1, 3, 2], [1, 0, 2, 3], [0, 1, 2, 3]]:
        case("Transpose", [x], perm=perm)
    case("Transpose", [T(F32, 1.0)])
    case("Transpose", [arr(F32, 4)])
    case("Transpose", [arr(F32, 2, 0, 3)], perm=[2, 0, 1])
    case("Transpose", [arr(F32, 1, 2, 1, 3)], perm=[2, 3, 0, 1])
    case("Transpose", [arr("u8", 1, 2, 1, 2, 1, 1, 2)], perm=[6, 0, 3, 1, 4, 5, 2])
    bad("Transpose", [x], "no permutation", perm=[0, 1, 2, 2])
    bad("Transpose", [x], "no permutation", perm=[0, 1, 2, -1])
    bad("Transpose", [x], "perm has 3", perm=[0, 1, 2])
    for d in ["f32", "u8", "str"]:
        for mode in ["DCR", "CRD"]:
            case("DepthToSpace", [arr(d, 2, 8, 2, 3)], blocksize=2, mode=mode)
            case("SpaceToDepth", [arr(d, 2, 3, 4, 6)], blocksize=2, mode=mode)
    case("DepthToSpace", [arr(F32, 1, 9, 0, 2)], [np.zeros((1, 1, 0, 6))], blocksize=3)
    case("SpaceToDepth", [arr(F32, 1, 1, 3, 3)], blocksize=3)
    bad("DepthToSpace", [arr(F32, 1, 6, 2, 2)], "divide", blocksize=2)
    bad("DepthToSpace", [arr(F32, 4, 2, 2)], "rank 4", blocksize=2)
    bad("DepthToSpace", [arr(F32, 1, 4, 2, 2)], "mode", blocksize=2, mode="XYZ")
    bad("DepthToSpace", [arr(F32, 1, 4, 2, 2)], "blocksize", blocksize=0)
    bad("SpaceToDepth", [arr(F32, 1, 4, 3, 2)], "divide", blocksize=2)
    bad("SpaceToDepth", [arr(F32, 1, 4, 0, 0)], "blocksize", blocksize=1 << 40)


def joins():
    for d in WIDTHS:
        case("Concat", [arr(d, 3, 2), arr(d, 3, 3)], axis=1)
    case("Concat", [arr(F32, 2, 2, 2), arr(F32, 1, 2, 2), arr(F32, 3, 2, 2)], axis=0)
    case("Concat", [arr(F32, 2, 2, 2), arr(F32, 2, 2, 1)], axis=-1)
    case("Concat", [arr(F32, 2, 0), arr(F32, 2, 2)], axis=1)
    case("Concat", [arr(F32, 0, 3), arr(F32, 0, 3)], axis=0)
    case("Concat", [arr(F32, 4)], axis=0)
    bad("Concat", [arr(F32, 2, 3), arr(F32, 3, 3)], "", axis=1)
    bad("Concat", [arr(F32, 2, 3), arr(F32, 3)], "rank", axis=0)
    bad("Concat", [arr(F32, 2), arr(F32, 2)], "axis 1", axis=1)
    bad("Concat", [T(F32, 2.0), T(F32, 2.0)], "scalars", axis=0)
    for d in WIDTHS:
        case("Split", [arr(d, 5, 2), ints(2, 3)], nout=2)
    case("Split", [arr(F32, 2, 6), ints(1, 3, 2)], nout=3, axis=-1)
    case("Split", [arr(F32, 2, 6), ints(0, 6)], nout=2, axis=1)
    case("Split", [arr(F32, 6)], nout=3, num_outputs=3)
    case("Split", [arr(F32, 7, 2)], nout=3, num_outputs=3)
    case("Split", [arr(F32, 7)], nout=2, num_outputs=2)
    case("Split", [arr(F32, 2, 0)], nout=2, num_outputs=2, axis=1)
    put("Split", [arr(F32, 4), ints(1, 3)], {}, ["out -", "out f32[3] 1 2 3"], "first output not wanted")
    bad("Split", [arr(F32, 5), ints(2)], "add up to 2", infer=False)
    put("Split", [arr(F32, 5), ints(-1, 6)], {}, ["out ?", "out ?", "error part 0 has size -1", "infer error"])
    put("Split", [arr(F32, 5), ints(2, 2)], {}, ["out ?", "out ?", "error add up to 4", "infer error"])
    put("Split", [arr(F32, 5)], {"num_outputs": 3}, ["out ?", "out ?", "error num_outputs is 3", "infer error"])
    put("Split", [arr(F32, 5)], {"num_outputs": 4}, ["out ?"] * 4 + ["error does not split", "infer error"])


def slices():
    x = arr(F32, 4, 5)
    big = (1 << 63) - 1
    for s, e, a, st in [([1], [3], [0], [1]), ([0, 1], [2, 4], None, None), ([1, 0], [2, 3], None, [1, 2]), ([0], [-1], [1], None),
                        ([-3], [-1], [1], None), ([3], [0], [1], [-1]), ([4], [-6], [1], [-1]), ([big], [-big - 1], [1], [-1]),
                        ([-1], [-big - 1], [-1], [-2]), ([1], [big], [0], None), ([-big], [big], [0], [3]), ([5], [9], [0], None),
                        ([3], [1], [0], None), ([0], [4], [0], [big]), ([3], [0], [0], [-big - 1]), ([0, 0], [2, 2], [1, 0], [1, 1]),
                        ([1], [3], [-2], [1]), ([100], [0], [1], [-3]), ([-1], [-2], [1], [-1])]:
        case("Slice", [x, ints(*s), ints(*e)] + ([ints(*a) if a else None] if a or st else []) + ([ints(*st)] if st else []))
    case("Slice", [x, ints(1, t=I32), ints(2147483647, t=I32), ints(1, t=I32), ints(2, t=I32)])
    for d in WIDTHS:
        case("Slice", [arr(d, 3, 5), ints(1, 1), ints(3, 4)])
        case("Slice", [arr(d, 3, 5), ints(-1, -1), ints(-9, -9), ints(0, 1), ints(-1, -2)])
    case("Slice", [arr(F32, 0, 3), ints(0), ints(2)])
    case("Slice", [arr(F32, 0, 3), ints(-1), ints(-9), ints(0), ints(-1)])
    case("Slice", [x, T(I64, [], (0,)), T(I64, [], (0,)), T(I64, [], (0,))])
    case("Slice", [x, ints(-100), ints(-(1 << 62)), ints(1), ints(-1)], [np.arange(20).reshape(4, 5)[:, 0:1]],
         note="ONNX clamps the start to 0 where NumPy gives nothing")
    bad("Slice", [x, ints(0), ints(1), ints(0), ints(0)], "step of axis 0 is 0")
    bad("Slice", [x, ints(0), ints(1), ints(2)], "axis 2")
    bad("Slice", [x, ints(0, 0), ints(1, 1), ints(1, -1)], "twice")
    bad("Slice", [x, ints(0, 0), ints(1), ints(1)], "")
    bad("Slice", [x, ints(0), ints(1), ints(0, 1)], "")
    bad("Slice", [x, ints(0, 0, 0), ints(1, 1, 1)], "")
    y = arr(F32, 3, 2)
    case("Compress", [y, T(BOOL, [0, 1, 1])], axis=0)
    case("Compress", [y, T(BOOL, [0, 1])], axis=-1)
    case("Compress", [y, T(BOOL, [0, 1, 0, 0, 1])], note="flat")
    case("Compress", [y, T(BOOL, [0, 1])], axis=0, note="a condition shorter than the axis")
    case("Compress", [y, T(BOOL, [0, 0, 0])], axis=0)
    case("Compress", [arr(F32, 3, 0), T(BOOL, [1, 0, 1])], axis=0)
    case("Compress", [arr("str", 3), T(BOOL, [1, 0, 1])], axis=0)
    case("Compress", [arr("i4", 5), T(BOOL, [1, 0, 1, 1, 0])], axis=0)
    bad("Compress", [y, T(BOOL, [0, 0, 0, 1])], "condition 3 is true", infer=False, axis=0)
    bad("Compress", [y, T(BOOL, [0, 1, 1])], "axis 2", axis=2)
    bad("Compress", [y, T(BOOL, [[0, 1]])], "rank 1", axis=0)
    z = arr(F32, 4, 3)
    case("ReverseSequence", [z, ints(4, 2, 1)], time_axis=0, batch_axis=1)
    case("ReverseSequence", [z, ints(0, 1, 2, 3)], time_axis=1, batch_axis=0)
    case("ReverseSequence", [arr("u8", 2, 3, 2), ints(3, 2)], time_axis=1, batch_axis=0)
    case("ReverseSequence", [arr("str", 2, 2), ints(2, 1)], time_axis=1, batch_axis=0)
    bad("ReverseSequence", [z, ints(5, 2, 1)], "5 is not in", infer=False)
    bad("ReverseSequence", [z, ints(1, 1)], "2 sequence lengths", infer=False)
    bad("ReverseSequence", [z, ints(1, 1, 1)], "time_axis", infer=False, time_axis=1)


def gathers():
    x = arr(F32, 3, 4)
    for axis in [0, 1, -1]:
        case("Gather", [x, T(I64, [[0, 2], [1, -1]])], axis=axis)
    case("Gather", [x, T(I64, 1)], axis=1)
    case("Gather", [x, T(I32, [2, -3])], axis=0)
    case("Gather", [x, T(I64, [], (0,))], axis=0)
    case("Gather", [x, T(I64, [], (2, 0))], axis=1)
    case("Gather", [arr(F32, 3, 0), ints(1)], axis=0)
    case("Gather", [arr(F32, 5), T(I64, 4)], axis=0)
    for d in WIDTHS:
        case("Gather", [arr(d, 3, 3), ints(2, 0)], axis=1)
        case("Gather", [arr(d, 3, 3), ints(2, 0)], axis=0)
    bad("Gather", [x, ints(0, 3)], "index 3 is out of range for axis 0 of extent 3", infer=False)
    bad("Gather", [x, ints(-5)], "index -5 is out of range for axis 1 of extent 4", infer=False, axis=1)
    bad("Gather", [arr(I64, 3), ints(3)], "index 3 is out of range", axis=0)
    bad("Gather", [arr(F32, 0), ints(0)], "extent 0", infer=False)
    bad("Gather", [x, ints(0)], "axis 2", axis=2)
    bad("Gather", [T(F32, 1.0), ints(0)], "axis 0")
    bad("Gather", [arr(F32, *[1] * 10), T(I64, np.zeros((1,) * 8))], "is above 16")
    case("GatherElements", [arr(F32, 2, 2), T(I64, [[0, 0], [1, 0]])], axis=1)
    case("GatherElements", [arr(F32, 3, 3), T(I32, [[1, 2, 0], [2, 0, 0]])], [[[3, 7, 2], [6, 1, 2]]], axis=0)
    case("GatherElements", [arr(F32, 3, 3), T(I64, [[-1, -2, 0], [-2, 0, 0], [0, 0, -3]])], axis=-1)
    case("GatherElements", [arr(F32, 4), T(I64, [3, 3, 0, 1, 2])], axis=0)
    case("GatherElements", [arr("i4", 2, 3), T(I64, [[2, 0], [1, 1]])], [[[2, 0], [4, 4]]], axis=1)
    case("GatherElements", [arr("str", 2, 2), T(I64, [[1, 1], [0, 0]])], axis=1)
    case("GatherElements", [arr(F32, 2, 2), T(I64, [], (0, 2))], [np.zeros((0, 2))], axis=0)
    bad("GatherElements", [x, T(I64, [[0, 4]])], "index 4 is out of range for axis 1 of extent 4", infer=False, axis=1)
    bad("GatherElements", [x, ints(0)], "rank")
    bad("GatherElements", [x, T(I64, np.zeros((1, 5)))], "on axis 1 reach beyond", infer=False, axis=0)
    far = np.arange(128).reshape(2, 64) % 64
    far[1, 40] = 64  # in the middle of a vector
    bad("GatherElements", [arr(F32, 2, 64), T(I64, far)], "index 64 is out of range", infer=False, axis=1)
    d = np.arange(8).reshape(2, 2, 2)
    for v, b in [([[0, 0], [1, 1]], 0), ([[1], [0]], 0), ([[[0, 1]], [[1, 0]]], 0), ([[1], [0]], 1), ([[0, 1], [1, 0]], 1),
                 ([[-1, 0, -2]], 0), ([0], 0), ([[[1]], [[0]]], 1)]:
        case("GatherND", [T(F32, d), T(I64, v)], batch_dims=b)
    case("GatherND", [arr("u4", 3, 3), T(I64, [[2, 1], [0, 2]])])
    case("GatherND", [arr("str", 2, 2), T(I64, [[1, 1]])])
    case("GatherND", [arr(F32, 2, 2), T(I64, [], (0, 2))], [np.zeros((0,))])
    bad("GatherND", [x, T(I64, [[0, 4]])], "index 4 is out of range for axis 1 of extent 4", infer=False)
    bad("GatherND", [x, T(I64, [[0, 0, 0]])], "tuples of 3")
    bad("GatherND", [x, T(I64, [[0]])], "batch_dims", batch_dims=2)
    bad("GatherND", [x, T(I64, [[0]])], "", batch_dims=1)


def scatters():
    x = arr(F32, 3, 3)
    i, u = T(I64, [[1, 0, 2], [0, 2, 1]]), T(F32, [[10, 20, 30], [40, 50, 60]])
    for r in ["none", "add", "mul", "max", "min"]:
        case("ScatterElements", [x, i, u], axis=0, reduction=r)
        case("ScatterElements", [arr(F32, 1, 5), T(I64, [[1, 1, -1]]), T(F32, [[2.5, 3, -7]])], axis=1, reduction=r)
        case("ScatterElements", [arr(I32, 5), T(I64, [1, 1, 3]), T(I32, [7, 9, -7])], axis=0, reduction=r)
        case("ScatterND", [arr(F32, 8), T(I64, [[4], [3], [4], [-1]]), T(F32, [9, 10, 11, 2])], reduction=r)
        case("ScatterND", [arr(F32, 2, 3), T(I64, [[1], [1]]), T(F32, [[1, 2, 30], [4, 50, 6]])], reduction=r)
        case("ScatterND", [arr(I64, 2, 3), T(I64, [[[1, 2]], [[0, 0]]]), T(I64, [[5], [-6]])], reduction=r)
    case("ScatterElements", [x, T(I32, [[2, 1]]), T(F32, [[5, 6]])], axis=-1)
    case("ScatterElements", [arr("str", 3), T(I64, [2]), T("str", [9])], axis=0)
    case("ScatterElements", [arr("i4", 5), T(I64, [2, 0]), T("i4", [7, 6])], axis=0)
    case("ScatterElements", [x, T(I64, [], (0, 3)), T(F32, [], (0, 3))], axis=0)
    case("ScatterElements", [arr("u8", 2), T(I64, [0, 0]), T("u8", [200, 100])], [[(200 + 100) % 256, 1]], axis=0, reduction="add",
         note="wraps")
    put("ScatterElements", [], {"reduction": "max"}, ["in u64[1] 1", "in i64[1] 0", "in u64[1] 18446744073709551615",
                                                      "out u64[1] 18446744073709551615"])
    put("ScatterElements", [], {"reduction": "max"}, ["in f32[2] nan 1", "in i64[2] 0 1", "in f32[2] 1 nan", "out f32[2] nan nan"])
    put("ScatterElements", [], {"reduction": "add"}, ["in f16[1] 2048", "in i64[2] 0 0", "in f16[2] 1 1", "out f16[1] 2048"],
        "each step rounds: 2049 is 2048 in f16")
    for r in ["none", "add"]:  # rows in parts, to which the updates are listed
        case("ScatterND", [arr(F32, 18, 33), T(I64, [[4], [-1], [4], [5], [-14]]), T(F32, np.arange(165).reshape(5, 33) * 7 % 50)], reduction=r)
        case("ScatterND", [arr(I32, 17, 2, 32), T(I64, [[16, 1], [3, -1], [3, 1]]), T(I32, np.arange(96).reshape(3, 32))], reduction=r)
    bad("ScatterND", [arr(F32, 16, 32), T(I64, [[16]]), arr(F32, 1, 32)], "index 16 is out of range", infer=False)
    long = [T(I64, np.arange(140).reshape(2, 70) * 37 % 150 - 75), T(F32, np.arange(140).reshape(2, 70) * 11 % 97)]
    for r in ["none", "add", "max"]:  # rows that are put together apart, by parts of the indices and what is left of them
        case("ScatterElements", [arr(F32, 3, 75)] + long, axis=1, reduction=r)
    case("ScatterElements", [arr(F32, 2, 64), T(I64, np.arange(128).reshape(2, 64) % 61 - 61), arr(F32, 2, 64)], axis=-1)
    bad("ScatterElements", [arr(F32, 1, 64), T(I64, [[1, 64]]), T(F32, [[1, 2]])], "index 64 is out of range", infer=False, axis=1)
    bad("ScatterElements", [x, T(I64, [[3]]), T(F32, [[1]])], "index 3 is out of range for axis 0 of extent 3", infer=False)
    bad("ScatterElements", [x, T(I64, [[0]]), T(F32, [[1, 2]])], "one shape")
    bad("ScatterElements", [x, i, u], "reduction sum", reduction="sum")
    bad("ScatterElements", [x, i, u], "axis 2", axis=2)
    bad("ScatterElements", [arr("str", 3), T(I64, [2]), T("str", [9])], "reduction add of str", infer=False, reduction="add")
    case("ScatterND", [arr("bool", 4), T(I64, [[0], [3]]), T(BOOL, [1, 0])])
    case("ScatterND", [arr("str", 2, 2), T(I64, [[0, 1]]), T("str", [9])])
    case("ScatterND", [arr("u4", 5), T(I64, [[1]]), T("u4", [9])])
    case("ScatterND", [x, T(I64, [], (0, 2)), T(F32, [], (0,))])
    case("ScatterND", [arr(F32, 2, 2), T(I64, [], (1, 0)), T(F32, [[[5, 6], [7, 8]]])], [[[5, 6], [7, 8]]], note="empty tuples: all")
    bad("ScatterND", [x, T(I64, [[0, 3]]), T(F32, [1])], "index 3 is out of range for axis 1 of extent 3", infer=False)
    bad("ScatterND", [x, T(I64, [[0, 0, 0]]), T(F32, [1])], "tuples of 3")
    bad("ScatterND", [x, T(I64, [[0, 0]]), T(F32, [1, 2])], "updates")
    c = arr(F32, 2, 4, 2)
    for mode in ["linear", "circular"]:
        case("TensorScatter", [c, T(F32, 100 + np.arange(8), (2, 2, 2)), ints(1, 2)], mode=mode)
        case("TensorScatter", [c, T(F32, 100 + np.arange(8), (2, 2, 2))], mode=mode)
    case("TensorScatter", [c, T(F32, 100 + np.arange(8), (2, 2, 2)), ints(3, 6)], mode="circular")
    case("TensorScatter", [arr(F32, 2, 1, 3, 2), T(F32, [[[[1, 2]]], [[[3, 4]]]]), ints(2, 0)], axis=2)
    case("TensorScatter", [arr(F32, 2, 3), T(F32, [[7], [8]]), ints(2, 1)], axis=1)
    bad("TensorScatter", [c, arr(F32, 2, 2, 2), ints(1, 3)], "index 3 is out of range", infer=False)
    bad("TensorScatter", [c, arr(F32, 2, 2, 2), ints(-1, 3)], "index -1", infer=False, mode="circular")
    bad("TensorScatter", [c, arr(F32, 2, 5, 2)], "does not fit the cache on axis 1", infer=False)
    bad("TensorScatter", [c, arr(F32, 2, 2, 2)], "axis 0 is the batch", infer=False, axis=0)


def repeats():
    for d in WIDTHS:
        case("Expand", [arr(d, 3, 1), ints(2, 1, 2)])
        case("Tile", [arr(d, 2, 3), ints(2, 2)])
    case("Expand", [T(F32, 3.0), ints(2, 2)])
    case("Expand", [arr(F32, 3, 2), ints(1)])
    case("Expand", [arr(F32, 1, 2), ints(0, 1)], [np.zeros((0, 2))])
    case("Expand", [arr(F32, 2, 1, 3), ints(2, 1)])
    case("Expand", [arr(F32, 2), T(I64, [], (0,))])
    bad("Expand", [arr(F32, 2), ints(3)], "broadcast")
    bad("Expand", [arr(F32, 1), ints(*[1] * 17)], "is above 16")
    bad("Expand", [T("u8", 1), ints(1 << 21, 1 << 21)], "memory", infer=False, note="4 TiB")
    bad("Expand", [T("u8", 1), ints(1 << 40, 1 << 40)], "size a tensor can have", infer=False)
    case("Tile", [T(F32, 3.0), T(I64, [], (0,))], [3.0])
    case("Tile", [arr(F32, 2, 3), ints(0, 2)])
    case("Tile", [arr(F32, 2, 1, 3), ints(1, 3, 1)])
    bad("Tile", [arr(F32, 2, 3), ints(1)], "repeats")
    bad("Tile", [arr(F32, 2), ints(-1)], "-1")
    bad("Tile", [arr("u8", 2), ints(1 << 41)], "memory", infer=False)
    bad("Tile", [arr("u8", 2), ints(1 << 62)], "too large", infer=False)


def pads():
    x = arr(F32, 3, 4)
    for mode in ["constant", "reflect", "edge", "wrap"]:
        for p in [[0, 2, 0, 1], [1, 0, 2, 0], [1, 2, 2, 1], [0, 0, 0, 0]]:
            case("Pad", [x, ints(*p)], mode=mode)
        case("Pad", [x, ints(2, 1), None, ints(-1)], mode=mode)
        case("Pad", [arr("str", 3), ints(1, 2)], mode=mode)
        case("Pad", [arr("i4", 3), ints(2, 1)], mode=mode)
    for mode in ["reflect", "wrap"]:
        case("Pad", [arr(F32, 3), ints(7, 5)], mode=mode, note="longer than the axis")
        case("Pad", [arr(F32, 1), ints(2, 1)], mode=mode)
    case("Pad", [x, ints(1, 0, 0, 1), T(F32, 9.5)])
    case("Pad", [x, ints(1, 0, 0, 1), T(F32, [9.5])])
    case("Pad", [arr("str", 2), ints(1, 1), T("str", 7)], [[7, 0, 1, 7]])
    case("Pad", [x, ints(1, 1, 0, 0), None, T(I32, [1, 0])])
    full = np.arange(12).reshape(3, 4)
    case("Pad", [x, ints(-1, 0, 0, -2)], [full[1:, :2]], note="NumPy: negative pads cut")
    case("Pad", [x, ints(-1, 1, 0, -2)], [np.pad(full[1:, :2], ((0, 0), (1, 0)))])
    case("Pad", [arr(F32, 2), ints(-3, 5)], [np.zeros(4)], note="all cut, all padding")
    case("Pad", [arr(F32, 4), ints(-1, 2)], [np.pad(np.arange(1, 4), (0, 2), mode="reflect")], mode="reflect",
         note="NumPy: the reflection of what is left")
    case("Pad", [arr(F32, 0, 2), ints(1, 0, 1, 0)], [np.zeros((2, 2))])
    case("Pad", [arr(F32, 2, 0), ints(1, 0, 0, 0)], [np.zeros((3, 0))], mode="edge")
    case("Pad", [T(F32, 5.0), T(I64, [], (0,))], [5.0])
    bad("Pad", [arr(F32, 0), ints(1, 0)], "no element to pad with", infer=False, mode="edge")
    bad("Pad", [x, ints(1, 2)], "2 pads for 2 axes")
    bad("Pad", [x, ints(1, 2), None, ints(2)], "axis 2")
    bad("Pad", [x, ints(0, -3, 0, -2)], "on axis 1")
    bad("Pad", [x, ints(0, 0, 0, 0)], "mode", mode="mirror")
    bad("Pad", [arr("u8", 1), ints(1 << 42, 0)], "memory", infer=False)
    bad("Pad", [arr("u8", 1), ints((1 << 63) - 1, 1)], "on axis 0", infer=False)


def shapes():
    x = arr(F32, 2, 3, 4)
    for a in [{}, {"start": 1}, {"end": -1}, {"start": -1}, {"start": 1, "end": 2}, {"start": 2, "end": 1}, {"start": -9, "end": 9}]:
        case("Shape", [x], out=[I64], **a)
    case("Shape", [T(F32, 1.0)], out=[I64])
    case("Shape", [arr("str", 2, 0)], out=[I64])
    case("Size", [x], out=[I64])
    case("Size", [T(F32, 1.0)], out=[I64])
    case("Size", [arr(F32, 2, 0)], out=[I64])
    for d, v in [(I64, (3, 9, 3)), (I64, (10, 4, -2)), (I32, (0, 5, 1)), (I64, (5, 5, 1)), (I64, (5, 0, 1)), (F32, (0, 1, 0.25)),
                 (F32, (1, 0, -0.3)), ("f64", (0, 1, 0.1)), (F32, (0, 5, 2)), (I64, (0, 10, 3)), (I64, (-4, 4, 3))]:
        case("Range", [T(d, x) for x in v])
    for d in ["u8", "f16", "bf16", "i16"]:
        case("Range", [T(d, x) for x in (0, 10, 3)], [[0, 3, 6, 9]])
    put("Range", [], {}, ["in f16[] 0", "in f16[] 4", "in f16[] 1.1", "out f16[4] 0 1.1 2.2 3.3"], "stash_type 1")
    put("Range", [], {}, ["in i64[] -9223372036854775808", "in i64[] 9223372036854775807", "in i64[] 9223372036854775807",
                          "out i64[3] -9223372036854775808 -1 9223372036854775806"])
    bad("Range", [T(I64, 0), T(I64, 5), T(I64, 0)], "delta is 0")
    bad("Range", [T(F32, 0), T(F32, 5), T(F32, 0)], "delta is 0")
    put("Range", [], {}, ["in f32[] 0", "in f32[] inf", "in f32[] 1", "error no end"])
    put("Range", [], {}, ["in f32[] nan", "in f32[] 1", "in f32[] 1", "error no end"])
    bad("Range", [T(I64, 0), T(I64, 1 << 39), T(I64, 1)], "memory", infer=False)
    bad("Range", [T(I64, -(1 << 63)), T(I64, (1 << 63) - 1), T(I64, 1)], "too many", infer=False)
    bad("Range", [ints(0, 0), T(I64, 5), T(I64, 1)], "scalars")
    case("ConstantOfShape", [ints(2, 3)], [np.zeros((2, 3))], out=[F32])
    for d in [I64, I32, F32, BOOL, "u8", "f16", "i4", "str"]:
        case("ConstantOfShape", [ints(3)], [[1, 1, 1]], out=[d], value=T(d, [1]))
    case("ConstantOfShape", [T(I64, [], (0,))], [5], out=[I64], value=T(I64, [5]))
    case("ConstantOfShape", [ints(2, 0)], [np.zeros((2, 0))], out=[F32])
    bad("ConstantOfShape", [ints(2, -1)], "is -1")
    bad("ConstantOfShape", [ints(1 << 20, 1 << 20)], "memory", infer=False)
    bad("ConstantOfShape", [ints(1 << 40, 1 << 40)], "size a tensor can have", infer=False)
    bad("ConstantOfShape", [ints(0, 1 << 40, 1 << 40)], "size a tensor can have", infer=False)
    bad("ConstantOfShape", [ints(*[1] * 17)], "is above 16")
    bad("ConstantOfShape", [ints(2)], "one element", value=T(I64, [1, 2]))
    for d in [F32, I64, BOOL, "u8", "str", "i4", "bf16"]:
        case("NonZero", [T(d, [[1, 0], [1, 1]])], out=[I64])
    case("NonZero", [T(F32, 3.0)], out=[I64])
    case("NonZero", [T(F32, 0.0)], out=[I64])
    case("NonZero", [T(F32, [0, 0])], out=[I64])
    case("NonZero", [T(F32, [], (2, 0, 3))], out=[I64])
    put("NonZero", [], {}, ["in f32[4] nan -0 0 1", "out i64[1,2] 0 3"])
    i = T(I64, [[1, 9], [-1, 2]])
    for axis in [-1, 0, 1, -2, 2]:
        case("OneHot", [i, T(I64, 4), T(F32, [0, 1])], out=[F32], axis=axis)
    case("OneHot", [T(I32, [0, 2]), ints(3), T(I32, [5, -2])], [[[-2, 5, 5], [5, 5, -2]]], out=[I32])
    case("OneHot", [T(F32, [0, 2.0]), T(F32, 3.0), T(I64, [0, 1])], [[[1, 0, 0], [0, 0, 1]]], out=[I64])
    case("OneHot", [T(I64, 1), T(I64, 3), T(F32, [0, 1])], [[0, 1, 0]], out=[F32])
    case("OneHot", [T(I64, [0, 1]), T(I64, 2), T("str", [3, 4])], [[[4, 3], [3, 4]]], out=["str"])
    case("OneHot", [T(I64, [], (0,)), T(I64, 2), T(F32, [0, 1])], [np.zeros((0, 2))], out=[F32])
    case("OneHot", [T(I64, [-5, 5, -4]), T(I64, 4), T(F32, [0, 1])], [[[0] * 4, [0] * 4, [1, 0, 0, 0]]], out=[F32])
    bad("OneHot", [i, ints(1, 2), T(F32, [0, 1])], "depth must be one")
    bad("OneHot", [i, T(I64, -1), T(F32, [0, 1])], "depth: -1, where 0 is needed")
    bad("OneHot", [i, T(I64, 3), T(F32, [0, 1, 2])], "values two")
    bad("OneHot", [i, T(I64, 3), T(F32, [0, 1])], "axis 3", axis=3)
    bad("OneHot", [i, T(I64, 1 << 40), T(F32, [0, 1])], "memory", infer=False)
    for k in [0, 1, -1, 3, -9, 9]:
        case("EyeLike", [arr(F32, 3, 4)], k=k)
    for d in [F32, I64, "u8", "f16", "i4", BOOL]:
        case("EyeLike", [arr(d, 2, 3)], [np.eye(2, 3)])
    case("EyeLike", [arr(I64, 2, 2)], out=[F32], dtype=1)
    case("EyeLike", [arr(F32, 0, 2)])
    bad("EyeLike", [arr(F32, 2)], "rank 2")
    bad("EyeLike", [arr(F32, 2, 2)], "dtype 99", dtype=99)


def sequences():
    a, b, c = arr(F32, 2), T(F32, [[5, 6, 7]]), T(F32, [8, 9])
    case("SequenceConstruct", [a, b, c], [[a.v, b.v, c.v]])
    case("SequenceConstruct", [arr("str", 2)], [[arr("str", 2).v]])
    case("SequenceConstruct", [arr("i4", 3)], [[arr("i4", 3).v]])
    put("SequenceEmpty", [], {"dtype": 7}, ["out seq{ }"])
    put("SequenceEmpty", [], {}, ["out seq{ }"])
    for p in [0, 2, -1, -3]:
        case("SequenceAt", [[a, b, c], T(I64, p)], out=[F32])
    case("SequenceAt", [[a, b, c], T(I32, 1)], out=[F32])
    bad("SequenceAt", [[a, b], T(I64, 2)], "position 2 is out of range for a sequence of 2", infer=False)
    bad("SequenceAt", [[a, b], T(I64, -3)], "position -3", infer=False)
    bad("SequenceAt", [[a, b], ints(0, 1)], "scalar", infer=False)
    bad("SequenceAt", [a, T(I64, 0)], "must be a sequence")
    for p, want in [(0, [c, a, b]), (1, [a, c, b]), (2, [a, b, c]), (-1, [a, c, b]), (-2, [c, a, b])]:
        case("SequenceInsert", [[a, b], c, T(I64, p)], [[t.v for t in want]])
    case("SequenceInsert", [[a, b], c], [[a.v, b.v, c.v]])
    put("SequenceInsert", [], {}, ["in seq{ }", "in f32[1] 4", "in i64[] 0", "out seq{ f32[1] 4 }"])
    bad("SequenceInsert", [[a, b], c, T(I64, 3)], "position 3", infer=False)
    bad("SequenceInsert", [[a, b], arr(I64, 2)], "")
    for p, want in [(0, [b, c]), (1, [a, c]), (-1, [a, b]), (-3, [b, c])]:
        case("SequenceErase", [[a, b, c], T(I64, p)], [[t.v for t in want]])
    case("SequenceErase", [[a, b, c]], [[a.v, b.v]])
    bad("SequenceErase", [[a], T(I64, 1)], "position 1", infer=False)
    put("SequenceErase", [], {}, ["in seq{ }", "error empty"])
    case("SequenceLength", [[a, b, c]], [3], out=[I64])
    put("SequenceLength", [], {}, ["in seq{ }", "out i64[] 0"])
    x = arr(F32, 3, 5)
    for at in [{}, {"axis": 1}, {"axis": -1, "keepdims": 0}]:
        case("SplitToSequence", [x], **at)
    case("SplitToSequence", [x, T(I64, 2)], axis=1)
    case("SplitToSequence", [x, T(I64, 2)], axis=1, keepdims=0, note="keepdims is ignored when split is given")
    case("SplitToSequence", [x, T(I32, [1, 4])], axis=1)
    case("SplitToSequence", [arr("str", 3), T(I64, 2)])
    case("SplitToSequence", [arr("u4", 5), T(I64, 2)])
    put("SplitToSequence", [arr(F32, 0)], {}, ["out seq{ }"])
    bad("SplitToSequence", [x, T(I64, 0)], "split is 0", infer=False)
    bad("SplitToSequence", [x, ints(1, 1)], "leave 1", infer=False)
    bad("SplitToSequence", [x, ints(4, -1)], "split[0] is 4", infer=False)
    bad("SplitToSequence", [x], "axis 2", axis=2)
    s = [arr(F32, 2, 3), arr(F32, 2, 3)]
    for at in [{"axis": 0}, {"axis": -1}, {"axis": 0, "new_axis": 1}, {"axis": -1, "new_axis": 1}, {"axis": 1, "new_axis": 1}]:
        case("ConcatFromSequence", [s], out=[F32], **at)
    case("ConcatFromSequence", [[arr(F32, 2), arr(F32, 3)]], out=[F32], axis=0)
    case("ConcatFromSequence", [[T(F32, 2.0), T(F32, 3.0)]], [[2, 3]], out=[F32], axis=0, new_axis=1)
    case("ConcatFromSequence", [[arr("str", 2), arr("str", 3)]], out=["str"], axis=0)
    bad("ConcatFromSequence", [[arr(F32, 2), arr(F32, 3)]], "extent 3", infer=False, axis=0, new_axis=1)
    bad("ConcatFromSequence", [[arr(F32, 2), arr(F32, 3)]], "axis 1", infer=False, axis=1)
    put("ConcatFromSequence", [], {"axis": 0}, ["in seq{ }", "error empty"])
    put("Optional", [], {}, ["in f32[2] 2 3", "out opt{ f32[2] 2 3 }"])
    put("Optional", [], {}, ["in seq{ f32[1] 2 }", "out opt{ seq{ f32[1] 2 } }"])
    put("Optional", [], {}, ["in -", "out opt{ }"])
    put("OptionalHasElement", [], {}, ["in opt{ f32[1] 2 }", "out bool[] 1"])
    put("OptionalHasElement", [], {}, ["in opt{ }", "out bool[] 0"])
    put("OptionalHasElement", [], {}, ["in f32[1] 2", "out bool[] 1"])
    put("OptionalHasElement", [], {}, ["in -", "out bool[] 0"])
    put("OptionalHasElement", [], {}, ["in seq{ }", "out bool[] 1"])
    put("OptionalGetElement", [], {}, ["in opt{ f32[2] 2 3 }", "out f32[2] 2 3"])
    put("OptionalGetElement", [], {}, ["in opt{ seq{ f32[1] 2 } }", "out seq{ f32[1] 2 }"])
    put("OptionalGetElement", [], {}, ["in f32[2] 2 3", "out f32[2] 2 3"])
    put("OptionalGetElement", [], {}, ["in opt{ }", "error empty"])
    put("Identity", [], {}, ["in opt{ seq{ str[1] \"x\" } }", "out opt{ seq{ str[1] \"x\" } }"])


def main():
    print("# movement.txt - cases of the movement, shape and sequence operators; made by gen_movement.py, not by hand.")
    print("# SPDX-License-Identifier: Apache-2.0\n")
    for part in [reshapes, transposes, joins, slices, gathers, scatters, repeats, pads, shapes, sequences]:
        part()


if __name__ == "__main__":
    sys.exit(main())
