#!/usr/bin/env python3
"""test_layers.py - the arrows of ARCHITECTURE.md over the #include lines; purpose, licence and length of every source file.
SPDX-License-Identifier: Apache-2.0"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAX_LINES, MAX_TEST_LINES = 900, 1200
# Folder: the folders it may include from, besides its own.
MAY = {
    "support": [],
    "ir": ["support"],
    "ops/eval": ["support"],
    "ops": ["ir", "support", "ops/eval"],
    "frontend": ["ops", "ir", "support", "ops/eval"],
    "passes": ["ops", "ir", "support", "ops/eval"],
    "codegen": ["ops", "ir", "support", "ops/eval"],
    "runtime": ["support", "ops/eval"],
    "cuda": ["runtime", "support", "ops/eval"],
    "aot": ["runtime", "support", "ops/eval"],
    "start": ["api", "runtime", "support", "include"],
    "api": ["aot", "cuda", "codegen", "passes", "frontend", "ops", "ir", "support", "runtime", "ops/eval", "include"],
    "include": [],
}
# Single files that may be seen from elsewhere: the program format, the kernel ABI, tables that are data.
ALSO = {"codegen": ["runtime/program.h", "runtime/kernel_abi.h"], "ops/eval": ["ops/ops.def"], "aot": ["ops/ops.def"]}
TOOLS_MAY = ["include", "aot", "cuda", "api", "frontend", "passes", "codegen", "runtime", "ops", "ir", "support", "ops/eval"]


def layer(path):
    return max((d for d in list(MAY) + ["tools", "tests", "examples"] if path.startswith(d + "/")), key=len, default=None)


def sources():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.c", "*.h", "*.def", "*.py", "*.sh"], cwd=ROOT,
                         capture_output=True, text=True)
    if out.returncode == 0 and out.stdout:
        return [p for p in out.stdout.split("\n") if p and os.path.exists(os.path.join(ROOT, p))]
    found = []
    for d, dirs, files in os.walk(ROOT):  # a tarball without git
        dirs[:] = [x for x in dirs if not x.startswith(("build", "."))]
        found += [os.path.relpath(os.path.join(d, f), ROOT) for f in files if f.endswith((".c", ".h", ".def", ".py", ".sh"))]
    return found


def includes(path, text):
    for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.M):
        if name in ("sard.h", "sard_types.h"):
            yield "include/" + name
        elif name not in ("onnx.pb-c.h", "sard_types_text.h", "embed.h"):  # made in the build folder; by sard compile
            beside = os.path.normpath(os.path.join(os.path.dirname(path), name))
            yield name if os.path.exists(os.path.join(ROOT, name)) else beside


def arrow_problem(path, target):
    here, there = layer(path), layer(target)
    if not os.path.exists(os.path.join(ROOT, target)):
        return f"includes {target}, which is not there"
    if here in (None, "tests", "examples") or here == there or target in ALSO.get(here, []):
        return None
    allowed = TOOLS_MAY if here == "tools" else MAY[here]
    return None if there in allowed else f"includes {target}: {here} may see {', '.join(allowed) or 'nothing else'}"


def file_problems(path, text):
    end = text.find("*/") if path.endswith((".c", ".h", ".def")) else -1
    head = text[:end] if end >= 0 else "\n".join(text.split("\n")[:12])
    first = next((x for x in text.split("\n") if x and not x.startswith("#!")), "")
    opening = {".py": ('"""', "#", 'r"""'), ".sh": ("#",)}.get(os.path.splitext(path)[1], ("/*",))
    if not first.startswith(opening) or len(first) < 12:
        yield "does not open with what it is for"
    if "SPDX-License-Identifier: Apache-2.0" not in head:
        yield "has no SPDX line at its head"
    lines = text.count("\n")
    most = MAX_TEST_LINES if path.startswith("tests/") else MAX_LINES
    if lines > most:
        yield f"has {lines} lines; {most} are the most"


def cycles(edges):
    """Include cycles among headers."""
    state, found = {}, []

    def visit(n, trail):
        state[n] = 1
        for m in edges.get(n, []):
            if state.get(m) == 1:
                found.append(" -> ".join(trail[trail.index(m):] + [m]))
            elif m not in state:
                visit(m, trail + [m])
        state[n] = 2

    for n in sorted(edges):
        if n not in state:
            visit(n, [n])
    return found


def main():
    problems, edges, checked = [], {}, 0
    for path in sources():
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            text = f.read()
        checked += 1
        problems += [f"{path}: {p}" for p in file_problems(path, text)]
        if path.endswith((".c", ".h", ".def")):
            targets = list(includes(path, text))
            problems += [f"{path}: {p}" for p in (arrow_problem(path, t) for t in targets) if p]
            if path.endswith(".h"):
                edges[path] = targets
    problems += ["include cycle: " + c for c in cycles(edges)]
    # The checks themselves: each must be able to fail.
    wrong = [("runtime/x.c", "ir/graph.h"), ("support/x.c", "ops/ops.h"), ("passes/x.c", "frontend/model.h"), ("ops/eval/x.c", "ops/ops.h"),
             ("codegen/x.c", "runtime/internal.h"), ("ir/x.h", "ops/ops.h"), ("frontend/x.c", "runtime/program.h"), ("aot/x.c", "codegen/plan.h"), ("start/x.c", "frontend/model.h")]
    right = [("codegen/x.c", "runtime/program.h"), ("ops/eval/x.c", "ops/ops.def"), ("api/x.c", "runtime/runtime.h")]
    problems += [f"the check lets {a} include {b}" for a, b in wrong if not arrow_problem(a, b)]
    problems += [f"the check refuses that {a} includes {b}" for a, b in right if arrow_problem(a, b)]
    if not cycles({"a.h": ["b.h"], "b.h": ["a.h"]}):
        problems.append("the check sees no cycle")
    for p in problems:
        print("FAILED", p)
    print(f"{checked} files")
    bad = len({p.split(":")[0] for p in problems})
    print(f"{max(checked - bad, 0)} passed, {len(problems)} failed, 0 skipped")
    return 1 if problems or checked < 50 else 0


sys.exit(main())
