"""products.py - products and convolutions for check_cuda.py, as folders that `sard test` runs: every way in which they are computed on
GPUs, with operands that are whole eighths, so that sums are exact whatever their order, and expected values by arithmetic in double
that stands here. Needs the standard library only; with numpy there are some that fill large tiles.

SPDX-License-Identifier: Apache-2.0
"""

import itertools
import math
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "cli"))
import onnx_writer as w  # noqa: E402

try:
    import numpy
except ImportError:
    numpy = None

I4, U4, F8E4, F8E5 = 22, 21, 17, 19
NAMES = {w.F32: "f32", w.F16: "f16", w.BF16: "bf16", w.I8: "i8", w.U8: "u8", I4: "i4", U4: "u4", F8E4: "f8e4m3fn", F8E5: "f8e5m2"}
FLOATS = (w.F32, w.F16, w.BF16)
UNIT = {w.F32: 2.0**-24, w.F16: 2.0**-11, w.BF16: 2.0**-8, w.I32: 0}  # of rounding
FEW, MANY = (1, 5, 8), (9, 40)  # rows


# --- numbers ---


def small_float(code, exponent, mantissa):
    """an 8-bit float with so many bits"""
    bias = (1 << (exponent - 1)) - 1
    e, m = code >> mantissa & ((1 << exponent) - 1), code & ((1 << mantissa) - 1)
    v = math.ldexp(m + (1 << mantissa if e else 0), max(e, 1) - bias - mantissa)
    return -v if code & 0x80 else v


CODES = {
    F8E4: {small_float(c, 4, 3): c for c in range(256) if c & 0x7F != 0x7F and c != 0x80},
    F8E5: {small_float(c, 5, 2): c for c in range(256) if c & 0x7F < 0x7C and c != 0x80},
}


def pack(dtype, values):
    """the bytes of a tensor of numbers that the type has, or that are rounded to it"""
    if dtype == w.BF16:
        words = [struct.unpack("<I", struct.pack("<f", v))[0] for v in values]
        return struct.pack("<%dH" % len(words), *[(x + 0x7FFF + (x >> 16 & 1)) >> 16 for x in words])
    if dtype in CODES:
        return bytes(CODES[dtype][float(v)] for v in values)
    if dtype in (I4, U4):
        codes = [int(v) & 15 for v in values] + [0]
        return bytes(codes[i] | codes[i + 1] << 4 for i in range(0, len(values), 2))
    return w.pack(dtype, [int(v) for v in values] if dtype not in FLOATS else values)


def tensor(name, dtype, shape, values):
    return b"".join(w.field(1, d) for d in shape) + w.field(2, dtype) + w.field(8, name) + w.field(9, pack(dtype, values))


def eighths(shape, salt):
    return [((i * 37 + salt * 11) % 17 - 8) / 8 for i in range(math.prod(shape))]


def multiply(a, b, batch, m, k, n):
    """[batch, m, k] by [batch, k, n], flat"""
    if numpy:
        return list((numpy.reshape(a, (batch, m, k)) @ numpy.reshape(b, (batch, k, n))).ravel())
    out = []
    for i in range(batch):
        columns = [b[i * k * n + j : (i + 1) * k * n : n] for j in range(n)]
        for r in range(m):
            row = a[(i * m + r) * k : (i * m + r + 1) * k]
            out += [sum(x * y for x, y in zip(row, c)) for c in columns]
    return out


def gelu(v):
    return 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))


# --- folders ---


class Table:
    """the cases in a folder, by name"""

    def __init__(self, folder):
        self.folder, self.cases = folder, {}

    def add(self, name, nodes, inputs, constants, out, size=0.0, symbols=None):
        """inputs, constants: (name, dtype, shape, values); out: dtype, shape, values. size: of what a sum is made of, for rounding
        that happens before the last one; symbols: names of extents in the model, by input and axis"""
        dtype, shape, values = out
        path = os.path.join(self.folder, "case%03d" % len(self.cases))
        data = os.path.join(path, "test_data_set_0")
        os.makedirs(data)
        self.cases[path] = name
        types = [w.value(x[0], w.tensor_type(x[1], [(symbols or {}).get((x[0], i), d) for i, d in enumerate(x[2])])) for x in inputs]
        consts = [tensor(*x) for x in constants]
        bytes_ = w.model(nodes, types, [w.value("y", w.tensor_type(dtype, None))], consts, opset=24, domains=("com.microsoft",), ir=11)
        files = {"../model.onnx": bytes_, "output_0.pb": tensor("y", dtype, shape, values)}
        files.update({"input_%d.pb" % i: tensor(*x) for i, x in enumerate(inputs)})
        for file, content in files.items():
            with open(os.path.join(data, file), "wb") as f:
                f.write(content)
        with open(os.path.join(path, "tolerance.txt"), "w") as f:
            f.write("%g %g\n" % (2 * UNIT[dtype], 4 * UNIT[dtype] * size + 1e-6 * (dtype != w.I32)))


def matrices(t):
    """products of all types with what follows them, of few rows and many, whose number the model does not know"""
    k, n = 32, 48
    behind = {
        "": ([], lambda s, b, r: s),
        ", bias": ([("Add", "s b")], lambda s, b, r: s + b),
        ", bias, relu": ([("Add", "s b"), ("Relu", "")], lambda s, b, r: max(s + b, 0)),
        ", bias, gelu": ([("Add", "s b"), ("Gelu", "")], lambda s, b, r: gelu(s + b)),
        ", bias, residual": ([("Add", "s b"), ("Add", "r")], lambda s, b, r: s + b + r),
    }
    for dtype, m, (what, (ops, f)) in itertools.product(FLOATS, FEW + MANY, behind.items()):
        x, c = [("x", dtype, [m, k], eighths([m, k], 1))], [("w", dtype, [k, n], eighths([k, n], 2))]
        c.append(("b", dtype, [n], eighths([n], 3)))
        x.append(("r", dtype, [m, n], eighths([m, n], 4)))
        nodes, last = [], "s"
        for i, (op, more) in enumerate(ops):
            attrs = {"approximate": "tanh"} if op == "Gelu" else {}
            nodes.append(w.node(op, more.split() if i == 0 else [last] + more.split(), ["t%d" % i], **attrs))
            last = "t%d" % i
        nodes = [w.node("MatMul", ["x", "w"], ["s"])] + nodes + [w.node("Identity", [last], ["y"])]
        s = multiply(x[0][3], c[0][3], 1, m, k, n)
        y = [f(v, c[1][3][i % n], x[1][3][i]) for i, v in enumerate(s)]
        t.add("%s %dx%dx%d%s" % (NAMES[dtype], m, k, n, what), nodes, x, c, (dtype, [m, n], y), 20, {("x", 0): "m", ("r", 0): "m"})


def forms(t):
    """operands that are stored transposed, batches, a Gemm with factors"""
    m, k, n = 20, 24, 40
    for dtype, (a, b) in itertools.product(FLOATS, ((0, 1), (1, 0), (1, 1))):
        x, c = eighths([m, k], 1), eighths([k, n], 2)
        xs = [x[i * k + j] for j in range(k) for i in range(m)] if a else x
        cs = [c[i * n + j] for j in range(n) for i in range(k)] if b else c
        bias = eighths([n], 3)
        s = multiply(x, c, 1, m, k, n)
        t.add("%s Gemm %dx%dx%d, transposed %d%d" % (NAMES[dtype], m, k, n, a, b),
              [w.node("Gemm", ["x", "w", "b"], ["y"], transA=a, transB=b, alpha=0.5, beta=2.0)],
              [("x", dtype, [k, m] if a else [m, k], xs)],
              [("w", dtype, [n, k] if b else [k, n], cs), ("b", dtype, [n], bias)],
              (dtype, [m, n], [0.5 * v + 2 * bias[i % n] for i, v in enumerate(s)]), 20)
    for dtype, rows in itertools.product(FLOATS, (3, 20)):
        x, c = eighths([6, rows, k], 1), eighths([6, k, n], 2)
        t.add("%s 2x3 matrices %dx%dx%d" % (NAMES[dtype], rows, k, n), [w.node("MatMul", ["x", "w"], ["y"])],
              [("x", dtype, [2, 3, rows, k], x), ("w", dtype, [2, 3, k, n], c)], [],
              (dtype, [2, 3, rows, n], multiply(x, c, 6, rows, k, n)), 20)
        t.add("%s 2x3 matrices %dx%dx%d by one" % (NAMES[dtype], rows, k, n), [w.node("MatMul", ["x", "w"], ["y"])],
              [("x", dtype, [2, 3, rows, k], x), ("w", dtype, [1, 1, k, n], c[: k * n])], [],
              (dtype, [2, 3, rows, n], multiply(x, c[: k * n], 1, 6 * rows, k, n)), 20)


def large(t):
    """what fills the library's tiles, and ours of 128 by 128"""
    if not numpy:
        return
    m, k, n = 1024, 256, 1536
    for dtype in FLOATS:
        x, c = eighths([m, k], 1), eighths([k, n], 2)
        t.add("%s %dx%dx%d" % (NAMES[dtype], m, k, n), [w.node("MatMul", ["x", "w"], ["y"])], [("x", dtype, [m, k], x)],
              [("w", dtype, [k, n], c)], (dtype, [m, n], multiply(x, c, 1, m, k, n)), 100)


def narrow(t):
    """constants of DequantizeLinear, of MatMulNBits, and integers"""
    k, n = 64, 48
    for dtype, q, m, trans in itertools.product((w.F32, w.F16), (w.I8, w.U8, I4, F8E4, F8E5), (1, 5, 8, 9), (0, 1)):
        zero = 8 if q == w.U8 else 0
        number = [min(round(8 * v), 7) for v in eighths([k, n], 2)]
        stored = [number[i * n + j] for j in range(n) for i in range(k)] if trans else number
        x = eighths([m, k], 1)
        c = [("q", q, [n, k] if trans else [k, n], [v + zero for v in stored]), ("s", dtype, [n], [2.0 ** (i % 3 - 4) for i in range(n)]),
             ("z", q, [n], [zero] * n)]
        nodes = [w.node("DequantizeLinear", ["q", "s"] + (["z"] if zero else []), ["d"], axis=1 - trans),
                 w.node("Transpose" if trans else "Identity", ["d"], ["e"]), w.node("MatMul", ["x", "e"], ["y"])]
        wide = [v * c[1][3][i % n] for i, v in enumerate(number)]
        t.add("%s by %s %dx%dx%d%s" % (NAMES[dtype], NAMES[q], m, k, n, ", transposed" if trans else ""), nodes, [("x", dtype, [m, k], x)],
              c if zero else c[:2], (dtype, [m, n], multiply(x, wide, 1, m, k, n)), 30, {("x", 0): "m"})
    for dtype, bits, m in itertools.product((w.F32, w.F16), (2, 4, 8), (1, 8, 20)):
        block, each, x = 16, 8 // bits, eighths([m, k], 1)
        number = [(i * 7 + i // k) % (1 << bits) for i in range(n * k)]
        scale = [2.0 ** (i % 3 - bits) for i in range(n * k // block)]
        codes = [sum(number[i + j] << j * bits for j in range(each)) for i in range(0, n * k, each)]
        wide = [0.0] * (k * n)
        for i, v in enumerate(number):
            wide[i % k * n + i // k] = (v - (1 << bits >> 1)) * scale[i // block]
        t.add("%s by %d bits %dx%dx%d" % (NAMES[dtype], bits, m, k, n),
              [w.node("MatMulNBits", ["x", "q", "s"], ["y"], domain="com.microsoft", K=k, N=n, bits=bits, block_size=block)],
              [("x", dtype, [m, k], x)], [("q", w.U8, [n, k // block, block * bits // 8], codes), ("s", dtype, [len(scale)], scale)],
              (dtype, [m, n], multiply(x, wide, 1, m, k, n)), 30, {("x", 0): "m"})
    for q, m in itertools.product((w.U8, w.I8), (1, 40)):
        x, c = [round(8 * v) + 8 * (q == w.U8) for v in eighths([m, k], 1)], [round(8 * v) for v in eighths([k, n], 2)]
        t.add("%s by i8 %dx%dx%d, integers" % (NAMES[q], m, k, n), [w.node("MatMulInteger", ["x", "w"], ["y"])], [("x", q, [m, k], x)],
              [("w", w.I8, [k, n], c)], (w.I32, [m, n], [int(v) for v in multiply(x, c, 1, m, k, n)]))


def convolve(x, c, shape, out, kernel, strides, pads, dilations, group):
    """the definition: x [N, C, …], c [out, C / group, …]; flat, and the extents"""
    n, channels, space = shape[0], shape[1], shape[2:]
    axes, each, taps = range(len(space)), channels // group, list(itertools.product(*map(range, kernel)))
    size = [(space[i] + pads[i] + pads[i + len(space)] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i in axes]
    y = []
    for image, o, at in itertools.product(range(n), range(out), itertools.product(*map(range, size))):
        total, first = 0.0, o // (out // group) * each
        for tap, where in enumerate(taps):
            p = [at[i] * strides[i] + where[i] * dilations[i] - pads[i] for i in axes]
            if any(p[i] < 0 or p[i] >= space[i] for i in axes):
                continue
            offset = 0
            for i in axes:
                offset = offset * space[i] + p[i]
            for j in range(each):
                total += x[(image * channels + first + j) * math.prod(space) + offset] * c[(o * each + j) * len(taps) + tap]
        y.append(total)
    return y, [n, out] + size


def convolutions(t):
    """windows of one to three axes, with strides, pads, dilations and groups; a bias and relu behind some"""
    rows = (  # channels, extents, out, kernel, strides, pads, dilations, group
        (8, (24,), 16, (3,), (1,), (1, 1), (1,), 1),
        (8, (20,), 16, (5,), (2,), (0, 3), (2,), 2),
        (3, (12, 11), 16, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
        (8, (9, 10), 24, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
        (8, (9, 10), 24, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 1),
        (16, (8, 9), 16, (3, 2), (1, 2), (0, 1, 1, 0), (1, 1), 2),
        (16, (7, 7), 24, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
        (16, (9, 9), 24, (1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1),
        (8, (9, 9), 8, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 8),
        (4, (5, 6, 7), 16, (3, 3, 3), (1, 2, 1), (1, 1, 1, 1, 1, 1), (1, 1, 1), 1),
    )
    for dtype, (i, row) in itertools.product(FLOATS, enumerate(rows)):
        channels, space, out, kernel, strides, pads, dilations, group = row
        shape, wide = [2, channels, *space], [out, channels // group, *kernel]
        x, c, bias = eighths(shape, 1), eighths(wide, 2), eighths([out], 3)
        y, size = convolve(x, c, shape, out, kernel, strides, pads, dilations, group)
        some, place = i % 2 == 1, math.prod(size[2:])
        if some:
            y = [max(v + bias[k // place % out], 0) for k, v in enumerate(y)]
        nodes = [w.node("Conv", ["x", "w"] + ["b"] * some, ["s"], kernel_shape=list(kernel), strides=list(strides), pads=list(pads),
                        dilations=list(dilations), group=group), w.node("Relu" if some else "Identity", ["s"], ["y"])]
        t.add("%s convolution %s of %s to %d channels, strides %s, pads %s, dilations %s, %d groups%s"
              % (NAMES[dtype], kernel, shape, out, strides, pads, dilations, group, ", bias, relu" if some else ""), nodes,
              [("x", dtype, shape, x)], [("w", dtype, wide, c)] + [("b", dtype, [out], bias)] * some, (dtype, size, y), 30, {("x", 0): "n"})


def write(folder, big):
    """names by the case's folder"""
    t = Table(folder)
    for part in (matrices, forms, narrow, convolutions) + ((large,) if big else ()):
        part(t)
    return t.cases
