"""dump_schema.py - a protobuf schema file as sorted lines, one for each message, field and enum value.

    python3 dump_schema.py FILE.proto > onnx_schema.txt     what the test compares with: onnx/onnx-ml.proto of the wheel
    python3 dump_schema.py --installed > onnx_schema.txt    the same from an importable onnx package

SPDX-License-Identifier: Apache-2.0
"""

import re
import sys

SCALARS = {"double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "bool", "string", "bytes"}
TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"[^"]*"|-?\w+|[{}=;\[\],.<>]|\.', re.S)


def tokens(text):
    return [t for t in TOKEN.findall(text) if not t.startswith(("//", "/*"))]


class Parser:
    """Reads the part of the protobuf language that ONNX uses."""

    def __init__(self, text):
        self.t, self.i, self.lines, self.kinds, self.fields = tokens(text), 0, [], {}, []

    def take(self, want=None):
        t = self.t[self.i]
        if want and t != want:
            raise SyntaxError(f"{want!r} expected, not {t!r} (token {self.i})")
        self.i += 1
        return t

    def skip_statement(self):
        while self.take() != ";":
            pass

    def name(self):
        parts = [self.take()]
        while self.t[self.i] == ".":
            self.take()
            parts.append(self.take())
        return ".".join(parts)

    def enum(self, scope):
        full = scope + self.take()
        self.kinds[full] = "enum"
        self.take("{")
        while self.t[self.i] != "}":
            if self.t[self.i] in ("reserved", "option"):
                self.skip_statement()
                continue
            value = self.take()
            self.take("=")
            self.lines.append(f"enum {full} {value} = {int(self.take(), 0)}")
            self.skip_statement()
        self.take("}")

    def field(self, scope, label):
        kind, name = self.name(), self.take()
        self.take("=")
        number, packed = int(self.take(), 0), False
        while self.t[self.i] != ";":
            packed = self.t[self.i : self.i + 3] == ["packed", "=", "true"] or packed
            self.take()
        self.take(";")
        self.fields.append((scope, label, kind, name, number, packed))

    def body(self, scope, oneof=None):
        self.take("{")
        while self.t[self.i] != "}":
            word = self.t[self.i]
            if word == ";":
                self.take()
            elif word in ("reserved", "option", "extensions"):
                self.skip_statement()
            elif word in ("message", "enum", "oneof"):
                self.take()
                self.block(word, scope)
            elif word in ("optional", "repeated", "required"):
                self.field(scope, self.take())
            else:
                self.field(scope, f"oneof {oneof}")
        self.take("}")

    def block(self, word, scope):
        if word == "enum":
            self.enum(scope)
        elif word == "oneof":
            self.body(scope, self.take())
        else:
            full = scope + self.take()
            self.kinds[full] = "message"
            self.lines.append(f"message {full}")
            self.body(full + ".")

    def resolve(self, scope, kind):
        if kind in SCALARS:
            return kind
        parts = scope.rstrip(".").split(".") if scope else []
        for n in range(len(parts), -1, -1):
            full = ".".join(parts[:n] + [kind])
            if full in self.kinds:
                return f"{self.kinds[full]} {full}"
        raise SyntaxError(f"unknown type {kind}")

    def file(self):
        while self.i < len(self.t):
            word = self.take()
            if word in ("message", "enum"):
                self.block(word, "")
            elif word != ";":
                self.skip_statement()
        for scope, label, kind, name, number, packed in self.fields:
            tail = " packed" if packed else ""
            self.lines.append(f"field {scope}{name} = {number} {label} {self.resolve(scope, kind)}{tail}")
        return sorted(self.lines)


def schema_of_file(path):
    with open(path, encoding="utf-8") as f:
        return Parser(f.read()).file()


def schema_of_package():
    """The same lines from the descriptors of an installed onnx package. ImportError where there is none."""
    from onnx import onnx_ml_pb2

    names = {1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string", 12: "bytes",
             13: "uint32"}
    lines = []

    def short(d):
        return d.full_name.removeprefix("onnx.")

    def enum(e):
        lines.extend(f"enum {short(e)} {v.name} = {v.number}" for v in e.values)

    def field(d, f):
        kind = names.get(f.type)
        if f.message_type or f.enum_type:
            kind = f"message {short(f.message_type)}" if f.message_type else f"enum {short(f.enum_type)}"
        many = f.is_repeated if hasattr(f, "is_repeated") else f.label == 3
        label = f"oneof {f.containing_oneof.name}" if f.containing_oneof else "repeated" if many else "optional"
        packed = " packed" if f.GetOptions().packed else ""
        lines.append(f"field {short(d)}.{f.name} = {f.number} {label} {kind}{packed}")

    def message(d):
        lines.append(f"message {short(d)}")
        for f in d.fields:
            field(d, f)
        for e in d.enum_types:
            enum(e)
        for m in d.nested_types:
            message(m)

    for m in onnx_ml_pb2.DESCRIPTOR.message_types_by_name.values():
        message(m)
    for e in onnx_ml_pb2.DESCRIPTOR.enum_types_by_name.values():
        enum(e)
    return sorted(lines)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print("\n".join(schema_of_package() if sys.argv[1] == "--installed" else schema_of_file(sys.argv[1])))
