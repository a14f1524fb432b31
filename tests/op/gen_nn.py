#!/usr/bin/env python3
# gen_nn.py - writes nn.txt: cases of the neural network operators. Expected values come from PyTorch in double, from
# onnx.reference in double, or from the equations of the ONNX documentation in NumPy (cross-checked against PyTorch
# where it has the operator). Needs torch, onnx and numpy:  python3 tests/op/gen_nn.py > tests/op/nn.txt
# SPDX-License-Identifier: Apache-2.0
import itertools

import ml_dtypes
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops import op_resize

rng = np.random.default_rng(7)
EPS = np.float32(1e-5).item()  # the default epsilon, as the attribute holds it
NUMPY = {"f32": np.float32, "f64": np.float64, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "i64": np.int64,
         "i32": np.int32,
         "u8": np.uint8, "i8": np.int8, "u16": np.uint16, "i16": np.int16, "u4": ml_dtypes.uint4, "i4": ml_dtypes.int4,
         "u2": ml_dtypes.uint2, "i2": ml_dtypes.int2, "bool": np.bool_, "f8e4m3fn": ml_dtypes.float8_e4m3fn,
         "f8e4m3fnuz": ml_dtypes.float8_e4m3fnuz, "f8e5m2": ml_dtypes.float8_e5m2,
         "f8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
         "f4e2m1": ml_dtypes.float4_e2m1fn, "f8e8m0": ml_dtypes.float8_e8m0fnu, "f6e2m3": ml_dtypes.float6_e2m3fn}
FLOATS = {"f32", "f64", "f16", "bf16", "f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz", "f4e2m1", "f8e8m0", "f6e2m3"}


def text(dtype, v):
    v = np.asarray(v)
    def one(x):
        return str(int(x)) if dtype not in FLOATS else repr(float(x)) if dtype == "f64" else "%.9g" % float(x)
    return ("%s[%s] " % (dtype, ",".join(map(str, v.shape))) + " ".join(one(x) for x in v.reshape(-1))).strip()


def attr_text(attrs):
    def one(x):
        return "[%s]" % ",".join(map(str, x)) if isinstance(x, (list, tuple)) else str(x)
    return " ".join("%s=%s" % (k, one(x)) for k, x in attrs.items())


def case(op, note, attrs, ins, outs, tol=None):
    """ins, outs: (dtype, array), None for absent / not wanted, or "?" for not compared."""
    print("op %s %s" % (op, note))
    if attrs:
        print("attr " + attr_text(attrs))
    for x in ins:
        print("in " + ("-" if x is None else text(*x)))
    for x in outs:
        print("out " + ("-" if x is None else x if x == "?" else text(*x)))
    if tol:
        print("tol %g" % tol)
    print()


def small(*shape):
    """Eighths between -2 and 2: exact in every float type, short in text."""
    return rng.integers(-16, 17, shape) / 8.0


def t(x):
    return torch.from_numpy(np.asarray(x, dtype=np.float64))


def f32(x):
    return ("f32", x.numpy() if isinstance(x, torch.Tensor) else x)


def reference(op, ins, nout=1, **attrs):
    """onnx.reference on arrays (None: absent); attributes in ONNX's form."""
    names = ["x%d" % i if x is not None else "" for i, x in enumerate(ins)]
    given = {n: np.asarray(x) for n, x in zip(names, ins) if n}
    node = helper.make_node(op, names, ["y%d" % i for i in range(nout)], **attrs)
    info = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in given.items()]
    graph = helper.make_graph([node], "g", info, [helper.make_empty_tensor_value_info("y%d" % i) for i in range(nout)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", onnx.defs.onnx_opset_version())],
                              ir_version=13)
    return ReferenceEvaluator(model).run(None, given)


# --- convolution ---

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONVT = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def padded(x, begin, end, value=0.0):
    return F.pad(x, [p for b, e in reversed(list(zip(begin, end))) for p in (b, e)], value=value)


def conv_expected(x, w, b, attrs):
    n = x.ndim - 2
    strides, dil = attrs.get("strides", [1] * n), attrs.get("dilations", [1] * n)
    pads, auto = attrs.get("pads", [0] * 2 * n), attrs.get("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        total = []
        for i in range(n):
            last = (-(-x.shape[i + 2] // strides[i]) - 1) * strides[i]  # where the last window starts
            total.append(max(last + (w.shape[i + 2] - 1) * dil[i] + 1 - x.shape[i + 2], 0))
        half = [v // 2 for v in total]
        rest = [v - h for v, h in zip(total, half)]
        pads = half + rest if auto == "SAME_UPPER" else rest + half
    return CONV[n](padded(t(x), pads[:n], pads[n:]), t(w), None if b is None else t(b), stride=strides, dilation=dil,
                   groups=attrs.get("group", 1))


def conv(note, xs, ws, bias, dtype="f32", **attrs):
    x, w, b = small(*xs), small(*ws), small(ws[0]) if bias else None
    ins = [(dtype, x), (dtype, w)] + ([(dtype, b)] if bias else [])
    case("Conv", note, attrs, ins, [(dtype, conv_expected(x, w, b, attrs).numpy().astype(NUMPY[dtype]))])


def convolutions():
    conv("1-D", (2, 3, 7), (2, 3, 3), True)
    conv("1-D stride, dilation, pads", (1, 2, 9), (3, 2, 3), True, strides=[2], dilations=[2], pads=[3, 1])
    conv("2-D", (1, 2, 4, 5), (3, 2, 3, 2), True)
    conv("asymmetric pads", (1, 1, 4, 5), (2, 1, 3, 3), False, pads=[0, 2, 1, 1], kernel_shape=[3, 3])
    conv("stride and dilation per axis", (1, 2, 7, 8), (2, 2, 2, 3), True, strides=[2, 3], dilations=[3, 1],
         pads=[1, 1, 2, 1])
    conv("depthwise", (2, 3, 4, 4), (6, 1, 2, 2), True, group=3)
    conv("two groups", (1, 4, 3, 3), (2, 2, 2, 2), False, group=2)
    conv("1 x 1", (1, 3, 2, 3), (2, 3, 1, 1), True, strides=[1, 2])
    conv("3-D", (1, 2, 3, 4, 3), (2, 1, 2, 3, 2), True, group=2, pads=[1, 0, 1, 0, 1, 0], strides=[1, 2, 1])
    for auto, strides in itertools.product(["SAME_UPPER", "SAME_LOWER", "VALID"], [[1, 1], [2, 3]]):
        conv("%s %s" % (auto, strides), (1, 1, 5, 6), (1, 1, 2, 4), False, auto_pad=auto, strides=strides)
    conv("no batch", (0, 2, 4, 4), (3, 2, 3, 3), True)
    conv("the kernel just fits", (1, 1, 3, 3), (1, 1, 3, 3), False)
    for dtype in ("f64", "f16", "bf16"):
        conv(dtype, (1, 2, 3, 3), (2, 2, 2, 2), True, dtype=dtype)


def transposed(note, xs, ws, bias, crop=None, dtype="f32", **attrs):
    """crop: (begin, end) cut off the full result, the general form of pads; end may be negative: zeros are added."""
    n, g = len(xs) - 2, attrs.get("group", 1)
    x, w, b = small(*xs), small(*ws), small(ws[1] * g) if bias else None
    extra = attrs.get("output_padding", [0] * n)
    pads = attrs.get("pads", [0] * 2 * n)
    begin, end = crop if crop else (pads[:n], [e - o for e, o in zip(pads[n:], extra)])
    y = CONVT[n](t(x), t(w), None, stride=attrs.get("strides", 1), dilation=attrs.get("dilations", 1), groups=g)
    y = padded(y, [-v for v in begin], [-v for v in end])
    if bias:
        y = y + t(b).reshape([1, -1] + [1] * n)
    ins = [(dtype, x), (dtype, w)] + ([(dtype, b)] if bias else [])
    case("ConvTranspose", note, attrs, ins, [(dtype, y.numpy().astype(NUMPY[dtype]))])


def transposed_convolutions():
    transposed("1-D", (2, 3, 4), (3, 2, 3), True)
    transposed("stride, pads, output_padding", (1, 2, 3, 4), (2, 2, 3, 3), True, strides=[2, 3], pads=[1, 0, 1, 2],
               output_padding=[1, 2])
    transposed("dilation and groups", (1, 4, 3, 3), (4, 2, 2, 2), True, dilations=[2, 1], group=2)
    transposed("3-D", (1, 2, 2, 3, 2), (2, 1, 2, 2, 3), False, strides=[1, 2, 2], pads=[0, 1, 1, 0, 0, 1])
    transposed("output_shape", (1, 1, 3, 3), (1, 2, 3, 3), True, crop=([0, 0], [-1, 0]), strides=[3, 2],
               output_shape=[10, 7])
    transposed("output_shape smaller, the odd pad first", (1, 1, 4), (1, 1, 3), False, crop=([2], [1]), strides=[2],
               output_shape=[6])
    transposed("output_shape SAME_UPPER", (1, 1, 4), (1, 1, 3), False, crop=([1], [2]), strides=[2], output_shape=[6],
               auto_pad="SAME_UPPER")
    transposed("SAME_UPPER", (1, 1, 3, 3), (1, 1, 3, 4), True, crop=([0, 1], [1, 1]), strides=[2, 2],
               auto_pad="SAME_UPPER")
    transposed("SAME_LOWER", (1, 1, 3, 3), (1, 1, 3, 4), True, crop=([1, 1], [0, 1]), strides=[2, 2],
               auto_pad="SAME_LOWER")
    transposed("VALID", (1, 1, 3), (1, 1, 2), False, auto_pad="VALID", strides=[2])
    transposed("f16", (1, 1, 3), (1, 1, 2), True, dtype="f16")


# --- pooling ---

def pool_windows(size, kernel, stride, dilation, begin, end, ceil):
    """For each output position the tap positions, in input coordinates, as the ONNX text has them."""
    room = size + begin + end - (kernel - 1) * dilation - 1
    n = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (n - 1) * stride >= size + begin:
        n -= 1
    return [[o * stride - begin + k * dilation for k in range(kernel)] for o in range(n)]


def pool_expected(op, x, attrs):
    n = x.ndim - 2
    k = attrs["kernel_shape"]
    s, d, p = attrs.get("strides", [1] * n), attrs.get("dilations", [1] * n), attrs.get("pads", [0] * 2 * n)
    axes = [pool_windows(x.shape[i + 2], k[i], s[i], d[i], p[i], p[n + i], attrs.get("ceil_mode", 0)) for i in range(n)]
    y = np.zeros(x.shape[:2] + tuple(len(a) for a in axes))
    index = np.zeros(y.shape, np.int64)
    for at in np.ndindex(*y.shape):
        taps = [[q for q in axes[i][at[i + 2]] if 0 <= q < x.shape[i + 2]] for i in range(n)]
        values = [(x[at[:2] + c], at[:2] + c) for c in itertools.product(*taps)]
        v = np.array([u for u, _ in values])
        if op == "MaxPool":
            where = values[int(np.argmax(v))][1]
            y[at] = v.max()
            order = where[:2] + (where[2:] if not attrs.get("storage_order") else where[:1:-1])
            dims = x.shape[:2] + (x.shape[2:] if not attrs.get("storage_order") else x.shape[:1:-1])
            index[at] = np.ravel_multi_index(order, dims)
        elif op == "LpPool":
            y[at] = (np.abs(v) ** attrs.get("p", 2)).sum() ** (1 / attrs.get("p", 2))
        else:
            inside = [[q for q in axes[i][at[i + 2]] if q < x.shape[i + 2] + p[n + i]] for i in range(n)]
            y[at] = v.sum() / (np.prod([len(q) for q in inside]) if attrs.get("count_include_pad") else len(v))
    return y, index


def pool(op, note, shape, dtype="f32", indices=False, **attrs):
    x = small(*shape) if dtype in FLOATS else rng.integers(0, 100, shape)
    y, index = pool_expected(op, x, attrs)
    n = len(shape) - 2
    p = attrs.get("pads", [0] * 2 * n)
    if n == 2 and p[:n] == p[n:] and op != "LpPool" and dtype == "f32" and max(attrs.get("dilations", [1])) == 1:
        common = dict(kernel_size=attrs["kernel_shape"], stride=attrs.get("strides", [1] * n), padding=p[:n],
                      ceil_mode=bool(attrs.get("ceil_mode", 0)))
        count = bool(attrs.get("count_include_pad", 0))
        z = F.max_pool2d(t(x), **common) if op == "MaxPool" else F.avg_pool2d(t(x), count_include_pad=count, **common)
        assert np.allclose(z.numpy(), y), note
    case(op, note, attrs, [(dtype, x)], [(dtype, y.astype(NUMPY[dtype]))] + ([("i64", index)] if indices else []))


def pools():
    for op in ("MaxPool", "AveragePool", "LpPool"):
        pool(op, "1-D", (2, 2, 5), kernel_shape=[2])
        pool(op, "2-D stride and pads", (1, 2, 4, 5), kernel_shape=[3, 2], strides=[2, 1], pads=[1, 1, 1, 0])
        pool(op, "ceil_mode", (1, 1, 6, 7), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
        pool(op, "ceil_mode, no window starts in the padding", (1, 1, 4, 4), kernel_shape=[2, 2], strides=[3, 3],
             pads=[1, 1, 1, 1], ceil_mode=1)
        pool(op, "ceil_mode with pads", (1, 1, 5, 5), kernel_shape=[2, 3], strides=[2, 3], pads=[1, 1, 1, 1],
             ceil_mode=1)
        pool(op, "dilation", (1, 1, 7, 6), kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 1, 1, 1])
        pool(op, "3-D", (1, 1, 3, 4, 3), kernel_shape=[2, 2, 2], strides=[1, 2, 1])
    for extra in ({}, {"ceil_mode": 1}, {"ceil_mode": 1, "dilations": [2, 1]}):
        pool("AveragePool", "count_include_pad %s" % extra, (1, 1, 5, 6), kernel_shape=[3, 2], strides=[2, 3],
             pads=[1, 1, 1, 1], count_include_pad=1, **extra)
    pool("AveragePool", "count_include_pad, uneven pads", (1, 1, 5), kernel_shape=[3], pads=[2, 0], count_include_pad=1)
    pool("LpPool", "p 1", (1, 1, 4, 4), kernel_shape=[2, 2], p=1)
    pool("LpPool", "p 3", (1, 1, 4, 4), kernel_shape=[2, 2], p=3)
    pool("MaxPool", "indices", (2, 2, 3, 4), indices=True, kernel_shape=[2, 2], strides=[1, 2], pads=[1, 0, 0, 1])
    pool("MaxPool", "indices, column major", (2, 2, 3, 4), indices=True, kernel_shape=[2, 2], storage_order=1)
    pool("MaxPool", "u8", (1, 1, 3, 3), dtype="u8", kernel_shape=[2, 2], pads=[1, 1, 1, 1])
    pool("MaxPool", "f16", (1, 1, 3, 3), dtype="f16", kernel_shape=[2, 2])
    x = np.array([[[1, np.nan, 0, 5]]])
    case("MaxPool", "NaN wins", {"kernel_shape": [2]}, [f32(x)], [f32(np.array([[[np.nan, np.nan, 5]]]))])
    x = small(1, 1, 5)
    case("AveragePool", "SAME_UPPER", {"kernel_shape": [2], "strides": [2], "auto_pad": "SAME_UPPER"},
         [f32(x)], [f32(np.array([[[(x[0, 0, 0] + x[0, 0, 1]) / 2, (x[0, 0, 2] + x[0, 0, 3]) / 2, x[0, 0, 4]]]]))])
    case("MaxPool", "SAME_LOWER", {"kernel_shape": [2], "strides": [2], "auto_pad": "SAME_LOWER"}, [f32(x)],
         [f32(np.array([[[x[0, 0, 0], max(x[0, 0, 1:3]), max(x[0, 0, 3:5])]]]))])
    x = small(2, 3, 2, 3)
    case("GlobalAveragePool", "", {}, [f32(x)], [f32(x.mean((2, 3), keepdims=True))])
    case("GlobalMaxPool", "", {}, [f32(x)], [f32(x.max((2, 3), keepdims=True))])
    case("GlobalLpPool", "p 2", {}, [f32(x)], [f32(np.sqrt((x ** 2).sum((2, 3), keepdims=True)))])
    case("GlobalLpPool", "p 1", {"p": 1}, [f32(x)], [f32(np.abs(x).sum((2, 3), keepdims=True))])


# --- norms ---

def norms():
    x, c = small(2, 4, 3, 2), lambda: small(4)
    s, b, m, v = c(), c(), c(), np.abs(c()) + 0.5
    case("BatchNormalization", "inference", {"epsilon": 0.01}, [f32(x), f32(s), f32(b), f32(m), f32(v)],
         [f32(F.batch_norm(t(x), t(m), t(v), t(s), t(b), eps=np.float32(0.01).item()))])
    x1 = small(3, 4)
    case("BatchNormalization", "rank 2", {}, [f32(x1), f32(s), f32(b), f32(m), f32(v)],
         [f32(F.batch_norm(t(x1), t(m), t(v), t(s), t(b), eps=EPS))])
    mean, var, k = x.mean((0, 2, 3)), x.var((0, 2, 3)), np.float32(0.75).item()
    case("BatchNormalization", "training", {"training_mode": 1, "momentum": 0.75},
         [f32(x), f32(s), f32(b), f32(m), f32(v)],
         [f32(F.batch_norm(t(x), None, None, t(s), t(b), training=True, eps=EPS)), f32(m * k + mean * (1 - k)),
          f32(v * k + var * (1 - k))])
    case("InstanceNormalization", "", {"epsilon": 0.001}, [f32(x), f32(s), f32(b)],
         [f32(F.instance_norm(t(x), weight=t(s), bias=t(b), eps=np.float32(0.001).item()))])
    for g in (1, 2, 4):
        case("GroupNormalization", "%d groups" % g, {"num_groups": g}, [f32(x), f32(s), f32(b)],
             [f32(F.group_norm(t(x), g, t(s), t(b), eps=EPS))], 2e-6)
    for axis in (-1, 1, 2, 0):
        shape = x.shape[axis if axis >= 0 else axis + 4:]
        w, z = small(*shape), small(*shape)
        y = F.layer_norm(t(x), shape, t(w), t(z), eps=EPS)
        axes = tuple(range(axis % 4, 4))
        case("LayerNormalization", "axis %d" % axis, {"axis": axis}, [f32(x), f32(w), f32(z)],
             [f32(y), f32(x.mean(axes, keepdims=True)), f32((x.var(axes, keepdims=True) + EPS) ** -0.5)], 2e-6)
        r = t(x) / torch.sqrt((t(x) ** 2).mean(axes, keepdim=True) + EPS) * t(w)
        case("RMSNormalization", "axis %d" % axis, {"axis": axis}, [f32(x), f32(w)], [f32(r)], 2e-6)
    w = small(4, 1, 1)
    y = F.layer_norm(t(x), (2,), eps=EPS) * t(w)
    case("LayerNormalization", "scale broadcasts, no bias", {}, [f32(x), f32(w)], [f32(y)], 2e-6)
    w = small(2)
    y = F.layer_norm(t(x), (2,), eps=EPS).numpy().astype(np.float16).astype(np.float64) * w
    case("LayerNormalization", "f16, statistics in f32", {}, [("f16", x), ("f16", w)],
         [("f16", y.astype(np.float16)), ("f32", x.mean(3, keepdims=True))])
    r = (x / np.sqrt((x ** 2).mean(3, keepdims=True) + 1e-5)).astype(np.float16).astype(np.float64) * w
    case("RMSNormalization", "the output has the type of scale", {}, [("f16", x), ("f32", w)], [("f32", r)], 1e-6)
    case("LayerNormalization", "no rows", {}, [f32(np.zeros((0, 3))), f32(small(3))], [f32(np.zeros((0, 3)))])
    for p, axis in itertools.product((1, 2), (-1, 1)):
        z = np.array(x)
        z[0, :, 0, :] = 0
        z[0, 0, 0, :] = 0
        n = np.abs(z).sum(axis, keepdims=True) if p == 1 else np.sqrt((z ** 2).sum(axis, keepdims=True))
        case("LpNormalization", "p %d axis %d, a zero norm" % (p, axis), {"p": p, "axis": axis}, [f32(z)],
             [f32(np.where(n == 0, 0, z / np.where(n == 0, 1, n)))])
    for size in (1, 2, 3, 7):
        alpha, beta, bias = 0.5, 0.75, 2.0
        sq = np.zeros_like(x)
        for i in range(4):
            lo, hi = max(0, i - (size - 1) // 2), min(3, i + -(-(size - 1) // 2))
            sq[:, i] = (x[:, lo:hi + 1] ** 2).sum(1)
        case("LRN", "size %d" % size, {"size": size, "alpha": alpha, "beta": beta, "bias": bias}, [f32(x)],
             [f32(x / (bias + alpha / size * sq) ** beta)])
    big = np.float32([[[1e20, -1e20, 1]]])
    case("LRN", "a square beyond the type", {"size": 1}, [f32(big)],
         [f32(F.local_response_norm(torch.tensor(big), 1).numpy())])
    tiny = np.float32([[1e-25, -1e-25, 0], [1e20, 1, -1e20]])  # the squares are 0 and infinite
    case("LpNormalization", "squares beyond the type", {}, [f32(tiny)], [f32(np.zeros((2, 3)))])
    for axes in ([0, 2, 3], [1], [-1, 0]):
        a = tuple(axes)
        y = (x - x.mean(a, keepdims=True)) / (x.std(a, keepdims=True) + 1e-9)
        case("MeanVarianceNormalization", "axes %s" % axes, {} if axes == [0, 2, 3] else {"axes": axes}, [f32(x)],
             [f32(y)])
    case("Dropout", "inference", {}, [f32(x1)], [f32(x1), ("bool", np.ones(x1.shape, bool))])
    case("Dropout", "training with ratio 0", {}, [f32(x1), f32(np.array(0.0)), ("bool", np.array(True))],
         [f32(x1), ("bool", np.ones(x1.shape, bool))])
    case("Dropout", "a ratio without training", {"seed": 3}, [f32(x1), f32(np.array(0.5)), ("bool", np.array(False))],
         [f32(x1)])


# --- recurrent layers, by the equations of the ONNX text ---

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACT = {
    "Sigmoid": lambda x, a, b: sigmoid(x),
    "Tanh": lambda x, a, b: np.tanh(x),
    "Relu": lambda x, a, b: np.maximum(x, 0),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: np.where(x >= 0, x, a * x),
    "ThresholdedRelu": lambda x, a, b: np.where(x >= a, x, 0),
    "ScaledTanh": lambda x, a, b: a * np.tanh(b * x),
    "HardSigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "Elu": lambda x, a, b: np.where(x >= 0, x, a * (np.exp(x) - 1)),
    "Softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "Softplus": lambda x, a, b: np.log(1 + np.exp(x)),
}
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def cell(op, x, h, c, W, R, Wb, Rb, P, acts, clip, attrs):
    H = R.shape[1]
    def gate(i, hh=None):
        rows = slice(i * H, (i + 1) * H)
        return W[rows] @ x + R[rows] @ (h if hh is None else hh) + Wb[rows] + Rb[rows]
    f = [lambda v, a=a: a(np.clip(v, -clip, clip)) for a in acts]
    if op == "RNN":
        return f[0](gate(0)), c
    if op == "GRU":
        z, r = f[0](gate(0)), f[0](gate(1))
        rows = slice(2 * H, 3 * H)
        after = attrs.get("linear_before_reset")
        n = W[rows] @ x + Wb[rows] + (r * (R[rows] @ h + Rb[rows]) if after else R[rows] @ (r * h) + Rb[rows])
        return (1 - z) * f[1](n) + z * h, c
    i = f[0](gate(0) + P[:H] * c)
    fg = 1 - i if attrs.get("input_forget") else f[0](gate(2) + P[2 * H:] * c)
    c2 = fg * c + i * f[1](gate(3))
    o = f[0](gate(1) + P[H:2 * H] * c2)
    return o * acts[2](c2), c2


def recurrent(op, note, T=3, B=2, I=2, H=2, bias=True, h0=False, c0=False, peep=False, lens=None, acts=None,
              dtype="f32", wanted=None, **attrs):
    D = 2 if attrs.get("direction") == "bidirectional" else 1
    G = GATES[op]
    x, W, R = small(T, B, I), small(D, G * H, I) / 2, small(D, G * H, H) / 2
    b = small(D, 2 * G * H) / 4 if bias else None
    hs = small(D, B, H) if h0 else None
    cs = small(D, B, H) if c0 else None
    p = small(D, 3 * H) / 2 if peep else None
    n = [T] * B if lens is None else lens
    names = attrs.get("activations") or {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"],
                                         "RNN": ["Tanh"]}[op] * D
    fs = [lambda v, f=f, a=a: ACT[f](v, *a) for f, a in zip(names, acts or [(0, 0)] * len(names))]
    y, yh, yc = np.zeros((T, D, B, H)), np.zeros((D, B, H)), np.zeros((D, B, H))
    for d, bb in itertools.product(range(D), range(B)):
        h = hs[d, bb] if h0 else np.zeros(H)
        c = cs[d, bb] if c0 else np.zeros(H)
        order = range(n[bb])
        if d == 1 or attrs.get("direction") == "reverse":
            order = reversed(order)
        zero = np.zeros(G * H)
        for s in order:
            h, c = cell(op, x[s, bb], h, c, W[d], R[d], b[d, :G * H] if bias else zero, b[d, G * H:] if bias else zero,
                        p[d] if peep else np.zeros(3 * H), fs[d * len(fs) // D:], attrs.get("clip", np.inf), attrs)
            y[s, d, bb] = h
        yh[d, bb], yc[d, bb] = h, c
    special = attrs.keys() - {"direction", "hidden_size", "linear_before_reset"} or attrs.get("direction") == "reverse"
    if bias and not (peep or lens or special) and (op != "GRU" or attrs.get("linear_before_reset")):
        check_torch(op, x, W, R, b, hs, cs, y, D)
    swap = (lambda v: None if v is None else np.swapaxes(v, 0, 1)) if attrs.get("layout") else lambda v: v
    ya = np.transpose(y, (2, 0, 1, 3)) if attrs.get("layout") else y
    ins = [swap(x), W, R, b, None if lens is None else np.array(lens), swap(hs), swap(cs), p]
    ins = ins[:8 if op == "LSTM" else 6]
    while ins[-1] is None:
        ins.pop()
    outs = [ya, swap(yh), swap(yc)][:3 if op == "LSTM" else 2]
    case(op, note, attrs, [None if v is None else ("i32" if i == 4 else dtype, v) for i, v in enumerate(ins)],
         [(dtype, v) if wanted is None or wanted[i] else None for i,
          v in enumerate(outs)], 2e-6 if dtype == "f32" else None)


def check_torch(op, x, W, R, b, hs, cs, y, D):
    """The equations against torch.nn, where it has the form (gates i f g o; r z n with the reset after the product)."""
    H = R.shape[2]
    cls = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "RNN": torch.nn.RNN}[op]
    net = cls(x.shape[2], H, bidirectional=D == 2).double()
    order = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}[op]
    mix = lambda v: t(np.concatenate([v[i * H:(i + 1) * H] for i in order]))
    for d in range(D):
        half = b.shape[1] // 2
        for name, v in (("weight_ih", W[d]), ("weight_hh", R[d]), ("bias_ih", b[d, :half]), ("bias_hh", b[d, half:])):
            getattr(net, name + "_l0" + ("_reverse" if d else "")).data = mix(v)
    zeros = torch.zeros(D, x.shape[1], H, dtype=torch.float64)
    h = t(hs) if hs is not None else zeros
    out, _ = net(t(x), (h, t(cs) if cs is not None else zeros) if op == "LSTM" else h)
    got = np.transpose(y, (0, 2, 1, 3)).reshape(out.shape)
    assert np.allclose(got, out.detach().numpy()), op


def recurrents():
    for op in ("LSTM", "GRU", "RNN"):
        n = {"LSTM": 3, "GRU": 2, "RNN": 1}[op]
        c0 = op == "LSTM"
        recurrent(op, "forward", hidden_size=2)
        recurrent(op, "no bias, initial states", bias=False, h0=True, c0=c0)
        recurrent(op, "reverse", h0=True, c0=c0, direction="reverse")
        recurrent(op, "bidirectional", I=3, h0=True, c0=c0, direction="bidirectional")
        recurrent(op, "layout 1", direction="bidirectional", h0=True, c0=c0, layout=1)
        recurrent(op, "sequence_lens", lens=[1, 3], h0=True, c0=c0, direction="bidirectional")
        recurrent(op, "sequence_lens, reverse, one empty", B=3, lens=[2, 0, 3], direction="reverse")
        recurrent(op, "clip", clip=0.5)
        recurrent(op, "f16", T=2, dtype="f16")
        recurrent(op, "one step", T=1, B=1)
        recurrent(op, "last state only", wanted=[False, True, True])
        for pair in (["Relu", "Softsign"], ["Softplus", "Tanh"]):
            recurrent(op, "activations %s" % pair, activations=(pair * 2)[:n])
        recurrent(op, "activations with alpha and beta", direction="bidirectional",
                  activations=["HardSigmoid", "Elu", "Affine", "LeakyRelu", "ScaledTanh", "ThresholdedRelu"][:2 * n],
                  acts=[(0.25, 0.5), (0.5, 0), (1.5, 0.25), (0.125, 0), (0.75, 1.25), (0.0625, 0)][:2 * n],
                  activation_alpha=[0.25, 0.5, 1.5, 0.125, 0.75, 0.0625][:2 * n], activation_beta=[0.5, 0.25, 1.25])
        recurrent(op, "activation defaults", direction="bidirectional",
                  activations=["HardSigmoid", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "ThresholdedRelu"][:2 * n],
                  acts=[(0.2, 0.5), (0.01, 0), (1, 0), (0, 0), (0, 0), (1, 0)][:2 * n])
    recurrent("LSTM", "peepholes", peep=True, c0=True)
    recurrent("LSTM", "peepholes, both directions", peep=True, h0=True, c0=True, direction="bidirectional")
    recurrent("LSTM", "input_forget", c0=True, input_forget=1)
    recurrent("GRU", "linear_before_reset", h0=True, linear_before_reset=1)
    recurrent("GRU", "linear_before_reset, bidirectional", h0=True, direction="bidirectional", linear_before_reset=1)
    recurrent("GRU", "linear_before_reset without bias", bias=False, linear_before_reset=1)


# --- attention ---

def attention(note, q, k, v, mask=None, past=None, valid=None, outs=1, dtype="f32", **attrs):
    """Shapes in; expected values from onnx.reference on doubles."""
    Q, K, V = small(*q), small(*k), small(*v)
    ins = [Q, K, V, mask if mask is None or mask.dtype == bool else mask.astype(np.float64)]
    ins += [small(*past[0]), small(*past[1])] if past else [None, None]
    ins += [None if valid is None else np.array(valid, np.int64)]
    want = list(reference("Attention", ins, 4, **attrs))
    if attrs.get("qk_matmul_output_mode", 0) == 0:  # the reference forgets that mode 0 is before softcap
        want[3] = reference("Attention", ins, 4, **{k: v for k, v in attrs.items() if k != "softcap"})[3]
    while ins[-1] is None:
        ins.pop()
    names = [None if x is None else "bool" if x.dtype == bool else "i64" if x.dtype == np.int64 else dtype for x in ins]
    given = [None if x is None else (d, x) for d, x in zip(names, ins)]
    got = [None if not (outs >> i) & 1 else (dtype, want[i].astype(NUMPY[dtype])) for i in range(4) if outs >> i]
    case("Attention", note, attrs, given, got, 2e-6 if dtype == "f32" else None)


def attentions():
    q4, k4, v4 = (2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 3)
    x = t(small(2, 2, 3, 4))
    attention("4-D", q4, k4, v4)
    attention("scale", q4, k4, v4, scale=0.25)
    attention("3-D", (2, 3, 8), (2, 5, 8), (2, 5, 6), q_num_heads=2, kv_num_heads=2)
    attention("grouped heads", (1, 4, 2, 2), (1, 2, 3, 2), (1, 2, 3, 2), outs=15)
    attention("grouped heads, 3-D", (1, 2, 8), (1, 3, 4), (1, 3, 4), q_num_heads=4, kv_num_heads=2, outs=15)
    attention("one key head", (1, 3, 2, 2), (1, 1, 3, 2), (1, 1, 3, 2))
    attention("causal", (1, 1, 4, 2), (1, 1, 4, 2), (1, 1, 4, 2), is_causal=1)
    attention("causal, more keys", (1, 1, 2, 2), (1, 1, 4, 2), (1, 1, 4, 2), is_causal=1)
    attention("causal with a past", (1, 2, 2, 2), (1, 2, 2, 2), (1, 2, 2, 3), past=((1, 2, 3, 2), (1, 2, 3, 3)),
              is_causal=1, outs=15)
    attention("a past, 3-D", (2, 2, 4), (2, 1, 4), (2, 1, 4), past=((2, 2, 2, 2), (2, 2, 2, 2)), q_num_heads=2,
              kv_num_heads=2, outs=7)
    for shape in ((3, 5), (5,), (1, 5), (2, 1, 3, 5), (2, 3, 5), (2, 2, 3, 5)):
        attention("float mask %s" % (shape,), q4, k4, v4, mask=small(*shape))
    m = rng.random((3, 5)) > 0.4
    m[1] = False
    attention("bool mask, a row without keys", q4, k4, v4, mask=m, outs=9, qk_matmul_output_mode=3)
    attention("bool mask and causal", q4, k4, v4, mask=rng.random((2, 1, 3, 5)) > 0.3, is_causal=1)
    attention("float mask and causal", q4, k4, v4, mask=small(3, 5), is_causal=1)
    attention("a mask of -inf", q4, k4, v4, mask=np.where(rng.random((3, 5)) > 0.5, 0, -np.inf))
    attention("a mask shorter than the keys", q4, k4, v4, mask=small(3, 4))
    attention("a bool mask shorter than the keys", q4, k4, v4, mask=np.ones((3, 2), bool))
    attention("softcap", q4, k4, v4, softcap=0.5, outs=9, qk_matmul_output_mode=1)
    for mode in range(4):
        attention("qk_matmul_output_mode %d" % mode, (1, 1, 2, 2), (1, 1, 3, 2), (1, 1, 3, 2), mask=small(2, 3),
                  softcap=1.5, outs=9, qk_matmul_output_mode=mode)
    attention("nonpad_kv_seqlen", q4, k4, v4, valid=[2, 5])
    attention("nonpad_kv_seqlen and causal", q4, k4, v4, valid=[4, 2], is_causal=1)
    attention("nonpad_kv_seqlen 0", q4, k4, v4, valid=[0, 5])
    attention("windows", (1, 1, 4, 2), (1, 1, 6, 2), (1, 1, 6, 2), left_window_size=2, right_window_size=1)
    attention("left window, causal", (1, 1, 4, 2), (1, 1, 4, 2), (1, 1, 4, 2), left_window_size=1, is_causal=1)
    attention("window with a past", (1, 1, 2, 2), (1, 1, 2, 2), (1, 1, 2, 2), past=((1, 1, 3, 2), (1, 1, 3, 2)),
              left_window_size=2, is_causal=1)
    attention("window with nonpad_kv_seqlen", q4, k4, v4, valid=[4, 5], left_window_size=1, right_window_size=0)
    attention("softmax_precision f64", q4, k4, v4, softmax_precision=11)
    attention("f64", (1, 1, 2, 2), (1, 1, 3, 2), (1, 1, 3, 2), dtype="f64")
    attention("f16", (1, 1, 2, 2), (1, 1, 3, 2), (1, 1, 3, 2), dtype="f16")
    attention("no queries", (1, 1, 0, 2), (1, 1, 3, 2), (1, 1, 3, 2))
    assert np.allclose(F.scaled_dot_product_attention(x, x, x, is_causal=True).numpy(),
                       reference("Attention", [x.numpy()] * 3, is_causal=1)[0])

    far, big = [[[[0.], [300.]]]], [[[[np.inf, 1], [2, 1]]]]  # the weight of the first key is 0 in f32
    got = F.scaled_dot_product_attention(torch.ones(1, 1, 1, 1), torch.tensor(far), torch.tensor(big), scale=1.)
    case("Attention", "an infinite value without weight", {"scale": 1.}, [("f32", np.ones((1, 1, 1, 1))), ("f32", np.array(far)),
                                                                         ("f32", np.array(big))], [("f32", got.numpy())])

    def rotary(note, xs, half, ids=None, rows=None, **attrs):
        x4 = small(*xs)
        S = xs[2] if len(xs) == 4 else xs[1]
        shape = (rows, half) if ids is not None else (xs[0], S, half)
        cos, sin = small(*shape), small(*shape)
        ins = [x4, cos, sin] + ([np.array(ids, np.int64)] if ids is not None else [])
        want = reference("RotaryEmbedding", ins, **attrs)[0]
        case("RotaryEmbedding", note, attrs, [("i64" if v.dtype == np.int64 else "f32", v) for v in ins], [f32(want)])

    rotary("4-D", (2, 2, 3, 4), 2)
    rotary("positions", (2, 2, 3, 4), 2, ids=[[0, 1, 2], [4, 0, 4]], rows=5)
    rotary("interleaved", (1, 2, 3, 4), 2, interleaved=1)
    rotary("3-D", (2, 3, 8), 2, num_heads=2)
    rotary("part of the head", (1, 2, 2, 6), 2, rotary_embedding_dim=4)
    rotary("part of the head, interleaved, positions", (1, 2, 2, 6), 2, ids=[[3, 1]], rows=4, rotary_embedding_dim=4,
           interleaved=1)


# --- resize and sampling ---

COORDS = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]


# The reference computes cubic weights in f32 because the attribute arrives as one.
for name in ("_cubic_coeffs", "_cubic_coeffs_antialias"):
    setattr(op_resize, name, lambda ratio, scale=None, A=-0.75, f=getattr(op_resize, name): f(ratio, scale, float(A)))


def resize(note, shape, scales=None, sizes=None, roi=None, dtype="f32", **attrs):
    x = small(*shape) if dtype in FLOATS else rng.integers(0, 100, shape).astype(NUMPY[dtype])
    y = reference("Resize", [x, None if roi is None else np.array(roi, np.float32),
                             None if scales is None else np.array(scales, np.float32),
                             None if sizes is None else np.array(sizes, np.int64)], **attrs)[0]
    ins = [(dtype, x), None if roi is None else f32(np.array(roi)), None if scales is None else f32(np.array(scales)),
           ("i64", np.array(sizes)) if sizes else None]
    while ins[-1] is None:
        ins.pop()
    case("Resize", note, attrs, ins, [(dtype, y)], 4e-6 if dtype == "f32" else None)


def resizes():
    for mode, coord in itertools.product(["nearest", "linear", "cubic"], COORDS):
        resize("%s %s up" % (mode, coord), (1, 1, 2, 3), [1, 1, 2, 2.5], mode=mode,
               coordinate_transformation_mode=coord)
        resize("%s %s down" % (mode, coord), (1, 1, 4, 5), sizes=[1, 1, 3, 2], mode=mode,
               coordinate_transformation_mode=coord)
    for rounding, coord in itertools.product(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"],
                                             ["half_pixel", "asymmetric", "align_corners"]):
        resize("nearest %s %s" % (rounding, coord), (1, 5), [1, 1.5], mode="nearest", nearest_mode=rounding,
               coordinate_transformation_mode=coord)
        resize("nearest %s %s down" % (rounding, coord), (1, 6), [1, 0.5], mode="nearest", nearest_mode=rounding,
               coordinate_transformation_mode=coord)
    for mode in ("linear", "cubic"):
        resize("%s antialias" % mode, (1, 1, 6, 5), [1, 1, 0.5, 0.625], mode=mode, antialias=1)
        resize("%s antialias up" % mode, (1, 1, 3, 2), [1, 1, 2, 1.5], mode=mode, antialias=1)
        resize("%s antialias exclude_outside" % mode, (7,), sizes=[3], mode=mode, antialias=1, exclude_outside=1)
        resize("%s exclude_outside" % mode, (1, 1, 3, 4), [1, 1, 2, 1.5], mode=mode, exclude_outside=1)
    resize("cubic -0.5", (1, 1, 3, 4), [1, 1, 2, 1.5], mode="cubic", cubic_coeff_a=-0.5)
    resize("3-D linear", (1, 1, 2, 2, 3), [1, 1, 2, 2, 1.5], mode="linear")
    for mode in ("nearest", "linear", "cubic"):
        resize("%s tf_crop_and_resize" % mode, (1, 1, 4, 4), sizes=[1, 1, 3, 3],
               roi=[0, 0, 0.25, 0.5, 1, 1, 0.75, 1.25], mode=mode,
               coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=10.0)
    resize("tf_crop_and_resize, axes", (1, 1, 4, 4), sizes=[3, 1], roi=[0.5, 0.25, 0.75, 0.5], mode="linear",
           axes=[3, 2],
           coordinate_transformation_mode="tf_crop_and_resize")
    for policy, sizes in itertools.product(["stretch", "not_larger", "not_smaller"], [[7, 5], [3, 9]]):
        resize("%s %s" % (policy, sizes), (1, 1, 4, 6), sizes=sizes, mode="linear", axes=[2, 3],
               keep_aspect_ratio_policy=policy)
    resize("axes", (2, 3, 2), [2.0, 1.5], mode="nearest", axes=[1, 0])
    for dtype in ("u8", "i64", "f16", "f64"):
        resize("nearest " + dtype, (2, 3), [2, 1.5], dtype=dtype, mode="nearest")
    resize("linear u8 rounds", (2, 3), [2, 1.5], dtype="u8", mode="linear")
    x = small(1, 1, 3, 4)
    for mode, align in (("bilinear", True), ("bilinear", False), ("bicubic", False)):
        y = F.interpolate(t(x), size=(5, 7), mode=mode, align_corners=align)
        attrs = {"mode": "linear" if mode == "bilinear" else "cubic",
                 "coordinate_transformation_mode": "align_corners" if align else "pytorch_half_pixel"}
        ins = [f32(x), None, None, ("i64", np.array([1, 1, 5, 7]))]
        case("Resize", "as torch %s %s" % (mode, align), attrs, ins, [f32(y)], 4e-6)
    y = F.interpolate(t(x), size=(2, 3), mode="bilinear", antialias=True)
    case("Resize", "as torch, antialias", {"mode": "linear", "antialias": 1, "exclude_outside": 1},
         [f32(x), None, None, ("i64", np.array([1, 1, 2, 3]))], [f32(y)], 4e-6)
    x = small(1, 10)
    case("Resize", "10 * 0.7 is 7", {"mode": "nearest", "coordinate_transformation_mode": "asymmetric",
                                     "nearest_mode": "floor"},
         [f32(x), None, f32(np.array([1, 0.7]))], [f32(x[:, [int(i / np.float32(0.7)) for i in range(7)]])])


def samples():
    for mode, pad, align in itertools.product(["linear", "nearest", "cubic"], ["zeros", "border", "reflection"],
                                              [0, 1]):
        x, g = small(1, 2, 3, 4), rng.integers(-14, 15, (1, 2, 3, 2)) / 8.0
        if mode == "nearest":  # on ties torch reflects before it rounds, ONNX rounds first
            g = g + 1 / 64
        y = F.grid_sample(t(x), t(g), mode={"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}[mode],
                          padding_mode=pad, align_corners=bool(align))
        if mode == "cubic" and pad == "border":  # ONNX clamps the position, torch the taps
            y = reference("GridSample", [x, g.astype(np.float32)], mode=mode, padding_mode=pad, align_corners=align)[0]
        attrs = {"mode": mode, "padding_mode": pad, "align_corners": align}
        case("GridSample", "%s %s %d" % (mode, pad, align), attrs, [f32(x), f32(g)], [f32(y)], 4e-6)
    for mode, pad in itertools.product(["linear", "nearest"], ["zeros", "border", "reflection"]):
        x, g = small(2, 1, 2, 3, 2), rng.integers(-11, 12, (2, 1, 2, 2, 3)) / 8.0
        y = F.grid_sample(t(x), t(g), mode={"linear": "bilinear", "nearest": "nearest"}[mode], padding_mode=pad,
                          align_corners=False)
        case("GridSample", "3-D %s %s" % (mode, pad), {"mode": mode, "padding_mode": pad}, [f32(x), f32(g)], [f32(y)],
             4e-6)
    x, g = small(1, 1, 4), np.array([[[-1.5], [-0.75], [0], [0.5], [1]]])
    y = reference("GridSample", [x.astype(np.float32), g.astype(np.float32)], mode="linear")[0]
    case("GridSample", "1-D", {}, [f32(x), f32(g)], [f32(y)])
    x = small(1, 1, 2, 2)
    case("GridSample", "nan is -1", {"padding_mode": "border", "align_corners": 1},
         [f32(x), f32(np.array([[[[np.nan, -1.0]]]]))], [f32(x[:, :, :1, :1])])
    case("GridSample", "far away", {"padding_mode": "zeros"}, [f32(x), f32(np.array([[[[1e30, -np.inf]]]]))],
         [f32(np.zeros((1, 1, 1, 1)))])


# --- quantisation ---

INT_RANGE = {"u8": (0, 255), "i8": (-128, 127), "u16": (0, 65535), "i16": (-32768, 32767), "u4": (0, 15),
             "i4": (-8, 7), "u2": (0, 3), "i2": (-2, 1)}


def quantisations():
    x = np.array([-1000.0, -3.5, -2.5, -1, -0.25, 0, 0.5, 1.5, 2.5, 3, 100, 70000])
    for q, (lo, hi) in INT_RANGE.items():
        z = 1
        case("QuantizeLinear", q, {}, [f32(x), f32(np.array(0.5)), (q, np.array(z))],
             [(q, np.clip(np.rint(x / 0.5) + z, lo, hi))])
        v = np.array([lo, hi, 0, 1])
        case("DequantizeLinear", q, {}, [(q, v), f32(np.array(0.25)), (q, np.array(z))], [f32((v - z) * 0.25)])
    x6 = small(2, 3, 2) * 10
    s, z = np.array([0.5, 0.25, 2.0]), np.array([3, 0, 200])
    q = np.clip(np.rint(x6 / s[:, None]) + z[:, None], 0, 255)
    case("QuantizeLinear", "per axis", {}, [f32(x6), f32(s), ("u8", z)], [("u8", q)])
    case("DequantizeLinear", "per axis", {}, [("u8", q), f32(s), ("u8", z)], [f32((q - z[:, None]) * s[:, None])])
    case("QuantizeLinear", "axis -1, no zero point", {"axis": -1}, [f32(x6), f32(s[:2])],
         [("u8", np.clip(np.rint(x6 / s[:2]), 0, 255))])
    x8 = small(2, 5) * 10
    sb = np.array([[0.5, 1, 0.25], [2, 0.125, 1]])
    zb = np.array([[1, 2, 3], [-1, -2, -3]])
    big = lambda v: np.repeat(v, 2, axis=1)[:, :5]
    qb = np.clip(np.rint(x8 / big(sb)) + big(zb), -128, 127)
    case("QuantizeLinear", "blocks with a shorter last one", {"block_size": 2}, [f32(x8), f32(sb), ("i8", zb)],
         [("i8", qb)])
    case("DequantizeLinear", "blocks", {"block_size": 2}, [("i8", qb), f32(sb), ("i8", zb)],
         [f32((qb - big(zb)) * big(sb))])
    s0 = np.array([[0.5, 1, 0.25, 2, 1]])
    case("QuantizeLinear", "blocks on axis 0, i4", {"axis": 0, "block_size": 2, "output_dtype": 22},
         [f32(x8), f32(s0)], [("i4", np.clip(np.rint(x8 / s0), -8, 7))])
    for name in ("f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz"):
        v = np.array([0, 1, -1.3, 100, 1e6, -np.inf, np.nan, 0.01])
        top = float(ml_dtypes.finfo(NUMPY[name]).max)
        code = {"f8e4m3fn": 17, "f8e4m3fnuz": 18, "f8e5m2": 19, "f8e5m2fnuz": 20}[name]
        case("QuantizeLinear", name, {"output_dtype": code}, [f32(v), f32(np.array(0.5))],
             [(name, np.clip(v / 0.5, -top, top).astype(np.float32).astype(NUMPY[name]).astype(np.float64))])
        if "e5m2" == name[2:]:
            v = v[[0, 1, 2, 3, 6, 7]]
        case("QuantizeLinear", name + " without saturation", {"saturate": 0},
             [f32(v), f32(np.array(0.5)), (name, np.array(0.0))],  # no infinities: test text saturates
             [(name, (v / 0.5).astype(np.float32).astype(NUMPY[name]).astype(np.float64))])
        w = np.array([0.5, -2, 1.75])
        case("DequantizeLinear", name, {}, [(name, w), f32(np.array(0.5))], [f32(w * 0.5)])
    v = np.array([0, 0.6, -0.9, 1.2, 2.6, 100])
    case("QuantizeLinear", "f4e2m1", {"output_dtype": 23}, [f32(v), f32(np.array(0.5))],
         [("f4e2m1", np.clip(v / 0.5, -6, 6).astype(np.float32).astype(NUMPY["f4e2m1"]).astype(np.float64))])
    case("DequantizeLinear", "f4e2m1, f8e8m0 scales in blocks", {"block_size": 2, "axis": 0, "output_dtype": 1},
         [("f4e2m1", np.array([0.5, -1, 6, 3])), ("f8e8m0", np.array([0.5, 4.0]))],
         [f32(np.array([0.25, -0.5, 24, 12]))])
    h = np.array([1.0, 2.7, -3.3])
    for p, name in ((0, "f16"), (1, "f32")):
        d = NUMPY[name]
        y = np.rint(h.astype(np.float16).astype(d) / np.array(0.05).astype(np.float16).astype(d))
        case("QuantizeLinear", "division in %s" % name, {"precision": p} if p else {},
             [("f16", h), ("f16", np.array(0.05)), ("i8", np.array(0))], [("i8", y)])
    case("QuantizeLinear", "i32", {}, [("i32", np.array([-300, 5, 1000])), f32(np.array(2.0)), ("i8", np.array(1))],
         [("i8", np.array([-128, 3, 127]))])
    case("DequantizeLinear", "i32", {}, [("i32", np.array([-300, 5, 1 << 20])), f32(np.array(0.5))],
         [f32(np.array([-150, 2.5, 1 << 19]))])
    case("DequantizeLinear", "output_dtype", {"output_dtype": 10}, [("u8", np.array([1, 2, 255])), f32(np.array(0.5))],
         [("f16", np.array([0.5, 1, 127.5]))])
    for v in (np.array([0, 2, -3, -2.5, 1.34, 0.5]), np.array([1.0, 2.1, 1.3]), np.array([-1, -2.1, -1.3]),
              np.zeros((2, 2))):
        y = reference("DynamicQuantizeLinear", [v.astype(np.float32)], 3)
        case("DynamicQuantizeLinear", "", {}, [f32(v)], [("u8", y[0]), f32(y[1]), ("u8", y[2])])


def integer_products():
    u8 = lambda *shape: rng.integers(0, 256, shape)
    i8 = lambda *shape: rng.integers(-128, 128, shape)
    a, b = u8(2, 3), i8(3, 4)
    case("MatMulInteger", "", {}, [("u8", a), ("i8", b)], [("i32", a @ b)])
    case("MatMulInteger", "zero points", {}, [("u8", a), ("i8", b), ("u8", np.array(7)), ("i8", np.array(-3))],
         [("i32", (a - 7) @ (b + 3))])
    za, zb = u8(2), i8(4)
    case("MatMulInteger", "per row and column", {}, [("u8", a), ("i8", b), ("u8", za), ("i8", zb)],
         [("i32", (a - za[:, None]) @ (b - zb))])
    a3, z3 = u8(2, 1, 2, 3), u8(2, 1, 2, 1)
    b3 = u8(3, 3, 2)
    case("MatMulInteger", "stacks", {}, [("u8", a3), ("u8", b3), ("u8", z3)], [("i32", (a3 - z3) @ b3)])
    case("MatMulInteger", "vectors", {}, [("u8", a[0]), ("i8", b)], [("i32", a[0] @ b)])
    case("MatMulInteger", "a dot product", {}, [("i8", b[:, 0]), ("i8", b[:, 1])],
         [("i32", np.array(b[:, 0] @ b[:, 1]))])

    def qmatmul(note, A, sa, za, B, sb, zb, sy, zy, kinds=("u8", "i8", "u8")):
        acc = (A - (za[..., None] if np.ndim(za) == 1 else za)) @ (B - zb)
        mult = np.float32(np.float32(sa if np.ndim(sa) != 1 else sa[..., None]) * np.float32(sb)) / np.float32(sy)
        lo, hi = INT_RANGE[kinds[2]]
        y = np.clip(np.rint(acc * mult.astype(np.float64)) + zy, lo, hi)
        n = np.array
        case("QLinearMatMul", note, {}, [(kinds[0], A), f32(n(sa)), (kinds[0], n(za)), (kinds[1], B), f32(n(sb)),
                                         (kinds[1], n(zb)), f32(n(sy)), (kinds[2], n(zy))],
             [(kinds[2], y)])

    qmatmul("", a, 0.01, 100, b, 0.02, 3, 0.25, 128)
    qmatmul("per row and column", a, np.array([0.01, 0.03]), np.array([100, 90]), b,
            np.array([0.5, 0.25, 0.125, 1]) / 8, np.array([1, -1, 0, 5]), 0.5, 100)
    qmatmul("stacks, i8 out", a3, 0.01, 128, b3, 0.01, 100, 0.125, -5, ("u8", "u8", "i8"))

    def qconv(note, xs, ws, xz, wz, **attrs):
        x, w = u8(*xs), i8(*ws)
        wzr = np.reshape(wz, (-1,) + (1,) * (len(ws) - 1))
        acc = conv_expected(x - xz, w - wzr, None, attrs).numpy()
        ins = [("u8", x), ("i8", w), ("u8", np.array(xz)), ("i8", np.array(wz))]
        case("ConvInteger", note, attrs, ins, [("i32", acc.astype(np.int64))])
        bias, sw = rng.integers(-500, 500, ws[0]), np.full(np.shape(wz), 0.02) if np.ndim(wz) else np.array(0.02)
        mult = np.float32(np.float32(0.05) * np.float32(0.02)) / np.float32(0.25)
        y = np.clip(np.rint((acc + bias.reshape((1, -1) + (1,) * (len(ws) - 2))) * float(mult)) + 30, 0, 255)
        case("QLinearConv", note, attrs, [("u8", x), f32(np.array(0.05)), ("u8", np.array(xz)), ("i8", w), f32(sw),
                                          ("i8", np.array(wz)), f32(np.array(0.25)), ("u8", np.array(30)),
             ("i32", bias)], [("u8", y)])

    qconv("2-D", (1, 2, 4, 4), (2, 2, 3, 3), 120, 2, pads=[1, 1, 0, 0])
    qconv("zero points per channel, groups", (1, 2, 3, 3), (2, 1, 2, 2), 100, [3, -4], group=2)
    qconv("1-D", (1, 1, 6), (2, 1, 3), 0, 0, strides=[2])


def resized_rows():
    """Several planes and rows: what is computed once per plane and per row."""
    for mode, coord in itertools.product(["nearest", "linear", "cubic"], ["half_pixel", "align_corners"]):
        resize("rows %s %s" % (mode, coord), (1, 2, 2, 17), sizes=[1, 2, 3, 37], mode=mode,
               coordinate_transformation_mode=coord)
    resize("rows 3-D linear", (1, 2, 2, 2, 3), [1, 1, 2, 1.5, 3], mode="linear")
    resize("rows cubic exclude_outside", (2, 1, 3, 4), [1, 1, 1, 2], mode="cubic", exclude_outside=1)
    resize("rows nearest u8", (2, 2, 9), [1, 1, 4], dtype="u8", mode="nearest")
    resize("rows linear u8", (2, 2, 9), [1, 1, 4], dtype="u8", mode="linear")
    resize("rows linear f64", (2, 2, 3), [1, 2, 1.5], dtype="f64", mode="linear")


def resized_bands():
    """More rows than are stretched at once, and than the ring of them holds; rows that shrink; what has no weight does not count."""
    for mode, wide in itertools.product(["linear", "cubic"], [35, 4]):
        resize("bands %s to %d" % (mode, wide), (1, 1, 11, 9), sizes=[1, 1, 23, wide], mode=mode)
    resize("bands cubic exclude_outside", (2, 10, 5), [1, 1.5, 3], mode="cubic", exclude_outside=1)
    resize("bands linear align_corners, one column", (1, 9, 1), sizes=[1, 17, 3], mode="linear",
           coordinate_transformation_mode="align_corners")
    resize("bands linear u8", (2, 9, 5), [1, 2, 2], dtype="u8", mode="linear")
    x = small(1, 1, 5, 18)
    x[0, 0, 2, 3], x[0, 0, 4, 17] = np.inf, -np.inf
    y = x
    for axis in (2, 3):  # every other element is one of the input, those between are half of both beside them
        at = np.arange(2 * y.shape[axis] - 1)
        y = (np.take(y, at // 2, axis) + np.take(y, (at + 1) // 2, axis)) / 2
    case("Resize", "bands, infinite", {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
         [f32(x), None, None, ("i64", np.array([1, 1, 9, 35]))], [f32(y)], 4e-6)


def pooled_bands():
    """Windows that overlap, over as many planes and rows as are put together by columns first."""
    for op in ("MaxPool", "AveragePool", "LpPool"):
        pool(op, "bands", (2, 4, 11, 9), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        pool(op, "bands, stride and ceil_mode", (8, 1, 20, 7), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
        pool(op, "bands, dilation and uneven pads", (1, 8, 10, 8), kernel_shape=[2, 4], dilations=[3, 2], pads=[0, 3, 2, 1])
        pool(op, "bands, 3-D", (1, 4, 4, 9, 5), kernel_shape=[2, 3, 3], strides=[2, 1, 2], pads=[1, 0, 1, 0, 1, 1])
    pool("AveragePool", "bands, count_include_pad", (1, 8, 9, 5), kernel_shape=[3, 2], pads=[1, 1, 1, 1],
         count_include_pad=1)
    pool("AveragePool", "bands, f64", (8, 1, 3, 21), dtype="f64", kernel_shape=[1, 5])
    pool("MaxPool", "bands, u8", (1, 9, 10, 6), dtype="u8", kernel_shape=[3, 3], pads=[1, 0, 0, 1])
    pool("MaxPool", "bands, indices", (8, 1, 9, 5), indices=True, kernel_shape=[2, 3], pads=[1, 2, 0, 1])
    pool("MaxPool", "bands, f16", (1, 8, 3, 34), dtype="f16", kernel_shape=[2, 2])
    x = small(1, 8, 9, 6)
    x[0, 3, 4, 2], x[0, 5, 8, 5] = np.nan, np.inf
    y = F.max_pool2d(t(x), 3, 1, 1).numpy()
    case("MaxPool", "bands, NaN wins", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, [f32(x)], [f32(y)])
    # the window's two taps lie beside the one element: the mean of nothing, 0 as in onnxruntime
    case("AveragePool", "a window of padding", {"kernel_shape": [2], "dilations": [2], "strides": [2], "pads": [1, 1]}, [f32(np.ones((1, 2, 1)))],
         [f32(np.zeros((1, 2, 1)))])


if __name__ == "__main__":
    print("# Made by gen_nn.py; do not edit.\n")
    for family in (convolutions, transposed_convolutions, pools, norms, recurrents, attentions, resizes, samples,
                   quantisations, integer_products, resized_rows, resized_bands,
                   pooled_bands):
        family()
