"""test_schema.py - frontend/onnx.proto and frontend/wire.def against the published ONNX schema (onnx 1.23.2, IR 14).

The stored lines are what dump_schema.py makes of onnx/onnx-ml.proto in the wheel, and the wheel's own file is compared too.
SPDX-License-Identifier: Apache-2.0
"""

import glob
import os
import re
import subprocess
import sys
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
FRONTEND = os.path.join(HERE, "..", "..", "frontend")
sys.path.insert(0, HERE)
import dump_schema  # noqa: E402

ONNX_VERSION = "1.23.2"
FIELD_LINE = re.compile(r"field ([\w.]+)\.(\w+) = (\d+) (optional|repeated|oneof \w+) (?:(enum|message) )?([\w.]+)"
                        r"(?: packed)?")
WIRE_KINDS = {"int32": "INT", "int64": "INT", "uint64": "INT", "enum": "INT", "float": "FLOAT", "double": "DOUBLE",
              "string": "STRING", "bytes": "BYTES"}


def stored():
    with open(os.path.join(HERE, "onnx_schema.txt"), encoding="utf-8") as f:
        return f.read().splitlines()


def differences(ours, theirs):
    return [f"only in the published schema: {x}" for x in sorted(set(theirs) - set(ours))] + \
           [f"only in ours: {x}" for x in sorted(set(ours) - set(theirs))]


def wire_lines(schema):
    """What wire.def must hold, from schema lines."""
    lines = set()
    for line in schema:
        m = FIELD_LINE.fullmatch(line)
        if m:
            parent, name, number, label, group, kind = m.groups()
            label = "MANY" if label == "repeated" else "ONE"
            what = kind.replace(".", "_") if group == "message" else WIRE_KINDS[group or kind]
            lines.add((parent.replace(".", "_"), int(number), name, label, what))
        elif line.startswith("message "):
            lines.add((line.split()[1].replace(".", "_"),))
    return lines


def wire_def():
    with open(os.path.join(FRONTEND, "wire.def"), encoding="utf-8") as f:
        text = f.read()
    rows = re.findall(r"^\s*(?:FIELD|SUB)\((\w+), (\d+), (\w+), (ONE|MANY), (\w+), (?:KEEP|DROP|DATA)\)$", text, re.M)
    found = [(p, int(n), name, label, kind) for p, n, name, label, kind in rows]
    found += [(m,) for m in re.findall(r"^MESSAGE\((\w+), \d+\)$", text, re.M)]
    assert len(found) == len(set(found)), "a row stands twice in wire.def"
    return set(found)


def test_proto_equals_stored():
    assert not (d := differences(dump_schema.schema_of_file(os.path.join(FRONTEND, "onnx.proto")),
                                 stored())), "\n".join(d)


def test_wire_table_equals_stored():
    d = differences(wire_def(), wire_lines(stored()))
    assert not d, "\n".join(map(str, d))


def test_stored_is_whole():
    """Counts taken by hand from the schema file: 28 messages, the data types 0 to 28, IR version 14."""
    lines = stored()
    assert sum(x.startswith("message ") for x in lines) == 28
    assert sum(x.startswith("enum TensorProto.DataType ") for x in lines) == 29
    assert "enum Version IR_VERSION = 14" in lines
    assert "field TensorProto.raw_data = 9 optional bytes" in lines


def test_parser_sees_a_changed_number():
    text = "message A { optional int64 x = 1; oneof v { A a = 2; } enum E { P = 0; } repeated E e = 3 [packed=true]; }"
    lines = dump_schema.Parser(text).file()
    assert lines == ["enum A.E P = 0", "field A.a = 2 oneof v message A", "field A.e = 3 repeated enum A.E packed",
                     "field A.x = 1 optional int64", "message A"], lines
    assert differences(lines, dump_schema.Parser(text.replace("x = 1", "x = 4")).file())


def wheel_schema():
    """The lines of the schema file in the wheel, fetched once per build folder."""
    build = os.path.join(os.environ.get("SARD_BUILD", os.path.join(FRONTEND, "..", "build")), "onnx-wheel")
    path = os.path.join(build, "onnx-ml.proto")
    if not os.path.exists(path):
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest",
                        build, f"onnx=={ONNX_VERSION}"], check=True, stdin=subprocess.DEVNULL)
        (wheel,) = glob.glob(os.path.join(build, "*.whl"))
        with zipfile.ZipFile(wheel) as z:
            text = z.read("onnx/onnx-ml.proto")
        os.remove(wheel)
        with open(path + ".part", "wb") as f:
            f.write(text)
        os.rename(path + ".part", path)
    return dump_schema.schema_of_file(path)


def test_proto_equals_the_wheels():
    ours = dump_schema.schema_of_file(os.path.join(FRONTEND, "onnx.proto"))
    assert not (d := differences(ours, wheel_schema())), "\n".join(d)


def main():
    passed = failed = 0
    for name, test in sorted(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            test()
            passed += 1
        except (AssertionError, OSError, subprocess.CalledProcessError) as e:
            failed += 1
            print(f"FAILED {name}: {e}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
