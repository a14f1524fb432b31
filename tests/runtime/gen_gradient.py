#!/usr/bin/env python3
"""gen_gradient.py - writes gradient.txt: gradients of small graphs, worked out by PyTorch's autograd in double precision.

Each case is a graph from inputs to "o"; y is o times weights, so that the gradients of o's elements differ. Of some, the gradients
are weighted and differentiated once more. Needs torch:  python3 tests/runtime/gen_gradient.py > tests/runtime/gradient.txt
SPDX-License-Identifier: Apache-2.0
"""
import json

import torch
import torch.nn.attention
import torch.nn.functional as F

torch.manual_seed(5)
N = {torch.float64: "f32", torch.int64: "i64", torch.bool: "bool"}


def some(*shape):
    return (torch.randint(-11, 12, shape) / 8 + 1 / 32).double()  # off the corners of functions


def positive(*shape):
    return (torch.randint(1, 12, shape) / 8).double()


def ints(*v):
    return torch.tensor(v)


def flat(v):
    return [N[v.dtype], list(v.shape), [x if v.dtype != torch.float64 else float("%.9g" % x) for x in (v + 0).reshape(-1).tolist()]]


def case(name, nodes, ins, fn, xs=None, inits=(), twice=False, shapes=None, tol=1e-5):
    """nodes: (op, inputs, outputs, attributes); ins: {name: tensor}; fn: of the same, in order; inits: names that are constants"""
    xs = xs or [k for k, v in ins.items() if v.dtype == torch.float64]
    at = {k: v.clone().requires_grad_(k in xs) for k, v in ins.items()}
    o = fn(*at.values())
    w = some(*o.shape)
    grads = torch.autograd.grad((o * w).sum(), [at[x] for x in xs], create_graph=twice, allow_unused=True)
    grads = [torch.zeros_like(at[x]) if g is None else g for x, g in zip(xs, grads)]
    outs = {"d" + x: g for x, g in zip(xs, grads)}
    given = dict(ins, w=w)
    given.update({"v" + x: some(*g.shape) for x, g in zip(xs, grads)} if twice else {})
    if twice:
        z = sum((g * given["v" + x]).sum() + 0 * at[x].sum() for x, g in zip(xs, grads))
        again = torch.autograd.grad(z, [at[x] for x in xs], allow_unused=True)
        outs.update({"dd" + x: torch.zeros_like(at[x]) if g is None else g for x, g in zip(xs, again)})
    print(json.dumps({"name": name, "nodes": nodes, "xs": xs, "twice": twice, "inits": list(inits), "shapes": shapes or {}, "tol": tol,
                      "ins": {k: flat(v.detach()) for k, v in given.items()}, "outs": {k: flat(v.detach()) for k, v in outs.items()}}))


print("# gradient.txt - written by gen_gradient.py\n# SPDX-License-Identifier: Apache-2.0")

# --- functions of one number ---

UNARY = {
    "Abs": torch.abs, "Asinh": torch.asinh, "Atan": torch.atan, "Cos": torch.cos, "Cosh": torch.cosh, "Erf": torch.erf, "Exp": torch.exp,
    "Neg": torch.neg, "Reciprocal": torch.reciprocal, "Relu": torch.relu, "Sigmoid": torch.sigmoid, "Sin": torch.sin, "Sinh": torch.sinh,
    "Softplus": F.softplus, "Softsign": F.softsign, "Tan": torch.tan, "Tanh": torch.tanh, "Mish": F.mish, "HardSwish": F.hardswish,
    "Ceil": torch.ceil, "Floor": torch.floor, "Round": torch.round, "Sign": torch.sign, "Identity": lambda x: x * 1,
}
for op, fn in UNARY.items():
    case(op, [(op, ["x"], ["o"], {})], {"x": some(2, 5)}, fn, twice=True)
for op, fn in {"Log": torch.log, "Sqrt": torch.sqrt}.items():
    case(op, [(op, ["x"], ["o"], {})], {"x": positive(2, 5)}, fn, twice=True)
for op, fn in {"Acos": torch.acos, "Asin": torch.asin, "Atanh": torch.atanh}.items():
    case(op, [(op, ["x"], ["o"], {})], {"x": some(2, 5) / 2}, fn, twice=True)
case("Acosh", [("Acosh", ["x"], ["o"], {})], {"x": positive(2, 5) + 1}, torch.acosh, twice=True)
for op, attrs, fn in (
        ("Celu", {"alpha": 0.5}, lambda x: F.celu(x, 0.5)), ("Elu", {"alpha": 1.5}, lambda x: F.elu(x, 1.5)), ("Selu", {}, F.selu),
        ("Gelu", {}, F.gelu), ("Gelu", {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
        ("LeakyRelu", {"alpha": 0.25}, lambda x: F.leaky_relu(x, 0.25)),
        ("HardSigmoid", {"alpha": 0.5, "beta": 0.25}, lambda x: (0.5 * x + 0.25).clamp(0, 1)),
        ("Swish", {"alpha": 1.25}, lambda x: x * torch.sigmoid(1.25 * x)),
        ("ThresholdedRelu", {"alpha": 0.5}, lambda x: F.threshold(x, 0.5, 0.0)), ("Shrink", {"lambd": 0.5}, lambda x: F.hardshrink(x, 0.5))):
    case(op + str(attrs), [(op, ["x"], ["o"], attrs)], {"x": some(3, 4)}, fn, twice=True)

# --- several numbers, with broadcasting ---

BINARY = {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Max": torch.maximum, "Min": torch.minimum}
for op, fn in BINARY.items():
    case(op, [(op, ["x", "z"], ["o"], {})], {"x": some(2, 3), "z": positive(2, 3)}, fn, twice=True)
    case(op + " broadcast", [(op, ["x", "z"], ["o"], {})], {"x": some(3, 1), "z": positive(2, 1, 4)}, fn, twice=True)
    case(op + " broadcast by what the run tells", [(op, ["x", "z"], ["o"], {})], {"x": some(2, 1), "z": positive(2, 3)}, fn,
         shapes={"x": ["a", "b"], "z": ["a", "c"]})
case("Max of equal ones", [("Max", ["x", "z"], ["o"], {})], {"x": ints(1, 2).double(), "z": ints(1, 3).double()}, torch.maximum)
case("Pow", [("Pow", ["x", "z"], ["o"], {})], {"x": positive(2, 3), "z": some(3)}, torch.pow, twice=True)
case("Pow of 0 and by 0", [("Pow", ["x", "z"], ["o"], {})], {"x": ints(0, 0, 2).double(), "z": ints(0, 2, 0).double()}, torch.pow)
case("Pow by whole numbers", [("Pow", ["x", "k"], ["o"], {})], {"x": some(2, 3), "k": ints(0, 2, 3)}, torch.pow, twice=True)
case("Sum", [("Sum", ["x", "z", "x"], ["o"], {})], {"x": some(2, 3), "z": some(3)}, lambda x, z: x + z + x)
case("Mean", [("Mean", ["x", "z"], ["o"], {})], {"x": some(2, 3), "z": some(3)}, lambda x, z: (x + z) / 2)
case("PRelu", [("PRelu", ["x", "z"], ["o"], {})], {"x": some(2, 3), "z": some(3)}, lambda x, z: torch.where(x > 0, x, x * z), twice=True)
case("Where", [("Where", ["c", "x", "z"], ["o"], {})], {"c": torch.tensor([[True], [False]]), "x": some(2, 3), "z": some(3)}, torch.where,
     twice=True)
case("Clip", [("Clip", ["x", "l", "h"], ["o"], {})], {"x": some(3, 5), "l": torch.tensor(-0.5).double(), "h": torch.tensor(0.75).double()},
     lambda x, l, h: torch.minimum(torch.maximum(x, l), h))
case("Clip from above", [("Clip", ["x", "", "h"], ["o"], {})], {"x": some(3, 5), "h": torch.tensor(0.25).double()}, torch.minimum)
case("Cast there and back", [("Cast", ["x"], ["c"], {"to": 11}), ("Sin", ["c"], ["s"], {}), ("Cast", ["s"], ["o"], {"to": 1})],
     {"x": some(4)}, torch.sin)
case("a detour by whole numbers has no gradient", [("Cast", ["x"], ["c"], {"to": 7}), ("Cast", ["c"], ["s"], {"to": 1}), ("Mul", ["s", "x"],
     ["o"], {})], {"x": some(4)}, lambda x: x.detach().trunc() * x)
case("one not used", [("Mul", ["x", "x"], ["o"], {})], {"x": some(4), "z": some(2)}, lambda x, z: x * x)

# --- movement ---

case("Reshape", [("Reshape", ["x", "s"], ["t"], {}), ("Mul", ["t", "t"], ["o"], {})], {"x": some(2, 6), "s": ints(3, -1)},
     lambda x, s: x.reshape(3, -1) ** 2, twice=True)
case("Flatten, Unsqueeze, Squeeze", [("Flatten", ["x"], ["f"], {"axis": 2}), ("Unsqueeze", ["f", "a"], ["u"], {}),
     ("Squeeze", ["u", "a"], ["q"], {}), ("Exp", ["q"], ["o"], {})], {"x": some(2, 2, 3), "a": ints(1)}, lambda x, a: x.reshape(4, 3).exp(),
     inits=["a"])
case("Transpose", [("Transpose", ["x"], ["t"], {"perm": [2, 0, 1]}), ("Sin", ["t"], ["o"], {})], {"x": some(2, 3, 4)},
     lambda x: x.permute(2, 0, 1).sin(), twice=True)
case("Concat", [("Concat", ["x", "z", "x"], ["t"], {"axis": -1}), ("Sin", ["t"], ["o"], {})], {"x": some(2, 3), "z": some(2, 1)},
     lambda x, z: torch.cat([x, z, x], 1).sin(), twice=True)
case("Concat of lengths that the run tells", [("Concat", ["x", "z"], ["t"], {"axis": 0}), ("Sin", ["t"], ["o"], {})],
     {"x": some(2, 3), "z": some(4, 3)}, lambda x, z: torch.cat([x, z]).sin(), shapes={"x": ["n", 3], "z": ["m", 3]})
case("Split", [("Split", ["x", "s"], ["a", "b", "c"], {"axis": 1}), ("Mul", ["a", "c"], ["o"], {})], {"x": some(2, 5), "s": ints(2, 1, 2)},
     lambda x, s: x[:, :2] * x[:, 3:], inits=["s"], twice=True)
case("Slice", [("Slice", ["x", "s", "e", "a", "t"], ["t_"], {}), ("Sin", ["t_"], ["o"], {})], {"x": some(5, 6), "s": ints(1, 5),
     "e": ints(9, 0), "a": ints(0, 1), "t": ints(2, -2)}, lambda x, s, e, a, t: x[1::2].flip(1)[:, 0:5:2].sin(), inits=["s", "e", "a", "t"],
     twice=True)
case("Gather", [("Gather", ["x", "i"], ["t"], {"axis": 1}), ("Sin", ["t"], ["o"], {})], {"x": some(3, 4, 2), "i": torch.tensor([[0, 3], [3, -1]])},
     lambda x, i: x[:, i].sin(), twice=True)
case("GatherElements", [("GatherElements", ["x", "i"], ["t"], {"axis": 1}), ("Sin", ["t"], ["o"], {})],
     {"x": some(2, 4), "i": torch.tensor([[0, 3, 3], [1, 0, 2]])}, lambda x, i: x.gather(1, i).sin(), twice=True)
case("GatherND", [("GatherND", ["x", "i"], ["t"], {}), ("Sin", ["t"], ["o"], {})], {"x": some(3, 4, 2), "i": torch.tensor([[0, 3], [2, 1], [0, 3]])},
     lambda x, i: x[i[:, 0], i[:, 1]].sin())
case("Expand", [("Expand", ["x", "s"], ["t"], {}), ("Sin", ["t"], ["o"], {})], {"x": some(3, 1), "s": ints(2, 1, 4)},
     lambda x, s: x.expand(2, 3, 4).sin(), inits=["s"])
case("Tile", [("Tile", ["x", "s"], ["t"], {}), ("Sin", ["t"], ["o"], {})], {"x": some(2, 3), "s": ints(2, 2)}, lambda x, s: x.repeat(2, 2).sin(),
     inits=["s"])
case("Pad", [("Pad", ["x", "p"], ["t"], {}), ("Sin", ["t"], ["o"], {})], {"x": some(3, 4), "p": ints(1, -1, 0, 2)},
     lambda x, p: F.pad(x, (-1, 2, 1, 0)).sin(), inits=["p"], twice=True)
case("Pad by reflection", [("Pad", ["x", "p"], ["t"], {"mode": "reflect"}), ("Sin", ["t"], ["o"], {})], {"x": some(1, 2, 5), "p": ints(0, 0, 2, 0, 0, 3)},
     lambda x, p: F.pad(x, (2, 3), mode="reflect").sin(), inits=["p"])
case("Trilu", [("Trilu", ["x"], ["o"], {"upper": 0})], {"x": some(3, 4)}, torch.tril)
case("DepthToSpace", [("DepthToSpace", ["x"], ["t"], {"blocksize": 2, "mode": "CRD"}), ("Sin", ["t"], ["o"], {})], {"x": some(1, 8, 2, 3)},
     lambda x: F.pixel_shuffle(x, 2).sin())
case("ScatterElements", [("ScatterElements", ["x", "i", "z"], ["t"], {"axis": 1}), ("Sin", ["t"], ["o"], {})],
     {"x": some(2, 4), "i": torch.tensor([[0, 3], [1, 0]]), "z": some(2, 2)}, lambda x, i, z: x.scatter(1, i, z).sin(), twice=True)
case("ScatterElements that adds", [("ScatterElements", ["x", "i", "z"], ["t"], {"axis": 1, "reduction": "add"}), ("Sin", ["t"], ["o"], {})],
     {"x": some(2, 4), "i": torch.tensor([[3, 3], [1, 0]]), "z": some(2, 2)}, lambda x, i, z: x.scatter_add(1, i, z).sin())
case("ScatterND", [("ScatterND", ["x", "i", "z"], ["t"], {}), ("Sin", ["t"], ["o"], {})], {"x": some(4, 3), "i": torch.tensor([[2], [0]]), "z": some(2, 3)},
     lambda x, i, z: x.index_put((i[:, 0],), z).sin())
case("TopK", [("TopK", ["x", "k"], ["t", ""], {}), ("Sin", ["t"], ["o"], {})], {"x": torch.tensor([[1, 4, 2], [7, 5, 6.0]]).double() / 8, "k": ints(2)},
     lambda x, k: x.topk(2).values.sin(), inits=["k"])

# --- sums ---

REDUCE = {
    "ReduceSum": lambda x, d, k: x.sum(d, k), "ReduceMean": lambda x, d, k: x.mean(d, k), "ReduceMax": lambda x, d, k: x.amax(d, k),
    "ReduceMin": lambda x, d, k: x.amin(d, k), "ReduceL1": lambda x, d, k: x.abs().sum(d, k),
    "ReduceL2": lambda x, d, k: x.square().sum(d, k).sqrt(), "ReduceSumSquare": lambda x, d, k: x.square().sum(d, k),
    "ReduceLogSum": lambda x, d, k: x.sum(d, k).log(), "ReduceLogSumExp": lambda x, d, k: torch.logsumexp(x, d, k),
}
for op, fn in REDUCE.items():
    for axes, keep in ((ints(1), 0), (ints(-1, 0), 1)):
        case(f"{op} over {axes.tolist()}", [(op, ["x", "a"], ["r"], {"keepdims": keep}), ("Mul", ["r", "r"], ["o"], {})],
             {"x": positive(2, 3, 4), "a": axes}, lambda x, a: fn(x, tuple(a.tolist()), bool(keep)).square(), inits=["a"], twice=keep == 1)
    case(f"{op} over all", [(op, ["x"], ["o"], {"keepdims": 0})], {"x": positive(2, 3)}, lambda x: fn(x, (0, 1), False))
case("ReduceMean of a length that the run tells", [("ReduceMean", ["x", "a"], ["o"], {"keepdims": 0})], {"x": some(2, 3), "a": ints(1)},
     lambda x, a: x.mean(1), inits=["a"], shapes={"x": ["n", "m"]})
case("ReduceMax of equal ones", [("ReduceMax", ["x"], ["o"], {"keepdims": 0})], {"x": ints(1, 3, 3).double()}, lambda x: x.amax(0))
case("ReduceL2 of 0", [("ReduceL2", ["x"], ["o"], {"keepdims": 0})], {"x": ints(0, 0).double()}, lambda x: torch.linalg.vector_norm(x))
case("CumSum", [("CumSum", ["x", "a"], ["t"], {"exclusive": 1}), ("Sin", ["t"], ["o"], {})], {"x": some(2, 4), "a": ints(1)[0]},
     lambda x, a: (x.cumsum(1) - x).sin(), inits=["a"])
case("Softmax", [("Softmax", ["x"], ["o"], {"axis": 1})], {"x": some(2, 3, 2)}, lambda x: x.softmax(1), twice=True)
case("LogSoftmax", [("LogSoftmax", ["x"], ["o"], {})], {"x": some(2, 3)}, lambda x: x.log_softmax(-1), twice=True)
case("GlobalAveragePool", [("GlobalAveragePool", ["x"], ["t"], {}), ("Sin", ["t"], ["o"], {})], {"x": some(2, 3, 2, 2)},
     lambda x: x.mean((2, 3), True).sin())
case("MaxPool", [("MaxPool", ["x"], ["t"], {"kernel_shape": [2, 2], "strides": [1, 2], "pads": [1, 0, 0, 0]}), ("Sin", ["t"], ["o"], {})],
     {"x": torch.randperm(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).double() / 32},
     lambda x: F.max_pool2d(F.pad(x, (0, 0, 1, 0), value=-1e9), 2, (1, 2)).sin())

for name, x, attrs in (("plain", (2, 3, 6), {"kernel_shape": [2], "strides": [2]}),
                       ("pads that do not count", (1, 2, 5, 6), {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 1, 1, 0]}),
                       ("pads that count", (1, 2, 5, 6), {"kernel_shape": [3, 2], "pads": [1, 0, 1, 0], "count_include_pad": 1})):
    def pool(x, k=attrs["kernel_shape"], a=attrs):
        n = len(k)
        p = [v for i in reversed(range(n)) for v in (a.get("pads", [0] * 2 * n)[i], a.get("pads", [0] * 2 * n)[n + i])]
        mean = F.avg_pool1d if n == 1 else F.avg_pool2d
        sums, here = (mean(F.pad(t, p), k, a.get("strides", 1)) for t in (x, torch.ones_like(x)))
        return (sums if a.get("count_include_pad") else sums / here).sin()
    case("AveragePool, " + name, [("AveragePool", ["x"], ["t"], attrs), ("Sin", ["t"], ["o"], {})], {"x": some(*x)}, pool, twice=True)
case("AveragePool of extents that the run tells", [("AveragePool", ["x"], ["o"], {"kernel_shape": [3], "pads": [1, 1]})],
     {"x": some(2, 2, 7)}, lambda x: F.avg_pool1d(x, 3, 1, 1, count_include_pad=False), shapes={"x": ["n", "c", "l"]})
for axes, keep in (([1], 1), ([-1, 0], 0), (None, 0)):
    prod = [("ReduceProd", ["x"] + ([] if axes is None else ["a"]), ["r"], {"keepdims": keep}), ("Mul", ["r", "r"], ["o"], {})]

    def product(x, *a):
        for k in sorted([v % x.dim() for v in (range(x.dim()) if axes is None else axes)], reverse=True):
            x = x.prod(k, keepdim=bool(keep))
        return x * x
    for zeros in (0, 1, 2):
        x = positive(2, 3, 4)
        x.reshape(-1)[[5, 7][:zeros]] = 0
        case(f"ReduceProd over {axes}, {zeros} zeros", prod, {"x": x, **({} if axes is None else {"a": ints(*axes)})}, product,
             inits=[] if axes is None else ["a"], twice=not zeros, tol=1e-4)

# --- losses ---

t, wt = torch.tensor([[0, 2], [3, 1], [2, 2]]), positive(4)
for reduction in ("none", "mean", "sum"):
    for ignore in (None, 2):
        attrs = {"reduction": reduction, **({} if ignore is None else {"ignore_index": ignore})}
        torch_ignore = -100 if ignore is None else ignore
        case(f"SoftmaxCrossEntropyLoss {attrs}", [("SoftmaxCrossEntropyLoss", ["x", "t", "c"], ["o"], attrs)],
             {"x": some(3, 4, 2), "t": t, "c": wt}, lambda x, t, c: F.cross_entropy(x, t, c, reduction=reduction, ignore_index=torch_ignore),
             xs=["x"], twice=True)
case("NegativeLogLikelihoodLoss", [("NegativeLogLikelihoodLoss", ["x", "t"], ["o"], {})], {"x": some(3, 4), "t": t[:, 0]}, F.nll_loss)

# --- products ---

for a, b in (((2, 3), (3, 4)), ((3,), (3, 4)), ((2, 3), (3,)), ((3,), (3,)), ((2, 1, 3, 2), (4, 2, 3)), ((5, 2, 3), (3,))):
    case(f"MatMul {list(a)} {list(b)}", [("MatMul", ["x", "z"], ["o"], {})], {"x": some(*a), "z": some(*b)}, torch.matmul, twice=True)
for ta in (0, 1):
    for tb in (0, 1):
        case(f"Gemm {ta} {tb}", [("Gemm", ["x", "z", "c"], ["o"], {"transA": ta, "transB": tb, "alpha": 0.5, "beta": 2.0})],
             {"x": some(*((3, 2) if ta else (2, 3))), "z": some(*((4, 3) if tb else (3, 4))), "c": some(4)},
             lambda x, z, c: 0.5 * (x.T if ta else x) @ (z.T if tb else z) + 2 * c, twice=True)
for name, x, k, attrs in (
        ("plain", (2, 3, 6), (4, 3, 3), {}), ("strides that leave a rest", (1, 2, 8, 7), (3, 2, 3, 2), {"strides": [2, 3], "pads": [1, 1, 1, 1]}),
        ("groups and dilation", (2, 4, 7, 7), (6, 2, 2, 3), {"group": 2, "dilations": [2, 1], "pads": [0, 1, 0, 1]}),
        ("each channel for itself", (1, 3, 5, 5), (3, 1, 3, 3), {"group": 3, "strides": [2, 2]})):
    n = len(x) - 2
    conv = F.conv1d if n == 1 else F.conv2d
    pads = attrs.get("pads", [0] * 2 * n)
    case("Conv, " + name, [("Conv", ["x", "k", "c"], ["o"], attrs)], {"x": some(*x), "k": some(*k), "c": some(k[0])},
         lambda x, k, c: conv(x, k, c, attrs.get("strides", 1), pads[:n], attrs.get("dilations", 1), attrs.get("group", 1)), tol=1e-4)

for name, x, k, attrs in (
        ("plain", (2, 3, 4), (3, 4, 3), {}), ("strides and pads", (1, 2, 4, 3), (2, 3, 3, 2), {"strides": [2, 3], "pads": [1, 0, 1, 0]}),
        ("output_padding", (1, 2, 3, 3), (2, 3, 3, 3), {"strides": [2, 2], "output_padding": [1, 0], "pads": [1, 1, 1, 1]}),
        ("groups and dilation", (2, 4, 4, 3), (4, 3, 2, 3), {"group": 2, "dilations": [2, 1]})):
    n = len(x) - 2
    deconv = F.conv_transpose1d if n == 1 else F.conv_transpose2d
    case("ConvTranspose, " + name, [("ConvTranspose", ["x", "k", "c"], ["o"], attrs)],
         {"x": some(*x), "k": some(*k), "c": some(k[1] * attrs.get("group", 1))},
         lambda x, k, c: deconv(x, k, c, attrs.get("strides", 1), attrs.get("pads", [0] * 2 * n)[:n], attrs.get("output_padding", 0),
                                attrs.get("group", 1), attrs.get("dilations", 1)), twice=True, tol=1e-4)
for equation, *extents in (("ij,jk->ik", (2, 3), (3, 4)), ("bhid,bhjd->bhij", (2, 1, 3, 2), (2, 1, 4, 2)), ("ij->ji", (2, 3)),
                           ("ij,kl->k", (2, 3), (4, 2)), ("i,ij,j->", (2,), (2, 3), (3,)), ("...ij,jk->...ik", (2, 2, 3), (3, 2))):
    names = ["x", "z", "u"][:len(extents)]
    case("Einsum " + equation, [("Einsum", names, ["t"], {"equation": equation}), ("Sin", ["t"], ["o"], {})],
         {n: some(*e) for n, e in zip(names, extents)}, lambda *v: torch.einsum(equation, *v).sin(), twice=True, tol=1e-4)

# --- attention ---

def attention(name, q, k, v, attrs={}, mask=None, twice=False, shapes=None):
    ins = {"q": some(*q), "k": some(*k), "v": some(*v), **({} if mask is None else {"m": mask})}
    H, G = attrs.get("q_num_heads", q[1]), attrs.get("kv_num_heads", k[1])

    def fn(q, k, v, m=None):
        if q.dim() == 3:
            q, k, v = (x.reshape(*x.shape[:2], h, -1).transpose(1, 2) for x, h in ((q, H), (k, G), (v, G)))
        y = F.scaled_dot_product_attention(q, k.repeat_interleave(H // G, 1), v.repeat_interleave(H // G, 1), m,
                                           is_causal=bool(attrs.get("is_causal")), scale=attrs.get("scale"))
        return (y if len(ins["q"].shape) == 4 else y.transpose(1, 2).flatten(2)).sin()
    case("Attention, " + name, [("Attention", list(ins), ["t"], attrs), ("Sin", ["t"], ["o"], {})], ins, fn, twice=twice, tol=1e-4,
         shapes=shapes)


with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
    q4, k4, v4 = (2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 3)
    attention("heads on an axis", q4, k4, v4, twice=True)
    attention("scale, causal", q4, (2, 2, 3, 4), (2, 2, 3, 3), {"scale": 0.75, "is_causal": 1}, twice=True)
    attention("heads side by side", (2, 3, 8), (2, 5, 8), (2, 5, 6), {"q_num_heads": 2, "kv_num_heads": 2})
    attention("shared heads", (1, 3, 16), (1, 5, 8), (1, 5, 6), {"q_num_heads": 4, "kv_num_heads": 2}, twice=True)
    attention("shared heads on an axis", (1, 4, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4), mask=torch.rand(3, 5, generator=torch.Generator().manual_seed(1)) < 0.7)
    attention("a query that sees nothing", q4, k4, v4, mask=torch.tensor([[True] * 5, [False] * 5, [True, False, True, False, False]]))
    attention("a mask to add", q4, k4, v4, mask=some(2, 1, 1, 5), twice=True)
    attention("lengths that the run tells", q4, k4, v4, shapes={"q": ["b", 2, "s", 4], "k": ["b", 2, "l", 4], "v": ["b", 2, "l", 3]})

# --- norms ---

case("LayerNormalization", [("LayerNormalization", ["x", "s", "c"], ["o"], {"axis": 1})], {"x": some(2, 3, 4), "s": some(3, 4), "c": some(3, 4)},
     lambda x, s, c: F.layer_norm(x, (3, 4), s, c), twice=True, tol=1e-4)
case("RMSNormalization", [("RMSNormalization", ["x", "s"], ["o"], {})], {"x": some(2, 3, 4), "s": some(4)},
     lambda x, s: x / (x.square().mean(-1, True) + 1e-5).sqrt() * s, twice=True, tol=1e-4)
stat = {"x": some(2, 3, 4), "s": some(3), "c": some(3), "m": some(3), "v": positive(3)}
case("BatchNormalization", [("BatchNormalization", list(stat), ["o"], {})], stat, lambda x, s, c, m, v: F.batch_norm(x, m, v, s, c, False),
     xs=["x", "s", "c"], twice=True, tol=1e-4)
case("BatchNormalization in training", [("BatchNormalization", list(stat), ["o", "_1", "_2"], {"training_mode": 1})], stat,
     lambda x, s, c, m, v: F.batch_norm(x, m.clone(), v.clone(), s, c, True), xs=["x", "s", "c"], tol=1e-4)

# --- a network: two layers and a loss, and its weights as constants ---

case("two layers", [("Gemm", ["x", "a", "c"], ["h"], {}), ("Relu", ["h"], ["r"], {}), ("MatMul", ["r", "b"], ["p"], {}),
                    ("SoftmaxCrossEntropyLoss", ["p", "t"], ["o"], {})],
     {"x": some(5, 3), "a": some(3, 4), "c": some(4), "b": some(4, 3), "t": ints(0, 2, 1, 1, 0)},
     lambda x, a, c, b, t: F.cross_entropy((x @ a + c).relu() @ b, t), xs=["a", "c", "b"], inits=["a", "c", "b"], twice=True)

# --- attention with a cache, lengths, windows and a soft cap, from its definition ---


def cached(name, q, k, v, past=None, lengths=None, mask=None, present=False, twice=False, shapes=None, **attrs):
    """present: the cache that comes out leads to y too"""
    ins = {"q": some(*q), "k": some(*k), "v": some(*v), **({} if mask is None else {"m": mask})}
    if past:
        ins.update(a=some(*k[:2], past, k[3]), b=some(*v[:2], past, v[3]))
    if lengths is not None:
        ins["n"] = lengths
    names = [n if n in ins else "" for n in ("q", "k", "v", "m", "a", "b", "n")]
    names = names[:max(i for i, n in enumerate(names) if n) + 1]

    def fn(*values):
        at = dict(zip(ins, values))
        key, value = ((torch.cat([at[p], at[n]], 2) if past else at[n]) for n, p in (("k", "a"), ("v", "b")))
        more = q[1] // k[1]
        score = at["q"] @ key.repeat_interleave(more, 1).mT / q[3] ** 0.5
        score = attrs["softcap"] * (score / attrs["softcap"]).tanh() if "softcap" in attrs else score
        j, i = torch.arange(key.shape[2]), torch.arange(q[2])[:, None] + (past or 0)
        see = torch.ones(q[2], key.shape[2], dtype=torch.bool)
        if lengths is not None:
            i = i + lengths[:, None, None, None] - q[2]
            see = see & (j < lengths[:, None, None, None])
        see = see & (j <= i) if attrs.get("is_causal") else see
        see = see & (i - j <= attrs["left_window_size"]) if "left_window_size" in attrs else see
        see = see & (j - i <= attrs["right_window_size"]) if "right_window_size" in attrs else see
        score = score + (at["m"] if mask is not None else 0)
        y = score.masked_fill(~see, -1e300).softmax(-1).masked_fill(~see, 0) @ value.repeat_interleave(more, 1)
        return torch.cat([y.sin(), key.cos(), value], 2) if present else y.sin()
    nodes = [("Attention", names, ["t", "nk", "nv"] if present else ["t"], attrs), ("Sin", ["t"], ["st" if present else "o"], {})]
    if present:
        nodes += [("Cos", ["nk"], ["c"], {}), ("Concat", ["st", "c", "nv"], ["o"], {"axis": 2})]
    case("Attention, " + name, nodes, ins, fn, twice=twice, tol=1e-4, shapes=shapes)


k4 = (2, 2, 3, 4)
cached("a cache", (2, 2, 3, 4), k4, k4, past=2, is_causal=1)
cached("a cache that leads to y", (1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), past=2, is_causal=1, present=True, twice=True)
cached("a cache, shared heads, a mask", (1, 4, 2, 4), (1, 2, 2, 4), (1, 2, 2, 3), past=3, mask=some(2, 5))
cached("a cache whose length the run tells", (1, 2, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4), past=3, present=True,
       shapes={"a": [1, 2, "p", 4], "b": [1, 2, "p", 4]})
cached("lengths", (2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4), lengths=ints(2, 5))
cached("lengths, causal: a query that sees nothing", (2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4), lengths=ints(2, 5), is_causal=1)
cached("windows", (1, 2, 5, 4), (1, 2, 5, 4), (1, 2, 5, 3), left_window_size=1, right_window_size=2, twice=True)
cached("a window over a cache", (1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 3), past=4, left_window_size=2, is_causal=1)
cached("a soft cap", (1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 3), softcap=0.5, is_causal=1, twice=True)

# --- recurrent layers: PyTorch has the gates of an LSTM as i, f, c, o and those of a GRU as r, z, h ---

ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
T, B, I, H = 3, 2, 3, 2


def in_order(v, op):
    return torch.cat([v.chunk(len(ORDER[op]))[k] for k in ORDER[op]])


def gru_by_definition(x, w, r, b, h):
    """linear_before_reset = 0, which PyTorch has not"""
    (wz, wr, wh), (rz, rr, rh), bias = w[0].chunk(3), r[0].chunk(3), b[0].chunk(6)
    h, y = h[0], []
    for t in range(T):
        z = (x[t] @ wz.T + h @ rz.T + bias[0] + bias[3]).sigmoid()
        k = (x[t] @ wr.T + h @ rr.T + bias[1] + bias[4]).sigmoid()
        h = (1 - z) * (x[t] @ wh.T + (k * h) @ rh.T + bias[2] + bias[5]).tanh() + z * h
        y.append(h)
    return torch.stack(y)[:, None], h[None]


def peepholes_by_definition(x, w, r, b, h, c, p):
    (wi, wo, wf, wc), (ri, ro, rf, rc), bias, (pi, po, pf) = w[0].chunk(4), r[0].chunk(4), b[0].chunk(8), p[0].chunk(3)
    h, c, y = h[0], c[0], []
    for t in range(T):
        i = (x[t] @ wi.T + h @ ri.T + bias[0] + bias[4] + pi * c).sigmoid()
        f = (x[t] @ wf.T + h @ rf.T + bias[2] + bias[6] + pf * c).sigmoid()
        c = f * c + i * (x[t] @ wc.T + h @ rc.T + bias[3] + bias[7]).tanh()
        h = (x[t] @ wo.T + h @ ro.T + bias[1] + bias[5] + po * c).sigmoid() * c.tanh()
        y.append(h)
    return torch.stack(y)[:, None], h[None], c[None]


def by_torch(op, dirs, back, x, w, r, b, *state):
    weights = []
    for d in range(dirs):
        weights += [in_order(w[d], op), in_order(r[d], op)] + [in_order(v, op) for v in (b[d].chunk(2) if b is not None else ())]
    state = list(state) or [torch.zeros(dirs, B, H).double()] * (2 if op == "LSTM" else 1)
    layer = {"LSTM": torch._VF.lstm, "GRU": torch._VF.gru, "RNN": torch._VF.rnn_tanh}[op]
    y, *last = layer(x.flip(0) if back else x, state if op == "LSTM" else state[0], weights, b is not None, 1, 0.0, False, dirs == 2, False)
    y = y.reshape(T, B, dirs, H).permute(0, 2, 1, 3)
    return (y.flip(0) if back else y, *last)


def recurrent(name, op, dirs=1, bias=True, state=True, peep=False, layout=0, twice=False, **attrs):
    g = len(ORDER[op])
    ins = {"x": some(T, B, I), "k": some(dirs, g * H, I), "r": some(dirs, g * H, H)}
    ins.update({"b": some(dirs, 2 * g * H)} if bias else {})
    ins.update({k: some(dirs, B, H) for k in ("h", "c")[:1 + (op == "LSTM")]} if state else {})
    ins.update({"e": some(1, 3 * H)} if peep else {})
    names = ["x", "k", "r", "b" if bias else "", "", "h" if state else "", "c" if state and op == "LSTM" else "", "e" if peep else ""]
    if layout:
        ins.update({k: ins[k].transpose(0, 1).contiguous() for k in ins if k in "xhc"})

    def fn(*v):
        at = dict(zip(ins, v))
        v = [at[k].transpose(0, 1) if layout and k in "xhc" else at[k] for k in ins]
        v[3:3] = [] if bias else [None]
        made = peepholes_by_definition(*v) if peep else gru_by_definition(*v) if attrs.get("linear_before_reset") == 0 else \
            by_torch(op, dirs, attrs.get("direction") == "reverse", *v)
        y, last = made[0].sin(), sum(made[1:])
        return y.permute(2, 0, 1, 3) + last.transpose(0, 1)[:, None] if layout else y + last
    outs = ["t", "th", "tc"] if op == "LSTM" else ["t", "th"]
    attrs.update({"layout": 1} if layout else {})
    nodes = [(op, names[:{"LSTM": 8}.get(op, 6)], outs, dict(attrs, hidden_size=H)), ("Sin", ["t"], ["s"], {})]
    last = "th"
    if op == "LSTM":
        nodes, last = nodes + [("Add", ["th", "tc"], ["l"], {})], "l"
    if layout:
        nodes, last = nodes + [("Unsqueeze", [last, "one"], ["l1"], {})], "l1"
    nodes += [("Add", ["s", last], ["o"], {})]
    case("%s, %s" % (op, name), nodes, dict(ins, **({"one": ints(1)} if layout else {})), lambda *v: fn(*v[:len(ins)]), xs=list(ins), twice=twice,
         inits=("one",) if layout else ())


for op, more in (("LSTM", {}), ("GRU", {"linear_before_reset": 1}), ("RNN", {})):
    recurrent("with everything", op, twice=True, **more)
    recurrent("from nothing", op, bias=False, state=False, **more)
    recurrent("backwards", op, direction="reverse", **more)
    recurrent("both ways", op, dirs=2, direction="bidirectional", **more)
    recurrent("batches first", op, layout=1, **more)
recurrent("peepholes", "LSTM", peep=True)
recurrent("reset before the product", "GRU", linear_before_reset=0)

# --- bodies: {"nodes", "ins": (name, type, shape or nothing known), "outs"} ---


def body(nodes, ins=(), outs=()):
    return {"nodes": nodes, "ins": list(ins), "outs": list(outs)}


def node(op, ins, outs, **attrs):
    return op, ins.split(), outs.split(), attrs


def chosen(c, x, k):
    return (x * k).sin() if c else x * x + k.sum()


BRANCHES = {"then_branch": body([node("Mul", "x k", "p"), node("Sin", "p", "t")], outs=[("t", "f32", None)]),
            "else_branch": body([node("Mul", "x x", "q"), node("ReduceSum", "k", "s", keepdims=0), node("Add", "q s", "e")], outs=[("e", "f32", None)])}
for c in (True, False):
    case("If, %s" % c, [node("If", "c", "o", **BRANCHES)], {"c": torch.tensor(c), "x": some(2, 3), "k": some(3)}, chosen, twice=True)
    case("If of symbols, %s" % c, [node("If", "c", "o", **BRANCHES)], {"c": torch.tensor(c), "x": some(2, 3), "k": some(3)}, chosen,
         shapes={"x": ["n", "m"], "k": ["m"]})
NESTED = {"then_branch": body([node("Greater", "s zero", "d"), node("If", "d", "t", **BRANCHES)], outs=[("t", "f32", None), ("x", "f32", None)]),
          "else_branch": body([node("Exp", "x", "e")], outs=[("e", "f32", None), ("m", "f32", None)])}
for sign in (1, -1):
    case("If in an If, a value as it is, %d" % sign,
         [node("ReduceSum", "x", "s", keepdims=0), node("Constant", "", "zero", value_float=0.0), node("Neg", "x", "m"), node("If", "c", "a b", **NESTED),
          node("Mul", "b b", "bb"), node("Add", "a bb", "o")], {"c": torch.tensor(True), "x": sign * some(2, 3).abs(), "k": some(3)},
         lambda c, x, k: chosen(x.sum() > 0, x, k) + x * x, twice=True)
case("If, a negated value as it is", [node("Constant", "", "zero", value_float=0.0), node("ReduceSum", "x", "s", keepdims=0), node("Neg", "x", "m"),
                                       node("If", "c", "a b", **NESTED), node("Mul", "a b", "o")], {"c": torch.tensor(False), "x": some(2, 3), "k": some(3)},
     lambda c, x, k: x.exp() * -x)
case("If whose branches read the gradient's weights", [node("If", "c", "o", then_branch=body([node("Mul", "x w", "t")], outs=[("t", "f32", None)]),
                                                            else_branch=body([node("Neg", "x", "e")], outs=[("e", "f32", None)]))],
     {"c": torch.tensor(False), "x": some(2, 3)}, lambda c, x: -x)

CELL = body([node("Mul", "h a", "ha"), node("MatMul", "x_t u", "xu"), node("Add", "ha xu", "z"), node("Tanh", "z", "h2"), node("Mul", "h2 h", "y_t")],
            [("h", "f32", None), ("x_t", "f32", None)], [("h2", "f32", None), ("y_t", "f32", None)])


def cells(x, h, a, u, order, axis=0):
    ys = []
    for t in order:
        h2 = (h * a + x.select(axis, t) @ u).tanh()
        ys.append(h2 * h)
        h = h2
    return h, ys


def scanned(name, axis, back, out_axis, out_back, twice=False, shapes=None):
    shape = [2, 3]
    shape.insert(axis, 4)

    def fn(x, h, a, u):
        last, ys = cells(x, h, a, u, range(3, -1, -1) if back else range(4), axis)
        return torch.stack(ys[::-1] if out_back else ys, out_axis).sum(out_axis) * last + torch.stack(ys[::-1] if out_back else ys, out_axis).select(out_axis, 1)
    case("Scan, " + name,
         [node("Scan", "h x", "l ys", body=CELL, num_scan_inputs=1, scan_input_axes=[axis], scan_input_directions=[back], scan_output_axes=[out_axis],
               scan_output_directions=[out_back]),
          node("ReduceSum", "ys ax", "s", keepdims=0), node("Mul", "s l", "p"), node("Constant", "", "one", value_int=1),
          node("Gather", "ys one", "g", axis=out_axis), node("Add", "p g", "o")],
         {"x": some(*shape), "h": some(2, 5), "a": some(5), "u": some(3, 5), "ax": ints(out_axis)},
         lambda x, h, a, u, ax: fn(x, h, a, u), inits=("ax",), twice=twice, shapes=shapes)


scanned("a recurrent cell", 0, 0, 0, 0, twice=True)
scanned("backwards", 0, 1, 0, 0)
scanned("stacked backwards", 0, 0, 0, 1)
scanned("other axes, both ways", 1, 1, 2, 1, twice=True)
scanned("symbols", 1, 0, 1, 0, shapes={"x": ["b", "t", 3], "h": ["b", 5]})
COUNTED = body([node("Add", "n one", "n2"), node("Cast", "n", "nf", to=1), node("Mul", "x_t nf", "y_t"), node("Mul", "q x_t", "q2")],
               [("n", "i64", []), ("q", "f32", []), ("x_t", "f32", [])], [("n2", "i64", []), ("q2", "f32", []), ("y_t", "f32", [])])
case("Scan with a counter", [node("Constant", "", "one", value_int=1), node("Scan", "one q0 x", "n q ys", body=COUNTED, num_scan_inputs=1), node("Mul", "ys q", "o")],
     {"x": some(4), "q0": some()}, lambda x, q0: x * torch.arange(1, 5) * x.prod() * q0, twice=True)
case("Scan of nothing", [node("Constant", "", "one", value_int=1), node("Scan", "one q0 x", "n q ys", body=COUNTED, num_scan_inputs=1), node("Mul", "q q", "o")],
     {"x": some(0), "q0": some()}, lambda x, q0: q0 * q0, shapes={"x": ["t"]})

POWERS = body([node("Identity", "c", "c2"), node("Cast", "i", "f", to=1), node("Mul", "v x", "p"), node("Add", "p f", "v2"), node("Sin", "v", "s")],
              [("i", "i64", []), ("c", "bool", []), ("v", "f32", None)], [("c2", "bool", []), ("v2", "f32", None), ("s", "f32", None)])


def powers(v, x, trips):
    made = []
    for i in range(trips):
        made.append(v.sin())
        v = v * x + i
    return v * (sum(made) if made else 0 * v + 1)


SUMMED = [node("ReduceSum", "s ax", "z", keepdims=0), node("Mul", "v z", "o")]
for trips in (1, 3):
    for fed in (True, False):
        case("Loop, %d trips%s" % (trips, "" if fed else " that are known"), [("Loop", ["m", "", "v0"], ["v", "s"], {"body": POWERS}), *SUMMED],
             {"m": torch.tensor(trips), "v0": some(2, 3), "x": some(3), "ax": ints(0)}, lambda m, v0, x, ax: powers(v0, x, trips),
             inits=("ax",) if fed else ("ax", "m"), twice=True)
case("Loop, no trips", [("Loop", ["m", "", "v0"], ["v", "s"], {"body": POWERS}), node("Mul", "v x", "o")],
     {"m": torch.tensor(0), "v0": some(2, 3), "x": some(3)}, lambda m, v0, x: v0 * x)
case("Loop, symbols", [("Loop", ["m", "", "v0"], ["v", "s"], {"body": POWERS}), *SUMMED],
     {"m": torch.tensor(2), "v0": some(2, 3), "x": some(2, 3), "ax": ints(0)}, lambda m, v0, x, ax: powers(v0, x, 2), inits=("ax",),
     shapes={"v0": ["a", "b"], "x": ["a", "b"]})

WHILE = body([node("Mul", "v x", "p"), node("Add", "p v", "v2"), node("ReduceSum", "v2", "r", keepdims=0), node("Less", "r limit", "c2"), node("Exp", "v", "s")],
             [("i", "i64", []), ("c", "bool", []), ("v", "f32", None)], [("c2", "bool", []), ("v2", "f32", None), ("s", "f32", None)])


def until(v, x, limit, most, going=True):
    made, i = [], 0
    while going and i < most:
        made.append(v.exp())
        v = v * x + v
        i, going = i + 1, bool(v.sum() < limit)
    return v * (sum(made) if made else 0 * v)


for most in (2, 100):
    case("Loop with a condition, at most %d trips" % most, [("Loop", ["m", "c", "v0"], ["v", "s"], {"body": WHILE}), *SUMMED],
         {"m": torch.tensor(most), "c": torch.tensor(True), "v0": positive(3) / 2, "x": positive(3) / 2, "limit": torch.tensor(20.0).double(), "ax": ints(0)},
         lambda m, c, v0, x, limit, ax: until(v0, x, limit, most), inits=("ax",), xs=["v0", "x", "limit"], twice=True, tol=1e-4)
case("Loop with a condition alone", [("Loop", ["", "c", "v0"], ["v", "s"], {"body": WHILE}), *SUMMED],
     {"c": torch.tensor(True), "v0": positive(2, 3) / 2, "x": positive(3) / 2, "limit": torch.tensor(30.0).double(), "ax": ints(0)},
     lambda c, v0, x, limit, ax: until(v0, x, limit, 1000), inits=("ax",), xs=["v0", "x"], shapes={"v0": ["n", 3]}, tol=1e-4)

INNER = body([node("Identity", "d", "d2"), node("Mul", "u x", "ux"), node("Add", "ux v", "u2")],
             [("j", "i64", []), ("d", "bool", []), ("u", "f32", None)], [("d2", "bool", []), ("u2", "f32", None)])
OUTER = body([node("Identity", "c", "c2"), ("Loop", ["i", "", "v"], ["u9"], {"body": INNER}), node("Greater", "i zero", "late"),
              node("If", "late", "v2", then_branch=body([node("Mul", "u9 k", "t")], outs=[("t", "f32", None)]),
                   else_branch=body([node("Add", "u9 x", "e")], outs=[("e", "f32", None)]))],
             [("i", "i64", []), ("c", "bool", []), ("v", "f32", None)], [("c2", "bool", []), ("v2", "f32", None)])


def nested(v, x, k):
    for i in range(3):
        u = v
        for _ in range(i):
            u = u * x + v
        v = u * k if i > 0 else u + x
    return v


case("Loop and If in a Loop", [node("Constant", "", "zero", value_int=0), node("Constant", "", "m", value_int=3), ("Loop", ["m", "", "v0"], ["o"], {"body": OUTER})],
     {"v0": some(3), "x": some(3), "k": some()}, nested, twice=True, tol=1e-4)
REPEATED = body([node("Identity", "c", "c2"), node("Sin", "x", "s")], [("i", "i64", []), ("c", "bool", [])], [("c2", "bool", []), ("s", "f32", None)])
case("Loop that carries nothing", [("Loop", ["m", ""], ["s"], {"body": REPEATED}), node("ReduceSum", "s ax", "o", keepdims=0)],
     {"m": torch.tensor(3), "x": some(4), "ax": ints(0)}, lambda m, x, ax: 3 * x.sin(), inits=("ax",), twice=True)
LAYER = body([node("Identity", "c", "c2"), ("RNN", ["x", "k", "r", "", "", "h"], ["", "h2"], {"hidden_size": 4})],
             [("i", "i64", []), ("c", "bool", []), ("h", "f32", [1, 2, 4])], [("c2", "bool", []), ("h2", "f32", [1, 2, 4])])


def layers(x, k, r, h):
    for _ in range(2):
        h = (x[0] @ k[0].T + h[0] @ r[0].T).tanh()[None]
    return h


case("RNN in a Loop", [node("Constant", "", "m", value_int=2), ("Loop", ["m", "", "h0"], ["o"], {"body": LAYER})],
     {"x": some(1, 2, 3), "k": some(1, 4, 3), "r": some(1, 4, 4), "h0": some(1, 2, 4)}, layers, twice=True)
DESCENT = body([node("Identity", "c", "c2"), node("Sin", "v", "s"), node("Mul", "s x", "p"), node("ReduceSum", "p", "l", keepdims=0),
                ("Gradient", ["v"], ["g"], {"domain": "ai.onnx.preview.training", "xs": ["v"], "y": "l"}), node("Mul", "g rate", "step"), node("Sub", "v step", "v2")],
               [("i", "i64", []), ("c", "bool", []), ("v", "f32", [3])], [("c2", "bool", []), ("v2", "f32", [3])])


def descended(v, x, rate):
    for _ in range(3):
        v = v - v.cos() * x * rate
    return v


case("steps of gradient descent in a Loop", [node("Constant", "", "m", value_int=3), ("Loop", ["m", "", "v0"], ["o"], {"body": DESCENT})],
     {"v0": some(3), "x": some(3), "rate": some()}, descended, twice=True, tol=1e-4)
