"""ONNX models, tensors and NumPy files written by hand, so that the tests need the standard library only.

Field numbers are those of onnx.proto (frontend/onnx.proto).
SPDX-License-Identifier: Apache-2.0
"""

import struct
import zipfile

F32, U8, I8, I16, I32, I64, STRING, BOOL, F16, F64, BF16 = 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 16
FORMAT = {F32: "f", U8: "B", I8: "b", I16: "h", I32: "i", I64: "q", BOOL: "?", F64: "d", F16: "e"}
DESCR = {F32: "<f4", U8: "|u1", I8: "|i1", I32: "<i4", I64: "<i8", BOOL: "|b1", F64: "<f8", F16: "<f2"}


def varint(v):
    v &= (1 << 64) - 1
    out = bytearray()
    while v > 127:
        out.append(v & 127 | 128)
        v >>= 7
    out.append(v)
    return bytes(out)


def field(number, value):
    """one protobuf field: an int as varint, a float as fixed32, bytes or str with its length"""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(*pairs):
    return b"".join(field(n, v) for n, v in pairs if v is not None)


def entries(number, props):
    """map-like repeated StringStringEntryProto"""
    return b"".join(field(number, fields((1, k), (2, v))) for k, v in props.items())


def pack(dtype, values):
    return struct.pack("<%d%s" % (len(values), FORMAT[dtype]), *values)


def tensor(name, dtype, shape, values=None, external=None):
    """TensorProto; values flat; external: (location, offset, length)"""
    out = b"".join(field(1, d) for d in shape) + field(2, dtype)
    if dtype == STRING:
        out += b"".join(field(6, v) for v in values)
    out += field(8, name)
    if external:
        location, offset, length = external
        out += entries(13, {"location": location, "offset": str(offset), "length": str(length)}) + field(14, 1)
    elif dtype != STRING:
        out += field(9, pack(dtype, values))
    return out


def sequence(name, tensors):
    return field(1, name) + field(2, 1) + b"".join(field(3, t) for t in tensors)


def tensor_type(dtype, shape):
    """TypeProto; shape: ints, names, or None for unknown rank"""
    out = field(1, dtype)
    if shape is not None:
        dims = b"".join(field(1, field(1, d) if isinstance(d, int) else field(2, d)) for d in shape)
        out += field(2, dims)
    return field(1, out)


def sequence_type(dtype, shape):
    return field(4, field(1, tensor_type(dtype, shape)))


def value(name, type_):
    return field(1, name) + field(2, type_)


def attribute(name, v):
    """AttributeProto: int, float, str, a graph (bytes) or a list of ints or strings"""
    if isinstance(v, bytes):
        return field(1, name) + field(6, v) + field(20, 5)
    if isinstance(v, float):
        return field(1, name) + field(2, v) + field(20, 1)
    if isinstance(v, int):
        return field(1, name) + field(3, v) + field(20, 2)
    if isinstance(v, str):
        return field(1, name) + field(4, v) + field(20, 3)
    if v and isinstance(v[0], str):
        return field(1, name) + b"".join(field(9, i) for i in v) + field(20, 8)
    return field(1, name) + b"".join(field(8, i) for i in v) + field(20, 7)


def node(op, inputs, outputs, name="", domain="", meta=None, **attrs):
    out = b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in outputs) + field(3, name) + field(4, op)
    out += b"".join(field(5, attribute(k, v)) for k, v in attrs.items())
    out += field(7, domain) if domain else b""
    return out + entries(9, meta or {})


def graph(nodes, inputs, outputs, initializers=()):
    """GraphProto bytes; inputs and outputs are value(…)"""
    out = b"".join(field(1, n) for n in nodes) + field(2, "g") + b"".join(field(5, t) for t in initializers)
    return out + b"".join(field(11, v) for v in inputs) + b"".join(field(12, v) for v in outputs)


def function(name, inputs, outputs, nodes, domain="local", opset=20):
    """FunctionProto bytes, which may call others of its domain"""
    out = field(1, name) + b"".join(field(4, i) for i in inputs) + b"".join(field(5, o) for o in outputs)
    out += b"".join(field(7, n) for n in nodes) + field(9, fields((1, ""), (2, opset)))
    return out + field(9, fields((1, domain), (2, 1))) + field(10, domain)


def model(nodes, inputs, outputs, initializers=(), opset=20, domains=(), producer="by hand", meta=None, ir=10, functions=()):
    """ModelProto bytes; inputs and outputs are value(…)"""
    out = field(1, ir) + field(2, producer) + field(7, graph(nodes, inputs, outputs, initializers)) + field(8, fields((1, ""), (2, opset)))
    for d in domains:
        out += field(8, fields((1, d), (2, 1)))
    return out + entries(14, meta or {}) + b"".join(field(25, f) for f in functions)


def npy(dtype, shape, values, descr=None, fortran=False, version=1):
    """an .npy file; values flat, in the order of the file"""
    text = "{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }" % (
        descr or DESCR[dtype],
        fortran,
        "".join("%d," % d for d in shape),
    )
    head = 10 if version == 1 else 12
    text += " " * (-(head + len(text) + 1) % 64) + "\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    data = values if isinstance(values, bytes) else pack(dtype, values)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + data


def npz(path, arrays, compress=False):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as z:
        for name, data in arrays.items():
            z.writestr(name + ".npy", data)


def read_npy(data):
    """descr, shape, flat values of little-endian .npy bytes in C order"""
    import ast

    assert data[:6] == b"\x93NUMPY" and data[6] == 1, data[:8]
    n = struct.unpack("<H", data[8:10])[0]
    head = ast.literal_eval(data[10 : 10 + n].decode())
    assert (10 + n) % 64 == 0 and not head["fortran_order"]
    body = data[10 + n :]
    for dtype, d in DESCR.items():
        if d == head["descr"]:
            size = struct.calcsize("<" + FORMAT[dtype])
            return d, head["shape"], list(struct.unpack("<%d%s" % (len(body) // size, FORMAT[dtype]), body))
    return head["descr"], head["shape"], body


def read_npz(path):
    with zipfile.ZipFile(path) as z:
        assert z.testzip() is None
        return {i.filename[:-4]: read_npy(z.read(i)) for i in z.infolist()}
