# SPDX-License-Identifier: Apache-2.0
"""How much memory sard and ONNX Runtime take for the models of models.py and quantize.py, beside what it may be, as a table.

usage: memory.py DIR [--models A,B] [--threads 2] [--seconds 0.5] [--build build] [--table FILE]

The most a process held, without the caller's inputs (one set of them) and the outputs, and without what reads them from files: ONNX
Runtime's figure, as in compare.py, is what it takes on top of NumPy's process; sard's is of a process given .npy files, which it reads
without a library. The first process of sard has an empty compile cache (cold), the second starts from it (warm). The bounds are made of
what `sard plan` says:

    warm:  the weights + 1.1 times the largest sum of values that live at once + 8 MB, and not above ONNX Runtime
    cold:  1.25 times the weights + 1.1 times those values + 64 MB

Exit code 1: something is above its bound.
"""

import argparse, json, subprocess, sys, tempfile
from pathlib import Path

from compare import line, measure_peer, write_table

HEAD = ["model", "weights", "values", "warm", "bound", "onnxruntime", "cold", "bound", ""]
MB = 2**20


def planned(build, folder, threads):
    """MB of all weights and their packed forms, and of the values that live at once, as `sard plan` has them."""
    command = [build / "sard", "plan", folder / "model.onnx", "--inputs", folder / "inputs.npz", "--threads", str(threads), "--json"]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return sum(said["weights"].values()) / MB, said["peak"] / MB


def measure_sard(a, folder, seconds, work):
    """MB that a process of `sard bench` held at most; its compile cache is in the folder work."""
    import numpy as np

    command = [a.build / "sard", "bench", folder / "model.onnx", "--threads", str(a.threads), "--seconds", str(seconds)]
    command += ["--cache", work / "cache", "--json"]
    held = (folder / "expected.npz").stat().st_size
    for i, (name, value) in enumerate(np.load(folder / "inputs.npz").items()):
        file = work / f"{i}.npy"
        np.save(file, value)
        command += ["--input", f"{name}={file}"]
        held += file.stat().st_size
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return said["peak_rss_mb"] - held / MB


def row(a, folder):
    weights, values = planned(a.build, folder, a.threads)
    with tempfile.TemporaryDirectory() as work:
        cold, warm = (measure_sard(a, folder, s, Path(work)) for s in (0, a.seconds))
    peer = measure_peer("onnxruntime", folder, a.threads, a.seconds).memory
    most_warm, most_cold = weights + 1.1 * values + 8, 1.25 * weights + 1.1 * values + 64
    above = [name for name, bad in [("warm", warm > most_warm), ("onnxruntime", warm > peer), ("cold", cold > most_cold)] if bad]
    numbers = [weights, values, warm, most_warm, peer, cold, most_cold]
    return [folder.name, *(f"{x:.0f}" for x in numbers), "above: " + ", ".join(above) if above else ""]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir", type=Path)
    p.add_argument("--models", type=lambda s: s.split(","))
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seconds", type=float, default=0.5)
    p.add_argument("--build", type=Path, default=Path("build"))
    p.add_argument("--table", type=Path)
    a = p.parse_args()
    rows = []
    print(line(HEAD), flush=True)
    for model in a.models or sorted(p.parent.name for p in a.dir.glob("*/model.onnx")):
        rows.append(row(a, a.dir / model))
        print(line(rows[-1]), flush=True)
    if a.table:
        lines = [f"MB, {a.threads} threads.", "", line(HEAD), line(["---"] * len(HEAD)), *(line(r) for r in rows)]
        write_table(a.table, "memory.py", lines)
    return 1 if any(r[-1] for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
