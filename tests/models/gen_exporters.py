#!/usr/bin/env python3
# gen_exporters.py - writes exporters/: parts of models as each exporter writes them, one folder a case, with outputs of ONNX Runtime. Needs onnx, onnxruntime and numpy:  python3 tests/models/gen_exporters.py
# SPDX-License-Identifier: Apache-2.0
import os
import shutil

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exporters")
F32, I64 = TensorProto.FLOAT, TensorProto.INT64


class Graph:
    """A graph under construction. constants: numbers are nodes, as TorchScript and Paddle write them, else initializers."""

    def __init__(self, opset, constants=False, seed=1):
        self.opset, self.constants, self.rng = opset, constants, np.random.default_rng(seed)
        self.nodes, self.inits, self.inputs, self.n, self.domains = [], [], [], 0, {}

    def name(self, hint):
        self.n += 1
        return "%s_%d" % (hint, self.n)

    def input(self, name, shape, dtype=F32):
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def weight(self, array):
        name = self.name("w")
        self.inits.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def random(self, *shape, scale=0.5):
        return self.weight((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def const(self, value, dtype=np.float32):
        value = np.asarray(value, dtype)
        if not self.constants:
            return self.weight(value)
        name = self.name("const")
        self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)))
        return name

    def ints(self, *v):
        return self.const(v, np.int64)

    def op(self, op, *inputs, outputs=1, domain="", **attrs):
        names = [self.name(op) for _ in range(outputs)]
        self.domains[domain] = 1
        self.nodes.append(helper.make_node(op, list(inputs), names, names[0], domain=domain, **attrs))
        return names[0] if outputs == 1 else names

    def ms(self, op, *inputs, **attrs):
        return self.op(op, *inputs, domain="com.microsoft", **attrs)

    def linear(self, x, k, n):
        return self.op("Add", self.op("MatMul", x, self.random(k, n)), self.random(n))

    def model(self, *outputs):
        infos = [helper.make_tensor_value_info(o, F32, None) for o in outputs]
        graph = helper.make_graph(self.nodes, "g", self.inputs, infos, self.inits)
        opsets = [helper.make_opsetid("", self.opset)] + [helper.make_opsetid(d, 1) for d in self.domains if d]
        return helper.make_model(graph, opset_imports=opsets, ir_version=min(10, 4 if self.opset < 11 else 10))


CASES = {}


def case(f):
    CASES[f.__name__] = f
    return f


def arrays(*shapes, seed=9):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(np.float32) for s in shapes]


# ---- parts ----


def norm_steps(g, x, n, axes_in):
    """TorchScript and Paddle below LayerNormalization"""
    mean = lambda v: g.op("ReduceMean", v, axes=[-1], keepdims=1) if axes_in else g.op("ReduceMean", v, g.ints(-1), keepdims=1)
    d = g.op("Sub", x, mean(x))
    var = mean(g.op("Pow", d, g.const(2.0)))
    y = g.op("Div", d, g.op("Sqrt", g.op("Add", var, g.const(1e-5))))
    return g.op("Add", g.op("Mul", y, g.random(n)), g.random(n))


def gelu_erf(g, x, shape=()):
    e = g.op("Erf", g.op("Div", x, g.const(np.full(shape, np.sqrt(2)))))
    return g.op("Mul", g.op("Mul", x, g.op("Add", e, g.const(np.full(shape, 1)))), g.const(np.full(shape, 0.5)))


def batch_norm(g, x, c):
    var = g.weight(np.abs(g.rng.standard_normal(c)).astype(np.float32) + 0.5)
    return g.op("BatchNormalization", x, g.random(c), g.random(c), g.random(c), var, epsilon=1e-5)


# ---- Paddle ----


def paddle_block(opset, folded):
    g = Graph(opset, constants=True)
    x = g.input("x", ["n", 3, 16, 16])

    def clip(v, lo, hi):
        return g.op("Clip", v, min=lo, max=hi) if opset < 11 else g.op("Clip", v, g.const(lo), g.const(hi))

    def hard_swish(v):
        return g.op("Div", g.op("Mul", v, clip(g.op("Add", v, g.const([3.0])), 0.0, 6.0)), g.const([6.0]))

    def conv(v, m, n, k, stride=1, group=1):
        w = g.random(n, m // group, k, k, scale=0.3)
        y = g.op("Conv", v, w, kernel_shape=[k, k], strides=[stride] * 2, pads=[k // 2] * 4, dilations=[1, 1], group=group)
        if not folded:
            return batch_norm(g, y, n)
        return g.op("Add", y, g.op("Reshape", g.random(n), g.ints(1, -1, 1, 1)))

    y = hard_swish(conv(x, 3, 16, 3, 2))
    y = hard_swish(conv(y, 16, 16, 3, 1, 16))
    s = g.op("GlobalAveragePool", y)
    s = g.op("Relu", g.op("Conv", s, g.random(8, 16, 1, 1), g.random(8), kernel_shape=[1, 1]))
    s = g.op("Conv", s, g.random(16, 8, 1, 1), g.random(16), kernel_shape=[1, 1])
    s = g.op("HardSigmoid", s, alpha=0.2, beta=0.5) if folded else clip(g.op("Add", g.op("Mul", s, g.const([0.2])), g.const([0.5])), 0.0, 1.0)
    y = conv(g.op("Mul", y, s), 16, 24, 1)
    return g.model(g.op("Identity", y)), [arrays((2, 3, 16, 16))]


@case
def conv_paddle7():
    return paddle_block(7, False)


@case
def conv_paddle11():
    return paddle_block(11, False)


@case
def conv_paddle13():
    return paddle_block(13, True)


@case
def attention_paddle11():
    """a block of a vision transformer: q, k and v by Slice and Squeeze"""
    g = Graph(11, constants=True)
    x = g.input("x", ["n", 9, 16])
    qkv = g.op("Reshape", g.linear(norm_steps(g, x, 16, True), 16, 48), g.ints(0, 9, 3, 2, 8))
    qkv = g.op("Transpose", qkv, perm=[2, 0, 3, 1, 4])
    q, k, v = (g.op("Squeeze", g.op("Slice", qkv, g.ints(i), g.ints(i + 1), g.ints(0)), axes=[0]) for i in range(3))
    s = g.op("MatMul", g.op("Mul", q, g.const([8**-0.5])), g.op("Transpose", k, perm=[0, 1, 3, 2]))
    o = g.op("Transpose", g.op("MatMul", g.op("Softmax", s, axis=3), v), perm=[0, 2, 1, 3])
    y = g.op("Add", x, g.linear(g.op("Reshape", o, g.ints(0, 9, 16)), 16, 16))
    y = g.op("Add", y, g.linear(gelu_erf(g, g.linear(norm_steps(g, y, 16, True), 16, 32), (1,)), 32, 16))
    return g.model(y), [arrays((2, 9, 16))]


# ---- TensorFlow ----


@case
def conv_tf13():
    """channels last around convolutions, relu6, hard-swish by a factor of 1/6, squeeze and excite, padding apart, folded batch norms"""
    g = Graph(13)
    x = g.input("x", ["n", 16, 16, 3])
    to, back = [0, 3, 1, 2], [0, 2, 3, 1]

    def conv(v, m, n, k, group=1, **attrs):
        w = g.random(n, m // group, k, k, scale=0.3)
        y = g.op("Conv", g.op("Transpose", v, perm=to), w, g.random(n), kernel_shape=[k, k], group=group, **attrs)
        return g.op("Transpose", y, perm=back)

    def clip(v):
        return g.op("Clip", v, g.const(0.0), g.const(6.0))

    y = g.op("Pad", x, g.ints(0, 0, 0, 0, 0, 1, 1, 0))
    y = conv(y, 3, 16, 3, strides=[2, 2])
    y = clip(g.op("Add", g.op("Mul", y, g.random(16)), g.random(16)))
    y = conv(y, 16, 16, 3, 16, auto_pad="SAME_UPPER")
    y = g.op("Mul", g.op("Mul", y, clip(g.op("Add", y, g.const(3.0)))), g.const(1 / 6))
    s = g.op("ReduceMean", y, axes=[1, 2], keepdims=1)
    s = g.op("Relu", conv(s, 16, 8, 1))
    s = g.op("Sigmoid", conv(s, 8, 16, 1))
    z = conv(g.op("Mul", y, s), 16, 16, 1)
    return g.model(g.op("Add", y, z)), [arrays((2, 16, 16, 3))]


@case
def encoder_tf13():
    """a layer of BERT: the norm in the form of a batch norm, a mask as a product"""
    g = Graph(13)
    x, mask = g.input("x", ["n", "s", 16]), g.input("mask", ["n", "s"], TensorProto.INT32)

    def norm(v):
        mean = g.op("ReduceMean", v, axes=[2], keepdims=1)
        d = g.op("Sub", v, mean)
        var = g.op("ReduceMean", g.op("Mul", d, d), axes=[2], keepdims=1)
        r = g.op("Reciprocal", g.op("Sqrt", g.op("Add", var, g.const(1e-5))))
        r = g.op("Mul", r, g.random(16))
        return g.op("Add", g.op("Mul", v, r), g.op("Sub", g.random(16), g.op("Mul", mean, r)))

    def dense(v, k, n):
        shape = g.op("Concat", g.op("Slice", g.op("Shape", v), g.ints(0), g.ints(2)), g.ints(n), axis=0)
        flat = g.op("Reshape", v, g.ints(-1, k))
        return g.op("Add", g.op("Reshape", g.op("MatMul", flat, g.random(k, n)), shape), g.random(n))

    def heads(v):
        shape = g.op("Concat", g.op("Slice", g.op("Shape", v), g.ints(0), g.ints(2)), g.ints(2, 8), axis=0)
        return g.op("Transpose", g.op("Reshape", v, shape), perm=[0, 2, 1, 3])

    q, k, v = (heads(dense(x, 16, 16)) for _ in range(3))
    s = g.op("Mul", g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2])), g.const(8**-0.5))
    low = g.op("Mul", g.op("Sub", g.const(1.0), g.op("Cast", mask, to=F32)), g.const(-10000.0))
    s = g.op("Add", s, g.op("Unsqueeze", low, g.ints(1, 2)))
    o = g.op("Transpose", g.op("MatMul", g.op("Softmax", s, axis=-1), v), perm=[0, 2, 1, 3])
    o = g.op("Reshape", o, g.op("Concat", g.op("Slice", g.op("Shape", x), g.ints(0), g.ints(2)), g.ints(16), axis=0))
    y = norm(g.op("Add", x, dense(o, 16, 16)))
    h = dense(y, 16, 32)
    e = g.op("Add", g.op("Erf", g.op("Mul", h, g.const(np.sqrt(0.5)))), g.const(1.0))
    h = g.op("Mul", g.op("Mul", h, g.const(0.5)), e)
    return g.model(norm(g.op("Add", y, dense(h, 32, 16)))), [
        arrays((2, 5, 16)) + [np.ones((2, 5), np.int32)],
        arrays((3, 7, 16)) + [(np.arange(7) < np.array([[7], [4], [1]])).astype(np.int32)],
    ]


# ---- TorchScript ----


def split3(g, x, opset):
    """unbind"""
    if opset < 13:
        return [g.op("Squeeze", v, axes=[0]) for v in g.op("Split", x, outputs=3, axis=0)]
    return [g.op("Squeeze", v, g.ints(0)) for v in g.op("Split", x, g.ints(1, 1, 1), outputs=3, axis=0)]


def torchscript_encoder(opset):
    """packed projections by Split and Squeeze, a norm in nine nodes"""
    g = Graph(opset, constants=True)
    x = g.input("x", ["n", "s", 16])

    def extent(v, i):
        e = g.op("Gather", g.op("Shape", v), g.const(i, np.int64), axis=0)
        return g.op("Unsqueeze", e, axes=[0]) if opset < 13 else g.op("Unsqueeze", e, g.ints(0))

    h = g.linear(norm_steps(g, x, 16, True), 16, 48)
    shape = g.op("Concat", extent(x, 0), extent(x, 1), g.ints(3), g.ints(2), g.ints(8), axis=0)
    q, k, v = split3(g, g.op("Transpose", g.op("Reshape", h, shape), perm=[2, 0, 3, 1, 4]), opset)
    s = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
    s = g.op("Softmax", g.op("Mul", s, g.const(8**-0.5)), axis=-1 if opset >= 13 else 3)
    o = g.op("Transpose", g.op("MatMul", s, v), perm=[0, 2, 1, 3])
    o = g.op("Reshape", o, g.op("Concat", extent(x, 0), extent(x, 1), g.ints(16), axis=0))
    y = g.op("Add", x, g.linear(o, 16, 16))
    return g.model(g.op("Add", y, g.linear(gelu_erf(g, g.linear(y, 16, 32)), 32, 16))), [arrays((2, 5, 16)), arrays((1, 1, 16))]


@case
def encoder_ts11():
    return torchscript_encoder(11)


@case
def encoder_ts13():
    return torchscript_encoder(13)


def gated_mlp(g, opset):
    """root mean square norm, silu and a product"""
    x = g.input("x", ["n", "s", 16])
    sq = g.op("Pow", x, g.const(2.0))
    var = g.op("ReduceMean", sq, axes=[-1], keepdims=1) if opset < 18 else g.op("ReduceMean", sq, g.ints(-1), keepdims=1)
    root = g.op("Sqrt", g.op("Add", var, g.const(1e-6)))
    r = g.op("Div", g.const(1.0), root) if opset < 18 else g.op("Reciprocal", root)
    h = g.op("Mul", g.random(16), g.op("Mul", x, r))
    gate = g.op("MatMul", h, g.random(16, 32))
    silu = g.op("Mul", gate, g.op("Sigmoid", gate))
    y = g.op("MatMul", g.op("Mul", silu, g.op("MatMul", h, g.random(16, 32))), g.random(32, 16))
    return g.model(g.op("Add", x, y)), [arrays((2, 3, 16))]


@case
def gated_mlp_ts11():
    return gated_mlp(Graph(11, constants=True), 11)


@case
def gated_mlp_dynamo24():
    return gated_mlp(Graph(24), 24)


def einsum_attention(opset, constants):
    g = Graph(opset, constants)
    q, k, v = (g.input(n, ["n", s, 2, 8]) for n, s in (("q", "s"), ("k", "l"), ("v", "l")))
    s = g.op("Einsum", q, k, equation="bqhd,bkhd->bhqk")
    p = g.op("Softmax", g.op("Div", s, g.const(np.sqrt(8.0))), axis=-1)
    y = g.op("Reshape", g.op("Einsum", p, v, equation="bhqk,bkhd->bqhd"), g.ints(0, 0, 16))
    return g.model(y), [arrays((2, 5, 2, 8), (2, 6, 2, 8), (2, 6, 2, 8))]


@case
def einsum_dynamo20():
    return einsum_attention(20, False)


@case
def einsum_ts13():
    return einsum_attention(13, True)


@case
def packed_dynamo20():
    """packed projections by Slice and Squeeze"""
    g = Graph(20)
    x = g.input("x", ["n", 9, 16])
    qkv = g.op("Reshape", g.linear(x, 16, 48), g.op("Concat", g.op("Shape", x, start=0, end=1), g.ints(9, 3, 2, 8), axis=0))
    qkv = g.op("Transpose", qkv, perm=[2, 0, 3, 1, 4])
    q, k, v = (g.op("Squeeze", g.op("Slice", qkv, g.ints(i), g.ints(i + 1), g.ints(0), g.ints(1)), g.ints(0)) for i in range(3))
    root = g.const(8**-0.25)
    s = g.op("MatMul", g.op("Mul", q, root), g.op("Mul", g.op("Transpose", k, perm=[0, 1, 3, 2]), root))
    o = g.op("Transpose", g.op("MatMul", g.op("Softmax", s, axis=-1), v), perm=[0, 2, 1, 3])
    y = g.op("Reshape", o, g.op("Concat", g.op("Shape", x, start=0, end=1), g.ints(9, 16), axis=0))
    return g.model(y), [arrays((2, 9, 16))]


# ---- quantised ----


@case
def weight_int8_ts17():
    """weights stored as int8: Cast, Mul, MatMul"""
    g = Graph(17, constants=True)
    x = g.input("x", ["n", "s", 64])
    w = g.weight(g.rng.integers(-127, 128, (64, 32)).astype(np.int8))
    w = g.op("Mul", g.op("Cast", w, to=F32), g.weight((g.rng.random((1, 32)) / 100).astype(np.float32)))
    return g.model(g.op("Add", g.op("MatMul", x, w), g.random(32))), [arrays((2, 3, 64))]


@case
def weight_int4_dynamo21():
    """blocks of int4"""
    g = Graph(21)
    x = g.input("x", ["n", "s", 64])
    w = helper.make_tensor("w4", TensorProto.INT4, [64, 32], g.rng.integers(-8, 8, 64 * 32).tolist())
    g.inits.append(w)
    s = g.weight((g.rng.random((2, 32)) / 10).astype(np.float32))
    w = g.op("DequantizeLinear", "w4", s, axis=0, block_size=32)
    return g.model(g.op("MatMul", x, w)), [arrays((2, 3, 64))]


@case
def dynamic_int8_optimum():
    g = Graph(14)
    x = g.input("x", ["n", "s", 64])
    q, s, z = g.op("DynamicQuantizeLinear", x, outputs=3)
    w = g.weight(g.rng.integers(-127, 128, (64, 32)).astype(np.int8))
    y = g.op("Cast", g.op("MatMulInteger", q, w, z, g.weight(np.zeros((), np.int8))), to=F32)
    y = g.op("Add", g.op("Mul", y, g.op("Mul", s, g.const(0.01))), g.random(32))
    return g.model(y), [arrays((2, 3, 64))]


@case
def qdq_attention_optimum():
    """static quantisation by ONNX Runtime: products of activations between QuantizeLinear and DequantizeLinear"""
    g = Graph(17)
    x = g.input("x", ["n", "s", 16])

    def qdq(v, scale, zero=128, dtype=np.uint8):
        s, z = g.const(scale), g.weight(np.asarray(zero, dtype))
        return g.op("DequantizeLinear", g.op("QuantizeLinear", v, s, z), s, z)

    def linear(v):
        w = g.weight(g.rng.integers(-127, 128, (16, 16)).astype(np.int8))
        w = g.op("DequantizeLinear", w, g.const(2.0**-7), g.weight(np.zeros((), np.int8)))
        return g.op("Add", g.op("MatMul", v, w), g.random(16))

    def heads(v, *perm):
        return qdq(g.op("Transpose", qdq(g.op("Reshape", v, g.ints(0, 0, 2, 8)), 2.0**-4), perm=perm), 2.0**-4)

    x = qdq(x, 2.0**-5)
    q, k, v = qdq(linear(x), 2.0**-4), qdq(linear(x), 2.0**-4), qdq(linear(x), 2.0**-4)
    s = g.op("MatMul", heads(q, 0, 2, 1, 3), heads(k, 0, 2, 3, 1))
    p = qdq(g.op("Softmax", qdq(g.op("Mul", s, g.const(8**-0.5)), 0.25), axis=-1), 2.0**-8, 0)
    o = qdq(g.op("MatMul", p, heads(v, 0, 2, 1, 3)), 2.0**-4)
    y = qdq(g.op("Transpose", o, perm=[0, 2, 1, 3]), 2.0**-4)
    return g.model(linear(qdq(g.op("Reshape", y, g.ints(0, 0, 16)), 2.0**-4))), [arrays((2, 5, 16))]


# ---- generation builders ----


@case
def decoder_builder21():
    """a layer of a decoder as generation builders write it, with 4-bit weights, grouped heads, rotary embedding and a cache"""
    g = Graph(21)
    x = g.input("x", ["n", "s", 32])
    past = [g.input(n, ["n", 1, "past", 16]) for n in ("past_key", "past_value")]
    last, total = g.input("seqlens_k", ["n"], TensorProto.INT32), g.input("total", [], TensorProto.INT32)

    def linear(v, k, n):
        blocks = k // 32
        w = g.weight(g.rng.integers(0, 256, (n, blocks, 16)).astype(np.uint8))
        s = g.weight((g.rng.random(n * blocks) / 20).astype(np.float32))
        return g.ms("MatMulNBits", v, w, s, K=k, N=n, bits=4, block_size=32)

    h = g.op("SimplifiedLayerNormalization", x, g.random(32), axis=-1, epsilon=1e-6)
    angle = np.outer(np.arange(16), 100.0 ** (-np.arange(8) / 8))
    cos, sin = g.weight(np.cos(angle).astype(np.float32)), g.weight(np.sin(angle).astype(np.float32))
    q, k, v = linear(h, 32, 32), linear(h, 32, 16), linear(h, 32, 16)
    y, key, value = g.op("GroupQueryAttention", q, k, v, *past, last, total, cos, sin, outputs=3, domain="com.microsoft",
                         num_heads=2, kv_num_heads=1, do_rotary=1, rotary_interleaved=0, scale=0.25)
    h, skip = g.name("h"), g.name("skip")
    g.nodes.append(helper.make_node("SkipSimplifiedLayerNormalization", [linear(y, 32, 32), x, g.random(32)], [h, "", "", skip],
                                    domain="com.microsoft", epsilon=1e-6))
    gate = linear(h, 32, 64)
    y = linear(g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), linear(h, 32, 64)), 64, 32)
    feeds = []
    for s, p in ((5, 0), (1, 5)):
        feeds.append(arrays((1, s, 32), (1, 1, p, 16), (1, 1, p, 16)) + [np.array([s + p - 1], np.int32), np.array(s + p, np.int32)])
    return g.model(g.op("Add", y, skip), key, value), feeds


@case
def flex_preview1():
    """FlexAttention whose scores get a bias by distance"""
    g, b = Graph(23), Graph(23, constants=True)
    q, k, v = (g.input(n, ["n", 2, s, 8]) for n, s in (("q", "s"), ("k", "l"), ("v", "l")))

    def positions(axis, shape):
        n = b.op("Squeeze", b.op("Shape", "scores", start=axis, end=axis + 1))
        return b.op("Reshape", b.op("Range", b.const(0, np.int64), n, b.const(1, np.int64)), b.ints(*shape))

    far = b.op("Abs", b.op("Sub", positions(2, (-1, 1)), positions(3, (1, -1))))
    slope = b.const(np.array([-0.5, -0.25]).reshape(2, 1, 1))
    y = b.op("Add", "scores", b.op("Mul", b.op("Cast", far, to=F32), slope))
    body = helper.make_graph(b.nodes, "score_mod", [helper.make_tensor_value_info("scores", F32, None)],
                             [helper.make_tensor_value_info(y, F32, None)])
    y = g.op("FlexAttention", q, k, v, domain="ai.onnx.preview", score_mod=body)
    return g.model(y), [arrays((2, 2, 5, 8), (2, 2, 6, 8), (2, 2, 6, 8))]


# ---- writing ----


def run(model, feed):
    """outputs in their order, by ONNX Runtime without its own fusions, or onnx.reference for what it does not have"""
    feed = dict(zip([i.name for i in model.graph.input], feed))
    if any(n.domain == "ai.onnx.preview" for n in model.graph.node):
        return ReferenceEvaluator(model).run(None, feed)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feed)


def main():
    for old in os.listdir(OUT):
        if old not in CASES:
            shutil.rmtree(os.path.join(OUT, old))
    for name, make in CASES.items():
        model, feeds = make()
        folder = os.path.join(OUT, name)
        os.makedirs(folder, exist_ok=True)
        onnx.save(model, os.path.join(folder, "model.onnx"))
        for n, feed in enumerate(feeds):
            data = os.path.join(folder, "test_data_set_%d" % n)
            os.makedirs(data, exist_ok=True)
            got = run(model, feed)
            for kind, values, infos in (("input", feed, model.graph.input), ("output", got, model.graph.output)):
                for i, (v, info) in enumerate(zip(values, infos)):
                    with open(os.path.join(data, "%s_%d.pb" % (kind, i)), "wb") as f:
                        f.write(numpy_helper.from_array(np.asarray(v), info.name).SerializeToString())


if __name__ == "__main__":
    main()
