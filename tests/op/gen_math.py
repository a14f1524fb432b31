#!/usr/bin/env python3
"""gen_math.py - writes math.txt: expected values of the mathematical operators from onnx.reference and NumPy.

Needs onnx (1.23) with its reference implementation, numpy and ml_dtypes; run by hand: python gen_math.py > math.txt
Floats narrower than 64 bits are computed by the reference in float64 and rounded once, which is what the
evaluators promise.
SPDX-License-Identifier: Apache-2.0
"""
import math
import warnings

import ml_dtypes
import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

warnings.filterwarnings("ignore")
np.seterr(all="ignore")
BF16 = ml_dtypes.bfloat16
NAMES = {
    np.dtype(k): v
    for k, v in {
        np.float32: "f32", np.float64: "f64", np.float16: "f16", BF16: "bf16", np.int8: "i8", np.int16: "i16",
        np.int32: "i32", np.int64: "i64", np.uint8: "u8", np.uint16: "u16", np.uint32: "u32", np.uint64: "u64",
        np.bool_: "bool", ml_dtypes.float8_e4m3fn: "f8e4m3fn", ml_dtypes.float8_e4m3fnuz: "f8e4m3fnuz",
        ml_dtypes.float8_e5m2: "f8e5m2", ml_dtypes.float8_e5m2fnuz: "f8e5m2fnuz", ml_dtypes.float8_e8m0fnu: "f8e8m0",
        ml_dtypes.float4_e2m1fn: "f4e2m1", ml_dtypes.float6_e2m3fn: "f6e2m3", ml_dtypes.float6_e3m2fn: "f6e3m2",
        ml_dtypes.int4: "i4", ml_dtypes.uint4: "u4", ml_dtypes.int2: "i2", ml_dtypes.uint2: "u2"
    }.items()
}
FLOATS = [np.float32, np.float64, np.float16, BF16]
SHORT = [np.float16, BF16]
INTS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
rng = np.random.default_rng(7)
nan, inf = np.nan, np.inf


def number(v, kind):
    if kind.startswith("f") or kind == "bf16":
        if np.isnan(v):
            return "nan"
        if np.isinf(v):
            return "-inf" if v < 0 else "inf"
        text = str(np.float32(v)) if kind == "f32" else repr(float(v))
        return text[:-2] if text.endswith(".0") else text
    return str(int(v))


def tensor(a):
    if a.dtype.kind in "OU":
        kind, values = "str", ['"%s"' % s for s in a.ravel()]
    else:
        kind = NAMES[a.dtype]
        values = [number(v, kind) for v in a.ravel()]
    if len(values) > 2 and len(set(values)) == 1:
        values = [values[0] + "*"]
    return "%s[%s] %s" % (kind, ",".join(map(str, a.shape)), " ".join(values))


def attr_text(v):
    if isinstance(v, str):
        return '"%s"' % v
    if isinstance(v, (list, tuple)):
        return "[%s]" % ",".join(map(str, v))
    return str(v)


def reference(op, inputs, attrs):
    """Outputs of onnx.reference, floats computed in float64."""
    narrow = [a.dtype for a in inputs if a is not None and a.dtype in map(np.dtype, [np.float32, *SHORT])]
    wide = [a.astype(np.float64) if a is not None and a.dtype in narrow else a for a in inputs]
    names = ["x%d" % i if a is not None else "" for i, a in enumerate(wide)]
    outs = {"TopK": 2}.get(op, 1)
    node = helper.make_node(op, names, ["y%d" % i for i in range(outs)], **attrs)
    got = ReferenceEvaluator(node, opsets={"": 28}).run(None, {n: a for n, a in zip(names, wide) if n})
    got = [np.asarray(g) for g in got]
    if narrow:
        got = [g.astype(narrow[0]) if g.dtype == np.float64 else g for g in got]
    return got


def case(op, inputs, attrs=None, want=None, error=None, note="", tol=None, infer_error=False, var=()):
    attrs = attrs or {}
    inputs = [None if a is None else np.asarray(a) for a in inputs]
    print("op %s%s" % (op, " " + note if note else ""))
    if attrs:
        print("attr " + " ".join("%s=%s" % (k, attr_text(v)) for k, v in attrs.items()))
    for i, a in enumerate(inputs):
        print("%s %s" % ("var" if i in var else "in", "-" if a is None else tensor(a)))
    if error is not None:
        print("error " + error)
        if infer_error:
            print("infer error")
    else:
        want = reference(op, inputs, attrs) if want is None else want if isinstance(want, list) else [want]
        for w in want:
            print("out " + tensor(np.asarray(w)))
    if tol is not None:
        print("tol %g" % tol)
    print()


def values(dtype, shape, lo=-3.0, hi=3.0):
    dt = np.dtype(dtype)
    if dt == np.bool_:
        return rng.integers(0, 2, shape).astype(dt)
    if dt.kind in "iu":
        return rng.integers(0 if dt.kind == "u" else int(lo), int(hi) + 1, shape).astype(dt)
    return np.asarray(np.round(rng.uniform(lo, hi, shape), 2)).astype(dt)


# --- containers where tensors belong ---

for op, more in (("Abs", 0), ("Add", 1), ("Equal", 1), ("Cast", 0), ("Clip", 0), ("ReduceMax", 0), ("Softmax", 0),
                 ("MatMul", 1), ("Trilu", 0)):
    print("op %s\n%sin seq{ f32[2] 1 2 }" % (op, "attr to=1\n" if op == "Cast" else ""))
    print("in f32[2] 1 2\n" * more + "error input 0 must be a tensor\n")

# --- one input ---

SPECIAL = [0.0, -0.0, 0.5, -0.5, 1, -1, 2.5, -2.5, 3.5, 1e-3, 20, -20, 90, -90, inf, -inf, nan]
UNARY = {
    "Abs": {},
    "Acos": {},
    "Acosh": {},
    "Asin": {},
    "Asinh": {},
    "Atan": {},
    "Atanh": {},
    "Ceil": {},
    "Celu": {"alpha": 2.0},
    "Cos": {},
    "Cosh": {},
    "Elu": {"alpha": 0.5},
    "Erf": {},
    "Exp": {},
    "Floor": {},
    "HardSigmoid": {"alpha": 0.25, "beta": 0.75},
    "HardSwish": {},
    "LeakyRelu": {"alpha": 0.125},
    "Log": {},
    "Mish": {},
    "Neg": {},
    "Reciprocal": {},
    "Relu": {},
    "Round": {},
    "Selu": {},
    "Shrink": {"lambd": 1.5, "bias": 0.5},
    "Sigmoid": {},
    "Sign": {},
    "Sin": {},
    "Sinh": {},
    "Softplus": {},
    "Softsign": {},
    "Sqrt": {},
    "Swish": {"alpha": 0.5},
    "Tan": {},
    "Tanh": {},
    "ThresholdedRelu": {"alpha": 1.25},
}
# Where the reference is not double arithmetic of the formula: overflow in Softplus and Mish, NaN, Erf in float32.
FORMULA = {
    "Softplus": lambda x: np.logaddexp(x, 0),
    "Mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Elu": lambda x: np.where(x < 0, 0.5 * np.expm1(x), x),
    "Selu": lambda x: np.float64(np.float32(1.05070102)) * np.where(x > 0, x,
                                                                    np.float64(np.float32(1.67326319)) * np.expm1(x)),
    "Swish": lambda x: x / (1 + np.exp(-0.5 * x)),
    "Sigmoid": lambda x: np.where(x < 0,
                                  np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))),
    "Erf": np.vectorize(math.erf, otypes=[float]),
    "Celu": lambda x: np.maximum(x, 0) + np.minimum(2 * np.expm1(x / 2), 0),
}
SHAPES = [(), (3, ), (2, 2), (2, 1, 3), (1, 2, 2, 2), (0, ), (2, 0, 3)]


def unary(op, x, attrs):
    x = np.asarray(x)
    if op in FORMULA:
        return case(op, [x], attrs, want=np.asarray(FORMULA[op](x.astype(np.float64))).astype(x.dtype))
    return case(op, [x], attrs)


for i, (op, attrs) in enumerate(UNARY.items()):
    unary(op, np.array(SPECIAL, np.float32), attrs)
    unary(op, np.array(SPECIAL[:14], np.float64), attrs)
    unary(op, values(SHORT[i % 2], SHAPES[i % len(SHAPES)], 0.1 if op in ("Log", "Sqrt") else -1), attrs)
    unary(op, values(np.float32, SHAPES[(i + 3) % len(SHAPES)]), attrs)
for t in INTS:
    info = np.iinfo(t)
    x = np.array([info.min, info.max, 0, 1, 5], t)
    for op in ("Abs", "Neg", "Relu", "Sign"):
        case(op, [x])
case("Shrink", [np.array([-5, -1, 0, 1, 5], np.int32)], {"lambd": 1.5, "bias": 0.5})
x64 = np.array([-8, -3.0, -1, -0.5, 0, 0.5, 1, 3.0, 8])
erf = FORMULA["Erf"]
case("Gelu", [x64], want=0.5 * x64 * (1 + erf(x64 / np.sqrt(2))), tol=1e-9)
case("Gelu", [x64.astype(np.float32)], {"approximate": "tanh"},
     want=(0.5 * x64 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x64 + 0.044715 * x64**3)))).astype(np.float32))
case("Gelu", [x64], {"approximate": "fast"}, error="approximate")
case("Not", [np.array([[True, False], [False, True]])])
case("Not", [np.array(True)])
for t in INTS:
    case("BitwiseNot", [np.array([0, 1, np.iinfo(t).max, np.iinfo(t).min], t)])
for t in (np.float32, np.float64, np.float16):
    x = np.array([[1, nan, inf], [-inf, 0, -nan]], t)
    case("IsNaN", [x])
    case("IsInf", [x])
case("IsNaN", [np.array([1, nan, inf], BF16)], want=np.array([False, True, False]))
case("IsInf", [np.array([1, -inf, inf], np.float32)], {"detect_negative": 0})
case("IsInf", [np.array([1, -inf, inf], np.float32)], {"detect_positive": 0})
case("IsInf", [np.array([1, -inf, inf], np.float32)], {"detect_positive": 0, "detect_negative": 0})
case("IsInf", [np.array([1, -inf, inf, nan]).astype(ml_dtypes.float8_e5m2)], want=np.array([False, True, True, False]))

# --- Clip ---

for t in (np.float32, np.float16, np.int8, np.int64, np.uint8, np.uint64):
    x = np.array([[0, 1, 5], [7, 100, 3]], t)
    case("Clip", [x, np.array(2, t), np.array(6, t)])
    case("Clip", [x, None, np.array(6, t)], want=np.minimum(x, np.array(6, t)))
    case("Clip", [x, np.array(2, t)], want=np.maximum(x, np.array(2, t)))
case("Clip", [np.array([nan, -inf, inf, 0], np.float32), np.array(-1, np.float32), np.array(1, np.float32)])
case("Clip",
     [np.array([1.0, 2, 3], np.float32),
      np.array(5, np.float32), np.array(1, np.float32)],
     note="min above max")
case("Clip", [np.array([2**64 - 1, 5], np.uint64), np.array(7, np.uint64)], want=np.array([2**64 - 1, 7], np.uint64))
case("Clip", [np.array([1.0, 2], np.float32)], want=np.array([1.0, 2], np.float32))
case("Clip", [np.array([1.0, 2], np.float32), np.array([1.0, 2], np.float32)], error="min must be one f32")
case("Clip", [np.array([-5, 3, 9], np.int64), np.array(0, np.int64), np.array(4, np.int64)], note="shape arithmetic")

# --- two inputs ---

PAIRS = [((), ()), ((3, ), ()), ((2, 3), (3, )), ((2, 3), (2, 1)), ((2, 1, 2), (3, 1)), ((1, 2, 1, 2), (2, 1, 1)),
         ((0, ), (1, )), ((2, 0), (1, 1)), ((2, 1), (1, 0)), ((4, 1), (4, 1)), ((2, 2, 2), (2, 2, 2))]


def divisor(t, shape):
    b = values(t, shape, -4, 4)
    return np.where(b == 0, np.array(3, t), b).astype(t)


for i, (sa, sb) in enumerate(PAIRS):
    t = [
        np.float32, np.int64, np.float32, np.float64, np.int32, BF16, np.float32, np.int64, np.float16, np.uint8,
        np.int16
    ][i]
    for op in ("Add", "Sub", "Mul", "Div"):
        case(op, [values(t, sa, -9, 9), divisor(t, sb)])
    case("Pow", [values(np.float32, sa, 0.1, 4), values(t, sb, 0, 3)]) if t != BF16 else None
    for k, op in enumerate(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")):
        if (i + k) % 2 == 0:
            case(op, [values(t, sa, -1, 1).round() if np.dtype(t) != BF16 else values(t, sa), values(t, sb, -1, 1)])
    for k, op in enumerate(("Max", "Min")):
        if (i + k) % 2:
            case(op, [values(t, sa), values(t, sb)])
    for k, op in enumerate(("And", "Or", "Xor")):
        if (i + k) % 3 == 0:
            case(op, [values(np.bool_, sa), values(np.bool_, sb)])
    for k, op in enumerate(("BitwiseAnd", "BitwiseOr", "BitwiseXor")):
        if (i + k) % 3 == 0:
            it = INTS[i % len(INTS)]
            case(op, [values(it, sa, -100, 100), values(it, sb, -100, 100)])
    case("Where", [values(np.bool_, sb), values(t, sa), values(t, (1, ))]) if i % 2 else None

for t in INTS:
    info = np.iinfo(t)
    big = np.array([info.max, info.min, 7, info.max], t)
    for op in ("Add", "Sub", "Mul"):
        case(op, [big, np.array([1, 1, 3, info.max], t)], note="wraps")
    neg = [-7, 7, -7, 7, info.max, info.min] if info.min else [7, 9, 200, 255, info.max, 0]
    by = [2, -2, -2, 2, 2, 3] if info.min else [2, 4, 7, 16, 3, 5]
    a, b = np.array(neg, t), np.array(by, t)
    case("Div", [a, b])
    case("Mod", [a, b])
    case("Mod", [a, b], {"fmod": 1})
    case("Div", [a, np.array(0, t)], error="division by zero: %d / 0" % neg[0])
    case("Mod", [a, np.array(0, t)], error="division by zero")
    if info.min:
        case("Div", [np.array([1, info.min], t), np.array([-1], t)], error="%d / -1" % info.min)
        case("Mod", [np.array([info.min], t), np.array([-1], t)], want=np.array([0], t))
    bits = info.bits
    shifts = [0, 1, bits - 1, bits, bits + 5] + ([-1] if info.min else [200])
    for direction in ("LEFT", "RIGHT"):
        case("BitShift", [np.full(6, info.max // 3 + 1, t), np.array(shifts, t)], {"direction": direction})
        if info.min:
            case("BitShift", [np.full(6, -5, t), np.array(shifts, t)], {"direction": direction})
    case("Equal", [big, np.array([info.max, 0, 7, 1], t)])
    case("Greater", [big, np.array([1, 0, 7, info.max], t)])
    case("LessOrEqual", [big, np.array([1, 0, 7, info.max], t)])
    case("Max", [big, np.array(5, t), np.array([0, 1, 9, 3], t)])
    case("Min", [big, np.array(5, t)])
case("BitShift", [np.array([1], np.uint8), np.array([1], np.uint8)], {"direction": "UP"}, error="direction")
M = np.array([5.5, -5.5, 5.5, -5.5, 0.0, -0.0, inf, 1, -1, 1, nan, 3])
N = np.array([3, 3, -3, -3, -2, 2, 3, inf, inf, 0, 1, nan])
for t in (np.float32, np.float64, np.float16):
    case("Mod", [M.astype(t), N.astype(t)], want=np.mod(M, N).astype(t))
    case("Mod", [M.astype(t), N.astype(t)], {"fmod": 1}, want=np.fmod(M, N).astype(t))
case("Div", [np.array([1, -1, 0, inf], np.float32), np.array([0, 0, 0, inf], np.float32)])
case("Pow", [np.array([2, -2, 0, 4, nan, 1], np.float32), np.array([3, 3, 0, 0.5, 0, nan], np.float32)])
case("Pow", [np.array([2, 3, -2, 10], np.int64), np.array([10, 0, 3, 18], np.int64)])
case("Pow", [np.array([2, 9], np.int32), np.array([0.5, 0.5], np.float32)], want=np.array([1, 3], np.int32))
case("Pow",
     [np.array([2, 1, -1, -1], np.int64), np.array([-1, -5, -3, -4], np.int64)],
     want=np.array([0, 1, -1, 1], np.int64))
case("Pow", [np.array([0], np.int64), np.array([-1], np.int64)], error="0 to the power -1")
case("Pow", [np.array([1.5, 2], np.float64), np.array([2, 3], np.uint8)], want=np.array([2.25, 8]))
case("Pow", [np.array([3, 2], np.int32), np.array([2**63, 5], np.uint64)],
     want=np.array([1, 32], np.int32),
     note="3^(2^63) wraps to 1")
case("PRelu", [values(np.float32, (2, 3, 2)), values(np.float32, (3, 1))])
case("PRelu", [np.array([-2, 0, 3, nan], np.float32), np.array(0.25, np.float32)],
     want=np.array([-0.5, 0, 3, nan], np.float32))
case("PRelu", [np.array([-2, 0, 3], np.int32), np.array([4], np.int32)])
case("PRelu", [values(np.float32, (3, )), values(np.float32, (2, 3))], error="slope", infer_error=True)
A, B = values(np.float32, (2, 3)), values(np.float32, (2, 3))
case("SwiGLU", [A, B], {"alpha": 0.5},
     want=(A.astype(float) / (1 + np.exp(-0.5 * A.astype(float))) * B.astype(float)).astype(np.float32))
case("SwiGLU", [A, values(np.float32, (3, ))], error="same shape", infer_error=True)
case("Add", [values(np.float32, (2, 3)), values(np.float32, (2, ))], error="do not broadcast", infer_error=True)
case("Add", [np.array([1], np.float32), np.array([1], np.float64)], error="one element type", infer_error=True)
C = np.array([1, nan, inf, -inf, 0.0], np.float32)
D = np.array([nan, nan, inf, inf, -0.0], np.float32)
for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min"):
    case(op, [C, D])
case("Equal", [np.array(["a", "b", ""], object), np.array(["a", "c", ""], object)], want=np.array([True, False, True]))
case("Equal", [np.array([True, False]), np.array([True, True])])
case("Where", [np.array([True, False]), np.array(["a", "b"], object),
               np.array(["c"], object)],
     want=np.array(["a", "c"], object))
case("Where", [np.array([[True], [False]]), np.array([1, nan], np.float16), np.array(5, np.float16)])
case("Where",
     [np.array([True, False, True]),
      np.array([1, 2, 3], ml_dtypes.int4),
      np.array([-4, -5, -6], ml_dtypes.int4)],
     want=np.array([1, -5, 3], ml_dtypes.int4))
case("Where", [np.array([True, False]), np.array([True, False]), np.array([False, True])])
case("Max", [values(np.float32, (2, 2))])
case("Sum", [values(np.float32, (2, 1)), values(np.float32, (3, )), values(np.float32, ())])
xs = [values(np.float64, (2, 1)), values(np.float64, (3, )), values(np.float64, ())]
case("Mean", xs, want=(xs[0] + xs[1] + xs[2]) / 3)
case("Mean", [np.array([65504], np.float16), np.array([65504], np.float16)],
     want=np.array([65504], np.float16),
     note="sum above the range")
case("Sum", [values(np.float32, (0, 2)), values(np.float32, (2, ))])

# --- shape arithmetic: contents are compared with what evaluation gives ---

S = np.array([2, 3, 8], np.int64)
for op in ("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Equal", "Less", "Greater", "GreaterOrEqual",
           "LessOrEqual"):
    case(op, [S, np.array([2], np.int64)], note="shape arithmetic")
    case(op, [np.array(-7, np.int64), np.array(2, np.int64)], note="shape arithmetic")
case("Where", [np.array([False, True, False]), np.ones(3, np.int64), S], note="shape arithmetic")
case("ReduceProd", [S], note="shape arithmetic")
case("ReduceSum", [S, np.array([0], np.int64)], {"keepdims": 0}, note="shape arithmetic")
case("ReduceMax", [S, np.array([0], np.int64)], {"keepdims": 1}, note="shape arithmetic")
case("Neg", [S], note="shape arithmetic")

# --- Cast ---

TO = {
    v: getattr(onnx.TensorProto, k)
    for k, v in {
        "FLOAT": "f32", "DOUBLE": "f64", "FLOAT16": "f16", "BFLOAT16": "bf16", "INT8": "i8", "INT16": "i16",
        "INT32": "i32", "INT64": "i64", "UINT8": "u8", "UINT16": "u16", "UINT32": "u32", "UINT64": "u64",
        "BOOL": "bool", "STRING": "str", "FLOAT8E4M3FN": "f8e4m3fn", "FLOAT8E4M3FNUZ": "f8e4m3fnuz",
        "FLOAT8E5M2": "f8e5m2", "FLOAT8E5M2FNUZ": "f8e5m2fnuz", "UINT4": "u4", "INT4": "i4", "FLOAT4E2M1": "f4e2m1",
        "FLOAT8E8M0": "f8e8m0", "UINT2": "u2", "INT2": "i2", "FLOAT6E2M3": "f6e2m3", "FLOAT6E3M2": "f6e3m2"
    }.items()
}
KIND = {v: k for k, v in NAMES.items()}


def cast(x, to, want=None, note="", **attrs):
    x = np.asarray(x)
    case("Cast", [x], {"to": TO[to], **attrs}, want=x.astype(KIND[to]) if want is None else want, note=note, tol=0)


plain = ["f32", "f64", "f16", "bf16", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool"]
for a in plain:
    for b in plain:
        x = np.array([0, 1, 3, 100], np.float64).astype(KIND[a])
        cast(x, b)
for b in plain[4:12]:
    cast(np.array([-1, 300, 2**40 + 5, 2**63 - 1], np.int64), b, note="wraps")
    cast(np.array([1.9, 0.4, 7.5], np.float32), b, note="toward zero")
for b in plain[:4]:
    cast(np.array([2**53 + 1, 2**24 + 1, -(2**62) - 1, 2**31 + 129], np.int64),
         b,
         note="rounds once",
         want=np.array([2**53 + 1, 2**24 + 1, -(2**62) - 1, 2**31 + 129], np.int64).astype(KIND[b]))
    cast(np.array([2**64 - 1, 2**63], np.uint64), b) if b != "f16" else None
cast(np.array([1e-8, 6e-8, 65519, 65520, 1e10, -1e10, nan, inf, 2049, 2051]), "f16")
cast(np.array([1 + 2**-11 + 2**-40, 1 + 2**-11], np.float64), "f16", note="one rounding")
cast(np.array([3.4e38, 1e39, -1e300, 1e-46, nan]), "f32")
cast(np.array([0.0, -0.0, nan, inf, 1e-40, 5], np.float32), "bool")
F8 = np.array([
    0, -0.0, 1, -1.3, 0.1, 17, 240, 448, 449, 464, 465, 480, 57344, 61439, 61440, 1e6, -1e6, 1e-3, 2**-9, 2**-10, 2**
    -17, inf, -inf, nan
], np.float32)
for b in ("f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz"):
    k = KIND[b]
    top = float(ml_dtypes.finfo(k).max)
    cast(F8, b, want=np.where(np.isnan(F8), F8, np.clip(F8, -top, top)).astype(k))
    cast(F8, b, saturate=0, want=F8.astype(k))
    cast(F8[:8].astype(k), "f32")
    cast(F8[:6].astype(np.float16), b)
    cast(np.array([0, 1, 7, 1000], np.int32), b, want=np.clip(np.array([0, 1, 7, 1000.0]), -top, top).astype(k))
E = np.array([1, 1.25, 1.5, 1.75, 2, 3, 0.3, 2.0**-126, 100])
cast(E.astype(np.float32), "f8e8m0", want=(2.0**np.ceil(np.log2(E))).astype(KIND["f8e8m0"]))
cast(E.astype(np.float32), "f8e8m0", round_mode="down", want=(2.0**np.floor(np.log2(E))).astype(KIND["f8e8m0"]))
cast(E.astype(np.float32),
     "f8e8m0",
     round_mode="nearest",
     want=(2.0**(np.floor(np.log2(E)) + (E / 2.0**np.floor(np.log2(E)) >= 1.5))).astype(KIND["f8e8m0"]))
EDGE = np.array([0, inf, nan, 1e39])
cast(EDGE, "f8e8m0", want=np.array([2.0**-127, 2.0**127, nan, 2.0**127]).astype(KIND["f8e8m0"]))
cast(EDGE, "f8e8m0", saturate=0, round_mode="nearest", want=np.array([nan, nan, nan, nan]).astype(KIND["f8e8m0"]))
case("Cast", [np.array([1.0])], {"to": TO["f8e8m0"], "round_mode": "sideways"}, error="round_mode")
for b in ("f4e2m1", "f6e2m3", "f6e3m2"):
    cast(np.array([0, -0.0, 0.25, 0.3, 1.25, 1.75, 2.5, 3.5, 5, -5, 7, 30, -inf], np.float32), b)
    cast(np.array([0, -1, 1.5, 2, 0.5], np.float32).astype(KIND[b]), "f32")
for b in ("i4", "u4", "i2", "u2"):
    cast(np.array([0, 1, -1, 2, 5, 7, 15], np.int32),
         b,
         want=np.array([0, 1, -1, 2, 5, 7, 15], np.int64).astype(KIND[b]))
    cast(np.array([0, 1, 1, 0, 1], np.int64).astype(KIND[b]), "f32")
    cast(np.array([0, 1, 1, 0, 1], np.int64).astype(KIND[b]), "i8")
cast(np.array([-8, -1, 7, 3, 0], np.int64).astype(ml_dtypes.int4), "i64")
strings = [
    1, 0.1, -2.5, 1e-5, 0.0001, 0.00012345, 123456, 1e20, 1e16, 9007199254740993, -0.0, nan, inf, -inf, 1 / 3, 5e-324,
    1.7976931348623157e308
]
cast(np.array(strings), "str", want=np.array(strings).astype(str).astype(object))
f32s = np.array(strings[:8] + strings[10:15] + [1e6, 999999, 1e7 + 1, 1e-45, 3.4028235e38], np.float32)
cast(f32s, "str", want=f32s.astype(str).astype(object))
f16s = np.array([1, 0.1, -2.5, 1e-5, 999, 1000, 65504, 1 / 3, 6e-8, nan], np.float16)
cast(f16s, "str", want=f16s.astype(str).astype(object))
cast(np.array([-5, 0, 2**63 - 1, -(2**63)], np.int64),
     "str",
     want=np.array(["-5", "0", str(2**63 - 1), str(-(2**63))], object))
cast(np.array([2**64 - 1], np.uint64), "str", want=np.array([str(2**64 - 1)], object))
cast(np.array([True, False]), "str", want=np.array(["True", "False"], object))
texts = ["3.14", "1000", "1e-5", "1E8", "+INF", "inf", "-INF", "NaN", "nAn", " 2 ", "-0.0", "+7", "0.1"]
reads = np.array([3.14, 1000, 1e-5, 1e8, inf, inf, -inf, nan, nan, 2, -0.0, 7, 0.1])
for b in ("f32", "f64", "f16", "bf16"):
    cast(np.array(texts, object), b, want=reads.astype(KIND[b]))
cast(np.array(["1", "-5", "100.5", "9223372036854775807", " 12 ", "1e3"], object),
     "i64",
     want=np.array([1, -5, 100, 2**63 - 1, 12, 1000], np.int64))
cast(np.array(["18446744073709551615"], object), "u64", want=np.array([2**64 - 1], np.uint64))
cast(np.array(["true", "False", "1", "0", "0.5"], object), "bool", want=np.array([True, False, True, False, True]))
cast(np.array(["a", ""], object), "str", want=np.array(["a", ""], object))
for text, to in (("Hello", "f32"), ("", "f32"), ("0x10", "f64"), ("1 2", "i32"), ("300", "u8"),
                 ("9223372036854775808", "i64"), ("nan", "i32"), ("maybe", "bool")):
    case("Cast", [np.array([text], object)], {"to": TO[to]}, error="cannot be read as " + to)
case("Cast", [np.array([1.0])], {"to": 99}, error="no element type", infer_error=True)
case("Cast", [np.array([1.0])], {"to": onnx.TensorProto.COMPLEX64}, error="complex")
for shape in SHAPES:
    cast(values(np.float32, shape), "i32")
cast(np.array([5, -1], np.int64), "i32", note="shape arithmetic")
cast(np.array([5.0, -1.0], np.float32), "i64", note="shape arithmetic")
case("CastLike", [np.array([1.5, -2.5], np.float32), np.array([], np.int32)], want=np.array([1, -2], np.int32))
case("CastLike", [np.array([[3]], np.int64), np.array(["x"], object)], want=np.array([["3"]], object))

# --- reductions ---

REDUCE = [
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare"
]
AXES = [None, [0], [-1], [0, 2], [1, -1], []]
ai = lambda v: None if v is None else np.array(v, np.int64)
for i, op in enumerate(REDUCE):
    lo = 0.5 if op == "ReduceLogSum" else -2
    for k, axes in enumerate(AXES):
        t = FLOATS[(i + k) % 4]
        for keep in (0, 1):
            x = values(t, (2, 3, 2), lo, 2)
            case(op, [x] + ([ai(axes)] if axes is not None else []), {"keepdims": keep})
    case(op, [values(np.float32, (2, 2), lo, 2)], {"noop_with_empty_axes": 1})
    case(op, [values(np.float32, (2, 2), lo, 2), ai([])], {"noop_with_empty_axes": 1})
    if op != "ReduceLogSumExp":
        case(op, [np.array(1.5, np.float32)])
    case(op, [values(np.float32, (2, 1, 2, 3, 2), lo, 2), ai([1, 3])], {"keepdims": 0})
    case(op, [values(np.float32, (2, 3), lo, 2), ai([1])], {"keepdims": 0}, var=(1, ))
    case(op, [values(np.float32, (2, 3), lo, 2), ai([0, -2])], error="given twice", infer_error=True)
    case(op, [values(np.float32, (2, 3), lo, 2), ai([2])], error="axis 2 is not in [-2, 1]", infer_error=True)
    empty = {
        "ReduceLogSum": -inf, "ReduceLogSumExp": -inf, "ReduceMax": -inf, "ReduceMin": inf, "ReduceProd": 1,
        "ReduceMean": nan
    }.get(op, 0)
    case(op, [np.zeros((2, 0, 3), np.float32), ai([1])], want=np.full((2, 1, 3), empty, np.float32))
    case(op, [np.zeros((2, 0, 3), np.float32)], {"keepdims": 0}, want=np.array(empty, np.float32))
    case(op, [np.zeros((2, 0, 3), np.float32), ai([0])], want=np.zeros((1, 0, 3), np.float32))
    if op not in ("ReduceLogSum", "ReduceLogSumExp"):
        for t in (np.int32, np.int64, np.uint32, np.uint64, np.int8):
            x = np.array([[1, 2, 7], [4, 0, 9]], t)
            if t in (np.int32, np.int64):
                x = x * np.array([[1, -1, 1]], t)
            f = x.astype(np.float64)
            exact = {
                "ReduceL1": np.abs(f).sum(1), "ReduceL2": np.sqrt(
                    (f * f).sum(1)), "ReduceMax": f.max(1), "ReduceMean": np.trunc(f.sum(1) / 3), "ReduceMin": f.min(1),
                "ReduceProd": f.prod(1), "ReduceSum": f.sum(1), "ReduceSumSquare": (f * f).sum(1)
            }[op]
            if t == np.int8 and op == "ReduceSumSquare":
                continue
            case(op, [x, ai([1])], {"keepdims": 0}, want=exact.astype(np.int64).astype(t))
    else:
        case(op, [np.array([1, 2], np.int32)], error="not defined", infer_error=True)
for op, t, want in (("ReduceMax", np.int32, -2**31), ("ReduceMax", np.uint8, 0), ("ReduceMax", np.uint64, 0),
                    ("ReduceMin", np.int8, 127), ("ReduceMin", np.uint64, 2**64 - 1), ("ReduceMax", np.int64, -2**63),
                    ("ReduceMin", np.uint16, 65535), ("ReduceMax", np.bool_, 0), ("ReduceMin", np.bool_, 1),
                    ("ReduceProd", np.int64, 1), ("ReduceSum", np.int64, 0)):
    case(op, [np.zeros((0, 2), t), ai([0])], {"keepdims": 0}, want=np.full(2, want, t), note="of nothing")
case("ReduceMean", [np.zeros((0, 2), np.int32), ai([0])], error="mean of no integers")
case("ReduceMax", [np.array([2**63 + 1, 5], np.uint64)], {"keepdims": 0})
case("ReduceMin", [np.array([2**63 + 1, 5], np.uint64)], {"keepdims": 0})
X = np.array([[True, False], [False, False], [True, True]])
case("ReduceMax", [X, ai([1])], {"keepdims": 0})
case("ReduceMin", [X, ai([1])], {"keepdims": 0})
X = np.array([[1, nan, 2], [-inf, -inf, -inf], [inf, 1, 2]], np.float32)
for op in ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean"):
    case(op, [X, ai([1])], {"keepdims": 0})
case("ReduceLogSumExp", [X, ai([1])], {"keepdims": 0}, want=np.array([nan, -inf, inf], np.float32))
case("ReduceLogSumExp", [np.array([1000, 1000.5], np.float32)],
     want=np.array([1000.5 + np.log1p(np.exp(-0.5))], np.float32))
case("ReduceSum", [np.full(4096, 0.1, np.float32)],
     want=np.array([np.full(4096, np.float32(0.1), np.float64).sum()], np.float32),
     note="accumulates in double")
case("ReduceMean", [np.full(2048, 60000, np.float16)], want=np.array([60000], np.float16), note="accumulates in double")
case("ReduceProd", [np.array([2**62, 4], np.int64)], {"keepdims": 0}, want=np.array(0, np.int64), note="wraps")

for op in ("ArgMax", "ArgMin"):
    for k, t in enumerate(FLOATS + [np.int32, np.uint64, np.uint8]):
        x = values(t, (2, 3, 4), -2, 2)
        for axis in (0, -2, 2):
            case(op, [x], {"axis": axis, "keepdims": k % 2, "select_last_index": (k + axis) % 2})
    case(op, [np.array([1, nan, 3, nan], np.float32)])
    case(op, [np.array([1, nan, 3, nan], np.float32)], {"select_last_index": 1})
    case(op, [np.array([[0.0, -0.0, 0.0]], np.float32)], {"axis": 1})
    columns = np.array([[1, nan, -inf, inf, 3, -1, 0], [nan, nan, -inf, inf, 3, -2, -0.0], [9, 5, -inf, 1, 2, nan, 0],
                        [nan, 7, -inf, inf, 3, -2, 0]], np.float32)
    for last in (0, 1):
        case(op, [columns], {"axis": 0, "select_last_index": last})
        case(op, [np.array([[1, 2], [1, 2], [0, 3], [1, 2], [0, 3]], np.int32)], {"axis": 0, "select_last_index": last})
    case(op, [np.array([2**63 + 1, 5], np.uint64)])
    case(op, [np.array([-inf, -inf], np.float32)])
    case(op, [np.zeros((2, 0), np.float32)], {"axis": 1}, error="no elements")
    case(op, [np.zeros((2, 0), np.float32)], {"axis": 0}, want=np.zeros((1, 0), np.int64))
    case(op, [np.zeros(2, np.float32)], {"axis": 1}, error="axis 1 is not in", infer_error=True)

# --- Softmax and friends ---


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


for k, t in enumerate(FLOATS):
    for axis in (-1, 0, 1):
        x = values(t, (2, 3, 2))
        f = x.astype(np.float64)
        case("Softmax", [x], {"axis": axis}, want=softmax(f, axis).astype(t))
        case("LogSoftmax", [x], {"axis": axis}, want=np.log(softmax(f, axis)).astype(t))
        case("Hardmax", [x], {"axis": axis}) if axis else None
X = np.array([[-inf, -inf], [0, -inf], [1000, 1001], [nan, 0], [inf, 0]], np.float32)
case("Softmax", [X], want=softmax(X.astype(float), 1).astype(np.float32))
case("LogSoftmax", [X[:4]],
     want=np.array([[nan, nan], [0, -inf], [-1 - np.log1p(np.exp(-1)), -np.log1p(np.exp(-1))], [nan, nan]], np.float32))
case("Hardmax", [np.array([[1, 3, 3], [nan, 1, 2], [-inf, -inf, -inf]], np.float32)])
for op in ("Softmax", "LogSoftmax", "Hardmax"):
    case(op, [np.zeros((2, 0), np.float32)], want=np.zeros((2, 0), np.float32))
    case(op, [np.zeros((0, 2), np.float32)], want=np.zeros((0, 2), np.float32))
    case(op, [np.zeros((2, 2), np.float32)], {"axis": 2}, error="axis 2 is not in")

# --- CumSum, CumProd ---

for op, f in (("CumSum", np.cumsum), ("CumProd", np.cumprod)):
    for k, t in enumerate([np.float32, np.float64, np.float16, BF16, np.int32, np.int64, np.uint32, np.uint64]):
        x = values(t, (2, 3), 1, 3)
        for ex in (0, 1):
            for rev in (0, 1):
                axis = (k + ex) % 2
                y = f(np.flip(x.astype(np.float64), axis) if rev else x.astype(np.float64), axis=axis)
                if ex:
                    one = np.full_like(y, 1.0 if op == "CumProd" else 0.0)
                    y = np.concatenate([one[:1], y[:-1]], 0) if axis == 0 else np.concatenate([one[:, :1], y[:, :-1]],
                                                                                              1)
                y = np.flip(y, axis) if rev else y
                case(op, [x, np.array(axis - 2 * (k % 2), np.int32 if k % 3 else np.int64)],
                     {"exclusive": ex, "reverse": rev},
                     want=y.astype(t))
    case(op, [np.zeros((2, 0), np.float32), np.array(1, np.int64)], want=np.zeros((2, 0), np.float32))
    case(op, [np.zeros((2, 2), np.float32), np.array(2, np.int64)], error="axis 2 is not in")
    case(op, [np.zeros((2, 2), np.float32), np.array([0, 1], np.int64)], error="one number")

# --- products ---

MM = [((2, 3), (3, 2)), ((3, ), (3, )), ((3, ), (3, 2)), ((2, 3), (3, )), ((2, 2, 3), (3, 2)), ((2, 3), (2, 3, 2)),
      ((2, 1, 2, 3), (3, 3, 1)), ((3, ), (2, 3, 2)), ((2, 2, 3), (3, )), ((2, 0), (0, 3)), ((0, 2), (2, 3)),
      ((2, 2), (2, 0)), ((0, 2, 3), (3, 2)), ((1, 1), (1, 1)), ((2, 0), (0, ))]
for i, (sa, sb) in enumerate(MM):
    t = [np.float32, np.float64, np.int32, np.float16, np.int64, np.uint32, np.uint64][i % 7]
    a, b = values(t, sa), values(t, sb)
    wide = np.float64 if np.dtype(t).kind == "f" else t
    case("MatMul", [a, b], want=np.matmul(a.astype(wide), b.astype(wide)).astype(t))
    case("MatMul", [values(np.float32, sa), values(np.float32, sb)]) if i % 7 else None
a, b = values(BF16, (2, 3)), values(BF16, (3, 2))
case("MatMul", [a, b], want=(a.astype(float) @ b.astype(float)).astype(BF16))
case("MatMul", [np.array([[2**62, 4]], np.int64), np.array([[4], [1]], np.int64)],
     want=np.array([[4]], np.int64),
     note="wraps")
a, b = values(np.float32, (5, 7), -1, 1), values(np.float32, (7, 35), -1, 1)
case("MatMul", [a, b], note="over the block sizes")
case("MatMul", [np.array([[2, 3]], np.float32), np.full((2, 600), 0.5, np.float32)], note="one row, over the block size")
case("MatMul", [np.array([[inf, 0]], np.float32), np.array([[0], [1]], np.float32)])
case("MatMul", [values(np.float32, (2, 3)), values(np.float32, (2, 3))],
     error="inner dimensions 3 and 2 differ",
     infer_error=True)
case("MatMul", [values(np.float32, (2, 2, 3)), values(np.float32, (3, 3, 2))],
     error="do not broadcast",
     infer_error=True)
case("MatMul", [values(np.float32, ()), values(np.float32, (3, ))], error="scalar", infer_error=True)
for i, cs in enumerate([None, (), (1, ), (3, ), (2, 1), (1, 3), (2, 3)]):
    ta, tb = i & 1, i >> 1 & 1
    t = [np.float32, np.float64, np.float16, BF16, np.float32, np.float32, np.float32][i]
    a, b = values(t, (4, 2) if ta else (2, 4)), values(t, (3, 4) if tb else (4, 3))
    c = None if cs is None else values(t, cs)
    y = 0.5 * (
        (a.T if ta else a).astype(float) @ (b.T if tb else b).astype(float)) + (0 if c is None else 2 * c.astype(float))
    case("Gemm", [a, b] + ([] if c is None else [c]), {"alpha": 0.5, "beta": 2.0, "transA": ta, "transB": tb},
         want=y.astype(t))
a, b, c = values(np.int32, (2, 3)), values(np.int32, (3, 2)), values(np.int32, (2, ))
case("Gemm", [a, b, c], {"alpha": 2.0, "beta": 3.0}, want=2 * (a @ b) + 3 * c)
case("Gemm", [np.zeros(
    (2, 0), np.float32), np.zeros(
        (0, 3), np.float32), np.ones(3, np.float32)],
     want=np.ones((2, 3), np.float32))
case("Gemm", [np.zeros((0, 2), np.float32), np.zeros((2, 3), np.float32)], want=np.zeros((0, 3), np.float32))
case("Gemm", [np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)],
     error="inner dimensions 3 and 2 differ",
     infer_error=True)
case("Gemm", [np.ones((2, 3), np.float32), np.ones((3, 2), np.float32), np.ones((3, ), np.float32)], error="broadcast")
case("Gemm", [np.ones(
    (1, 3), np.float32), np.ones(
        (3, 2), np.float32), np.ones((2, 2), np.float32)],
     error="C does not broadcast",
     infer_error=True)
case("Gemm", [np.ones((2, 3, 1), np.float32), np.ones((3, 2), np.float32)], error="two dimensions", infer_error=True)

EIN = [("ij,jk->ik", (2, 3), (3, 2)), ("ij,jk", (2, 3), (3, 2)), ("bij , bjk -> bik", (2, 2, 3), (2, 3, 2)),
       ("ii->i", (3, 3)), ("ii", (3, 3)), ("ij->ji", (2, 3)), ("ji", (2, 3)), ("i,j->ij", (2, ), (3, )),
       ("i,i", (3, ), (3, )), ("...ij,...jk->...ik", (2, 1, 2, 3), (2, 3, 2)), ("...i->...", (2, 3)),
       ("...ii->...i", (2, 3, 3)), ("i...->...", (2, 3, 2)), ("bhid,bhjd->bhij", (1, 2, 3, 2), (1, 2, 2, 2)),
       ("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)), ("ij,kl->", (2, 3), (2, 2)), ("i,ij,j->", (2, ), (2, 3), (3, )),
       ("Ab,bA->A", (2, 3), (3, 2)), ("->", ()), ("...->...", (2, 3)), ("i...j,jk->i...k", (2, 2, 3), (3, 2)),
       ("ij,j->i", (2, 0), (0, )), ("ij->i", (0, 3)), ("ijk->", (2, 2, 2)), ("aab,b->a", (2, 2, 3), (3, )),
       ("...,...->...", (2, 1), (3, )), ("bA...a", (2, 3, 2))]
for i, (eq, *shapes) in enumerate(EIN):
    t = [np.float32, np.float64, np.int32, np.int64, np.float16][i % 5]
    xs = [values(t, s) for s in shapes]
    wide = [x.astype(np.float64 if np.dtype(t).kind == "f" else t) for x in xs]
    case("Einsum", xs, {"equation": eq}, want=np.asarray(np.einsum(eq, *wide)).astype(t))
BIG = math.inf  # of a sum of terms the first of which is 2 * -inf, the second -4 * -inf, or 0 * inf
case("Einsum", [np.float32([[1, 2], [1, -2]]), np.float32([[2], [2]]), np.float32([[3, -BIG]])],
     {"equation": "ij,jk,kl->il"}, want=np.float32([[18, -BIG], [-6, np.nan]]))
case("Einsum", [np.float32([[1, -1, 0]]), np.float32([BIG, 1])], {"equation": "ij,k->k"},
     want=np.float32([np.nan, 0]))
for eq, why, *shapes in [("ij,jk->ik", "extents 3 and 2", (2, 3), (2, 3)),
                         ("ij->k", "letter that no input has", (2, 3)), ("ij->ii", "repeats", (2, 3)),
                         ("ij", "number of terms", (2, 3), (2, 3)), ("ij,jk", "number of terms", (2, 3)),
                         ("i", "as many letters", (2, 3)), ("ijk", "as many letters", (2, 3)),
                         ("i1", "only letters", (2, 3)), ("i..j", "misplaced dot", (2, 3)),
                         ("ij->i->j", "only letters", (2, 3)), ("......", "misplaced dot", (2, 3)),
                         ("ij->i,j", "one output", (2, 3))]:
    case("Einsum", [np.ones(s, np.float32) for s in shapes], {"equation": eq},
         error=why,
         infer_error=why != "extents 3 and 2")

# --- TopK, Trilu ---

k1 = lambda k: np.array([k], np.int64)
for i, t in enumerate([np.float32, np.float64, np.float16, np.int32, np.int64, np.uint8, np.uint64]):
    x = values(t, (2, 4, 2), -3, 3)
    for axis in (-1, 1, 0):
        case("TopK", [x, k1(2 if axis else 1)], {"axis": axis, "largest": (i + axis) % 2})
x = np.arange(300, dtype=np.float32) * 7 % 60  # blocks and what is left of them, every value five times
for largest, k in ((1, 8), (0, 8), (1, 40), (0, 290)):  # few are inserted, many sorted
    order = np.argsort(-x if largest else x, kind="stable")[:k]
    case("TopK", [x, k1(k)], {"largest": largest}, want=[x[order], order.astype(np.int64)])
x = np.arange(600, dtype=np.float32) * 7 % 60  # NaN comes last of the smallest, first of the largest: in later blocks, too
for first, step, k in ((290, 30, 8), (1, 2, 8), (1, 1, 3)):
    x[first::step] = nan
    for largest in (1, 0):
        order = np.lexsort((np.arange(600), np.where(np.isnan(x), -np.inf if largest else np.inf, -x if largest else x)))[:k]
        case("TopK", [x.copy(), k1(k)], {"largest": largest}, want=[x[order], order.astype(np.int64)])
x = np.array([3, 1, 3, 2, 1], BF16)
case("TopK", [x, k1(3)], want=[np.array([3, 3, 2], BF16), np.array([0, 2, 3], np.int64)])
case("TopK", [x, k1(3)], {"largest": 0, "sorted": 0}, want=[np.array([1, 1, 2], BF16), np.array([1, 4, 3], np.int64)])
x = np.array([1, nan, 3, nan, -inf], np.float32)
case("TopK", [x, k1(3)], want=[np.array([nan, nan, 3], np.float32), np.array([1, 3, 2], np.int64)])
case("TopK", [x, k1(3)], {"largest": 0}, want=[np.array([-inf, 1, 3], np.float32), np.array([4, 0, 2], np.int64)])
case("TopK", [np.array([-0.0, 0.0, -0.0], np.float32), k1(3)],
     want=[np.array([-0.0, 0.0, -0.0], np.float32),
           np.arange(3, dtype=np.int64)])
case("TopK", [x, k1(0)], want=[np.zeros(0, np.float32), np.zeros(0, np.int64)])
case("TopK", [np.zeros((0, 3), np.float32), k1(2)], want=[np.zeros((0, 2), np.float32), np.zeros((0, 2), np.int64)])
case("TopK", [x, k1(2)], want=[np.array([nan, nan], np.float32), np.array([1, 3], np.int64)], var=(1, ))
case("TopK", [x, k1(6)], error="k is 6, but axis 0 has 5 elements", infer_error=True)
case("TopK", [x, k1(-1)], error="k is -1", infer_error=True)
case("TopK", [x, np.array([1, 2], np.int64)], error="k must be one number")
T = values(np.float32, (2, 3, 4))
for upper in (0, 1):
    for k in (None, 0, 1, -1, 5, -5, 2**62, -(2**63)):
        n = 0 if k is None else max(-9, min(9, k))
        case("Trilu", [T] + ([] if k is None else [np.array(k, np.int64)]), {"upper": upper},
             want=(np.triu if upper else np.tril)(T, n))
    for t in (np.int8, np.bool_, np.float16, np.uint64):
        x = values(t, (3, 3), 1, 3)
        case("Trilu", [x], {"upper": upper}, want=(np.triu if upper else np.tril)(x).astype(t))
    case("Trilu", [np.zeros((3, 0), np.float32)], {"upper": upper}, want=np.zeros((3, 0), np.float32))
case("Trilu", [np.array([["a", "b"], ["c", "d"]], object)], want=np.array([["a", "b"], ["", "d"]], object))
case("Trilu", [np.zeros(3, np.float32)], error="at least 2 dimensions")
