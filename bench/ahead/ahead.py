# SPDX-License-Identifier: Apache-2.0
"""Measures how models start: with an empty compile cache, from the cache, and as compiled libraries; writes a table.

usage: ahead.py DIR [--models minilm,bert_base,…] [--rounds 5] [--build build] [--table FILE]

DIR has the models of bench/peers/models.py. Models and ways to start take turns within a round, every start is a process of its own,
and of all rounds the median counts; two threads. cold, warm and library are the time to the first result beyond that of a run:

  cold     load + first run - median run, with an empty cache (what writing its entry takes is apart, behind the first result)
  warm     the same from the cache's entry, and of a whole process of sard run, from its start to its end, - median run
  library  the same of a program that opens the compiled .so; opened: from dlopen until the model is ready
  touch    reading one byte of every page of the cache's entry, mapped, in the same round: what the machine takes for the weights

PSS is the memory of each of two processes with what they share divided between them, and that of one alone.
"""

import argparse, json, os, re, statistics, subprocess, sys, tempfile, time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tables import line, write_table  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
RUNS = "9"


class Model:
    def __init__(self, a, name, work):
        self.name, self.work, self.sard, self.start = name, work / name, a.build / "sard", work / "start"
        self.path, self.inputs = a.dir / name / "model.onnx", a.dir / name / "inputs.npz"
        self.cache, self.library = self.work / "cache", self.work / "model.so"
        self.times = {}
        self.work.mkdir()
        subprocess.run([self.sard, "compile", self.path, "-o", self.library], check=True)
        self.arrays = self.unpack()

    def unpack(self):
        """The inputs as .npy files, in the model's order."""
        import numpy as np

        arrays = dict(np.load(self.inputs))
        ports = json.loads(self.output("inspect", self.library, "--json"))["inputs"]
        for i, port in enumerate(ports):
            np.save(self.work / f"{i}.npy", arrays[port["name"]])
        return [self.work / f"{i}.npy" for i in range(len(ports))]

    def output(self, *command):
        return subprocess.run([self.sard, *command], check=True, capture_output=True, text=True).stdout

    def bench(self, *options):
        d = json.loads(self.output("bench", self.path, "--inputs", self.inputs, "--threads", "2", "--runs", RUNS, "--json", *options))
        return d, d["load_ms"] + d["first_ms"] - d["median_ms"]

    def add(self, what, value):
        self.times.setdefault(what, []).append(value)

    def open_library(self):
        command = [self.start, self.library, RUNS, *self.arrays]
        p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return p, [float(x) for x in p.stdout.readline().split()]

    def one_round(self):
        for f in self.cache.glob("*"):
            f.unlink()
        d, cold = self.bench("--cache", self.cache)
        self.add("cold", cold), self.add("write", d["cache_write_ms"] or 0)
        d, warm = self.bench("--cache", self.cache)
        self.add("warm", warm), self.add("run", d["median_ms"])
        begin = time.perf_counter()
        self.output("run", self.path, "--inputs", self.inputs, "--threads", "2", "-q", "--cache", self.cache)
        self.add("process", (time.perf_counter() - begin) * 1e3 - d["median_ms"])
        p, (opened, first, median) = self.open_library()
        p.communicate()
        self.add("opened", opened), self.add("library", first - median)
        entry = next(self.cache.glob("*.sard"))
        said = subprocess.run([self.start, "--touch", entry], check=True, capture_output=True, text=True).stdout
        self.add("touch", float(said.split()[0]))

    def median(self, what):
        return statistics.median(self.times[what])

    def memory(self):
        """MB of one process of the library alone, of each of two, and of the weights."""
        one, _ = self.open_library()
        alone = pss(one)
        two, _ = self.open_library()
        both = [pss(one), pss(two)]
        one.communicate(), two.communicate()
        return alone, max(both), json.loads(self.output("inspect", self.library, "--json"))["compiled"]["weights"] / 2**20


def pss(process):
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss: +(\d+) kB", text, re.M)[1]) / 1024


def table(head, rows):
    return [line(head), line(["---"] * len(head)), *map(line, rows)]


def starts(models):
    head = ["model", "run ms", "cold", "entry written in", "warm", "whole process", "touch", "library", "opened"]
    what = ["run", "cold", "write", "warm", "process", "touch", "library", "opened"]
    return table(head, ([m.name, *(f"{m.median(w):.1f}" for w in what)] for m in models))


def memories(models):
    rows = ([m.name, *(f"{x:.1f}" for x in m.memory())] for m in models)
    return table(["model", "one process MB", "each of two", "weights"], rows)


def sizes(a, work):
    """A small model as every kind of file: without its weights, code, runtime and program are what there is."""
    source, rows = ROOT / "models" / "fixtures" / "minilm" / "dynamo" / "model.onnx", []
    for name, options in {"model.sard": [], "model.o": [], "model.a": [], "model.so": [], "fixed.so": ["--bind", "batch=1,seq=16"],
                          "program": []}.items():
        out = work / name
        subprocess.run([a.build / "sard", "compile", source, "--exe" if name == "program" else "-o", out, *options], check=True)
        d = json.loads(subprocess.run([a.build / "sard", "inspect", out, "--json"], check=True, capture_output=True, text=True).stdout)
        d, kb = d["compiled"], lambda n: f"{n / 1e3:.0f}"
        rows.append([name, *map(kb, (d["bytes"], d["code"], d["programs"], d["weights"], d["bytes"] - d["weights"]))])
    needs = subprocess.run(["ldd", work / "fixed.so"], check=True, capture_output=True, text=True).stdout
    needs = re.sub(r" \(0x[0-9a-f]+\)", "", needs)
    return [*table(["file", "kB", "kernels", "programs", "weights", "all but weights"], rows), "", "    $ ldd fixed.so",
            *("    " + x.strip() for x in needs.splitlines())]


def machine():
    said = subprocess.run(["lscpu"], capture_output=True, text=True).stdout
    model = re.search(r"Model name: *(.*)", said)
    has = lambda flag: bool(re.search(rf"\b{flag}\b", said))
    flags = [name for flag, name in (("avx512f", "AVX-512"), ("avx512_vnni", "VNNI"), ("avx512_bf16", "BF16")) if has(flag)]
    return f"{model[1] if model else 'unknown'}, {len(os.sched_getaffinity(0))} cores, {' '.join(flags)}"


def build_start(work):
    command = ["cc", "-O2", "-I", ROOT, "-I", ROOT / "include", ROOT / "bench/ahead/start.c", ROOT / "start/npy.c", "-L"]
    library = os.environ.get("SARD_BUILD", ROOT / "build")
    subprocess.run([*command, library, "-lsard", f"-Wl,-rpath,{library}", "-ldl", "-o", work / "start"], check=True)


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir", type=Path)
    p.add_argument("--models", type=lambda s: s.split(","), default=["minilm", "bert_base", "llama_135m"])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--build", type=Path, default=ROOT / "build")
    p.add_argument("--table", type=Path)
    return p.parse_args()


def main():
    a = options()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        build_start(work)
        models = [Model(a, name, work) for name in a.models]
        for _ in range(a.rounds):
            for m in models:
                m.one_round()
        said = [f"{machine()}; medians of {a.rounds} rounds, two threads, milliseconds.", "", *starts(models), "", *memories(models), "",
                *sizes(a, work)]
    print("\n".join(said))
    if a.table:
        write_table(a.table, "ahead.py", said)


if __name__ == "__main__":
    sys.exit(main())
