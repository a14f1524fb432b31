"""wire.py - protobuf and ONNX messages written byte by byte, so that they can be wrong in any way.

Functions return bytes; messages are concatenated fields, and a field is made by its number:
    model(graph(nodes=[node("Relu", ["x"], ["y"])], inputs=[value("x", 1, [2])], outputs=[value("y", 1, [2])]))

SPDX-License-Identifier: Apache-2.0
"""

import struct

FLOAT, INT64, STRING = 1, 7, 8
A_FLOAT, A_INT, A_STRING, A_TENSOR, A_GRAPH, A_INTS = 1, 2, 3, 4, 5, 7


def varint(v):
    v &= (1 << 64) - 1
    out = bytearray()
    while v >= 0x80:
        out.append(v & 0x7F | 0x80)
        v >>= 7
    out.append(v)
    return bytes(out)


def tag(number, wire):
    return varint(number << 3 | wire)


def num(number, v):
    return tag(number, 0) + varint(v)


def f32(number, v):
    return tag(number, 5) + struct.pack("<f", v)


def data(number, payload):
    """A length-delimited field: text, bytes or a message."""
    if isinstance(payload, str):
        payload = payload.encode()
    return tag(number, 2) + varint(len(payload)) + payload


def datas(number, payloads):
    return b"".join(data(number, p) for p in payloads)


def entry(key, value):
    return data(1, key) + data(2, value)


def model(graph_bytes, functions=(), opset=17, domains=(), ir=8, more=b""):
    imports = [num(2, opset)] + [data(1, d) + num(2, v) for d, v in domains]
    return num(1, ir) + datas(8, imports) + more + datas(25, functions) + data(7, graph_bytes)


def graph(nodes=(), inits=(), inputs=(), outputs=(), sparse=(), infos=(), name="g", more=b""):
    return (datas(1, nodes) + data(2, name) + datas(5, inits) + datas(11, inputs) + datas(12, outputs) +
            datas(13, infos) +
            datas(15, sparse) + more)


def node(op, ins, outs, attrs=(), name=None, domain=None, more=b""):
    return (datas(1, ins) + datas(2, outs) + (data(3, name) if name is not None else b"") + data(4, op) +
            datas(5, attrs) +
            (data(7, domain) if domain else b"") + more)


def attr(name, kind, field):
    """field: the value's encoded field, e.g. num(3, 1) for an int."""
    return data(1, name) + num(20, kind) + field


def attr_int(name, v):
    return attr(name, A_INT, num(3, v))


def attr_graph(name, g):
    return attr(name, A_GRAPH, data(6, g))


def dim(d):
    return b"" if d is None else num(1, d) if isinstance(d, int) else data(2, d)


def tensor_type(dtype, dims):
    """A TypeProto; dims None: unknown rank."""
    shape = b"" if dims is None else data(2, b"".join(data(1, dim(d)) for d in dims))
    return data(1, num(1, dtype) + shape)


def value(name, dtype=FLOAT, dims=(2,)):
    return data(1, name) + data(2, tensor_type(dtype, dims))


def tensor(name, dtype=FLOAT, dims=(2,), raw=None, more=b""):
    return (b"".join(num(1, d) for d in dims) + num(2, dtype) + data(8, name) +
            (data(9, raw) if raw is not None else b"") + more)


def floats(name, values, dims=None):
    return tensor(name, FLOAT, [len(values)] if dims is None else dims, struct.pack(f"<{len(values)}f", *values))


def ints(name, values, dims=None):
    return tensor(name, INT64, [len(values)] if dims is None else dims, struct.pack(f"<{len(values)}q", *values))


def external(name, entries, dtype=FLOAT, dims=(2,)):
    return tensor(name, dtype, dims, more=datas(13, [entry(k, v) for k, v in entries]) + num(14, 1))


def function(name, ins, outs, nodes, domain="local", attrs=(), opset=17, more=b""):
    return (data(1, name) + datas(4, ins) + datas(5, outs) + datas(6, attrs) + datas(7, nodes) +
            data(9, num(2, opset)) +
            data(9, data(1, domain) + num(2, 1)) + data(10, domain) + more)


def add_constant(init=None, sparse=None, raw_graph=b""):
    """y = x + w, with w the given tensor: the smallest model that must read it."""
    return model(graph([node("Add", ["x", "w"], ["y"], name="add")], [init] if init else [], [value("x")], [value("y")],
                       [sparse] if sparse else [], more=raw_graph))


def relu(name="relu", op="Relu", attrs=(), more=b""):
    return model(graph([node(op, ["x"], ["y"], attrs, name=name, more=more)], inputs=[value("x")],
                       outputs=[value("y")]))
