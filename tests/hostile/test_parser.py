"""test_parser.py - model files that are damaged, malicious or oversized, through the sard command.

Every case is a file (or a small directory) written by hand. It must be answered by the right exit code and one clear
message, within a second and 256 MB in the plain build; nothing may crash, hang, or reach the terminal unescaped.
usage: test_parser.py [PART OF A CASE'S NAME]
SPDX-License-Identifier: Apache-2.0
"""

import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import wire as w  # noqa: E402
from harness import BUDGET, INVALID, OK, SANITIZED, SARD, UNSUPPORTED, Result, beside, case, main  # noqa: E402

F2 = struct.pack("<2f", 1, 2)

# --- the wire format ---

PLAIN = w.relu()
case("a plain model loads", OK, PLAIN)
case("empty file", INVALID, b"", "empty")
case("text file", INVALID, b"this is not a model\n" * 10)
case("model without graph", INVALID, w.num(1, 8) + w.data(8, w.num(2, 17)), "no graph")
case("graph given twice", INVALID, PLAIN + w.data(7, b""), "ModelProto.graph: a single message is given twice")
case("length of 2^63", INVALID, b"\x3a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "a length runs past the end")
case("length of 2^64 - 1", INVALID, b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a length runs past the end")
case("length of 2^31 within the graph", INVALID, w.data(7, b"\x0a\x80\x80\x80\x80\x08"), "ModelProto.graph.node")
case("number longer than 10 bytes", INVALID, b"\x08" + b"\xff" * 10 + b"\x01", "longer than 10 bytes")
case("field number 0", INVALID, b"\x02\x00", "a field number is out of range")
case("group", INVALID, b"\x3b\x3c", "groups")
case("wire type 7", INVALID, b"\x3f", "no such wire type")
case("name that is a number", INVALID, w.relu(more=w.num(3, 5)),
     "ModelProto.graph.node[0].name: a field has the wrong wire type")
case("dims that are text", INVALID, w.add_constant(w.tensor("w", raw=F2, more=w.tag(1, 1) + b"12345678")),
     "wrong wire type")
case("packed dims cut short", INVALID, w.add_constant(w.tensor("w", raw=F2, more=w.data(1, b"\x80"))),
     "packed numbers are cut short")
for field, content in {
    "node name": w.relu(name=b"\xff\xfe"),
    "operator": w.relu(op=b"Re\xc3"),
    "input name": w.model(w.graph([], [], [w.value(b"\xed\xa0\x80")], [])),
    "tensor name": w.add_constant(w.tensor(b"\xc0\x80", raw=F2)),
    "metadata": w.model(w.graph(), more=w.data(14, w.entry(b"\xf5", b""))),
}.items():
    case(f"invalid UTF-8: {field}", INVALID, content, "not valid UTF-8")
case("NUL in a name", INVALID, w.relu(name=b"a\0b"), "NUL byte")


def nested_graphs(levels):
    g = b""
    for _ in range(levels):
        g = w.graph([w.node("If", ["c"], ["y"], [w.attr_graph("then_branch", g)])])
    return w.model(g)


def nested_types(levels):
    t = b""
    for _ in range(levels):
        t = w.data(4, w.data(1, t))
    return w.model(w.graph(inputs=[w.data(1, "x") + w.data(2, t)]))


case("graphs nested 12,000 deep", INVALID, nested_graphs(4000), "nested more than 100 deep")
case("types nested 12,000 deep", INVALID, nested_types(6000), "nested more than 100 deep")
case("2 MB of empty nodes", BUDGET, w.model(w.data(1, b"") * (1 << 20)), "2048 KiB of the model's structure")
case("2 MB of empty attributes", (BUDGET, INVALID), w.model(w.data(1, w.data(5, b"") * (1 << 20))))
case("2 MB of empty functions", (BUDGET, INVALID), w.data(25, b"") * (1 << 19) + PLAIN)
case("2 MB of empty names", (BUDGET, INVALID, OK), w.model(w.graph([w.data(1, b"") * (1 << 20)])))
case("2 MB of empty types", (BUDGET, INVALID), w.model(w.data(11, w.data(2, b"")) * (1 << 19)))
case("2 MB of opset imports", (BUDGET, INVALID, OK), w.data(8, b"") * (1 << 20) + PLAIN)
case("a million one-byte ints", (OK, INVALID), w.relu(attrs=[w.attr("v", w.A_INTS, w.data(8, b"\x01" * (1 << 20)))]))

# --- tensors ---

case("a constant loads", OK, w.add_constant(w.floats("w", [1, 2])))
case("dims 2^32 x 2^32", INVALID, w.add_constant(w.tensor("w", dims=[1 << 32, 1 << 32], raw=b"")), "'w'")
case("dims 2^62 x 4 of bytes", INVALID, w.add_constant(w.tensor("w", 2, [1 << 62, 4], raw=b"")), "'w'")
case("dims 0 x 2^62 x 2^62", INVALID, w.add_constant(w.tensor("w", dims=[0, 1 << 62, 1 << 62], raw=b"")), "'w'")
case("negative dims", INVALID, w.add_constant(w.tensor("w", dims=[-2], raw=F2)), "negative")
case("two negative dims", INVALID, w.add_constant(w.tensor("w", dims=[-1, -2], raw=F2)), "negative")
case("rank 17", UNSUPPORTED, w.add_constant(w.tensor("w", dims=[1] * 17, raw=b"1234")), "rank 17")
case("100,000 dims", UNSUPPORTED, w.add_constant(w.tensor("w", dims=[1] * 100000, raw=b"1234")), "rank 100000")
case("too little data", INVALID, w.add_constant(w.tensor("w", dims=[3], raw=F2)), "needs 12 bytes, but the data has 8")
case("too much data", INVALID, w.add_constant(w.tensor("w", dims=[1], raw=F2)), "needs 4 bytes, but the data has 8")
case("no data", INVALID, w.add_constant(w.tensor("w", dims=[2])), "but the data has 0")
case("data of another type", INVALID, w.add_constant(w.tensor("w", w.INT64, [1], more=w.f32(4, 1))),
     "float_data cannot hold i64")
case("data in two fields", INVALID, w.add_constant(w.tensor("w", dims=[1], raw=b"1234", more=w.f32(4, 1))),
     "data twice")
case("typed data too short", INVALID, w.add_constant(w.tensor("w", dims=[2], more=w.f32(4, 1))),
     "needs 2 values, but the data has 1")
case("2^60 strings", INVALID, w.add_constant(w.tensor("w", w.STRING, [1 << 60], more=w.data(6, "x"))), "'w'")
for dtype in (0, 29, 99, -1, 1 << 40):
    case(f"unknown data type {dtype}", (INVALID, UNSUPPORTED), w.add_constant(w.tensor("w", dtype, raw=F2)), "'w'")
case("segment", UNSUPPORTED, w.add_constant(w.tensor("w", raw=F2, more=w.data(3, w.num(1, 0) + w.num(2, 2)))),
     "segment")
case("unknown data location", INVALID, w.add_constant(w.tensor("w", raw=F2, more=w.num(14, 7))), "data location 7")


def sparse(index, dims, index_dims=None, values=(5.0, 6.0)):
    return w.add_constant(sparse=w.data(1, w.floats("w", values)) + w.data(2, w.ints("i", index, index_dims)) +
                          b"".join(w.num(3, d) for d in dims))


case("a sparse constant loads", OK, sparse([0, 1], [2]))
case("sparse index too large", INVALID, sparse([0, 2], [2]), "out of range")
case("sparse index negative", INVALID, sparse([-1, 1], [2]), "out of range")
case("sparse coordinate too large", INVALID, sparse([0, 0, 1, 9], [2, 2], [2, 2]), "out of range")
case("sparse index twice", INVALID, sparse([1, 1], [2]), "ascend")
case("sparse indices fall", INVALID, sparse([1, 0], [2]), "ascend")
case("sparse indices of the wrong shape", INVALID, sparse([0, 1, 1], [2]), "indices")
case("sparse tensor of 4 TiB", BUDGET, sparse([0, 1], [1 << 20, 1 << 20]), "'w'")
case("sparse dims 2^32 x 2^32", INVALID, sparse([0, 1], [1 << 32, 1 << 32]), "'w'")
case("sparse dims negative", INVALID, sparse([0, 1], [-2]), "negative")
case("sparse tensor without values", INVALID, w.add_constant(sparse=w.num(3, 2)), "no values")

# --- external data ---


def ext(location, offset=None, length=None, dims=(2,)):
    entries = [("location", location)] + [(k, str(v)) for k, v in (("offset", offset),
                                                                   ("length", length)) if v is not None]
    return w.add_constant(w.external("w", entries, dims=dims))


def outside(make):
    """Files in the directory, a secret file outside of it, and whatever make(directory, outside) adds."""
    def files(d):
        out = d + "-outside"
        os.mkdir(out)
        beside("secret", b"0123456789abcdef")(out)
        make(d, out)
    return files


W16 = beside("w.data", b"0123456789abcdef")
case("external data loads", OK, ext("w.data", 0, 8), files=W16)
case("external data at an odd offset", OK, ext("w.data", 3, 8), files=W16)
case("external data without length", OK, ext("w.data", 8), files=W16)
case("external data in a directory below", OK, ext("sub/w.data", 0, 8),
     files=lambda d: (os.mkdir(d + "/sub"), W16(d + "/sub")))
case("external: ..", INVALID, ext("../d-outside/secret", 0, 8), "leaves the model's directory",
     files=outside(lambda d, o: None))
case("external: .. in the middle", INVALID, ext("a/../../secret", 0, 8), "leaves the model's directory")
case("external: absolute path", INVALID, ext("/etc/passwd", 0, 8), "absolute path")
case("external: symlink out", INVALID, ext("link", 0, 8), "leads out",
     files=outside(lambda d, o: os.symlink(o + "/secret", d + "/link")))
case("external: symlinked directory", INVALID, ext("sub/secret", 0, 8), "leads out",
     files=outside(lambda d, o: os.symlink(o, d + "/sub")))
case("external: symlink within", OK, ext("link", 0, 8), files=lambda d: (W16(d), os.symlink("w.data", d + "/link")))
case("external: hard link", OK, ext("hard", 0, 8), files=outside(lambda d, o: os.link(o + "/secret", d + "/hard")))
case("external: hard link, strict", INVALID, ext("hard", 0, 8), "hard link", ("inspect", "--strict"),
     outside(lambda d, o: os.link(o + "/secret", d + "/hard")))
case("external: NUL in the name", INVALID, ext("w.data\0.txt", 0, 8), "NUL byte", files=W16)
case("external: FIFO", INVALID, ext("pipe", 0, 8), "not a regular file", files=lambda d: os.mkfifo(d + "/pipe"))
case("external: device", INVALID, ext("zero", 0, 8), "not a regular file",
     files=lambda d: os.symlink("/dev/zero", d + "/zero"))
case("external: directory", INVALID, ext("sub", 0, 8), "not a regular file", files=lambda d: os.mkdir(d + "/sub"))
case("external: missing file", INVALID, ext("nothing", 0, 8), "'nothing' is not there")
case("external: no location", INVALID, w.add_constant(w.external("w", [("offset", "0")])), "no location")
case("external: location twice", INVALID, w.add_constant(w.external("w", [("location", "w.data")] * 2)), "twice",
     files=W16)
case("external: negative offset", INVALID, ext("w.data", -1, 8), "offset '-1' is no size", files=W16)
case("external: negative length", INVALID, ext("w.data", 0, -8), "length '-8' is no size", files=W16)
case("external: huge offset", INVALID, ext("w.data", (1 << 63) - 1, 8), "too few for 8 bytes", files=W16)
case("external: offset beyond 64 bits", INVALID, ext("w.data", 1 << 64, 8), "is no size", files=W16)
case("external: huge length", INVALID, ext("w.data", 0, (1 << 63) - 1), "needs 8 bytes", files=W16)
case("external: past the end", INVALID, ext("w.data", 9, 8), "too few for 8 bytes at offset 9", files=W16)
case("external: length does not match", INVALID, ext("w.data", 0, 12), "needs 8 bytes, but the data has 12", files=W16)
case("external: dims 2^32 x 2^32", INVALID, ext("w.data", 0, 8, [1 << 32, 1 << 32]), "'w'", files=W16)
case("external: strings", INVALID, w.add_constant(w.external("w", [("location", "w.data")], w.STRING)), "strings",
     files=W16)


def symlink_farm(d):
    """A Hugging Face cache: snapshots/REV holds links to blobs/HASH, the data's among them."""
    blobs, snapshot = os.path.join(d, "blobs"), os.path.join(d, "snapshots", "rev")
    os.makedirs(blobs), os.makedirs(snapshot)
    beside("aa", ext("model.onnx_data", 0, 8))(blobs)
    beside("bb", b"01234567")(blobs)
    os.symlink("../../blobs/aa", snapshot + "/model.onnx")
    os.symlink("../../blobs/bb", snapshot + "/model.onnx_data")
    return snapshot + "/model.onnx"


case("external: symlink farm", OK, symlink_farm)


def large_model(d):
    """10 GB of weights in a file with a hole; nothing of it may be read."""
    rows = 10 << 18
    with open(d + "/big.data", "wb") as f:
        f.truncate(rows * 1024 * 4)
    beside("model.onnx", w.model(w.graph(
        [w.node("MatMul", ["x", "w"], ["y"])], [w.external("w", [("location", "big.data")], dims=[1024, rows])],
        [w.value("x", dims=["n", 1024])], [w.value("y", dims=["n", rows])])))(d)
    return d + "/model.onnx"




def large_file(d):
    """3 GB of raw data within the file, more than protobuf libraries take: the weights come last, as a hole."""
    size = 3 << 30
    head = w.tensor("w", dims=[size // 4]) + w.tag(9, 2) + w.varint(size)
    rest = w.graph([w.node("Relu", ["w"], ["y"])], outputs=[w.value("y", dims=[size // 4])])
    start = w.tag(5, 2) + w.varint(len(head) + size) + head
    whole = w.num(1, 8) + w.data(8, w.num(2, 17)) + w.tag(7, 2) + w.varint(len(rest) + len(start) + size) + rest + start
    with open(d + "/model.onnx", "wb") as f:
        f.write(whole)
        f.truncate(len(whole) + size)
    return d + "/model.onnx"


case("3 GB of data in the file are not read", OK, large_file)

# --- the file itself ---


def fifo(d):
    os.mkfifo(d + "/model.onnx")
    return d + "/model.onnx"


case("model is a directory", INVALID, lambda d: d, "a directory")
case("model is a FIFO", INVALID, fifo, "a pipe")
case("model is a device", INVALID, lambda d: "/dev/zero", "a device")
case("model is missing", INVALID, lambda d: d + "/nothing.onnx", "No such file")

# --- graphs ---


def relus(pairs, outputs=("y",), inits=(), inputs=("x",)):
    nodes = [w.node("Relu", [a], [b], name=f"n{i}") for i, (a, b) in enumerate(pairs)]
    return w.model(w.graph(nodes, inits, [w.value(i) for i in inputs], [w.value(o) for o in outputs]))


case("cycle of two nodes", INVALID, relus([("b", "a"), ("a", "b"), ("a", "y")]), "cycle")
case("node that feeds itself", INVALID, relus([("y", "y")]), "cycle")
case("two nodes with one output", INVALID, relus([("x", "y"), ("x", "y")]), "n1")
case("output that is also an input", INVALID, relus([("x", "x")], outputs=["x"]))
case("two inputs of one name", INVALID, relus([("x", "y")], inputs=["x", "x"]), "'x'")
case("two initializers of one name", INVALID, relus([("w", "y")], inits=[w.floats("w", [1, 2])] * 2), "'w'")
case("input that nobody makes", INVALID, relus([("ghost", "y")]), "ghost")
case("output that nobody makes", INVALID, relus([("x", "z")]), "'y'")
case("one node, one output twice", INVALID, w.model(w.graph([w.node("Split", ["x"], ["y", "y"], name="s")],
                                                            inputs=[w.value("x")],
                                                            outputs=[w.value("y")])), "'y'")
case("unknown operator", UNSUPPORTED, w.relu(op="Frobnicate", name="the node"), "Frobnicate", ("run",))
case("unknown domain", (UNSUPPORTED, INVALID), w.model(w.graph(
    [w.node("Relu", ["x"], ["y"], domain="no.such")], inputs=[w.value("x")], outputs=[w.value("y")])),
     "no.such", ("run",))
case("attribute of the wrong type", INVALID, w.relu(op="Softmax", attrs=[w.attr("axis", w.A_FLOAT, w.f32(2, 1))]),
     "axis")
case("attribute that holds another type", INVALID, w.relu(op="Softmax", attrs=[w.attr("axis", w.A_INT, w.f32(2, 1))]),
     "axis")
case("attribute of an unknown type", INVALID, w.relu(op="Softmax", attrs=[w.attr("axis", 77, w.num(3, 1))]), "axis")
case("attribute without value", INVALID, w.relu(op="Constant", attrs=[w.attr("value", w.A_TENSOR, b"")]), "value")
case("attribute twice", INVALID, w.relu(op="Softmax", attrs=[w.attr_int("axis", 0), w.attr_int("axis", 1)]), "axis")
case("too many inputs", INVALID, w.model(w.graph([w.node("Relu", ["x", "x"], ["y"], name="r")], inputs=[w.value("x")],
                                                 outputs=[w.value("y")])), "Relu")
case("no opset", INVALID, w.num(1, 8) + w.data(7, w.graph([w.node("Relu", ["x"], ["y"])], inputs=[w.value("x")],
                                                          outputs=[w.value("y")])), "opset")
case("opset -1", (INVALID, UNSUPPORTED), w.model(w.graph([w.node("Relu", ["x"], ["y"])], inputs=[w.value("x")],
                                                         outputs=[w.value("y")]), opset=-1), "opset")

# --- subgraphs ---

TRUE = w.tensor("c", 9, [], raw=b"\x01")


def branch(nodes, out):
    return w.graph(nodes, outputs=[w.value(out)], name="b")


def nested_ifs(levels):
    """If in the then branch of If in …: what costs exponential time where each level is inferred twice."""
    def level(k, out):
        if not k:
            return [w.node("Relu", ["x"], [out])]
        attrs = [w.attr_graph(f"{side}_branch", branch(level(k - 1, f"{out}{side[0]}") if side == "then" else
                                                      [w.node("Neg", ["x"], [f"{out}{side[0]}"])], f"{out}{side[0]}"))
                 for side in ("then", "else")]
        return [w.node("If", ["c"], [out], attrs, name=f"if{k}")]
    return w.model(w.graph(level(levels, "y"), [TRUE], [w.value("x")], [w.value("y")]))


case("30 nested Ifs", OK, nested_ifs(30))
case("40 nested Ifs", INVALID, nested_ifs(40), "nested more than 100 deep")
case("branch that uses what is not there", INVALID, w.model(w.graph(
    [w.node("If", ["c"], ["y"], [w.attr_graph("then_branch", branch([w.node("Relu", ["ghost"], ["t"])], "t")),
                                 w.attr_graph("else_branch", branch([w.node("Relu", ["x"], ["e"])],
                                                                    "e"))], name="the if")],
    [TRUE], [w.value("x")], [w.value("y")])), "ghost")
case("branch of two outputs", INVALID, w.model(w.graph(
    [w.node("If", ["c"], ["y"], [w.attr_graph("then_branch", w.graph([w.node("Relu", ["x"], ["t"])],
                                                                     outputs=[w.value("t")] * 2)),
                                 w.attr_graph("else_branch", branch([w.node("Relu", ["x"], ["e"])],
                                                                    "e"))], name="the if")],
    [TRUE], [w.value("x")], [w.value("y")])), "the if")
case("If without branches", INVALID, w.model(w.graph([w.node("If", ["c"], ["y"], name="the if")], [TRUE], [],
                                                     [w.value("y")])), "branch")
case("Loop without inputs in its body", INVALID, w.model(w.graph(
    [w.node("Loop", ["", "c", "x"], ["y"], [w.attr_graph("body", branch([w.node("Relu", ["x"], ["t"])], "t"))],
            name="the loop")],
    [TRUE], [w.value("x")], [w.value("y")])), "the loop")

# --- functions ---


def calls(functions, first="f0"):
    return w.model(w.graph([w.node(first, ["x"], ["y"], domain="local", name="call")], inputs=[w.value("x")],
                           outputs=[w.value("y")]),
                   functions, domains=[("local", 1)])


def chain(levels, times):
    """f0 calls f1 calls … : each calls the next one the given number of times."""
    out = []
    for k in range(levels):
        names = ["x"] + [f"v{i}" for i in range(times - 1)] + ["y"]
        op, domain = (f"f{k + 1}", "local") if k + 1 < levels else ("Relu", None)
        nodes = [w.node(op, [a], [b], domain=domain) for a, b in zip(names, names[1:])]
        out.append(w.function(f"f{k}", ["x"], ["y"], nodes))
    return out


def call(name, to, ins=("x",), outs=("y",)):
    return w.function(name, ["x"], ["y"], [w.node(to, list(ins), list(outs), domain="local")])


case("functions 3 levels deep load", OK, calls(chain(3, 2)))
case("functions 30 levels deep, twice each", (BUDGET, INVALID), calls(chain(30, 2)))
case("functions 1,000 levels deep", (OK, INVALID, BUDGET), calls(chain(1000, 1)))
case("function that calls itself", INVALID, calls([call("f0", "f0")]), "f0")
case("functions that call each other", INVALID, calls([call("f0", "f1"), call("f1", "f0")]), "f0")
case("function twice", INVALID, calls([call("f0", "f1")] * 2 + chain(2, 1)[1:]), "f0")
case("function that is not there", (INVALID, UNSUPPORTED), calls([]), "f0", ("run",))
case("function call of too many inputs", INVALID, calls([call("f0", "f1", ("x", "x")), w.function("f1", ["x"], ["y"], [
    w.node("Relu", ["x"], ["y"])])]), "f1")
case("function with a cycle", INVALID, calls([w.function("f0", ["x"], ["y"],
                                                         [w.node("Relu", ["a"], ["b"]), w.node("Relu", ["b"], ["a"]),
                                                                              w.node("Relu", ["b"], ["y"])])]), "cycle")
case("function without its output", INVALID, calls([w.function("f0", ["x"], ["y"], [w.node("Relu", ["x"], ["z"])])]),
     "y")

# --- what reaches the terminal ---

EVIL = "\x1b[2J\x1b]0;title\x07\u009b31m\x7f"
case("escape codes in the name of a node", UNSUPPORTED, w.relu(name=EVIL, op="Frobnicate"), "\\x1b[2J", ("run",))
case("escape codes in the name of an operator", UNSUPPORTED, w.relu(op="F" + EVIL), "\\x1b[2J", ("run",))
case("escape codes in names that are listed", OK, w.model(
    w.graph([w.node("Relu", [EVIL], ["y"], name=EVIL)], inputs=[w.value(EVIL, dims=[EVIL])],
            outputs=[w.value("y", dims=[EVIL])],
            name=EVIL), more=w.data(2, EVIL) + w.data(3, EVIL) + w.data(6, EVIL) + w.data(14, w.entry(EVIL, EVIL))))

# --- dimensions are expressions ---

for what, text in {
    "100,000 brackets": "(" * 100000,
    "100,000 minus signs": "-" * 100000 + "x",
    "a tower of powers": "9**" * 50 + "9",
    "a product beyond 64 bits": "9223372036854775807*9223372036854775807",
    "a division by zero": "x//0",
    "a long sum": "+".join(f"x{i}" for i in range(5000)),
    "an expanding product": "*".join("(a+b+c+d)" for _ in range(20)),
}.items():
    case(f"dimension: {what}", (OK, INVALID, BUDGET), w.model(w.graph(
        [w.node("Relu", ["x"], ["y"])], inputs=[w.value("x", dims=[text])], outputs=[w.value("y", dims=[text])])))


def truncated_at_every_byte(tmp):
    """A small model cut at every byte."""
    whole = w.add_constant(w.floats("w", [1, 2]))
    path = os.path.join(tmp, "cut.onnx")
    for n in range(len(whole)):
        with open(path, "wb") as f:
            f.write(whole[:n])
        complaint = Result([SARD, "inspect", path]).complaint((INVALID,), "")
        if complaint:
            return f"cut after {n} of {len(whole)} bytes: {complaint}"
    return None


def ten_gigabytes_of_external_data_in_100_MB(tmp):
    d = os.path.join(tmp, "large")
    os.mkdir(d)
    result = Result([SARD, "inspect", large_model(d)])
    small = result.megabytes < 100 or SANITIZED
    return result.complaint((OK,), "") or (None if small else f"took {result.megabytes:.0f} MB")


if __name__ == "__main__":
    sys.exit(main(truncated_at_every_byte, ten_gigabytes_of_external_data_in_100_MB))
