# SPDX-License-Identifier: Apache-2.0
"""Measures sard on models of models.py in every precision of the CPU, and writes a table.

usage: precision.py DIR [--models A,B] [--precisions P,Q] [--threads 1,2] [--rounds 3] [--seconds 1] [--build build] [--json FILE]
                    [--table FILE]

The precisions take turns within a round, and of each the best round's median counts, as in compare.py. The error is against PyTorch's
outputs in f32, the largest difference of an output over its largest magnitude. Packed weights are those of `sard plan`. What FILE of
--json has is kept where it isn't measured again, so that pieces make one table. Exit code 1: an error is above what its precision allows.
"""

import argparse, json, subprocess, sys, tempfile
from pathlib import Path

from compare import know_machine, line, measure_sard
from tables import write_table

MODELS = ["bert_base", "vit_base", "gpt2_step", "llama_135m_step", "resnet50"]
# What a number may be off by is 2^-24, 2^-8, 2^-11 and 1/254 of its block; a model's products add some of that up.
ALLOWED = {"fp32": 1e-5, "bf16": 5e-2, "fp16": 5e-3, "int8": 5e-2}
HEAD = ["model", "precision", "ms, 1 thread", "ms, 2 threads", "error", "packed weights MB"]


def packed(build, folder, precision):
    command = [build / "sard", "plan", folder / "model.onnx", "--inputs", folder / "inputs.npz", "--json", "--cache", "off"]
    said = subprocess.run([*command, "--precision", precision], check=True, capture_output=True, text=True).stdout
    return json.loads(said)["weights"]["packed"] / 2**20


def measure(a, model):
    """[row of a precision]"""
    folder = a.dir / model
    rows = {p: {"model": model, "precision": p, "ms": {}, "error": 0.0} for p in a.precisions}
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        for p in a.precisions:
            measure_sard(a.build, folder, 1, 0, work, "--precision", p)  # compiles
            rows[p]["packed"] = packed(a.build, folder, p)
        for threads in a.threads * a.rounds:
            for p, row in rows.items():
                f = measure_sard(a.build, folder, threads, a.seconds, work, "--precision", p)
                row["ms"][str(threads)] = min(f.median, row["ms"].get(str(threads), f.median))
                row["error"] = max(row["error"], f.error)
    return list(rows.values())


def cells(row):
    ms = [f"{row['ms'][t]:.2f}" if t in row["ms"] else "" for t in ("1", "2")]
    return [row["model"], row["precision"], *ms, f"{row['error']:.0e}", f"{row['packed']:.0f}"]


def table(machine, rows, a):
    rates = ", ".join(f"{machine.peak[k]:.1f} GFLOP/s and {machine.bandwidth[k]:.1f} GB/s with {k}" for k in machine.peak)
    return [
        f"{machine.cpu}, code for {machine.level}; FMA and reading: {rates} of threads.",
        f"Medians, the best of {a.rounds} rounds of {a.seconds:g} s.",
        "",
        line(HEAD),
        line(["---"] * len(HEAD)),
        *(line(cells(r)) for r in rows),
    ]


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = lambda s: s.split(",")
    p.add_argument("dir", type=Path)
    p.add_argument("--models", type=names, default=MODELS)
    p.add_argument("--precisions", type=names, default=list(ALLOWED))
    p.add_argument("--threads", type=lambda s: [int(x) for x in s.split(",")], default=[1, 2])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=1)
    p.add_argument("--build", type=Path, default=Path("build"))
    p.add_argument("--json", type=Path)
    p.add_argument("--table", type=Path)
    return p.parse_args()


def main():
    a = options()
    machine = know_machine(a.build)
    rows = {(r["model"], r["precision"]): r for r in json.loads(a.json.read_text())} if a.json and a.json.exists() else {}
    for model in a.models:
        for row in measure(a, model):
            rows[row["model"], row["precision"]] = row
            print(line(cells(row)), flush=True)
        if a.json:
            a.json.write_text(json.dumps(list(rows.values()), indent=1))
    if a.table:
        write_table(a.table, "precision.py", table(machine, rows.values(), a))
    return 0 if all(r["error"] <= ALLOWED[r["precision"]] for r in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
