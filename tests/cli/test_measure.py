#!/usr/bin/env python3
"""What measures and explains: sard bench, profile, explain, ops.

SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import sys
import tempfile

from harness import ROOT, Checks, sard

SANITIZED = "asan" in os.environ.get("SARD_BUILD", "")

MODEL = os.path.join(ROOT, "models", "fixtures", "minilm", "ts17", "model.onnx")
FEED = [
    "--input", "input_ids=random:2x8:0..20", "--input", "attention_mask=ones:2x8", "--input", "token_type_ids=zeros:2x8",
]  # fmt: skip


def numbers(x, *keys):
    return all(isinstance(x.get(k), (int, float)) and x[k] >= 0 for k in keys)


def bench(c, tmp):
    times = ("load_ms", "first_ms", "median_ms", "min_ms", "p90_ms", "p99_ms")
    r = sard("bench", MODEL, *FEED, "--runs", "7", "--threads", "1", "--json")
    x = json.loads(r.stdout) if r.returncode == 0 else {}
    c.check("bench --json", numbers(x, *times, "peak_rss_mb", "runs_per_s"), r.stdout + r.stderr)
    c.check("as many runs as asked for", x.get("runs") == 7 and x.get("threads") == 1, x)
    c.check("times in order", x and x["min_ms"] <= x["median_ms"] <= x["p90_ms"] <= x["p99_ms"], x)
    c.check("steps are counted", x and sum(x["steps"].values()) > 10, x)

    ballast = bytearray(b"x") * (256 << 20)
    r = sard("bench", MODEL, *FEED, "--runs", "1", "--json")
    del ballast
    x = json.loads(r.stdout) if r.returncode == 0 else {}
    c.check("its memory, not that of the process it is started from", SANITIZED or 1 < x.get("peak_rss_mb", 0) < 256, x)

    out = os.path.join(tmp, "out")
    r = sard("bench", MODEL, *FEED, "--seconds", "0", "--output", out, "--json")
    x = json.loads(r.stdout) if r.returncode == 0 else {}
    c.check("--seconds 0 runs once per set", x.get("runs") == 1, r.stderr)
    c.check("outputs are stored by set", os.path.isdir(out) and os.listdir(out) == ["0.npz"])
    r = sard("run", MODEL, *FEED, "--expect", os.path.join(out, "0.npz"), "--relative", "1e-6")
    c.check("they are what sard run computes", r.returncode == 0, r.stdout + r.stderr)
    c.error("a folder that cannot be made", sard("bench", MODEL, *FEED, "--runs", "1", "--output", tmp + "/no/way"), 3, "no/way")


def in_place(c, tmp):
    """a decoder's caches in buffers with room: the same bits as in memory of their own"""
    for family, heads in (("gpt2", 4), ("llama", 2)):
        model, out = os.path.join(ROOT, "models", "fixtures", family, "ts17", "model.onnx"), os.path.join(tmp, family)
        feed = ["--input", "input_ids=random:2x1:0..99", "--input", "attention_mask=ones:2x6"]
        for i in range(2):
            for what in ("key", "value"):
                feed += ["--input", "past.%d.%s=random:2x%dx5x8" % (i, what, heads)]
        r = sard("run", model, *feed, "--output", out + ".npz")
        c.check("a step of %s" % family, r.returncode == 0, r.stderr)
        r = sard("bench", model, *feed, "--runs", "3", "--in-place", "--output", out, "--json")
        x = json.loads(r.stdout) if r.returncode == 0 else {}
        c.check("%s: every cache is in place" % family, x.get("in_place") == 4, r.stdout + r.stderr)
        r = sard("run", model, *feed, "--expect", os.path.join(out, "0.npz"), "--rtol", "0", "--atol", "0")
        c.check("%s: the same as without" % family, r.returncode == 0, r.stdout + r.stderr)
    c.error("no caches", sard("bench", MODEL, *FEED, "--runs", "1", "--in-place"), 2, "no caches that grow in place")


def profile(c, tmp):
    trace = os.path.join(tmp, "trace.json")
    r = sard("profile", MODEL, *FEED, "--runs", "3", "--json", "--trace", trace)
    x = json.loads(r.stdout) if r.returncode == 0 else {}
    c.check("profile --json", x and x["runs"] == 3 and numbers(x, "run_ms"), r.stderr)
    steps = sum(s["ms"] for s in x["steps"])
    c.check("steps add up to less than the run", x and 0 < steps <= x["run_ms"] * 1.001, (steps, x.get("run_ms")))
    for part in ("kernels", "modules"):
        c.check("%s have the sum of the steps" % part, abs(sum(g["ms"] for g in x[part]) - steps) < 1e-3, x[part])
    c.check("every step ran once per run", all(s["calls"] == 1 for s in x["steps"]))
    with open(trace) as f:
        events = json.load(f)["traceEvents"]
    c.check("a trace event per step", len(events) == len(x["steps"]), len(events))
    c.check("events do not overlap", all(a["ts"] + a["dur"] <= b["ts"] + 0.002 for a, b in zip(events, events[1:])))
    r = sard("profile", MODEL, *FEED, "--runs", "1")
    c.check("profile as text", r.returncode == 0 and "slowest steps" in r.stdout and "by module" in r.stdout, r.stderr)


def explain(c):
    r = sard("explain", MODEL, "--device", "reference", "--json")
    x = json.loads(r.stdout) if r.returncode == 0 else {}
    c.check("explain --json", x and x["device"] == "reference" and len(x["steps"]) > 10, r.stderr)
    kinds = {s["kind"] for s in x["steps"]}
    c.check("on the reference device nothing is compiled", kinds <= {"reference", "host"}, kinds)
    c.check("steps name their node", all(s["node"] and s["nodes"][0] == s["node"] for s in x["steps"]))
    r = sard("explain", MODEL)
    c.check("explain as text ends with the sums", r.returncode == 0 and " steps on " in r.stdout.splitlines()[-1], r.stdout)
    if " steps on cpu" in r.stdout:
        y = json.loads(sard("explain", MODEL, "--json").stdout)
        c.check("on the cpu kernels have names", any(s["kind"] == "compiled" and s["kernel"] for s in y["steps"]))
        c.check("and say how their work is cut", all(bool(s["tile"]) == (s["kind"] == "compiled") for s in y["steps"]), y)
        c.check("what is not fused has a reason", any("product" in (s["why"] or "") for s in y["steps"]), y)
        c.check("what only copies is marked", any(s["copies"] for s in y["steps"]), y)
        name = next(s["kernel"] for s in y["steps"] if s["kernel"] and s["kernel"].startswith("product"))
        r = sard("explain", MODEL, "--dump-kernel", name)
        one = r.stderr.count('unit "')
        c.check("--dump-kernel prints the unit and its loops", one >= 1 and 'unit "%s"' % name in r.stderr and "for " in r.stderr, r.stderr)
        r = sard("explain", MODEL, "--dump-kernel", "all")
        c.check("all of them", r.stderr.count('unit "') == len({s["kernel"] for s in y["steps"]} - {None}) > one, r.stderr)
        c.error("no such kernel", sard("explain", MODEL, "--dump-kernel", name[1:]), 2, "no kernel is called", name)
        c.error("kernels of another device", sard("explain", MODEL, "--dump-kernel", "all", "--device", "reference"), 2, "no kernels")
        c.check("fewer steps than on reference", len(y["steps"]) <= len(x["steps"]), len(y["steps"]))


def operators(c):
    rows = json.loads(sard("ops", "--json").stdout)
    how = {r["op"]: r["cpu"] for r in rows}
    ways = ("compiled", "rewritten", "view", "host", "reference")
    c.check("every operator runs somehow", all(r["cpu"] in ways for r in rows), rows)
    c.check("and on the reference device nothing is compiled", all(r["reference"] != "compiled" for r in rows), rows)
    wanted = {"Add": "compiled", "Softmax": "compiled", "Conv": "compiled", "Attention": "compiled", "Loop": "host", "Shape": "host",
              "Reshape": "view", "SequenceAt": "host", "LinearRegressor": "rewritten", "Gradient": "rewritten"}
    c.check("how they run", all(how[op] == w for op, w in wanted.items()), {op: how[op] for op in wanted})
    resize = next(r for r in rows if r["op"] == "Resize")
    c.check("types of the signature", set(resize["types"]) == {"U"} and {"f32", "bf16", "f6e3m2"} <= set(resize["types"]["U"]), resize)
    c.check("opsets that changed its form", resize["changed"] == [11], resize)
    now, path = sard("ops", "--markdown").stdout, os.path.join(ROOT, "docs", "operators.md")
    if os.environ.get("SARD_BLESS"):
        with open(path, "w", encoding="utf-8") as f:
            f.write(now)
    with open(path, encoding="utf-8") as f:
        manual = f.read()
    c.check("docs/operators.md is what sard ops prints: `make bless` writes it", manual == now)
    c.check("and has every operator", manual.count("\n| ") == len(rows) + 1 and all("| %s |" % op in manual for op in how))


def main():
    c = Checks()
    with tempfile.TemporaryDirectory() as tmp:
        bench(c, tmp)
        in_place(c, tmp)
        profile(c, tmp)
    explain(c)
    operators(c)
    return c.done()


if __name__ == "__main__":
    sys.exit(main())
