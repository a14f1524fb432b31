"""The strings at the top of a model file (ModelProto's producer_name … doc_string, GraphProto's name and doc_string), read
without the rest: protobuf fields are skipped by their length.

SPDX-License-Identifier: Apache-2.0
"""
import mmap

MODEL = {2: "producer_name", 3: "producer_version", 4: "domain", 5: "version", 6: "description"}
GRAPH = {2: "graph_name", 10: "graph_description"}


def _varint(b, at):
    value = shift = 0
    while True:
        byte = b[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return value, at


def _fields(b, at, end):
    """(number, value): an int, or the span of a length-delimited field."""
    while at < end:
        tag, at = _varint(b, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(b, at)
        elif kind == 2:
            n, at = _varint(b, at)
            value, at = (at, at + n), at + n
        else:
            value, at = None, at + (8 if kind == 1 else 4)
        yield tag >> 3, value


def read(source):
    """The fields by name; source: a path or bytes of a valid model."""
    if isinstance(source, (bytes, bytearray)):
        return _read(source)
    with open(source, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as b:
        return _read(b)


def _read(b):
    out = {}

    def take(names, number, value):
        if number in names and value is not None:
            out[names[number]] = value if isinstance(value, int) else bytes(b[slice(*value)]).decode("utf-8", "replace")

    for number, value in _fields(b, 0, len(b)):
        take(MODEL, number, value)
        if number == 7:
            for n, v in _fields(b, *value):
                take(GRAPH, n, v)
    return out
