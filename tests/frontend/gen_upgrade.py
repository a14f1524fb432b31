#!/usr/bin/env python3
# gen_upgrade.py - writes upgrade.txt: one node of an old opset per case, with what that opset's text says it computes, worked
# out in NumPy below. Needs numpy:  python3 tests/frontend/gen_upgrade.py > tests/frontend/upgrade.txt
# SPDX-License-Identifier: Apache-2.0
import numpy as np

F, I = np.float32, np.int64
NAMES = {"float32": "f32", "int64": "i64", "bool": "bool", "int32": "i32", "float16": "f16", "float64": "f64"}
rng = np.random.default_rng(7)


def tensor(v):
    v = np.asarray(v)
    if v.dtype.kind == "U":
        return "str[%d] %s" % (len(v), " ".join('"%s"' % x for x in v))
    s = " ".join(str(int(x)) if v.dtype.kind in "bi" else "%.9g" % x for x in v.reshape(-1))
    return ("%s[%s] %s" % (NAMES[v.dtype.name], ",".join(map(str, v.shape)), s)).strip()


def attr(x):
    if isinstance(x, (list, tuple)):
        return "[" + ",".join(map(attr, x)) + "]"
    return repr(float(x)) if isinstance(x, float) else str(x)


class Init:
    def __init__(self, v):
        self.v = v


def case(op, opset, ins, outs, error=None, tol=None, note="", **attrs):
    print("op %s %d%s" % (op, opset, " " + note if note else ""))
    if attrs:
        print("attr " + " ".join("%s=%s" % (k.rstrip("_"), attr(v)) for k, v in attrs.items()))
    for x in ins:
        print("in -" if x is None else "init " + tensor(x.v) if isinstance(x, Init) else "in " + tensor(x))
    for x in outs:
        print("out ?" if x is None else "out " + tensor(x))
    if tol:
        print("tol %g" % tol)
    if error:
        print("error " + error)
    print()


def some(*shape):
    return (rng.integers(-12, 13, shape) / 4).astype(F)


def positive(*shape):
    return (rng.integers(1, 13, shape) / 4).astype(F)


print("# upgrade.txt - written by gen_upgrade.py\n# SPDX-License-Identifier: Apache-2.0\n")

# --- consumed_inputs: a hint that changes nothing
x, p = some(2, 3), positive(2, 3)
sigmoid = lambda v: 1 / (1 + np.exp(-v.astype(np.float64)))
unary = {
    "Abs": (x, np.abs(x)), "Ceil": (x, np.ceil(x)), "Exp": (x, np.exp(x)), "Floor": (x, np.floor(x)), "Log": (p, np.log(p)),
    "Neg": (x, -x), "Reciprocal": (p, 1 / p), "Relu": (x, np.maximum(x, 0)), "Sigmoid": (x, sigmoid(x).astype(F)),
    "Sqrt": (p, np.sqrt(p)), "Tanh": (x, np.tanh(x)),
}
for op, (v, y) in unary.items():
    case(op, 1, [v], [y.astype(F)], consumed_inputs=[0], tol=1e-6)
case("Elu", 1, [x], [np.where(x < 0, 2 * (np.exp(x) - 1), x).astype(F)], alpha=2.0, consumed_inputs=[0], tol=1e-6)
case("LeakyRelu", 1, [x], [np.where(x < 0, F(0.5) * x, x).astype(F)], alpha=0.5, consumed_inputs=[0])
case("HardSigmoid", 1, [x], [np.clip(0.5 * x + 0.25, 0, 1).astype(F)], alpha=0.5, beta=0.25, consumed_inputs=[0])
case("Selu", 1, [x], [(1.0507 * np.where(x > 0, x, 1.6732 * np.exp(x) - 1.6732)).astype(F)], tol=1e-5, note="had defaults of fewer digits")
case("Selu", 5, [x], [(2.0 * np.where(x > 0, x, 1.5 * np.exp(x) - 1.5)).astype(F)], alpha=1.5, gamma=2.0, consumed_inputs=[0], tol=1e-6)
a, b, c = some(2, 2), some(2, 2), some(2, 2)
case("Max", 1, [a, b, c], [np.maximum(np.maximum(a, b), c)], consumed_inputs=[0, 0, 0])
case("Min", 1, [a, b], [np.minimum(a, b)], consumed_inputs=[0, 0])
case("Sum", 1, [a, b, c], [a + b + c], consumed_inputs=[0])
case("Mean", 1, [a, b], [(a + b) / 2], consumed_inputs=[0])

# --- broadcast=1, axis: B laid along A
a = some(2, 3, 4, 5)
for op, f in {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}.items():
    b = positive(3, 4)
    case(op, 1, [a, b], [f(a, b.reshape(1, 3, 4, 1)).astype(F)], broadcast=1, axis=1, consumed_inputs=[0, 0], tol=1e-6)
    b = positive(4, 5)
    case(op, 6, [a, b], [f(a, b).astype(F)], broadcast=1, tol=1e-6, note="without axis: at the end")
    case(op, 6, [b, b], [f(b, b).astype(F)], tol=1e-6)
b = positive(2)
case("Add", 6, [a, b], [a + b.reshape(2, 1, 1, 1)], broadcast=1, axis=0)
case("Add", 6, [a, positive(5)], [None], broadcast=1, axis=-1, note="counts from the end")
case("Add", 6, [a, F(2)], [a + F(2)], broadcast=1, note="a scalar")
case("Add", 6, [a, positive(5, 5)], [None], broadcast=1, axis=3, error="cannot be laid along axis 3")
a2, b2 = positive(2, 3, 2), np.array([1, 2, 3], F)
case("Pow", 1, [a2, b2], [(a2 ** b2.reshape(1, 3, 1)).astype(F)], broadcast=1, axis=1, tol=1e-5)
m, n = rng.integers(0, 2, (2, 3, 2)) == 1, rng.integers(0, 2, (3,)) == 1
for op, f in {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}.items():
    case(op, 1, [m, n], [f(m, n.reshape(1, 3, 1))], broadcast=1, axis=1)
c = some(2, 3, 2)
for op, f in {"Greater": np.greater, "Less": np.less}.items():
    case(op, 1, [c, some(3) * 0], [f(c, 0)], broadcast=1, axis=1)
k = rng.integers(0, 3, (2, 3, 2)).astype(I)
case("Equal", 1, [k, np.array([0, 1, 2], I)], [k == np.array([0, 1, 2], I).reshape(1, 3, 1)], broadcast=1, axis=1)
case("Gemm", 6, [some(2, 3) * 0 + 1, np.ones((3, 4), F), np.arange(4, dtype=F)], [np.full((2, 4), 3, F) + np.arange(4, dtype=F)], broadcast=1)

# --- PRelu: a slope of one dimension belongs to the channels
x, s = some(2, 3, 2, 2), np.array([0.5, 2, -1], F)
case("PRelu", 1, [x, s], [np.where(x < 0, x * s.reshape(1, 3, 1, 1), x)], consumed_inputs=[0, 0])
case("PRelu", 6, [x, np.array([0.5], F)], [np.where(x < 0, x * F(0.5), x)], note="one slope for all")
x = some(2, 3)
case("PRelu", 6, [x, s], [np.where(x < 0, x * s, x)], note="two dimensions")

# --- attributes that became inputs
x = some(2, 3)
case("Clip", 1, [x], [np.clip(x, -1, 1)], min=-1.0, max=1.0, consumed_inputs=[0])
case("Clip", 6, [x], [np.maximum(x, F(0.5))], min=0.5)
case("Clip", 10, [x], [np.minimum(x, F(0.5))], max=0.5)
case("Clip", 6, [x.astype(np.float16)], [np.clip(x, 0, 1).astype(np.float16)], min=0.0, max=1.0, note="of f16")
case("Clip", 6, [x.astype(np.float64)], [np.clip(x, 0, 1).astype(np.float64)], min=0.0, max=1.0, note="of f64")
x = positive(2, 3, 2)
reduce = {
    "ReduceL1": lambda v, **k: np.sum(np.abs(v), **k), "ReduceL2": lambda v, **k: np.sqrt(np.sum(v * v, **k)),
    "ReduceLogSum": lambda v, **k: np.log(np.sum(v, **k)), "ReduceLogSumExp": lambda v, **k: np.log(np.sum(np.exp(v), **k)),
    "ReduceMax": np.max, "ReduceMean": np.mean, "ReduceMin": np.min, "ReduceProd": np.prod, "ReduceSum": np.sum,
    "ReduceSumSquare": lambda v, **k: np.sum(v * v, **k),
}
for op, f in reduce.items():
    case(op, 1, [x], [np.asarray(f(x, axis=(0, 2), keepdims=True), F)], axes=[0, 2], tol=1e-5)
    case(op, 12, [x], [np.asarray(f(x, axis=(0, 1, 2)), F)], keepdims=0, tol=1e-5, note="of all axes")
    case(op, 11, [x], [np.asarray(f(x, axis=2), F)], axes=[-1], keepdims=0, tol=1e-5)
case("ReduceMax", 17, [x], [np.max(x, axis=1)], axes=[1], keepdims=0)
x = some(1, 2, 1, 3)
case("Squeeze", 1, [x], [x.reshape(2, 1, 3)], axes=[0])
case("Squeeze", 11, [x], [x.reshape(2, 3)], note="all")
case("Squeeze", 12, [x], [x.reshape(1, 2, 3)], axes=[-2])
case("Unsqueeze", 1, [some(2) * 0 + 1], [np.ones((1, 2, 1), F)], axes=[0, 2])
case("Unsqueeze", 12, [np.ones(2, F)], [np.ones((2, 1), F)], axes=[-1])
v = np.array([[3, 1, 4, 1.5], [9, 2, 6, 5]], F)
case("TopK", 1, [v], [np.array([[4, 3], [9, 6]], F), np.array([[2, 0], [0, 2]], I)], k=2)
case("TopK", 1, [v], [np.array([[9, 2, 6, 5]], F), np.array([[1, 1, 1, 1]], I)], k=1, axis=0)
case("Reshape", 1, [some(2, 3) * 0], [np.zeros((3, 2), F)], shape=[3, -1], consumed_inputs=[0])
case("Reshape", 4, [np.ones((2, 3), F)], [np.ones((2, 3, 1), F)], shape=[0, 3, 1], note="0 copies")
x = some(2, 6)
case("Split", 2, [x], [x[:, :1], x[:, 1:3], x[:, 3:]], axis=1, split=[1, 2, 3])
case("Split", 2, [x], [x[:, :3], x[:, 3:]], axis=1, note="equal parts")
case("Split", 11, [x], [x[:1], x[1:]])
case("Split", 13, [x, Init(np.array([2, 4], I))], [x[:, :2], x[:, 2:]], axis=1)
case("Split", 13, [x], [x[:, :2], x[:, 2:4], x[:, 4:]], axis=1)
case("Split", 1, [x], [x[:, :2], x[:, 2:]], axis=1, split=[2, 4])
x = some(4, 5)
case("Slice", 1, [x], [x[1:3, 0:4]], axes=[0, 1], starts=[1, 0], ends=[3, -1])
case("Slice", 9, [x], [x[2:]], starts=[2], ends=[9223372036854775807], note="axes left out")
x = some(2, 3)
case("Pad", 1, [x], [np.pad(x, ((0, 1), (2, 0)), constant_values=1.5)], paddings=[0, 2, 1, 0], value=1.5)
case("Pad", 2, [x], [np.pad(x, ((1, 0), (0, 1)))], pads=[1, 0, 0, 1])
case("Pad", 10, [x], [np.pad(x, ((0, 0), (1, 1)), mode="reflect")], mode="reflect", pads=[0, 1, 0, 1])
case("Pad", 10, [x.astype(np.float16)], [np.pad(x.astype(np.float16), ((0, 0), (1, 0)), constant_values=2)], pads=[0, 1, 0, 0], value=2.0, note="of f16")

# --- Cast by name, Concat without axis, Tile by number
case("Cast", 1, [np.array([1.5, -2.5], F)], [np.array([1, -2], I)], to="INT64")
case("Cast", 5, [np.array([1, 0], I)], [np.array([True, False])], to="BOOL")
case("Cast", 5, [np.array([1, 0], I)], [None], to="INT65", error="is no element type")
a, b = some(2, 1), some(2, 2)
case("Concat", 1, [a, b], [np.concatenate([a, b], 1)], note="axis was 1 when left out")
case("Concat", 3, [a, a], [np.concatenate([a, a], 0)], axis=0)
x = some(2, 3)
case("Tile", 1, [x, F(2), Init(F(1))], [np.tile(x, (1, 2))])
case("Tile", 5, [x, I(3), Init(I(0))], [np.tile(x, (3, 1))])
case("Tile", 1, [x, F(2), Init(F(2))], [None], error="axis 2 is no axis")
case("Tile", 1, [x, F(2), F(1)], [None], error="not constant")

# --- Softmax over a matrix of rows
x = some(2, 3, 4)


def rows(v, axis, f):
    axis = axis if axis >= 0 else axis + v.ndim
    r = v.reshape(int(np.prod(v.shape[:axis])), -1).astype(np.float64)
    return f(r).reshape(v.shape).astype(F)


def softmax(r):
    e = np.exp(r - r.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def hardmax(r):
    h = np.zeros_like(r)
    h[np.arange(len(r)), r.argmax(1)] = 1
    return h


for op, f in {"Softmax": softmax, "LogSoftmax": lambda r: np.log(softmax(r)), "Hardmax": hardmax}.items():
    case(op, 1, [x], [rows(x, 1, f)], tol=1e-5, note="axis was 1 when left out")
    case(op, 11, [x], [rows(x, 0, f)], tol=1e-5, axis=0)
    case(op, 11, [x], [rows(x, 2, f)], tol=1e-5, axis=2)
    case(op, 12, [x], [rows(x, -2, f)], tol=1e-5, axis=-2)
    case(op, 12, [x], [rows(x, 2, f)], tol=1e-5, axis=-1)
case("Softmax", 11, [x[:1]], [rows(x[:1], 0, softmax)], tol=1e-5, axis=0)
case("Softmax", 11, [x[:, :, :1]], [rows(x[:, :, :1], 1, softmax)], tol=1e-5, axis=1, note="a row along one axis")
case("Softmax", 11, [x], [np.ones_like(x)], axis=3, note="rows of one element")
case("Softmax", 1, [x], [None], axis=4, error="axis 4 is no axis")
case("Softmax", 12, [x[0]], [rows(x[0], 1, softmax)], tol=1e-5)

# --- Upsample and Resize
x = np.array([[[[1, 2], [3, 4]]]], F)
near = x.repeat(2, 2).repeat(3, 3)
case("Upsample", 1, [x], [near], height_scale=2.0, width_scale=3.0)
lin = np.array([1, 1.5, 2, 2], F)  # positions 0, 0.5, 1, 1.5: beyond the last sample its value
lin = np.stack([lin, lin + 1, lin + 2, lin + 2]).reshape(1, 1, 4, 4)
case("Upsample", 1, [x], [lin], height_scale=2.0, width_scale=2.0, mode="bilinear")
case("Upsample", 7, [x], [near], scales=[1.0, 1.0, 2.0, 3.0])
case("Upsample", 7, [x], [lin], scales=[1.0, 1.0, 2.0, 2.0], mode="linear")
case("Upsample", 9, [x, Init(np.array([1, 1, 2, 3], F))], [near])
case("Upsample", 11, [x, np.array([1, 1, 2, 3], F)], [near], note="past its end")
case("Resize", 10, [x, Init(np.array([1, 1, 2, 2], F))], [lin], mode="linear")
y = np.arange(1, 9, dtype=F).reshape(1, 1, 2, 4)
case("Resize", 10, [y, Init(np.array([1, 1, 0.6, 0.6], F))], [np.array([[[[1, 3]]]], F)], mode="nearest", note="shrinking rounds up")
case("Resize", 10, [y, Init(np.array([1, 1, 2, 0.5], F))], [None], mode="nearest", error="enlarges one dimension and shrinks another")
e = np.zeros(0, F)
case("Resize", 11, [x, Init(e), Init(np.array([1, 1, 2, 3], F))], [near], coordinate_transformation_mode="asymmetric", nearest_mode="floor", note="with an empty roi")
case("Resize", 11, [x, Init(e), Init(e), Init(np.array([1, 1, 4, 6], I))], [near], coordinate_transformation_mode="asymmetric", nearest_mode="floor", note="with empty scales")
g = np.array([[[[-0.5, -0.5], [0.5, 0.5]]]], F)
case("GridSample", 16, [x, g], [np.array([[[[1, 4]]]], F)], mode="bilinear")
case("GridSample", 16, [x, g], [None], mode="bicubic", padding_mode="border", note="the mode's name alone")
x, i, u = some(3, 2), np.array([[0, 1]], I), np.array([[9, 8]], F)
y = x.copy()
y[0, 0], y[1, 1] = 9, 8
case("Scatter", 9, [x, i, u], [y])
case("Scatter", 11, [x, i, u], [y], note="past its end")

# --- norms
x, s, b, mean, var = some(2, 3, 2), some(3), some(3), some(3), positive(3)
bn = lambda v, sh: ((x - mean.reshape(sh)) / np.sqrt(var.reshape(sh) + F(v)) * s.reshape(sh) + b.reshape(sh)).astype(F)
case("BatchNormalization", 1, [x, s, b, mean, var], [bn(0.5, (1, 3, 1))], consumed_inputs=[0, 0, 0, 1, 1], is_test=1, epsilon=0.5, tol=1e-5)
case("BatchNormalization", 7, [x, s, b, mean, var], [bn(1e-5, (1, 3, 1))], spatial=1, tol=1e-4)
case("BatchNormalization", 9, [x, s, b, mean, var], [bn(1e-5, (1, 3, 1))], tol=1e-4)
xm, xv = x.mean((0, 2), keepdims=True), x.var((0, 2), keepdims=True)
train = ((x - xm) / np.sqrt(xv + F(0.5)) * s.reshape(1, 3, 1) + b.reshape(1, 3, 1)).astype(F)
moved = [(F(0.75) * v + F(0.25) * w.reshape(3)).astype(F) for v, w in ((mean, xm), (var, xv))]
for opset in (6, 8, 13):
    case("BatchNormalization", opset, [x, s, b, mean, var], [train] + moved + [xm.reshape(3), xv.reshape(3)], epsilon=0.5,
         momentum=0.75, tol=1e-5, note="all training outputs")
case("BatchNormalization", 9, [x, s, b, mean, var], [train] + moved, epsilon=0.5, momentum=0.75, tol=1e-5, note="running statistics")
case("BatchNormalization", 6, [x, s, b, mean, var], [((x - xm) / np.sqrt(xv + F(0.5)) * s.reshape(1, 3, 1) + b.reshape(1, 3, 1)).astype(F)], epsilon=0.5, tol=1e-5, note="with the statistics of the batch")
s, b, mean, var = some(3, 2), some(3, 2), some(3, 2), positive(3, 2)
case("BatchNormalization", 7, [x, s, b, mean, var], [bn(0.25, (1, 3, 2))], spatial=0, epsilon=0.25, tol=1e-5)
x, s, b = some(2, 3, 4), some(3), some(3)
inorm = (x - x.mean(2, keepdims=True)) / np.sqrt(x.var(2, keepdims=True) + F(0.5)) * s.reshape(1, 3, 1) + b.reshape(1, 3, 1)
case("InstanceNormalization", 1, [x, s, b], [inorm.astype(F)], epsilon=0.5, consumed_inputs=[0], tol=1e-5)
x, s, b = some(2, 4, 3), some(2), some(2)
r = x.reshape(2, 2, 6)
gn = ((r - r.mean(2, keepdims=True)) / np.sqrt(r.var(2, keepdims=True) + F(0.5))).reshape(2, 4, 3)
gn = gn * s.repeat(2).reshape(1, 4, 1) + b.repeat(2).reshape(1, 4, 1)
case("GroupNormalization", 18, [x, s, b], [gn.astype(F)], num_groups=2, epsilon=0.5, tol=1e-5)
# Samples of a plane average to its value in the middle of the region, here at (2, 2).
plane = (3 * np.arange(5, dtype=F)[:, None] + np.arange(5, dtype=F))[None, None]
case("RoiAlign", 10, [plane, np.array([[1, 1, 3, 3]], F), np.array([0])], [np.full((1, 1, 1, 1), 8, F)], sampling_ratio=2)
x = some(2, 4, 1)
spectrum = np.fft.fft(x[..., 0], axis=1)
case("DFT", 17, [x], [np.stack([spectrum.real, spectrum.imag], -1).astype(F)], tol=1e-5)
spectrum = np.fft.fft(x[..., 0], axis=0)
case("DFT", 19, [x], [np.stack([spectrum.real, spectrum.imag], -1).astype(F)], axis=0, tol=1e-5)


def philox(key, i):
    c, k = [i, 0, 0, 0], [key, 0]
    for _ in range(10):
        p, q = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(q >> 32) ^ c[1] ^ k[0], q & 0xffffffff, (p >> 32) ^ c[3] ^ k[1], p & 0xffffffff]
        k = [(k[0] + 0x9E3779B9) & 0xffffffff, (k[1] + 0xBB67AE85) & 0xffffffff]
    return c[:2]


# Without a seed it is the 24-bit FNV-1a hash of the output's name, here "y0".
seed = 2166136261
for ch in b"y0":
    seed = ((seed ^ ch) * 16777619) & 0xffffffff
seed = (seed >> 8) ^ (seed & 0xff)
key = int(F(seed).view(np.uint32))
words = np.array([philox(key, i) for i in range(6)])
uniform = ((words[:, 0] >> 8) * 2.0 ** -24).astype(F)
wide = np.array([(int(a) << 32 | int(b)) >> 11 for a, b in words]) * 2.0 ** -53
normal = np.sqrt(-2 * np.log(1 - uniform.astype(float))) * np.cos(2 * np.pi * ((words[:, 1] >> 8) * 2.0 ** -24))
case("RandomUniform", 1, [], [uniform.reshape(2, 3)], shape=[2, 3])
case("RandomUniformLike", 1, [some(6)], [uniform])
case("RandomNormal", 1, [], [normal.astype(F)], shape=[6], tol=1e-5)
case("RandomNormalLike", 22, [some(3, 2)], [normal.astype(F).reshape(3, 2)], tol=1e-5)
p = (np.arange(6) / 6).astype(F)
case("Bernoulli", 15, [p], [(uniform < p).astype(F)])
case("Multinomial", 7, [np.zeros((1, 4), F)], [np.floor(4 * wide).astype(np.int32)[None]], sample_size=6)
mask = np.array([philox(seed, i)[0] >> 8 for i in range(6)]) * 2.0 ** -24 >= 0.5
x = some(6)
case("Dropout", 13, [x, F(0.5), np.array(True)], [np.where(mask, 2 * x, 0).astype(F), mask], note="training")
x = positive(1, 1, 4)
case("LpPool", 1, [x], [np.sqrt(np.stack([x[..., :2], x[..., 2:]], 2) ** 2 @ np.ones(2, F)).astype(F)], kernel_shape=[2], strides=[2], p=2.0, tol=1e-6)
case("LpPool", 1, [x], [None], kernel_shape=[2], p=1.5, error="not an integer")
case("GlobalLpPool", 1, [x], [np.cbrt((x ** 3).sum(2, keepdims=True)).astype(F)], p=3.0, tol=1e-5)

# --- Dropout in a run; recurrent layers with their old hints
x = some(2, 3)
case("Dropout", 1, [x], [x], consumed_inputs=[0], is_test=1, ratio=0.5)
case("Dropout", 6, [x], [x, np.ones((2, 3), F)], ratio=0.25, is_test=1, note="mask of the data's type")
case("Dropout", 7, [x], [x, np.ones((2, 3), F)], ratio=0.25)
case("Dropout", 10, [x], [x, np.ones((2, 3), bool)], ratio=0.25)
x, w, r = some(2, 1, 2), some(1, 2, 2) / 4, some(1, 2, 2) / 4
h, ys = np.zeros((1, 2), F), []
for t in range(2):
    h = np.tanh(x[t] @ w[0].T + h @ r[0].T)
    ys.append(h)
case("RNN", 1, [x, w, r], [np.stack(ys).reshape(2, 1, 1, 2).astype(F), h.reshape(1, 1, 2).astype(F)], hidden_size=2, output_sequence=1, tol=1e-5)
w, r = some(1, 6, 2) / 4, some(1, 6, 2) / 4
h = np.zeros((1, 2))
for t in range(2):
    gz, gr, gh = np.split(w[0].astype(np.float64), 3)
    rz, rr, rh = np.split(r[0].astype(np.float64), 3)
    z, q = sigmoid(x[t] @ gz.T + h @ rz.T), sigmoid(x[t] @ gr.T + h @ rr.T)
    h = (1 - z) * np.tanh(x[t] @ gh.T + (q * h) @ rh.T) + z * h
case("GRU", 1, [x, w, r], [None, h.reshape(1, 1, 2).astype(F)], hidden_size=2, direction="foward", output_sequence=0, tol=1e-5)
case("GRU", 3, [x, w, r], [None, h.reshape(1, 1, 2).astype(F)], hidden_size=2, output_sequence=1, tol=1e-5)
# --- ai.onnx.ml: one list of strings, each standing for its position

case("LabelEncoder", 1, [np.array(["a", "x", "c", "b"])], [np.array([1, -7, 2, 0])], note="of strings", classes_strings=["b", "a", "c"],
     default_int64=-7)
case("LabelEncoder", 1, [np.array([1, 0, 2])], [np.array(["a", "b", "none"])], note="of numbers", classes_strings=["b", "a"],
     default_string="none")

# --- LSTM
w, r = some(1, 8, 2) / 4, some(1, 8, 2) / 4
h, cell = np.zeros((1, 2)), np.zeros((1, 2))
for t in range(2):
    i_, o_, f_, c_ = np.split(x[t] @ w[0].T + h @ r[0].T, 4, 1)
    cell = sigmoid(f_) * cell + sigmoid(i_) * np.tanh(c_)
    h = sigmoid(o_) * np.tanh(cell)
case("LSTM", 1, [x, w, r], [None, h.reshape(1, 1, 2).astype(F), cell.reshape(1, 1, 2).astype(F)], hidden_size=2, output_sequence=1, tol=1e-5)
