#!/usr/bin/env python3
"""`sard plan`: the memory of a run before it, against arithmetic. That runs take just that is checked in tests/models/shapes.

SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import sys
import tempfile

import models
import onnx_writer as w
from harness import Checks, sard

TO_64 = 64  # blocks of the arena are multiples of it


def plan(folder, name, *args):
    r = sard("plan", name, "--json", *args, cwd=folder)
    return json.loads(r.stdout) if not r.returncode else {"error": r.stderr}


def block(n):
    return (n + TO_64 - 1) // TO_64 * TO_64


def layers(c, folder):
    """mlp: x[b, 4] -> Gemm -> h[b, 8] -> Relu in place -> MatMul -> y[b, 2]"""
    for b in (1, 3, 1000):
        d = plan(folder, "mlp.onnx", "--device", "reference", "--bind", "batch=%d" % b)
        h, y = 4 * 8 * b, 4 * 2 * b
        c.check("weights", d["weights"] == {"mapped": 4 * (4 * 8 + 8 + 8 * 2), "packed": 0, "own": 0}, d)
        c.check("arena of %d" % b, (d["arena"], d["apart"], d["outputs"]) == (block(h), y, y), d)
        c.check("peak of %d" % b, d["peak"] == h + y and d["largest"]["bytes"] == h, d)
        c.check("at the product", d["peak_step"]["node"] == "matmul_2" and d["peak_step"]["module"] == "head", d)
        c.check("complete", d["complete"] and d["unknown"] == 0 and d["unknown_step"] is None, d)
    given = plan(folder, "mlp.onnx", "--device", "reference", "--input", "x=ones:3x4")
    c.check("from an input", given == plan(folder, "mlp.onnx", "--device", "reference", "--bind", "batch=3"), given)


def views(c, folder):
    """a = -x; v = a as another shape; y = exp(v): v has no memory of its own, and a lives as long as v"""
    nodes = [
        w.node("Neg", ["x"], ["a"], "neg"),
        w.node("Flatten", ["a"], ["v"], "flatten"),
        w.node("Exp", ["v"], ["y"], "exp"),
        w.node("Sigmoid", ["a"], ["z"], "sigmoid"),
    ]
    f, g = w.tensor_type(w.F32, [2, "n", 5]), w.tensor_type(w.F32, [2, "m"])
    with open(os.path.join(folder, "views.onnx"), "wb") as out:
        out.write(w.model(nodes, [w.value("x", f)], [w.value("y", g), w.value("z", f)]))
    d = plan(folder, "views.onnx", "--device", "reference", "--bind", "n=7")
    size = 4 * 2 * 7 * 5
    shape = 8 * 2  # which a step makes
    want = (block(size) + block(shape), 2 * size, 3 * size, True)
    c.check("a view", (d["arena"], d["apart"], d["peak"], d["complete"]) == want, d)


def outputs(c, folder):
    """an output that is an input is copied; a value that two outputs name is there once"""
    f = w.tensor_type(w.F32, ["n"])
    nodes = [w.node("Abs", ["x"], ["y"], "abs"), w.node("Identity", ["y"], ["z"], "same"), w.node("Identity", ["x"], ["c"], "copy")]
    with open(os.path.join(folder, "outputs.onnx"), "wb") as out:
        out.write(w.model(nodes, [w.value("x", f)], [w.value(n, f) for n in "yzc"]))
    d = plan(folder, "outputs.onnx", "--device", "reference", "--bind", "n=10")
    c.check("outputs", (d["arena"], d["outputs"], d["apart"]) == (0, 80, 80), d)


def loop(c, folder):
    """y of a Loop, and in its body the counter (8 bytes), the condition (1) and the state (4) of a trip"""
    d = plan(folder, "loop.onnx", "--device", "reference")
    c.check("a body", (d["arena"], d["apart"], d["peak"]) == (0, 4 + 8 + 1 + 4, 4 + 8 + 1 + 4) and d["complete"], d)


def untold(c, folder):
    d = plan(folder, "ranks.onnx", "--device", "reference", "--input", "x=[1,2]")
    c.check("sizes that only the run tells", (d["complete"], d["unknown"]) == (False, 2), d)
    c.check("the first", d["unknown_step"]["node"] == "root" and d["peak_step"] is None and d["largest"] is None, d)
    d = plan(folder, "sequences.onnx", "--device", "reference", "--bind", "n=2")
    c.check("a sequence", not d["complete"] and d["unknown"] == 1, d)
    d = plan(folder, "huge.onnx", "--device", "reference")
    c.check("more than there can be", "no size a tensor can have" in d.get("error", "") and "'expand'" in d["error"], d)


def huge(folder):
    """2^60 elements between two steps"""
    nodes = [w.node("Expand", ["x", "s"], ["a"], "expand"), w.node("ReduceSum", ["a"], ["y"], "sum", keepdims=0)]
    with open(os.path.join(folder, "huge.onnx"), "wb") as out:
        out.write(
            w.model(
                nodes,
                [w.value("x", w.tensor_type(w.F32, [1]))],
                [w.value("y", w.tensor_type(w.F32, []))],
                [w.tensor("s", w.I64, [3], [1 << 20, 1 << 20, 1 << 20])],
            )
        )


def constants(c, folder):
    """y = rows of a table of 64 KB + a row: code reads the table in the file, and the row in the program"""
    nodes = [w.node("Gather", ["table", "i"], ["rows"], "gather"), w.node("Add", ["rows", "row"], ["y"], "add")]
    held = [w.tensor("table", w.F32, [256, 64], [1.0] * 256 * 64), w.tensor("row", w.F32, [64], [2.0] * 64)]
    with open(os.path.join(folder, "table.onnx"), "wb") as out:
        out.write(
            w.model(nodes, [w.value("i", w.tensor_type(w.I64, ["n"]))], [w.value("y", w.tensor_type(w.F32, ["n", 64]))], held)
        )
    for device, own in (("reference", 0), ("cpu", 4 * 64)):
        d = plan(folder, "table.onnx", "--device", device, "--bind", "n=3")
        if device == "cpu" and "code generator" in d.get("error", ""):
            continue
        c.check("on " + device, d.get("weights") == {"mapped": 4 * (256 * 64 + 64) - own, "packed": 0, "own": own}, d)


def main():
    c = Checks()
    with tempfile.TemporaryDirectory() as folder:
        models.write_all(folder)
        huge(folder)
        for part in (layers, views, outputs, loop, untold, constants):
            part(c, folder)
    return c.done()


if __name__ == "__main__":
    sys.exit(main())
