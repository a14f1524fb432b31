#!/usr/bin/env python3
# gen_microsoft_more.py - writes more cases of operators of com.microsoft that are imported as those of ai.onnx: with the argument
# `quantised` tests/frontend/microsoft_quantised.txt, with `others` tests/frontend/microsoft_others.txt. Expected values are stated here
# in NumPy in double, from ONNX Runtime's documentation of the operators, and compared with its CPU kernels where it has one.
# Needs onnxruntime, onnx and numpy:  python3 tests/op/gen_microsoft_more.py quantised > tests/frontend/microsoft_quantised.txt
# SPDX-License-Identifier: Apache-2.0
import sys

import gen_microsoft
import numpy as np
from gen_microsoft import KINDS, case, gelu, norm, small, softmax, tanh_gelu
from onnx import TensorProto

rng = np.random.default_rng(12)
gen_microsoft.IMPORT = True
KINDS.update(i16=(np.int16, TensorProto.INT16), bool=(np.bool_, TensorProto.BOOL))
UNIT = 1 / 100  # of the greatest value: ONNX Runtime's tables and integers may be a quantum off


def f(*x):
    return [t if t is None else ("f32", t) for t in x]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


# --- quantised numbers ---

RANGE = {"u8": (0, 256), "i8": (-128, 128)}


class Q:
    """Random numbers of a type, with a scale and a zero point: as inputs, and as what they stand for."""

    def __init__(self, kind, shape, scale, zero, one=False):
        self.kind, self.q, self.scale, self.zero = kind, rng.integers(*RANGE[kind], shape), np.float32(scale), zero
        shape = [1] if one else []
        self.parameters = [("f32", np.full(shape, scale)), (kind, np.full(shape, zero))]
        self.inputs = [(kind, self.q)] + self.parameters
        self.real = (self.q - zero) * float(self.scale)


def quantum(y, kind, scale, zero):
    """y in quanta, and their parameters."""
    lo, hi = RANGE[kind]
    q = np.clip(np.rint(y / float(np.float32(scale))) + zero, lo, hi - 1)
    return [(kind, q)], [("f32", np.array(scale)), (kind, np.array(zero))]


def qlinear(op, note, attrs, parts, y, kind, scale, zero, **more):
    outs, parameters = quantum(y, kind, scale, zero)
    case(op, note, attrs, parts + parameters, outs, agree=UNIT, **more)


def elements():
    for kind, za, zb, zc in (("u8", 100, 7, 120), ("i8", -5, 30, 3)):
        a, b = Q(kind, (2, 3, 4), 0.05171, za), Q(kind, (3, 1), 0.023, zb)
        ins = a.inputs + b.inputs
        qlinear("QLinearAdd", kind, {}, ins, a.real + b.real, kind, 0.06733, zc)
        qlinear("QLinearMul", kind, {}, ins, a.real * b.real, kind, 0.14303, zc)
        qlinear("QLinearSigmoid", kind, {}, a.inputs, sigmoid(a.real), kind, 0.0041, zc - 100)
        qlinear("QLinearLeakyRelu", kind, dict(alpha=0.25), a.inputs, np.where(a.real < 0, 0.25 * a.real, a.real), kind, 0.04337, zc)
    for one in (False, True): # forms that ONNX Runtime documents, but does not take
        a, b = Q("u8", (2, 3), 0.05, 100, one), Q("u8", (2, 3), 0.02, 0, one)
        q = np.clip(np.rint((a.real + b.q * float(b.scale)) / float(np.float32(0.07))), 0, 255)
        case("QLinearAdd", "no zero points" + one * ", scales of one element", {},
             a.inputs + [b.inputs[0], b.inputs[1], None, ("f32", np.full([1] * one, 0.07))], [("u8", q)], peer=False)
    a, b, c = Q("u8", (2, 3), 0.05, 100), Q("u8", (2, 3), 0.02, 7), rng.integers(0, 2, (2, 3))
    qlinear("QLinearWhere", "", {}, [("bool", c)] + a.inputs + b.inputs, np.where(c, a.real, b.real), "u8", 0.04337, 90)
    parts = [Q("u8", (2, n), s, z) for n, s, z in ((3, 0.05, 100), (1, 0.02, 7), (4, 0.04337, 90))]
    outs, parameters = quantum(np.concatenate([p.real for p in parts], 1), "u8", 0.04337, 90)
    case("QLinearConcat", "", dict(axis=1), parameters + sum((p.inputs for p in parts), []), outs, agree=UNIT)


def windows(x, size, step, pad):
    """Sums and counts of windows within the last two axes."""
    h, w = x.shape[2:]
    rows = lambda n: range(-pad, n + pad - size + 1, step)
    part = lambda i, n: slice(max(i, 0), min(i + size, n))
    return np.array([[[[x[b, c, part(i, h), part(j, w)].mean() for j in rows(w)] for i in rows(h)]
                      for c in range(x.shape[1])] for b in range(x.shape[0])])


def axes():
    x = Q("u8", (2, 3, 4), 0.05171, 100)
    p = softmax(x.real)
    qlinear("QLinearSoftmax", "", dict(axis=-1, opset=13), x.inputs, p, "u8", 1 / 256, 0)
    y = np.exp(x.real)
    qlinear("QLinearSoftmax", "over two axes", dict(axis=1, opset=11), x.inputs, y / y.sum((1, 2), keepdims=True), "u8", 1 / 256, 0)
    qlinear("QLinearReduceMean", "", dict(axes=[1], keepdims=0), x.inputs, x.real.mean(1), "u8", 0.033, 90, peer=False)
    qlinear("QLinearReduceMean", "axes kept", dict(axes=[0, -1], keepdims=1), x.inputs, x.real.mean((0, 2), keepdims=True), "u8",
            0.033, 90, peer=False)
    for kind in ("u8", "i8"):
        x = Q(kind, (2, 3, 4, 5), 0.05171, 10)
        y, attrs = windows(x.real, 2, 1, 1), dict(kernel_shape=[2, 2], pads=[1, 1, 1, 1])
        qlinear("QLinearAveragePool", kind, attrs, x.inputs, y, kind, 0.04337, 20)
        mean = x.real.mean((2, 3), keepdims=True)
        qlinear("QLinearGlobalAveragePool", kind, dict(channels_last=0), x.inputs, mean, kind, 0.01303, 20)
        last = [(kind, x.q.transpose(0, 2, 3, 1))] + x.parameters
        qlinear("QLinearAveragePool", kind + ", channels last", dict(channels_last=1, **attrs), last, y.transpose(0, 2, 3, 1), kind, 0.04337, 20)
        qlinear("QLinearGlobalAveragePool", kind + ", channels last", dict(channels_last=1), last, mean.transpose(0, 2, 3, 1), kind, 0.01303, 20)


def convolution(x, w, pad=0, step=1):
    """Of [N, C, H, W] by [M, C, h, w]."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    h, v = w.shape[2:]
    y = np.zeros((x.shape[0], w.shape[0], (x.shape[2] - h) // step + 1, (x.shape[3] - v) // step + 1))
    for i in range(h):
        for j in range(v):
            part = x[:, :, i : i + step * y.shape[2] : step, j : j + step * y.shape[3] : step]
            y += np.einsum("nchw,mc->nmhw", part, w[:, :, i, j])
    return y


def quantised_convolution():
    x, w, bias = Q("u8", (1, 3, 5, 6), 0.05, 100), Q("i8", (8, 3, 3, 3), 0.02, 0), rng.integers(-500, 500, 8)
    y = convolution(x.real, w.real, 1) + (bias * 0.05 * 0.02)[:, None, None]
    outs, parameters = quantum(y, "u8", 0.40129, 120)
    ins = [("u8", x.q.transpose(0, 2, 3, 1))] + x.parameters + w.inputs + parameters + [("i32", bias)]
    case("QLinearConv", "channels last", dict(channels_last=1, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), ins,
         [(k, v.transpose(0, 2, 3, 1)) for k, v in outs], agree=UNIT)


def products():
    a, b = Q("u8", (2, 3, 8), 0.05, 100), Q("i8", (8, 5), 0.02, 3)
    columns, zeros, bias = rng.uniform(0.01, 0.05, 5).astype(np.float32), rng.integers(-20, 20, 5), small(5)
    case("MatMulIntegerToFloat", "", {}, [("u8", a.q), ("i8", b.q)] + f(np.array(0.05), np.array(0.02)), f((a.q @ b.q) * 1e-3))
    many = (b.q - zeros) * columns.astype(float)
    case("MatMulIntegerToFloat", "zero points, one scale per column, a bias", {},
         [("u8", a.q), ("i8", b.q)] + f(np.array(0.05), columns) + [("u8", np.array(100)), ("i8", zeros)] + f(bias), f(a.real @ many + bias))
    x = rng.uniform(-1, 2, (2, 3, 8)).astype(np.float32)
    lo, hi = min(0, x.min()), max(0, x.max())
    scale = np.float32((hi - lo) / 255)
    zero = np.clip(np.rint(-lo / scale), 0, 255)
    rounded = (np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * float(scale)
    case("DynamicQuantizeMatMul", "", {}, f(x) + [("i8", b.q)] + f(np.array(0.02)), f(rounded @ (b.q * 0.02)), agree=1e-4)
    case("DynamicQuantizeMatMul", "zero points, one scale per column, a bias", {}, f(x) + [("i8", b.q)] + f(columns) + [("i8", zeros)] + f(bias),
         f(rounded @ many + bias), agree=1e-4)
    i, j = rng.integers(-3000, 3000, (2, 3, 4)), rng.integers(-3000, 3000, (4, 5))
    case("MatMulInteger16", "", {}, [("i16", i), ("i16", j)], [("i32", i @ j)])
    a, c = Q("u8", (3, 8), 0.05, 100), rng.integers(-2000, 2000, (1, 5))
    y = a.real @ b.real
    case("QGemm", "to floats", {}, a.inputs + b.inputs, f(y))
    many = [("i8", b.q.T)] + f(columns) + [("i8", zeros)]
    y = 0.5 * ((a.q - 100) @ (b.q - zeros) + c) * 0.05 * columns.astype(float)
    outs, parameters = quantum(y, "u8", 0.20173, 110)
    case("QGemm", "transposed, by column, C, quantised", dict(alpha=0.5, transB=1), a.inputs + many + [("i32", c)] + parameters, outs, agree=UNIT)
    case("QGemm", "of A transposed", dict(transA=1), [("u8", a.q.T)] + a.parameters + b.inputs, f(a.real @ b.real))


def attention():
    heads, dim = 2, 4
    x, w, bias = Q("u8", (2, 3, 6), 0.011, 120), Q("i8", (6, 24), 0.0123, 3), small(24)
    ins = [x.inputs[0], w.inputs[0], ("f32", bias), x.inputs[1], w.inputs[1]]
    def run(more=0.0, past=None):
        part = np.split(x.real @ w.real + bias, 3, -1)
        q, k, v = (t.reshape(2, 3, heads, dim).swapaxes(1, 2) for t in part)
        if past is not None:
            k, v = np.concatenate([past[0], k], 2), np.concatenate([past[1], v], 2)
        s = q @ k.swapaxes(-1, -2) / 2 + more
        if past is not None:
            s = np.where(np.tri(3, k.shape[2], k.shape[2] - 3, dtype=bool), s, -np.inf)
        return (softmax(s) @ v).swapaxes(1, 2).reshape(2, 3, 8), np.stack([k, v])
    zeros = [x.inputs[2], w.inputs[2]]
    case("QAttention", "", dict(num_heads=2), ins + [None] + zeros, f(run()[0]), agree=1e-4)
    length = np.array([2, 3])
    keep = (np.arange(3) < length[:, None]).astype(float)[:, None, None] * 1e4 - 1e4
    case("QAttention", "lengths", dict(num_heads=2), ins + [("i32", length)] + zeros, f(run(keep)[0]), agree=1e-4)
    past = small(2, 2, heads, 2, dim)
    case("QAttention", "past, causal", dict(num_heads=2, unidirectional=1), ins + [None] + zeros + f(past), f(*run(past=past)), agree=1e-4)


def lstm():
    """Weights of integers; ONNX Runtime quantises each row and state too, which this does not."""
    seq, batch, size, hidden = 3, 2, 4, 3
    x, h, c, bias = small(seq, batch, size), small(1, batch, hidden), small(1, batch, hidden), small(1, 8 * hidden)
    w, r = Q("i8", (1, size, 4 * hidden), 0.0123, 3), Q("i8", (1, hidden, 4 * hidden), 0.0117, 3)
    def run(w, r):
        s, d, all_s = h[0], c[0], []
        for t in range(seq):
            i, o, g, e = np.split(x[t] @ w[0] + s @ r[0] + bias[0, : 4 * hidden] + bias[0, 4 * hidden :], 4, -1)
            d = sigmoid(g) * d + sigmoid(i) * np.tanh(e)
            s = sigmoid(o) * np.tanh(d)
            all_s.append(s)
        return f(np.stack(all_s)[:, None], s[None], d[None])
    first = f(x) + [w.inputs[0], r.inputs[0]] + f(bias) + [None] + f(h, c) + [None]
    scales = [("f32", np.array([0.0123])), ("i8", np.array([3])), ("f32", np.array([0.0117])), ("i8", np.array([3]))]
    case("DynamicQuantizeLSTM", "", dict(hidden_size=hidden), first + scales, run(w.real, r.real), agree=0.08)
    sw, sr = (rng.uniform(0.005, 0.02, (1, 4 * hidden)).astype(np.float32) for _ in range(2))
    none = ("i8", np.zeros((1, 4 * hidden)))
    case("DynamicQuantizeLSTM", "one scale per column", dict(hidden_size=hidden), first + [("f32", sw), none, ("f32", sr), none],
         run(w.q * sw[:, None].astype(float), r.q * sr[:, None].astype(float)), agree=0.08)


# --- others ---

def images():
    x, w, b, z = small(1, 2, 4, 5), small(3, 2, 3, 3), small(3), small(1, 3, 4, 5)
    y, attrs = convolution(x, w, 1) + b[:, None, None], dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    last = lambda v: v.transpose(0, 2, 3, 1)
    case("FusedConv", "Relu", dict(activation="Relu", **attrs), f(x, w, b), f(np.maximum(y, 0)))
    case("FusedConv", "a sum, Clip", dict(activation="Clip", activation_params=[-1.5, 2.5], **attrs), f(x, w, b, z), f(np.clip(y + z, -1.5, 2.5)),
         peer=False)
    case("FusedConv", "LeakyRelu", dict(activation="LeakyRelu", activation_params=[0.25], **attrs), f(x, w, b), f(np.where(y < 0, 0.25 * y, y)))
    case("FusedConv", "HardSigmoid, no bias", dict(activation="HardSigmoid", activation_params=[0.25, 0.5], **attrs), f(x, w),
         f(np.clip(0.25 * convolution(x, w, 1) + 0.5, 0, 1)))
    case("NhwcConv", "strides", dict(kernel_shape=[3, 3], strides=[2, 2]), f(last(x), w, b), f(last(convolution(x, w, 0, 2) + b[:, None, None])), peer=False)
    case("NhwcFusedConv", "a sum, Relu", dict(activation="Relu", **attrs), f(last(x), w, b, last(z)), f(last(np.maximum(y + z, 0))), peer=False)
    q = rng.integers(-128, 128, (1, 2, 4, 5))
    most = np.stack([q[:, :, i : i + 2] for i in range(0, 4, 2)], 2).max(3)
    most = np.stack([most[..., j : j + 3] for j in range(0, 3, 2)], 3).max(4)
    case("NhwcMaxPool", "", dict(kernel_shape=[2, 3], strides=[2, 2]), [("i8", last(q))], [("i8", last(most))])


def group_norms():
    x, g, b, bias = small(2, 4, 3, 2), small(4), small(4), small(4)
    last = lambda v: v.transpose(0, 2, 3, 1)
    def run(x):
        y = norm(x.reshape(2, 2, -1), 1, 0.125).reshape(x.shape)
        return y * g[:, None, None] + b[:, None, None]
    attrs = dict(groups=2, epsilon=0.125, activation=0)
    case("GroupNorm", "", attrs, f(last(x), g, b), f(last(run(x))), peer=False)
    case("GroupNorm", "channels first, silu", dict(attrs, channels_last=0, activation=1), f(x, g, b), f(silu(run(x))), peer=False)
    s, row = small(2, 4, 3, 2), small(2, 4)
    case("SkipGroupNorm", "bias and sum", attrs, f(last(x), g, b, last(s), bias),
         f(last(run(x + s + bias[:, None, None])), last(x + s + bias[:, None, None])), peer=False)
    case("SkipGroupNorm", "a row of each image, silu", dict(attrs, activation=1), f(last(x), g, b, row), f(last(silu(run(x + row[:, :, None, None])))),
         peer=False)
    case("SkipGroupNorm", "channels first", dict(attrs, channels_last=0), f(x, g, b, row, bias), f(run(x + (row + bias)[:, :, None, None])), peer=False)


def fused():
    a, b = small(2, 3, 4, 5), small(2, 3, 5, 2)
    case("FusedMatMul", "batch of A behind", dict(transBatchA=1), f(a.transpose(2, 0, 1, 3), b), f(a @ b))
    case("FusedMatMul", "batches of both behind, transposed", dict(transBatchA=1, transBatchB=1, transA=1, transB=1, alpha=0.5),
         f(a.transpose(3, 0, 1, 2), b.transpose(3, 0, 1, 2)), f(0.5 * (a @ b)))
    case("TransposeMatMul", "", dict(transA=1, alpha=0.5), f(a.swapaxes(2, 3), b), f(0.5 * (a @ b)))
    case("FusedMatMulActivation", "", dict(activation="Relu", transB=1), f(a, b.swapaxes(2, 3)), f(np.maximum(a @ b, 0)), peer=False)
    x, w, bias = small(2, 3, 4), small(4, 5) / 2, small(5)
    case("GemmFastGelu", "", {}, f(x, w, bias), f(tanh_gelu(x @ w + bias)), peer=False, tol=1e-4)
    x, bias, skip = small(2, 3, 8), small(8), small(2, 3, 8)
    case("BiasSplitGelu", "", {}, f(x, bias), f((x + bias)[..., :4] * gelu((x + bias)[..., 4:])), peer=False, tol=1e-4)
    case("BiasAdd", "", {}, f(x, bias, skip), f(x + bias + skip), peer=False)
    y = np.exp(x + bias)
    case("BiasSoftmax", "", dict(axis=1, is_inner_broadcast=1), f(x, bias), f(y / y.sum((1, 2), keepdims=True)), peer=False)
    case("BiasSoftmax", "last axis", dict(axis=2, is_inner_broadcast=0), f(x, skip[:1]), f(softmax(x + skip[:1])), peer=False)
    case("ScaledSiLU", "", dict(alpha=0.5), f(x), f(silu(0.5 * x)), tol=1e-4)
    case("ScaledSiLU", "a number that is an input", {}, f(x, np.array(2.0)), f(silu(2 * x)), tol=1e-4)
    case("SwiGLU", "", {}, f(x, skip), f(silu(x) * skip), tol=1e-4, peer=False)
    low, up = np.minimum(x[..., :4], 1.25), np.clip(x[..., 4:], -1.25, 1.25)
    case("SwiGLU", "in one, clamped", dict(limit=1.25, activation_alpha=1.5, activation_beta=1.0), f(x), f(low * sigmoid(1.5 * low) * (up + 1)), tol=1e-4,
         peer=False)
    small(4) # the values of what follows stay as they are
    gate = small(2, 3, 1)
    case("GatedAdd", "", {}, f(x, skip, gate), f(x + skip * gate))


def positions():
    small(2, 8) # as above
    x, xb, rel, w, b, a = small(2, 3, 8), small(8), small(1, 2, 3, 3), small(4, 6) / 4, small(6), small(1, 2, 1, 1)
    q = (x + xb).reshape(2, 3, 2, 4).swapaxes(1, 2)
    gate = sigmoid((q @ w + b).reshape(2, 2, 3, 2, 3).sum(-1))
    case("GatedRelativePositionBias", "", dict(num_heads=2), f(x, xb, rel, w, b, a), f((gate[..., :1] * (gate[..., 1:] * a - 1) + 2) * rel),
         peer=False, tol=1e-4)
    angle, x = rng.uniform(-1, 1, (9, 4)), small(2, 3, 16)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    def turn(c, s):
        u, v = np.split(x.reshape(2, 3, 2, 8), 2, -1)
        c, s = c[:, :, None], s[:, :, None]
        return f(np.concatenate([u * c - v * s, v * c + u * s], -1).reshape(x.shape))
    at = np.arange(3) + 4 + np.zeros((2, 1), int)
    case("RotaryEmbedding", "an offset", {}, f(x.reshape(2, 3, 2, 8).swapaxes(1, 2)) + [("i64", np.array([4]))] + f(cos, sin),
         f(turn(cos[at], sin[at])[0][1].reshape(2, 3, 2, 8).swapaxes(1, 2)))
    at = rng.integers(0, 9, (3, 2, 3))
    for layout, which in ((0, [0, 0, 1, 2]), (1, [0, 1, 2, 0])):
        mix = lambda t: np.stack([t[at[k]][..., i] for i, k in enumerate(which)], -1)
        case("MRotaryEmbedding", "layout %d" % layout, dict(mrope_section=[2, 1, 1], mrope_layout=layout, num_heads=2, rotary_embedding_dim=8),
             f(x) + [("i64", at)] + f(cos, sin), turn(mix(cos), mix(sin)), peer=False)


def recurrences():
    B, T, dk, dv = 2, 3, 4, 3
    def run(q, k, v, past, decay, beta, heads, scale=None):
        kv = v.shape[-1] // dv
        S = np.zeros((B, kv, dk, dv)) if past is None else past.copy()
        most, ys = max(heads, kv), []
        for t in range(T):
            rows = lambda x, n: x[:, t].reshape(B, n, -1)
            K, V = rows(k, kv), rows(v, kv)
            if decay is not None:
                g = rows(decay, kv)
                S = S * np.exp(g)[..., None]
            if beta is not None:
                V = (V - np.einsum("bhkv,bhk->bhv", S, K)) * rows(beta, kv if beta.shape[-1] > 1 else 1)
            S = S + K[..., None] * V[..., None, :]
            y = np.einsum("bhkv,bhk->bhv", np.repeat(S, most // kv, 1), np.repeat(rows(q, heads), most // heads, 1))
            ys.append((y * (scale or dk**-0.5)).reshape(B, -1))
        return f(np.stack(ys, 1), S)
    def one(note, rule, heads, kv, gate=None, past=False, single=False, **more):
        q, k, v = small(B, T, heads * dk), small(B, T, kv * dk) / 4, small(B, T, kv * dv)
        s = small(B, kv, dk, dv) if past else None
        decay = -abs(small(B, T, kv * gate)) if gate else None
        beta = sigmoid(small(B, T, 1 if single else kv)) if "delta" in rule else None
        decay, beta = (x if x is None else x.astype(np.float32).astype(float) for x in (decay, beta))
        attrs = dict(q_num_heads=heads, kv_num_heads=kv, update_rule=rule, **more)
        ins = f(q, k, v, s, decay, beta)
        while ins[-1] is None:
            ins.pop()
        case("LinearAttention", note, attrs, ins, run(q, k, v, s, decay, beta, heads, more.get("scale")), tol=1e-4)
    one("linear", "linear", 2, 2)
    one("gated by key, a state", "gated", 4, 2, gate=dk, past=True, scale=0.5)
    one("delta", "delta", 2, 1, past=True)
    one("gated delta, a state", "gated_delta", 4, 2, gate=1, past=True)
    one("gated delta, more heads of keys than of queries", "gated_delta", 2, 4, gate=1, past=True)
    a, shift, by, b = small(B, T, 5), small(5), -abs(small(5)), small(B, T, 5)
    case("LinearAttentionGate", "", {}, f(a, shift, by, b), f(by * np.log1p(np.exp(a + shift)), sigmoid(b)), tol=1e-4)
    case("LinearAttentionGate", "decay alone", {}, f(a, shift, by), f(by * np.log1p(np.exp(a + shift))), tol=1e-4)


def causal_convolutions():
    N, C, L, K = 2, 3, 4, 3
    def one(note, past=True, bias=True, dilation=1, trail=None, **more):
        before = (K - 1) * dilation
        x, w, b, s = small(N, C, L), small(C, 1, K), small(C), small(N, C, before)
        rows = np.concatenate([s if past else 0 * s, x], 2)
        y = sum(w[:, 0, j, None] * rows[:, :, j * dilation : j * dilation + L] for j in range(K)) + (b[:, None] if bias else 0)
        y = silu(y) if more.get("activation") in ("silu", "swish") else y
        place = (lambda v: v.swapaxes(1, 2).reshape((N, v.shape[2]) + trail)) if trail else (lambda v: v)
        ins = f(place(x), w, b if bias else None, place(s) if past else None)
        while ins[-1] is None:
            ins.pop()
        more.update(dict(dilation=dilation) if dilation > 1 else {}, **(dict(channels_last=1) if trail else {}))
        case("CausalConvWithState", note, more, ins, f(place(y), place(rows[:, :, L:])), tol=1e-4)
    one("")
    one("no state, silu", past=False, activation="silu")
    one("dilated", bias=False, dilation=2)
    one("channels last, silu", trail=(3,), activation="swish")
    one("channels last in two axes, dilated", trail=(1, 3), dilation=2)


def same():
    x, i = small(2, 3, 4), lambda kind, v: [(kind, np.array(v))]
    case("ExpandDims", "", {}, f(x) + i("i32", -2), f(x[:, :, None]))
    case("Trilu", "", dict(upper=0), f(x) + i("i64", 1), f(np.tril(x, 1)))
    case("Range", "", {}, i("i64", [2]) + i("i64", 9) + i("i64", [3]), i("i64", [2, 5, 8]))
    case("Range", "step left out", {}, i("i32", 2) + i("i32", 5), i("i32", [2, 3, 4]))
    case("Pad", "", {}, f(x) + i("i64", [[0, 1, 0, 0, 0, 2]]) + f(np.array([1.5])), f(np.pad(x, ((0, 0), (1, 0), (0, 2)), constant_values=1.5)))
    case("GatherND", "", {}, f(x) + i("i32", [[0, 1], [1, 2]]), f(np.stack([x[0, 1], x[1, 2]])))
    grid = rng.integers(-6, 7, (1, 2, 3, 2)) / 8.0
    v = small(1, 2, 4, 4)
    at = lambda n, k: ((grid[..., n] + 1) / 2 * (k - 1))
    u, w = at(0, 4), at(1, 4)
    a, b = np.floor(u).astype(int), np.floor(w).astype(int)
    far = lambda k: np.minimum(k + 1, 3)
    p, q = u - a, w - b
    y = (v[:, :, b, a] * (1 - p) * (1 - q) + v[:, :, b, far(a)] * p * (1 - q) + v[:, :, far(b), a] * (1 - p) * q + v[:, :, far(b), far(a)] * p * q)[:, :, 0]
    case("GridSample", "", dict(align_corners=1), f(v, grid), f(y))
    case("Unique", "", {}, f(np.array([2, 1, 1, 3, 4, 3.0])), f(np.array([2, 1, 3, 4.0])) + i("i64", [0, 1, 1, 2, 3, 2]) + i("i64", [1, 2, 2, 1]))
    a, b = small(4, 3), small(5, 3)
    d = ((a[:, None] - b) ** 2).sum(-1)
    case("CDist", "euclidean", dict(metric="euclidean"), f(a, b), f(np.sqrt(d)), agree=1e-4)
    case("CDist", "sqeuclidean", dict(metric="sqeuclidean"), f(a, b), f(d))


def gated_norms():
    x, g, z = small(2, 3, 8), small(4), small(2, 3, 8)
    y = norm(x.reshape(2, 3, 2, 4), g, 0.125, centred=False).reshape(x.shape)
    case("GatedRMSNorm", "silu, in groups", dict(epsilon=0.125), f(x, g, z), f(y * silu(z)), tol=1e-4)
    g = small(8)
    case("GatedRMSNorm", "sigmoid", dict(epsilon=0.125, activation="sigmoid"), f(x, g, z), f(norm(x, g, 0.125, centred=False) * sigmoid(z)), tol=1e-4)


if __name__ == "__main__":
    print("# Made by gen_microsoft_more.py; do not edit.\n")
    for make in ((elements, axes, quantised_convolution, products, attention, lstm) if sys.argv[1:] == ["quantised"] else
                 (images, group_norms, fused, positions, recurrences, causal_convolutions, same, gated_norms)):
        make()
