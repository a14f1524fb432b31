# SPDX-License-Identifier: Apache-2.0
"""The tables of products and attention of `build/bench`, the best of several runs of each row.

usage: products.py [--rounds 3] [--build build] [--table FILE]

All rows are measured in every round, and the machine's peak and bandwidth before it: other work on the machine only ever makes a figure
worse, so of each the best counts, of the machine's as well. --table writes markdown between the marks in FILE.
"""

import argparse, re, subprocess
from pathlib import Path

from tables import line, write_table

MACHINE = re.compile(r"level (\S+), one thread: ([\d.]+) GFLOP/s peak, ([\d.]+) GB/s read; two threads: ([\d.]+) GFLOP/s, ([\d.]+) GB/s")
PRODUCT = re.compile(r" *(\d+ x *\d+ x *\d+) +(\d+x\d+) +([\d.]+) ms +([\d.]+) GFLOP/s .* ([\d.]+) GB/s .* two threads +([\d.]+) ms .* ms  (.*)")
HEADS = re.compile(r" *(\d+ x +\d+/ *\d+ heads, +\d+ of +\d+) +([\d.]+) ms +([\d.]+) GFLOP/s .* ms  (.*)")


def measure(build, rounds):
    """What the machine could do, and {row: [milliseconds, GFLOP/s, GB/s of B, milliseconds with two threads]} of products,
    {row: [milliseconds, GFLOP/s]} of attention; the best of each."""
    machine, products, heads, level = [0.0] * 4, {}, {}, ""
    for _ in range(rounds):
        said = subprocess.run([build / "bench", "product", "attention"], check=True, capture_output=True, text=True).stdout
        m = MACHINE.search(said)
        level, machine = m[1], [max(a, float(b)) for a, b in zip(machine, m.groups()[1:])]
        for text in said.splitlines():
            if p := PRODUCT.fullmatch(text):
                ms, rate, read, two = products.get((p[1], p[2], p[7]), (1e30, 0, 0, 1e30))
                products[p[1], p[2], p[7]] = min(ms, float(p[3])), max(rate, float(p[4])), max(read, float(p[5])), min(two, float(p[6]))
            elif h := HEADS.fullmatch(text):
                ms, rate = heads.get((h[1], h[4]), (1e30, 0))
                heads[h[1], h[4]] = min(ms, float(h[2])), max(rate, float(h[3]))
    return level, machine, products, heads


def cpu():
    return next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), "?")


def tables(level, machine, products, heads, rounds):
    peak, read, peak2, read2 = machine
    yield f"{cpu()}, code for {level}; the best of {rounds} runs. FMA {peak:.1f} GFLOP/s with one thread, {peak2:.1f} with two; reading {read:.1f} and {read2:.1f} GB/s."
    yield from ("", line(["M x N x K", "tile", "1: ms", "GFLOP/s", "of the peak", "B, GB/s", "2: ms", "of the peak", ""]), line(["---"] * 9))
    for (shape, tile, what), (ms, rate, of_b, two) in products.items():
        cells = [" ".join(shape.split()), tile, f"{ms:.3f}", f"{rate:.1f}", f"{rate / peak:.0%}", f"{of_b:.1f}"]
        yield line([*cells, f"{two:.3f}", f"{rate * ms / two / peak2:.0%}", what])
    yield from ("", line(["attention", "1: ms", "GFLOP/s", "of the peak", ""]), line(["---"] * 5))
    for (shape, what), (ms, rate) in heads.items():
        yield line([" ".join(shape.split()), f"{ms:.3f}", f"{rate:.1f}", f"{rate / peak:.0%}", what])


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
