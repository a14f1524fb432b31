#!/usr/bin/env python3
"""test_gradient.py - Gradient (ai.onnx.preview.training 1) against PyTorch's autograd: the cases of gradient.txt on both devices.

A few more, worked out here, are about which graph is meant: values fed in place of the tensors named, tensors in the middle,
nodes out of order, and what is refused.
SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))
import onnx_writer as w  # noqa: E402

SARD = os.path.join(os.environ.get("SARD_BUILD", "build"), "sard")
TRAINING = "ai.onnx.preview.training"
DTYPE = {"f32": w.F32, "i64": w.I64, "bool": w.BOOL}


def gradient(ins, outs, xs, y, zs=()):
    more = {"zs": list(zs)} if zs else {}
    return w.node("Gradient", ins, outs, name="grad", domain=TRAINING, xs=list(xs), y=y, **more)


def node(op, ins, outs, attrs):
    """bodies among the attributes: {"nodes", "ins", "outs"}"""
    bodies = {k: v for k, v in attrs.items() if isinstance(v, dict)}
    out = w.node(op, ins, outs, **{k: v for k, v in attrs.items() if k not in bodies})
    for k, b in bodies.items():
        ports = [[w.value(n, w.sequence_type(w.F32, []) if t == "seq" else w.tensor_type(DTYPE[t], shape)) for n, t, shape in b[side]]
                 for side in ("ins", "outs")]
        graph = b"".join(w.field(1, node(*n)) for n in b["nodes"]) + w.field(2, k) + b"".join(w.field(11, v) for v in ports[0])
        out += w.field(5, w.field(1, k) + w.field(6, graph + b"".join(w.field(12, v) for v in ports[1])) + w.field(20, 5))
    return out


def from_file(k):
    """a case of gradient.txt: (name, model, inputs, outputs, tolerance, None)"""
    ins, xs = k["ins"], k["xs"]
    fed = [n for n in ins if n not in k["inits"]]
    zs = [n for n in ins if n not in xs and not n.startswith("v")]
    nodes = [node(*n) for n in k["nodes"]] + [w.node("Mul", ["o", "w"], ["y"])]
    nodes.append(gradient(xs + zs, ["d" + x for x in xs], xs, "y", zs))
    if k["twice"]:
        weighted = []
        for x in xs:
            nodes += [w.node("Mul", ["d" + x, "v" + x], ["p" + x]), w.node("ReduceSum", ["p" + x], ["q" + x], keepdims=0)]
            weighted.append("q" + x)
        nodes += [w.node("Sum", weighted, ["z_"]), gradient(xs, ["dd" + x for x in xs], xs, "z_")]
    declared = [w.value(n, w.tensor_type(DTYPE[ins[n][0]], k["shapes"].get(n, ins[n][1]))) for n in fed]
    results = [w.value(n, w.tensor_type(DTYPE[t], None)) for n, (t, _, _) in k["outs"].items()]
    inits = [w.tensor(n, DTYPE[ins[n][0]], ins[n][1], ins[n][2]) for n in k["inits"]]
    return (k["name"], w.model(nodes, declared, results, inits, opset=24, domains=[TRAINING]),
            [(n, *ins[n]) for n in fed], [(n, *v) for n, v in k["outs"].items()], k["tol"], None)


def small(name, nodes, ins, outs, error=None):
    """ins, outs: {name: number}; error: what loading must say"""
    scalar = lambda n: w.value(n, w.tensor_type(w.F32, []))
    m = w.model(nodes, [scalar(n) for n in ins], [scalar(n) for n in outs], opset=24, domains=[TRAINING])
    return (name, m, [(n, "f32", [], [v]) for n, v in ins.items()], [(n, "f32", [], [v]) for n, v in outs.items()], None, error)


MUL, SQUARE = w.node("Mul", ["x", "z"], ["y"]), w.node("Mul", ["h", "h"], ["y"])
# y = x z where c, else x z z
PICK = node("If", ["c"], ["y"], {"then_branch": {"nodes": [["Mul", ["x", "z"], ["t"], {}]], "ins": [], "outs": [["t", "f32", []]]},
                                 "else_branch": {"nodes": [["Mul", ["x", "z"], ["p"], {}], ["Mul", ["p", "z"], ["e"], {}]], "ins": [],
                                                 "outs": [["e", "f32", []]]}})
TRIP = [["i", "i64", []], ["c", "bool", []]]


def loop(start, nodes, carried):
    """y = the element that is carried through two trips, summed; the body's first output is the condition"""
    body = {"nodes": [["Identity", ["c"], ["c2"], {}], *nodes], "ins": TRIP + [carried], "outs": [["c2", "bool", []], ["v2", *carried[1:]]]}
    return [*start, w.node("Constant", [], ["m"], value_int=2), node("Loop", ["m", "c0", "v0"], ["v9"], {"body": body})]


LIST = [*loop([w.node("SequenceConstruct", ["x"], ["v0"]), w.node("Constant", [], ["at"], value_int=0), w.node("Greater", ["z", "x"], ["c0"])],
              [["SequenceInsert", ["v", "x"], ["v2"], {}]], ["v", "seq", None]), w.node("SequenceAt", ["v9", "at"], ["y"])]
GROWS = [*loop([w.node("Constant", [], ["axis"], value_ints=[0]), w.node("Unsqueeze", ["x", "axis"], ["v0"]), w.node("Greater", ["z", "x"], ["c0"])],
               [["Concat", ["v", "v"], ["v2"], {"axis": 0}]], ["v", "f32", None]), w.node("ReduceSum", ["v9"], ["y"], keepdims=0)]
MORE = [
    small("values fed in place of the tensors", [MUL, gradient(["a", "b"], ["dx", "dz"], ["x", "z"], "y")],
          {"x": 1.0, "z": 2.0, "a": 3.0, "b": 5.0}, {"y": 2.0, "dx": 5.0, "dz": 3.0}),
    small("one value fed in place of two", [MUL, gradient(["a", "a"], ["dx", "dz"], ["x", "z"], "y")],
          {"x": 1.0, "z": 2.0, "a": 3.0}, {"dx": 3.0, "dz": 3.0}),
    small("a value fed for what is held", [MUL, gradient(["x", "a"], ["dx"], ["x"], "y", ["z"])],
          {"x": 1.0, "z": 2.0, "a": 3.0}, {"dx": 3.0}),
    small("a tensor in the middle", [w.node("Exp", ["x"], ["h"]), SQUARE, gradient(["h"], ["d"], ["h"], "y")],
          {"x": 0.0}, {"d": 2.0}),
    small("the tensor in the middle at another value", [w.node("Exp", ["x"], ["h"]), SQUARE, gradient(["x"], ["d"], ["h"], "y")],
          {"x": 3.0}, {"d": 6.0}),
    small("the first of two not wanted", [MUL, gradient(["x", "z"], ["", "dz"], ["x", "z"], "y")], {"x": 7.0, "z": 2.0}, {"dz": 7.0}),
    small("before the nodes it is about", [gradient(["x", "z"], ["dx", "dz"], ["x", "z"], "y"), MUL], {"x": 7.0, "z": 2.0},
          {"dx": 2.0, "dz": 7.0}),
    small("of y by itself", [MUL, gradient(["y"], ["d"], ["y"], "y")], {"x": 7.0, "z": 2.0}, {"d": 1.0}),
    small("third order", [w.node("Mul", ["x", "x"], ["s"]), w.node("Mul", ["s", "x"], ["y"]), gradient(["x"], ["a"], ["x"], "y"),
                          gradient(["x"], ["b"], ["x"], "a"), gradient(["x"], ["c"], ["x"], "b")],
          {"x": 2.0}, {"a": 12.0, "b": 12.0, "c": 6.0}),
    small("a value fed in place of what a branch reads", [w.node("Greater", ["x", "zero"], ["c"]), PICK, gradient(["a", "z"], ["dx", "dz"], ["x", "z"], "y")],
          {"x": 1.0, "z": 2.0, "a": -3.0, "zero": 0.0}, {"y": 2.0, "dx": 4.0, "dz": -12.0}),
    small("a Loop that carries a sequence", [*LIST, gradient(["x"], ["d"], ["x"], "y")], {"x": 1.0, "z": 2.0}, {"d": 0.0},
          "operator SequenceAt has no derivative here"),
    small("a Loop that carries what grows", [*GROWS, gradient(["x"], ["d"], ["x"], "y")], {"x": 1.0, "z": 2.0}, {"d": 0.0}, "Loop"),
    small("an operator without a rule", [w.node("Mod", ["x", "z"], ["y"], fmod=1), gradient(["x"], ["d"], ["x"], "y")],
          {"x": 1.0, "z": 1.0}, {"d": 0.0}, "operator Mod has no derivative here"),
    small("a tensor that does not exist", [MUL, gradient(["x"], ["d"], ["x"], "q")], {"x": 1.0, "z": 1.0}, {"d": 0.0},
          "'q' is made by no node"),
    small("more tensors than values", [MUL, gradient(["x"], ["d"], ["x", "z"], "y")], {"x": 1.0, "z": 1.0}, {"d": 0.0},
          "1 values for the 2 tensors in xs and zs"),
    small("a tensor named twice", [MUL, gradient(["x", "x"], ["d"], ["x", "x"], "y")], {"x": 1.0, "z": 1.0}, {"d": 0.0},
          "stands twice"),
]


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def write_case(d, model, ins, outs):
    os.makedirs(os.path.join(d, "test_data_set_0"))
    write(os.path.join(d, "model.onnx"), model)
    for what, values in (("input", ins), ("output", outs)):
        for i, (name, t, shape, flat) in enumerate(values):
            write(os.path.join(d, "test_data_set_0", f"{what}_{i}.pb"), w.tensor(name, DTYPE[t], shape, flat))


def run(cases, tmp, device):
    """{index: (result, reason)}"""
    groups = {}
    for i, (_, _, _, _, tol, _) in enumerate(cases):
        groups.setdefault(tol, []).append(i)
    got = {}
    for tol, which in groups.items():
        loose = ["--rtol", str(tol), "--atol", str(tol)] if tol else []
        out = subprocess.run([SARD, "test", *[os.path.join(tmp, str(i)) for i in which], "--device", device, "--json", *loose],
                             capture_output=True, text=True)
        got.update(zip(which, json.loads(out.stdout)["cases"]))
    return got


def main():
    if not os.path.exists(SARD):
        print(f"{SARD} is not built\n0 passed, 0 failed, 1 skipped")
        return 77
    with open(os.path.join(HERE, "gradient.txt"), encoding="utf-8") as f:
        cases = [from_file(json.loads(line)) for line in f if not line.startswith("#")] + MORE
    devices = [d["name"] for d in json.loads(subprocess.run([SARD, "doctor", "--json"], capture_output=True, text=True).stdout)["devices"]
               if d["available"] and d["name"] in ("cpu", "reference")]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="sard-gradient-") as tmp:
        for i, (_, model, ins, outs, _, _) in enumerate(cases):
            write_case(os.path.join(tmp, str(i)), model, ins, outs)
        for device in devices:
            for i, r in run(cases, tmp, device).items():
                error, why = cases[i][5], r["reason"] or ""
                good = r["result"] == "passed" if not error else r["result"] != "passed" and error in why
                if not good or (device == "cpu" and not error and r["steps"]["reference"]):
                    failed += 1
                    print(f"FAILED {cases[i][0]} on {device}: {why or r}")
    print(f"{len(devices) * len(cases) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
