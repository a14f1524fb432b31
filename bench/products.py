# SPDX-License-Identifier: Apache-2.0
"""The tables of products and attention of `build/bench`, the best of several runs of each row.

usage: products.py [--rounds 3] [--build build] [--table FILE]

All rows are measured in every round, and the machine's peak and bandwidth before it: other work on the machine only ever makes a figure
worse, so of each the best counts, of the machine's as well. --table writes markdown between the marks in FILE.
"""

import argparse, re, subprocess
from pathlib import Path

from tables import write_table

MACHINE = re.compile(r"level (\S+), one thread: ([\d.]+) GFLOP/s peak, ([\d.]+) GB/s read; two threads: ([\d.]+) GFLOP/s, ([\d.]+) GB/s")
PRODUCT = re.compile(r" *(\d+) x *(\d+) x *(\d+) +(\d+x\d+) +([\d.]+) ms +([\d.]+) GFLOP/s .* two threads +([\d.]+) ms +([\d.]+) % .* ms  (.*)")
HEADS = re.compile(r" *(\d+ x +\d+/ *\d+ heads, +\d+ of +\d+) +([\d.]+) ms +([\d.]+) GFLOP/s .* ms  (.*)")


def line(values):
    return "| " + " | ".join(values) + " |"


def measure(build, rounds):
    """The machine's figures, {row: (milliseconds with one thread, with two, GFLOP of one run)} of products, and of attention."""
    machine, products, heads, level = [0.0] * 4, {}, {}, ""
    least = lambda a, b: tuple(map(min, a, b)) if a else b
    for _ in range(rounds):
        said = subprocess.run([build / "bench", "product", "attention"], check=True, capture_output=True, text=True).stdout
        m = MACHINE.search(said)
        level, machine = m[1], [max(a, float(b)) for a, b in zip(machine, m.groups()[1:])]
        for text in said.splitlines():
            if p := PRODUCT.fullmatch(text):
                key = (f"{p[1]} x {p[2]} x {p[3]}", p[4], p[9])
                products[key] = least(products.get(key), (float(p[5]), float(p[7])))
            elif h := HEADS.fullmatch(text):
                ms = float(h[2])
                work = float(h[3]) * ms
                heads[h[1], h[4]] = least(heads.get((h[1], h[4])), (ms, work))
    return level, machine, products, heads


def cpu():
    return next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), "?")


def tables(level, machine, products, heads, rounds):
    peak, read, peak2, read2 = machine
    yield f"{cpu()}, code for {level}; the best of {rounds} runs. FMA {peak:.1f} GFLOP/s with one thread, {peak2:.1f} with two; reading {read:.1f} and {read2:.1f} GB/s."
    yield from ("", line(["M x N x K", "tile", "1: ms", "GFLOP/s", "of the peak", "B, GB/s", "2: ms", "of the peak", ""]), line(["---"] * 9))
    for (shape, tile, what), (one, two) in products.items():
        m, n, k = map(int, shape.split(" x "))
        batch = int(what.split(" times")[0]) if " times" in what else 1
        work = 2e-6 * batch * m * n * k
        cells = [shape, tile, f"{one:.3f}", f"{work / one:.1f}", f"{work / one / peak:.0%}", f"{4e-6 * batch * n * k / one:.1f}"]
        yield line([*cells, f"{two:.3f}", f"{work / two / peak2:.0%}", what])
    yield from ("", line(["attention", "1: ms", "GFLOP/s", "of the peak", ""]), line(["---"] * 5))
    for (shape, what), (ms, work) in heads.items():
        yield line([" ".join(shape.split()), f"{ms:.3f}", f"{work / ms:.1f}", f"{work / ms / peak:.0%}", what])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--build", type=Path, default=Path("build"))
    p.add_argument("--table", type=Path)
    a = p.parse_args()
    lines = list(tables(*measure(a.build, a.rounds), a.rounds))
    print("\n".join(lines))
    if a.table:
        write_table(a.table, "products.py", lines)


if __name__ == "__main__":
    main()
