#!/usr/bin/env python3
"""test_versions.py - every version of every operator (onnx_versions.txt): ours is the newest, and what leads to it is upgraded.

From one version to the next a node may stay as it is when the newer form only adds: all attributes are there with their defaults,
and no number of inputs or outputs is lost. Else there must be a step in frontend/upgrade.c (whose own test wants a case for each),
or a reason below.
SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SARD = os.path.join(os.environ.get("SARD_BUILD", "build"), "sard")

# Not in the table of operators: the importer knows them itself.
IMPORTED = {
    ("ai.onnx", "Constant"): "becomes a constant",
    ("ai.onnx", "SequenceMap"): "becomes a Loop (sequence_map.c)",
    ("ai.onnx.preview", "FlexAttention"): "is expanded (flex.c)",
}

# Changes that need no step.
NO_STEP = {
    ("ai.onnx", "Split", 2): "the step to 13 keeps the input that gives the sizes; an axis that is not given was 0",
}


def versions():
    """{(domain, name): {version: (inputs, outputs, attributes, whether it is deprecated)}}"""
    found = {}
    with open(os.path.join(HERE, "onnx_versions.txt"), encoding="utf-8") as f:
        for line in f:
            if line.startswith("#"):
                continue
            domain, name, version, *rest = line.rstrip("\n").split(" ")
            old = rest[0] == "deprecated"
            inputs, outputs, *attrs = rest[old:]
            attrs = dict(re.match(r"(\w+)(.*)", a).groups() for a in attrs)
            found.setdefault((domain, name), {})[int(version)] = (span(inputs), span(outputs), attrs, old)
    return found


def span(text):
    least, most = text.split("..")
    return int(least), int(most) if most else 1 << 31


def steps():
    """{name: [first opset of the newer form; 0: any]} of the table in frontend/upgrade.c"""
    with open(os.path.join(HERE, "..", "..", "frontend", "upgrade.c"), encoding="utf-8") as f:
        rows = re.findall(r'^\s*\{"(\w+)", (\w+), \w+\},', f.read(), re.M)
    found = {}
    for name, opset in rows:
        found.setdefault(name, []).append(0 if opset == "ALWAYS" else int(opset))
    return found


def losses(old, new):
    """what a node of the old form may have that the new one does not take"""
    lost = ["%s %s..%s" % (what, *o) for what, o, n in zip(("inputs", "outputs"), old, new) if o[0] < n[0] or o[1] > n[1]]
    for name, default in old[2].items():
        now = new[2].get(name)
        if now is None:
            lost.append("attribute " + name)
        elif now != default and not (default == "!" and now != "!"):  # what had to be given may have a default now
            lost.append("%s%s, now %s" % (name, default, now))
    return lost + ["attribute %s is needed" % name for name, default in new[2].items() if name not in old[2] and default == "!"]


def check(found, ours, upgrade):
    wrong = []
    for (domain, name), forms in sorted(found.items()):
        newest = max((v for v in forms if not forms[v][3]), default=max(forms))  # what is deprecated without a successor stays
        row = ours.get((domain, name))
        if row is None and (domain, name) not in IMPORTED and name not in upgrade:
            wrong.append("%s.%s is not known" % (domain, name))
        elif row is not None and row["since"] != newest:
            wrong.append("%s.%s: ours is of opset %d, the newest of %d" % (domain, name, row["since"], newest))
        order = sorted(forms)
        for old, new in zip(order, order[1:]):
            lost = losses(forms[old], forms[new]) if new <= newest else []
            stepped = any(not v or old < v <= new for v in upgrade.get(name, []))
            if lost and not stepped and (domain, name, new) not in NO_STEP and (domain, name) not in IMPORTED:
                wrong.append("%s.%s from %d to %d loses %s" % (domain, name, old, new, ", ".join(lost)))
    return wrong


def main():
    if not os.path.exists(SARD):
        print(f"{SARD} is not built\n0 passed, 0 failed, 1 skipped")
        return 77
    rows = json.loads(subprocess.run([SARD, "ops", "--json"], capture_output=True, text=True, check=True).stdout)
    ours = {(r["domain"] or "ai.onnx", r["op"]): r for r in rows}
    found = versions()
    wrong = check(found, ours, steps())
    wrong += ["%s.%s is no operator of onnx" % k for k in ours if k not in found and k[0] not in ("sard", "com.microsoft")]
    wrong += ["%s has a reason, but needs none" % (k,) for k in NO_STEP if not losses(*[found[k[:2]][v] for v in sorted(found[k[:2]])
                                                                                       if v <= k[2]][-2:])]
    # the test sees a version too old, and a change without a step
    assert check({("ai.onnx", "Add"): {99: ((2, 2), (1, 1), {}, False)}}, ours, {})
    assert check({("ai.onnx", "Add"): {1: ((2, 2), (1, 1), {"axis": "?"}, False), 14: ((2, 2), (1, 1), {}, False)}}, ours, {})
    print("\n".join("FAILED " + x for x in wrong) + "\n" * bool(wrong) + f"{len(found) - len(wrong)} passed, {len(wrong)} failed, 0 skipped")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
