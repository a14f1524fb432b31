#!/usr/bin/env python3
# gen_microsoft.py - writes microsoft.txt: cases of the operators of com.microsoft. Expected values are stated here in NumPy in
# double, from ONNX Runtime's documentation of the operators, and compared with its CPU kernels where those take the case.
# Needs onnxruntime, onnx and numpy:  python3 tests/op/gen_microsoft.py > tests/op/microsoft.txt; with the argument `import` it
# writes those that are imported as operators of ai.onnx, for tests/frontend/microsoft.txt.
# SPDX-License-Identifier: Apache-2.0
import math
import sys

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

rng = np.random.default_rng(11)
IMPORT = sys.argv[1:] == ["import"]
KINDS = {"f32": (np.float32, TensorProto.FLOAT), "f16": (np.float16, TensorProto.FLOAT16), "u8": (np.uint8, TensorProto.UINT8),
         "i8": (np.int8, TensorProto.INT8), "i32": (np.int32, TensorProto.INT32), "i64": (np.int64, TensorProto.INT64)}


def text(kind, v):
    one = (lambda x: "%.9g" % float(x)) if kind[0] == "f" else (lambda x: str(int(x)))
    return ("%s[%s] " % (kind, ",".join(map(str, v.shape))) + " ".join(one(x) for x in v.reshape(-1))).strip()


def attr_text(attrs):
    return " ".join("%s=%s" % (k, "[%s]" % ",".join(map(str, v)) if isinstance(v, list) else v) for k, v in attrs.items())


def runtime(op, attrs, ins, kinds):
    """What ONNX Runtime gives, without its optimiser."""
    names = ["x%d" % i if x is not None else "" for i, x in enumerate(ins)]
    node = helper.make_node(op, names, ["y%d" % i if k else "" for i, k in enumerate(kinds)], domain="com.microsoft", **attrs)
    inputs = [helper.make_tensor_value_info(n, KINDS[x[0]][1], x[1].shape) for n, x in zip(names, ins) if x is not None]
    outputs = [helper.make_tensor_value_info("y%d" % i, KINDS[k][1], None) for i, k in enumerate(kinds) if k]
    graph = helper.make_graph([node], "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)])
    model.ir_version = 10
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {n: x[1] for n, x in zip(names, ins) if x is not None})


def case(op, note, attrs, ins, outs, tol=None, agree=2e-5, peer=True):
    """ins, outs: (kind, array) or None. peer: ONNX Runtime takes this case and must agree."""
    ins = [x and (x[0], np.asarray(x[1], KINDS[x[0]][0], order="C")) for x in ins]
    if peer:
        wanted = [x for x in outs if x]
        for got, want in zip(runtime(op, attrs, ins, [x and x[0] for x in outs]), wanted):
            error = np.abs(got.astype(float) - want[1]).max() / (1e-9 + np.abs(want[1]).max())
            assert got.shape == want[1].shape and error <= agree, (op, note, error)
    print("op com.microsoft.%s %s" % (op, ("1 " if IMPORT else "") + note))
    if attrs:
        print("attr " + attr_text(attrs))
    for x in ins:
        print("in " + ("-" if x is None else text(*x)))
    for x in outs:
        print("out " + ("-" if x is None else text(*x)))
    tol = tol or (1e-5 if IMPORT else None)
    if tol:
        print("tol %g" % tol)
    print()


def small(*shape):
    """Eighths between -2 and 2."""
    return rng.integers(-16, 17, shape) / 8.0


# --- MatMulNBits ---

def packed(q, bits):
    """The last axis, in bytes, the first number in the lowest bits."""
    per = 8 // bits
    q = np.concatenate([q, np.zeros(q.shape[:-1] + (-q.shape[-1] % per,), q.dtype)], -1)
    q = q.reshape(q.shape[:-1] + (-1, per)).astype(np.uint32)
    return (q << (np.arange(per, dtype=np.uint32) * bits)).sum(-1).astype(np.uint8)


def nbits(note, lead, K, N, bits, block, zero=None, bias=False, order=False, kind="f32", flat=False, peer=True, **more):
    blocks = -(-K // block)
    q = rng.integers(0, 2**bits, (N, blocks * block))
    a, scale = small(*lead, K), rng.integers(1, 9, (N, blocks)) / 16.0
    z = np.full((N, blocks), 2.0**(bits - 1))
    ins = [(kind, a), ("u8", packed(q, bits).reshape(N, blocks, -1)), (kind, scale.reshape(-1) if flat else scale)]
    if zero == "u8":
        z = rng.integers(0, 2**bits, (N, blocks))
        ins.append(("u8", packed(z, bits).reshape(-1) if flat else packed(z, bits)))
    elif zero:
        z = small(N, blocks) + 2.0**(bits - 1)
        ins.append((zero, z))
    group = np.arange(K) // block
    if order:
        group = rng.permutation(group)
        ins += [None] * (4 - len(ins)) + [("i32", group)]
    w = (q[:, :K] - z[:, group]) * scale[:, group]
    y = a @ w.T
    if bias:
        b = small(N)
        ins += [None] * (5 - len(ins)) + [(kind, b)]
        y = y + b
    case("MatMulNBits", note, dict(K=K, N=N, bits=bits, block_size=block, **more), ins, [(kind, y)], peer=peer,
         agree=2e-3 if kind == "f16" else 2e-5)


def all_nbits():
    nbits("of 4 bits", (2,), 32, 5, 4, 16)
    nbits("of 4 bits, a batch", (2, 3), 64, 3, 4, 32, accuracy_level=1)
    nbits("of 4 bits, packed zero points, an odd number of blocks", (2,), 48, 3, 4, 16, zero="u8")
    nbits("of 4 bits, zero points of f32", (3,), 32, 4, 4, 16, zero="f32")
    nbits("of 4 bits, K within the last block", (2,), 40, 3, 4, 16)
    nbits("of 4 bits, all of it flat", (1,), 64, 4, 4, 32, zero="u8", flat=True, peer=False)
    nbits("of 4 bits with a bias", (2,), 32, 5, 4, 32, bias=True)
    nbits("of 4 bits, blocks out of order", (2,), 64, 3, 4, 16, order=True)
    nbits("of 8 bits", (2,), 32, 5, 8, 16)
    nbits("of 8 bits, zero points", (2, 2), 64, 3, 8, 32, zero="u8")
    nbits("of 2 bits", (2,), 64, 3, 2, 32, peer=False)
    nbits("of 2 bits, zero points", (1,), 48, 3, 2, 16, zero="u8", peer=False)
    nbits("of f16", (2,), 32, 3, 4, 16, zero="u8", kind="f16", peer=False)


# --- what is imported as other operators ---

def erf(x):
    return np.vectorize(math.erf)(x)


def gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def norm(x, scale, eps, beta=None, centred=True):
    d = x - x.mean(-1, keepdims=True) if centred else x
    y = d / np.sqrt((d * d).mean(-1, keepdims=True) + eps) * scale
    return y if beta is None else y + beta


def norms():
    x, skip, g, b, bias = small(2, 3, 8), small(2, 3, 8), small(8), small(8), small(8)
    f = lambda *v: [t if t is None else ("f32", t) for t in v]
    eps = float(np.float32(1e-12))
    case("SkipLayerNormalization", "", {}, f(x, skip, g, b), f(norm(x + skip, g, eps, b)))
    case("SkipLayerNormalization", "bias and sum", dict(epsilon=0.125), f(x, skip, g, b, bias),
         f(norm(x + skip + bias, g, 0.125, b), None, None, x + skip + bias))
    case("SkipLayerNormalization", "no beta", dict(epsilon=0.125), f(x, skip, g, None, bias), f(norm(x + skip + bias, g, 0.125)))
    case("SkipSimplifiedLayerNormalization", "", {}, f(x, skip, g), f(norm(x + skip, g, eps, centred=False)))
    case("SkipSimplifiedLayerNormalization", "sum", dict(epsilon=0.125), f(x, skip, g),
         f(norm(x + skip, g, 0.125, centred=False), None, None, x + skip))
    case("SkipSimplifiedLayerNormalization", "bias and sum", dict(epsilon=0.125), f(x, skip, g, bias),
         f(norm(x + skip + bias, g, 0.125, centred=False), None, None, x + skip + bias))
    case("SimplifiedLayerNormalization", "", dict(axis=-1, epsilon=0.125), f(x, g), f(norm(x, g, 0.125, centred=False)), peer=False)


def activations():
    x, b = small(2, 3, 4), small(4)
    case("Gelu", "", {}, [("f32", x)], [("f32", gelu(x))], tol=1e-4)
    case("BiasGelu", "", {}, [("f32", x), ("f32", b)], [("f32", gelu(x + b))], tol=1e-4)
    case("FastGelu", "", {}, [("f32", x)], [("f32", tanh_gelu(x))], tol=1e-4)
    case("FastGelu", "bias", {}, [("f32", x), ("f32", b)], [("f32", tanh_gelu(x + b))], tol=1e-4)
    case("QuickGelu", "", {}, [("f32", x)], [("f32", x / (1 + np.exp(-1.702 * x)))], tol=1e-4)
    case("QuickGelu", "alpha", dict(alpha=0.5), [("f32", x)], [("f32", x / (1 + np.exp(-0.5 * x)))], tol=1e-4)


def fused_products():
    a, b = small(2, 3, 4), small(2, 4, 5)
    t = lambda v: v.swapaxes(-1, -2)
    case("FusedMatMul", "", {}, [("f32", a), ("f32", b)], [("f32", a @ b)])
    case("FusedMatMul", "alpha", dict(alpha=0.125), [("f32", a), ("f32", b)], [("f32", 0.125 * (a @ b))])
    case("FusedMatMul", "transposed", dict(transA=1, transB=1, alpha=2.0), [("f32", t(a)), ("f32", t(b))], [("f32", 2 * (a @ b))])


def linear_steps():
    q, s, z = rng.integers(0, 256, (3, 4)), np.array([0.5, 0.25, 2]), rng.integers(0, 256, 3)
    x = (q - z[:, None]) * s[:, None]
    case("DequantizeLinear", "", {}, [("u8", q), ("f32", s[1]), ("u8", z[1])], [("f32", (q - z[1]) * s[1])])
    case("DequantizeLinear", "axis", dict(axis=0), [("u8", q), ("f32", s), ("u8", z)], [("f32", x)])
    case("QuantizeLinear", "axis", dict(axis=0), [("f32", x), ("f32", s), ("u8", z)], [("u8", q)])


def rotary():
    x, angle, at = small(2, 3, 8), rng.uniform(-1, 1, (6, 2)), rng.integers(0, 6, (2, 3))
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    def turn(x, interleaved):
        h = x.reshape(2, 3, 2, 4)
        c, s = cos[at][:, :, None], sin[at][:, :, None]
        u, v = (h[..., ::2], h[..., 1::2]) if interleaved else (h[..., :2], h[..., 2:])
        p, q = u * c - v * s, v * c + u * s
        y = np.stack([p, q], -1) if interleaved else np.concatenate([p, q], -1)
        return y.reshape(2, 3, 8)
    for inter in (0, 1):
        case("RotaryEmbedding", "interleaved" * inter, dict(num_heads=2, interleaved=inter),
             [("f32", x), ("i64", at), ("f32", cos), ("f32", sin)], [("f32", turn(x, inter))], peer=False)


def attention():
    heads, dim = 2, 4
    split = lambda v: v.reshape(v.shape[0], v.shape[1], heads, dim).swapaxes(1, 2)
    def run(q, k, v, bias=0.0, scale=0.5, pk=None, pv=None, causal=False):
        q, k, v = split(q), split(k), split(v)
        k, v = (k, v) if pk is None else (np.concatenate([pk, k], 2), np.concatenate([pv, v], 2))
        s = q @ k.swapaxes(-1, -2) * scale + bias
        if causal:
            s = np.where(np.tri(s.shape[-2], s.shape[-1], dtype=bool), s, -np.inf)
        return (softmax(s) @ v).swapaxes(1, 2).reshape(q.shape[0], q.shape[2], heads * dim), k, v
    q, k, v = small(2, 3, 8), small(2, 5, 8), small(2, 5, 8)
    f = lambda *x: [t if t is None else ("f32", t) for t in x]
    case("MultiHeadAttention", "", dict(num_heads=2), f(q, k, v), f(run(q, k, v)[0]))
    case("MultiHeadAttention", "scale", dict(num_heads=2, scale=0.25), f(q, k, v), f(run(q, k, v, scale=0.25)[0]))
    b = small(1, 2, 3, 5)
    case("MultiHeadAttention", "attention_bias", dict(num_heads=2), f(q, k, v, None, None, b), f(run(q, k, v, b)[0]))
    case("MultiHeadAttention", "causal", dict(num_heads=2, unidirectional=1), f(q, k[:, :3], v[:, :3]),
         f(run(q, k[:, :3], v[:, :3], causal=True)[0]))
    pk, pv = small(2, 2, 4, 4), small(2, 2, 4, 4)
    y, nk, nv = run(q, k[:, :3], v[:, :3], pk=pk, pv=pv)
    case("MultiHeadAttention", "past", dict(num_heads=2), f(q, k[:, :3], v[:, :3], None, None, None, pk, pv), f(y, nk, nv))


def padded_attention():
    """What attention() leaves out: a bias of all three, padding."""
    heads, dim = 2, 4
    split = lambda v: v.reshape(v.shape[0], v.shape[1], heads, dim).swapaxes(1, 2)
    q, k, v, bias = small(2, 3, 8), small(2, 5, 8), small(2, 5, 8), small(24)
    f, i = lambda *x: [t if t is None else ("f32", t) for t in x], lambda x: [("i32", x)]
    def run(mask=1, bias=np.zeros(24)):
        a, b, c = split(q + bias[:8]), split(k + bias[8:16]), split(v + bias[16:])
        y = softmax(a @ b.swapaxes(-1, -2) / 2 + (np.asarray(mask) - 1) * 1e4) @ c
        return y.swapaxes(1, 2).reshape(2, 3, 8)
    case("MultiHeadAttention", "bias", dict(num_heads=2), f(q, k, v, bias), f(run(bias=bias)))
    mask = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 0]])
    case("MultiHeadAttention", "key_padding_mask", dict(num_heads=2), f(q, k, v, None) + i(mask), f(run(mask[:, None, None])))
    length = np.array([2, 4])
    case("MultiHeadAttention", "lengths", dict(num_heads=2), f(q, k, v, bias) + i(length),
         f(run((np.arange(5) < length[:, None])[:, None, None], bias)))


def fused_gemm():
    a, b, c = small(3, 4), small(4, 2), small(2)
    y = 0.5 * (a @ b) + 2 * c
    f = lambda *x: [("f32", t) for t in x]
    some = dict(alpha=0.5, beta=2.0)
    case("FusedGemm", "Relu", dict(activation="Relu", **some), f(a, b, c), f(np.maximum(y, 0)))
    case("FusedGemm", "LeakyRelu, transposed", dict(activation="LeakyRelu", activation_alpha=0.25, transA=1, transB=1, **some),
         f(a.T, b.T, c), f(np.where(y < 0, 0.25 * y, y)))
    case("FusedGemm", "HardSigmoid", dict(activation="HardSigmoid", activation_alpha=0.25, activation_beta=0.5, **some),
         f(a, b, c), f(np.clip(0.25 * y + 0.5, 0, 1)))


def embeddings():
    ids, seg, mask = rng.integers(0, 7, (2, 3)), rng.integers(0, 2, (2, 3)), np.array([[1, 1, 0], [1, 1, 1]])
    word, pos, kinds, g, b = small(7, 8), small(5, 8), small(2, 8), small(8), small(8)
    f, i = lambda *x: [("f32", t) for t in x], lambda *x: [("i32", t) for t in x]
    total = word[ids] + pos[:3] + kinds[seg]
    case("EmbedLayerNormalization", "", dict(epsilon=0.125), i(ids, seg) + f(word, pos, kinds, g, b) + i(mask),
         f(norm(total, g, 0.125, b)) + i(mask.sum(1)))
    at = rng.integers(0, 5, (2, 3))
    case("EmbedLayerNormalization", "positions, no segments, the sum", dict(epsilon=0.125),
         i(ids) + [None] + f(word, pos) + [None] + f(g, b) + [None] + i(at),
         f(norm(word[ids] + pos[at], g, 0.125, b)) + i(np.zeros(2)) + f(word[ids] + pos[at]))


def projected_attention():
    heads, dim, hidden = 2, 4, 8
    x, w, bias = small(2, 3, 6), small(6, 24) / 2, small(24)
    f, i = lambda *x: [t if t is None else ("f32", t) for t in x], lambda x: [("i32", x)]
    def run(more=0.0, past=None, causal=False):
        q, k, v = (t.reshape(2, 3, heads, dim).swapaxes(1, 2) for t in np.split(x @ w + bias, 3, -1))
        if past is not None:
            k, v = np.concatenate([past[0], k], 2), np.concatenate([past[1], v], 2)
        s = q @ k.swapaxes(-1, -2) / 2 + more
        if causal:
            s = np.where(np.tri(3, k.shape[2], k.shape[2] - 3, dtype=bool), s, -np.inf)
        return (softmax(s) @ v).swapaxes(1, 2).reshape(2, 3, hidden), np.stack([k, v])
    case("Attention", "", dict(num_heads=2), f(x, w, bias), f(run()[0]))
    mask = np.array([[1, 1, 0], [1, 0, 1]])
    case("Attention", "mask of rows", dict(num_heads=2), f(x, w, bias) + i(mask), f(run((mask[:, None, None] - 1) * 1e4)[0]))
    length = np.array([2, 3])
    case("Attention", "lengths", dict(num_heads=2), f(x, w, bias) + i(length),
         f(run((np.arange(3) < length[:, None]).astype(float)[:, None, None] * 1e4 - 1e4)[0]))
    mask, past = rng.integers(0, 2, (2, 3, 5)), small(2, 2, 2, 2, 4)
    mask[:, :, 0] = 1
    y, present = run((mask[:, None] - 1) * 1e4, past, True)
    case("Attention", "past, causal, mask of each row", dict(num_heads=2, unidirectional=1), f(x, w, bias) + i(mask) + f(past),
         f(y, present))
    b = small(2, 2, 3, 3)
    case("Attention", "attention_bias", dict(num_heads=2), f(x, w, bias, None, None, b), f(run(b)[0]))


def group_query(both_ways=False):
    """Query heads in twos over heads of keys, rows written into a cache that is a buffer of some length."""
    heads, kv, dim = 4, 2, 16
    angle = rng.uniform(-1, 1, (12, dim // 2))
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    f, i = lambda *x: [t if t is None else ("f32", t) for t in x], lambda *x: [("i32", t) for t in x]
    def turn(x, at, interleaved):
        c, s = cos[at][:, None], sin[at][:, None]
        u, v = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., : dim // 2], x[..., dim // 2 :])
        p, q = u * c - v * s, v * c + u * s
        return np.stack([p, q], -1).reshape(x.shape) if interleaved else np.concatenate([p, q], -1)
    def one(note, seq, lengths, room, window=-1, rotary=None, packed=False, scale=0.0, softcap=0.0, bias=False, past=True, causal=True, tol=None):
        """lengths: rows of each sequence in the end; room: of the past's buffer."""
        lengths = np.array(lengths)
        batch, total = len(lengths), max(lengths)
        split = lambda x: x.reshape(batch, seq, -1, dim).swapaxes(1, 2)
        q, k, v = small(batch, seq, heads * dim), small(batch, seq, kv * dim), small(batch, seq, kv * dim)
        pk, pv = (small(batch, kv, room, dim) for _ in range(2)) if past else (np.zeros((batch, kv, 0, dim)),) * 2
        start = np.maximum(lengths - seq, 0)
        for b in range(batch): # what lies behind is nobody's: ONNX Runtime leaves zeros there
            pk[b, :, start[b] :], pv[b, :, start[b] :] = 0, 0
        at = start[:, None] + np.arange(seq)
        q4, k4, v4 = split(q), split(k), split(v)
        if rotary is not None:
            q4, k4 = turn(q4, at, rotary), turn(k4, at, rotary)
        rows = max(room, total)
        grow = lambda x: np.concatenate([x, np.zeros((batch, kv, rows - x.shape[2], dim))], 2)
        nk, nv = grow(pk), grow(pv)
        for b in range(batch):
            nk[b, :, start[b] : start[b] + seq], nv[b, :, start[b] : start[b] + seq] = k4[b], v4[b]
        s = q4 @ np.repeat(nk, heads // kv, 1).swapaxes(-1, -2) * (scale or dim**-0.5)
        s = softcap * np.tanh(s / softcap) if softcap else s
        extra = small(1, heads, seq, rows) if bias else None
        s = s + extra if bias else s
        column, row = np.arange(rows), at[:, None, :, None]
        seen = column <= row if causal else column < lengths[:, None, None, None]
        s = np.where(seen & ((window < 0) | (column > row - window)), s, -np.inf)
        y = (softmax(s) @ np.repeat(nv, heads // kv, 1)).swapaxes(1, 2).reshape(batch, seq, heads * dim)
        attrs = dict(num_heads=heads, kv_num_heads=kv)
        attrs.update({k: v for k, v in dict(scale=scale, softcap=softcap).items() if v})
        attrs.update(dict(local_window_size=window) if window >= 0 else {})
        attrs.update({} if causal else dict(causal=0))
        attrs.update(dict(do_rotary=1, rotary_interleaved=rotary) if rotary is not None else {})
        ins = f(np.concatenate([q, k, v], -1), None, None) if packed else f(q, k, v)
        ins += (f(pk, pv) if past else [None, None]) + i(lengths - 1, np.array(total))
        ins += f(cos, sin) if rotary is not None else [None, None] * bias
        ins += [None] + f(extra) if bias else []
        case("GroupQueryAttention", note, attrs, ins, f(y, nk, nv), tol=tol)
    if both_ways:
        one("not causal, into room", 3, [5], 7, causal=False, tol=1e-4)
        one("not causal, prompts of two lengths", 3, [3, 2], 0, causal=False, past=False, tol=1e-4)
        return
    one("prompt", 3, [3, 3], 0, past=False, tol=2e-5)
    one("prompt, rotated", 3, [3, 3], 0, rotary=0, past=False)
    one("one row more", 1, [5, 5], 4, rotary=0)
    one("one row more, into room, of two lengths", 1, [5, 3], 8, rotary=1, tol=2e-5)
    one("in one input", 1, [5, 5], 4, rotary=0, packed=True, tol=1e-4)
    one("rows more, a window", 3, [6], 3, window=2)
    one("scale and softcap", 1, [4, 4], 3, scale=0.25, softcap=1.5, tol=1e-4)
    one("attention_bias", 2, [4], 2, bias=True)


def gathered_blocks():
    """Rows of a table of narrow numbers, one scale for each block of 16."""
    def one(note, bits, zero, lead, K=32, N=5):
        blocks = -(-K // 16)
        q, scale, at = rng.integers(0, 2**bits, (N, K)), rng.integers(1, 9, (N, blocks)) / 16.0, rng.integers(0, N, lead)
        z = rng.integers(0, 2**bits, (N, blocks)) if zero else np.full((N, blocks), 2.0 ** (bits - 1))
        w = (q - np.repeat(z, 16, 1)[:, :K]) * np.repeat(scale, 16, 1)[:, :K]
        ins = [("u8", packed(q, bits)), ("i64", at), ("f32", scale)] + [("u8", packed(z, bits))] * zero
        case("GatherBlockQuantized", note, dict(bits=bits, block_size=16, quantize_axis=1), ins, [("f32", w[at])])
    one("of 4 bits", 4, False, (2, 3))
    one("of 4 bits, zero points", 4, True, (4,))
    one("of 8 bits", 8, False, (3,))
    one("of 8 bits, zero points", 8, True, (2, 2))
    one("of 4 bits, K within the last block", 4, True, (3,), K=40)


if __name__ == "__main__":
    print("# Made by gen_microsoft.py; do not edit.\n")
    for make in (norms, activations, fused_products, linear_steps, rotary, attention, fused_gemm, embeddings,
                 projected_attention, group_query, gathered_blocks, padded_attention,
                 lambda: group_query(True)) if IMPORT else (all_nbits,):
        make()
    print("# ONNX Runtime %s agreed." % ort.__version__, file=sys.stderr)
