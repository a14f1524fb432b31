"""`sard ops --json` against the operators of the onnx package: check_operators.py SARD (run through wheel.py).

Every operator in the newest form that ONNX has of it is there, with as many inputs and outputs, and takes and gives every type
that ONNX says. What is otherwise stands below with its reason. Prints what is wrong, and `N passed, N failed, 0 skipped`.

SPDX-License-Identifier: Apache-2.0
"""
import json
import re
import subprocess
import sys

import onnx.defs

ABSENT = {  # no rows
    "Constant": "becomes a constant of the graph",
    "FlexAttention": "not there",
    "Gradient": "not there",
    "Scatter": "upgraded to ScatterElements",
    "SequenceMap": "rewritten as a loop when it is read",
    "Upsample": "upgraded to Resize",
}
OLDER = {  # the version of the row
    "TreeEnsembleClassifier": (3, "5 is its deprecation"),
    "TreeEnsembleRegressor": (3, "5 is its deprecation"),
}
NARROWER = {
    "Col2Im": "sums, which ONNX defines for numbers alone",
    "Unique": "sorts: complex numbers have no order",
    "GridSample": "weighted sums, of numbers; and where padding is zeros there is one for no text",
}
NAMES = {"float": "f32", "double": "f64", "float16": "f16", "bfloat16": "bf16", "string": "str", "complex64": "c64", "complex128": "c128"}


def type_name(text):
    """tensor(float16) -> f16; None: no tensor"""
    m = re.fullmatch(r"tensor\((\w+)\)", text)
    if not m:
        return None
    return NAMES.get(m[1]) or m[1].replace("float", "f").replace("uint", "u").replace("int", "i")


def allowed(row, tokens, i):
    """the types of the i-th input or output; None: any"""
    token = tokens[min(i, len(tokens) - 1)].rstrip("?*+")
    types = row["types"].get(token) if len(token) == 1 else [token]
    return None if not types or {"any", "value"} & set(types) else set(types)


def wrong(row, schema):
    """what is wrong with a row"""
    since = OLDER.get(schema.name, (schema.since_version,))[0]
    if row["since"] != since:
        yield "since %d, not %d" % (row["since"], since)
    takes, gives = (side.split() for side in row["signature"].split(";")[0].split(">"))
    for what, params, tokens in (("inputs", schema.inputs, takes), ("outputs", schema.outputs, gives)):
        if row[what][1] not in (None, len(params)):
            yield "%s: %d at most, not %d" % (what, row[what][1], len(params))
        for i, p in enumerate(params):
            types = allowed(row, tokens, i)
            lacking = sorted(set(filter(None, map(type_name, p.types))) - types) if types else []
            if lacking and schema.name not in NARROWER:
                yield "%s %d (%s) lacks %s" % (what, i, p.name, ", ".join(lacking))


def main():
    rows = {(r["domain"], r["op"]): r for r in json.loads(subprocess.run([sys.argv[1], "ops", "--json"], capture_output=True).stdout)}
    passed = failed = 0
    for schema in sorted(onnx.defs.get_all_schemas(), key=lambda s: (s.domain, s.name)):
        row = rows.get((schema.domain, schema.name))
        problems = list(wrong(row, schema)) if row else ["no row"] if schema.name not in ABSENT else []
        for p in problems:
            print("%s %s: %s" % (schema.domain or "ai.onnx", schema.name, p))
        passed, failed = passed + (not problems), failed + bool(problems)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or passed < 200 else 0


if __name__ == "__main__":
    sys.exit(main())
