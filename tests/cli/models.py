"""The tiny models that the tests of the command line run.

SPDX-License-Identifier: Apache-2.0
"""

import onnx_writer as w


def torch_meta(path, line, classes):
    """what the dynamo exporter writes beside a node"""
    parts = path.split(".")
    scopes = [""] + [".".join(parts[: i + 1]) for i in range(len(parts))] + ["op"]
    return {
        "pkg.torch.onnx.name_scopes": repr(scopes),
        "pkg.torch.onnx.class_hierarchy": repr(classes),
        "pkg.torch.onnx.stack_trace": 'File "model.py", line %d, in forward\n    y = self.fc(x)' % line,
    }


def add():
    """y = x + [10, 20, 30], x of batch x 3"""
    x, y = w.tensor_type(w.F32, ["batch", 3]), w.tensor_type(w.F32, ["batch", 3])
    return w.model(
        [w.node("Add", ["x", "bias"], ["y"], "add_0")],
        [w.value("x", x)],
        [w.value("y", y)],
        [w.tensor("bias", w.F32, [3], [10, 20, 30])],
        producer="tests",
    )


def mlp():
    """two layers in two modules: batch x 4 -> batch x 8 -> batch x 2"""
    classes = ["model.Net", "torch.nn.modules.linear.Linear", "aten.linear.default"]
    nodes = [
        w.node("Gemm", ["x", "w1", "b1"], ["h"], "gemm_1", meta=torch_meta("encoder.fc1", 88, classes)),
        w.node(
            "Relu",
            ["h"],
            ["r"],
            "relu",
            meta=torch_meta("encoder", 89, ["model.Net", "model.Encoder", "aten.relu.default"]),
        ),
        w.node("MatMul", ["r", "w2"], ["y"], "matmul_2", meta=torch_meta("head", 95, classes)),
    ]
    inits = [
        w.tensor("w1", w.F32, [4, 8], [i / 32 for i in range(32)]),
        w.tensor("b1", w.F32, [8], [0] * 8),
        w.tensor("w2", w.F32, [8, 2], [i / 16 for i in range(16)]),
    ]
    return w.model(
        nodes,
        [w.value("x", w.tensor_type(w.F32, ["batch", 4]))],
        [w.value("y", w.tensor_type(w.F32, ["batch", 2]))],
        inits,
        producer="tests",
        meta={"author": "nobody"},
    )


def pair():
    """y = a + b, both of n x m; k keeps an i64 input apart"""
    f, i = w.tensor_type(w.F32, ["n", "m"]), w.tensor_type(w.I64, ["n"])
    return w.model(
        [w.node("Add", ["a", "b"], ["y"]), w.node("Identity", ["k"], ["z"])],
        [w.value("a", f), w.value("b", f), w.value("k", i)],
        [w.value("y", f), w.value("z", i)],
        producer="tests",
    )


def noise():
    """r = dropout(x + noise): two nodes that draw random numbers; s = x + x, which hangs on none"""
    t = w.tensor_type(w.F32, ["n"])
    return w.model(
        [
            w.node("RandomNormalLike", ["x"], ["n"], "noise", mean=3.0, scale=0.5),
            w.node("Add", ["x", "n"], ["a"]),
            w.node("Dropout", ["a", "ratio", "training"], ["r"], "drop"),
            w.node("Add", ["x", "x"], ["s"]),
        ],
        [w.value("x", t)],
        [w.value("r", t), w.value("s", t)],
        [w.tensor("ratio", w.F32, [], [0.25]), w.tensor("training", w.BOOL, [], [True])],
    )


def noise_in_body():
    """y = x + noise, if x's first element is not 0; drawn in a body, where nothing judges it"""
    t = w.tensor_type(w.F32, ["n"])
    body = w.graph([w.node("RandomUniformLike", ["x"], ["u"]), w.node("Add", ["x", "u"], ["v"])], [], [w.value("v", t)])
    other = w.graph([w.node("Identity", ["x"], ["w"])], [], [w.value("w", t)])
    return w.model(
        [
            w.node("ReduceMax", ["x"], ["m"], keepdims=0),
            w.node("Cast", ["m"], ["c"], to=w.BOOL),
            w.node("If", ["c"], ["y"], then_branch=body, else_branch=other),
        ],
        [w.value("x", t)],
        [w.value("y", t)],
    )


def noise_in_function():
    """y = x + noise, drawn in a function that a function calls; z = -x"""
    t = w.tensor_type(w.F32, ["n"])
    inner = w.function("Draw", ["x"], ["d"], [w.node("RandomUniformLike", ["x"], ["d"])])
    outer = w.function("Noisy", ["x"], ["y"], [w.node("Draw", ["x"], ["d"], domain="local"), w.node("Add", ["x", "d"], ["y"])])
    return w.model(
        [w.node("Noisy", ["x"], ["y"], domain="local"), w.node("Neg", ["x"], ["z"])],
        [w.value("x", t)],
        [w.value("y", t), w.value("z", t)],
        domains=["local"],
        functions=[inner, outer],
    )


def unknown():
    """an operator that nobody knows between two that are known"""
    t = w.tensor_type(w.F32, ["n"])
    return w.model(
        [
            w.node("Relu", ["x"], ["a"], "relu"),
            w.node("Frobnicate", ["a"], ["b"], "frob", domain="com.example"),
            w.node("Relu", ["b"], ["y"], "relu2"),
        ],
        [w.value("x", t)],
        [w.value("y", t)],
        domains=["com.example"],
        producer="tests",
    )


def gather():
    """y = table[i], a table of 4 rows; the node comes from a line of Python"""
    meta = torch_meta(
        "embeddings.words", 12, ["model.Net", "torch.nn.modules.sparse.Embedding", "aten.embedding.default"]
    )
    return w.model(
        [w.node("Gather", ["table", "i"], ["y"], "embed", meta=meta)],
        [w.value("i", w.tensor_type(w.I64, ["n"]))],
        [w.value("y", w.tensor_type(w.F32, ["n", 2]))],
        [w.tensor("table", w.F32, [4, 2], range(8))],
        producer="tests",
    )


def identity(dtype, shape=("n",)):
    t = w.tensor_type(dtype, list(shape))
    return w.model([w.node("Identity", ["x"], ["y"])], [w.value("x", t)], [w.value("y", t)], producer="tests")


def sequences():
    """one sequence output: x cut into pieces of one row"""
    return w.model(
        [w.node("SplitToSequence", ["x"], ["y"], axis=0)],
        [w.value("x", w.tensor_type(w.F32, ["n", 2]))],
        [w.value("y", w.sequence_type(w.F32, None))],
        producer="tests",
    )


def sequence_length(op="SequenceLength"):
    """n of a sequence of f32, or has of an optional f32"""
    kind = (
        w.sequence_type(w.F32, None) if op == "SequenceLength" else w.field(9, w.field(1, w.tensor_type(w.F32, None)))
    )
    out = w.tensor_type(w.I64 if op == "SequenceLength" else w.BOOL, [])
    return w.model([w.node(op, ["x"], ["n"])], [w.value("x", kind)], [w.value("n", out)], producer="tests")


def loop_forever():
    """a Loop that counts to 2^62: what only a time limit or an interrupt ends"""
    body = b"".join(w.field(1, n) for n in (w.node("Identity", ["c"], ["c2"]), w.node("Add", ["v", "one"], ["v2"])))
    body += w.field(2, "body")
    for name, dtype in (("i", w.I64), ("c", w.BOOL), ("v", w.F32)):
        body += w.field(11, w.value(name, w.tensor_type(dtype, [])))
    for name, dtype in (("c2", w.BOOL), ("v2", w.F32)):
        body += w.field(12, w.value(name, w.tensor_type(dtype, [])))
    loop = w.node("Loop", ["trips", "", "x"], ["y"], "loop") + w.field(
        5, w.field(1, "body") + w.field(6, body) + w.field(20, 5)
    )
    s = w.tensor_type(w.F32, [])
    return w.model(
        [loop],
        [w.value("x", s)],
        [w.value("y", s)],
        [w.tensor("trips", w.I64, [], [1 << 62]), w.tensor("one", w.F32, [], [1.0])],
        producer="tests",
    )


def ranks():
    """y = exp(sqrt(x)), x of a rank that only the run tells: nothing compiles that"""
    classes = ["model.Net", "aten.sqrt.default"]
    return w.model(
        [w.node("Sqrt", ["x"], ["r"], "root", meta=torch_meta("scale", 7, classes)), w.node("Exp", ["r"], ["y"], "exp")],
        [w.value("x", w.tensor_type(w.F32, None))],
        [w.value("y", w.tensor_type(w.F32, None))],
        producer="tests",
    )


ALL = {
    "add.onnx": add,
    "mlp.onnx": mlp,
    "pair.onnx": pair,
    "unknown.onnx": unknown,
    "gather.onnx": gather,
    "ranks.onnx": ranks,
    "sequences.onnx": sequences,
    "loop.onnx": loop_forever,
    "names.onnx": lambda: identity(w.STRING),
}


def write_all(folder):
    for name, make in ALL.items():
        with open("%s/%s" % (folder, name), "wb") as f:
            f.write(make())
