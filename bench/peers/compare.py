# SPDX-License-Identifier: Apache-2.0
"""Measures sard and other engines on the models of models.py and quantize.py, in turn, and writes a table.

usage: compare.py DIR [--models A,B] [--threads 1,2] [--rounds 3] [--seconds 2] [--build build] [--json FILE] [--table FILE]

Every measurement is a process of its own, and the engines take turns within a round of a row, the rows within a round of all: a
slow spell of the machine meets all engines, and one round of few rows. Of each engine the best round's median counts. A ratio above
1 says that sard is faster than the best of the others. sard is measured through its command, with two sets of inputs in turn; the
outputs of the timed runs are compared with PyTorch's. Its first process in a round has an empty cache (cold), the other starts from
it (warm); start is load + first run - median.

roofline: the least time the machine could take, the larger of the operations over the measured peak (of FMA, or of the integer
instructions that 8-bit products use) and of the bytes over the measured bandwidth, both for the number of threads. Clocks drift: the
best of what is measured before and after a row in any round counts for that row. Bytes are those of the model's files, inputs and
outputs, or what the steps read and write if that is less. `of it`: roofline / sard.

Memory is the most the process held, without the caller's inputs and the stored outputs; of the others, what they added to an
interpreter with its inputs. Behind the table stands where the time goes in rows that reach neither 1.25 nor 85 % of the roofline.
--table writes markdown between the marks in FILE. Exit code 1: a row is missing or wrong.
"""

import argparse, json, math, os, platform, re, subprocess, sys, tempfile, time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tables import line, write_table  # noqa: E402

ENGINES = ["sard", "onnxruntime", "openvino"]


def error(want, got):
    """The largest difference of any output, relative to that output's largest magnitude."""
    import numpy as np

    worst = 0.0
    for name, w in want.items():
        g = got.get(name)
        if g is None or g.shape != w.shape:
            return math.inf
        w, g = w.astype(np.float64), g.astype(np.float64)
        if (np.isfinite(w) != np.isfinite(g)).any():
            return math.inf
        if w.size:
            worst = max(worst, np.abs(w - g).max() / (np.abs(w).max() + 1e-6))
    return float(worst)


def is_quantised(model):
    return "int8" in model or "int4" in model


def allowed_error(model):
    return 5e-2 if is_quantised(model) else 1e-5


@dataclass
class Figures:
    median: float  # ms
    start: float  # ms
    memory: float  # MB
    error: float

    def best_of(self, other):
        return Figures(
            min(self.median, other.median),
            min(self.start, other.start),
            max(self.memory, other.memory),
            max(self.error, other.error),
        )


# ---- the other engines: this file, run as a process of its own ----


def open_onnxruntime(path, threads):
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(None, feed)))


def open_openvino(path, threads):
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    model = ov.Core().compile_model(path, "CPU", settings)
    request = model.create_infer_request()

    def run(feed):
        out = request.infer(feed, share_inputs=True, share_outputs=True)
        return {o.any_name: out[o] for o in model.outputs}

    return run


def memory(key):
    """VmRSS: what this process holds; VmHWM: the most it held; MB."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) / 1024


def child(engine, folder, threads, seconds):
    import numpy as np

    feed, want = (dict(np.load(folder / f"{x}.npz")) for x in ("inputs", "expected"))
    __import__(engine)
    before, begin = memory("VmRSS"), time.perf_counter()
    run = {"onnxruntime": open_onnxruntime, "openvino": open_openvino}[engine](folder / "model.onnx", threads)
    out = run(feed)
    first = time.perf_counter() - begin
    wrong = error(want, {k: np.asarray(v) for k, v in out.items()})
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        at = time.perf_counter()
        run(feed)
        times.append(time.perf_counter() - at)
    median = sorted(times)[len(times) // 2]
    print(json.dumps([median * 1e3, (first - median) * 1e3, memory("VmHWM") - before, wrong]))


def measure_peer(engine, folder, threads, seconds):
    command = [sys.executable, __file__, "--child", engine, folder, str(threads), str(seconds)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
    return Figures(*json.loads(out.splitlines()[-1]))


# ---- sard ----


def other_inputs(folder, to):
    """Values of the same shapes: floats a little smaller, ids and masks rolled along the last axis."""
    import numpy as np

    change = lambda v: v * v.dtype.type(0.97) if v.dtype.kind == "f" else np.roll(v, 1, -1)
    np.savez(to, **{k: change(v) for k, v in np.load(folder / "inputs.npz").items()})


def measure_sard(build, folder, threads, seconds, work, *more):
    import numpy as np

    a, b, out = folder / "inputs.npz", work / "other.npz", work / "out"
    other_inputs(folder, b)
    command = [build / "sard", "bench", folder / "model.onnx", "--inputs", a, "--inputs", b, "--output", out]
    command += ["--threads", str(threads), "--seconds", str(seconds), "--cache", work / "cache", "--json", *more]
    with open(work / "figures", "w+") as figures, open(work / "complaint", "w+") as complaint:
        code = subprocess.run(command, stdout=figures, stderr=complaint).returncode
        complaint.seek(0), figures.seek(0)
        if code:
            raise RuntimeError(complaint.read())
        said = json.load(figures)
    held = sum(p.stat().st_size for p in [a, b, *out.iterdir()]) / 2**20
    wrong = error(dict(np.load(folder / "expected.npz")), dict(np.load(out / "0.npz")))
    start = said["load_ms"] + said["first_ms"] - said["median_ms"]
    return Figures(said["median_ms"], start, said["peak_rss_mb"] - held, wrong)


# ---- what the machine could do ----


@dataclass
class Machine:
    cpu: str
    level: str
    peak: dict  # threads: GFLOP/s, of all together
    integer_peak: dict  # the same of products of 8-bit integers
    bandwidth: dict  # threads: GB/s

    def best_of(self, other):
        larger = lambda a, b: {k: max(a[k], b[k]) for k in a}
        return Machine(self.cpu, self.level, *(larger(getattr(self, of), getattr(other, of)) for of in ("peak", "integer_peak", "bandwidth")))


def know_machine(build):
    """From the project's own benchmark, which measures both."""
    said = subprocess.run([build / "bench", "machine"], check=True, capture_output=True, text=True).stdout
    rates = r"([\d.]+) GFLOP/s(?: peak)?, ([\d.]+) GB/s"
    m = re.search(rf"level (\S+), one thread: {rates} read; two threads: {rates}", said)
    integer = re.search(r"8-bit integers, one thread: ([\d.]+) Gop/s peak; two threads: ([\d.]+) Gop/s", said)
    names = [x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")]
    cpu = f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    both = lambda one, two: {1: float(one), 2: float(two)}
    return Machine(cpu, m[1], both(m[2], m[4]), both(integer[1], integer[2]), both(m[3], m[5]))


def profile(build, folder, threads):
    """The steps of a run."""
    command = [build / "sard", "profile", folder / "model.onnx", "--inputs", folder / "inputs.npz", "--json", "--cache", "off"]
    said = subprocess.run([*command, "--threads", str(threads)], check=True, capture_output=True, text=True).stdout
    return json.loads(said)["steps"]


def peak_of(machine, folder, threads):
    return (machine.integer_peak if "int8" in folder.name else machine.peak)[min(threads, 2)]


def roofline(machine, folder, threads, steps):
    """Milliseconds, and what bounds them."""
    rate = lambda key: sum(s[key] * s["ms"] * s["calls"] for s in steps) * 1e6
    files = sum(p.stat().st_size for p in folder.iterdir())  # the model, its data, inputs and outputs
    peak = peak_of(machine, folder, threads)
    work, traffic = rate("gflops") / peak / 1e6, min(rate("gb_s"), files) / machine.bandwidth[min(threads, 2)] / 1e6
    return (work, "operations") if work > traffic else (traffic, "memory")


def where(machine, folder, threads, steps):
    """The kinds of steps that take a twentieth of the time or more, and how near they come to what bounds them."""
    kinds = {}
    for s in steps:
        name = (s["kernel"] or s["op"]).split(".")
        kind = kinds.setdefault(" ".join(name[:2]) if name[0] == "conv" else name[0], [0, 0])
        ms = s["ms"] * s["calls"]
        share = max(s["gflops"] / peak_of(machine, folder, threads), s["gb_s"] / machine.bandwidth[min(threads, 2)])
        kind[0] += ms
        kind[1] += ms * share
    whole = sum(ms for ms, _ in kinds.values())
    large = sorted(((ms, k, share) for k, (ms, share) in kinds.items() if ms >= whole / 20), reverse=True)
    return "; ".join(f"{k} {ms / whole:.0%}, at {share / ms:.0%}" for ms, k, share in large)


# ---- the comparison ----


@dataclass
class Row:
    model: str
    threads: int
    figures: dict = field(default_factory=dict)  # engine: Figures
    cold: Figures = None
    bound: tuple = None
    machine: Machine = None  # as it was around the row
    failed: dict = field(default_factory=dict)  # engine: message
    where: str = ""

    @property
    def ratio(self):
        others = [f.median for e, f in self.figures.items() if e != "sard"]
        return min(others) / self.figures["sard"].median if others and "sard" in self.figures else None

    @property
    def right(self):
        return "sard" in self.figures and self.figures["sard"].error <= allowed_error(self.model)

    @property
    def fast(self):
        return bool(self.ratio and (self.ratio >= 1.25 or self.share and self.share >= 0.85))

    @property
    def share(self):
        return self.bound[0] / self.figures["sard"].median if self.bound and "sard" in self.figures else None


def best(old, new):
    return old.best_of(new) if old else new


def measure(a, row):
    """One round of a row."""
    folder = a.dir / row.model
    row.machine = best(row.machine, know_machine(a.build))
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        for engine in ENGINES:
            try:
                if engine != "sard":
                    f = measure_peer(engine, folder, row.threads, a.seconds)
                else:
                    row.cold = best(row.cold, measure_sard(a.build, folder, row.threads, 0, work))
                    f = measure_sard(a.build, folder, row.threads, a.seconds, work)
                row.figures[engine] = best(row.figures.get(engine), f)
            except (subprocess.SubprocessError, RuntimeError) as e:
                row.failed[engine] = str(getattr(e, "stderr", None) or e).strip()
    row.machine = row.machine.best_of(know_machine(a.build))


def explain(a, row):
    if "sard" in row.figures:
        steps = profile(a.build, a.dir / row.model, row.threads)
        row.bound = roofline(row.machine, a.dir / row.model, row.threads, steps)
        row.where = where(row.machine, a.dir / row.model, row.threads, steps)


def cells(row):
    s, o = row.figures.get("sard"), row.figures.get("onnxruntime")
    number = lambda x, form: "-" if x is None else format(x, form)
    yield row.model
    yield str(row.threads)
    for engine in ENGINES:
        yield number(row.figures[engine].median, ".2f") if engine in row.figures else "failed"
    yield number(row.ratio, ".2f")
    yield f"{row.bound[0]:.2f} {row.bound[1]}" if row.bound else "-"
    yield number(row.share, ".0%")
    yield number(s and s.error, ".0e")
    yield f"{row.cold.start:.0f} / {s.start:.0f} / {o.start:.0f}" if s and o else "-"
    yield f"{row.cold.memory:.0f} / {s.memory:.0f} / {o.memory:.0f}" if s and o else "-"


HEAD = ["model", "threads", *(e + " ms" for e in ENGINES), "ratio", "roofline ms", "of it", "error"]
HEAD += ["start ms: cold / warm / onnxruntime", "memory MB: cold / warm / onnxruntime"]


def summary(rows):
    ratios = [r.ratio for r in rows if r.ratio]
    if not ratios:
        return "nothing was measured"
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    fast = sum(r.fast for r in rows)
    return (
        f"Geometric mean {mean:.3f}, slowest {min(ratios):.2f}; {len(ratios)} of {len(rows)} rows measured; "
        f"{fast} at 1.25 or more, or at 85 % of the roofline or more."
    )


def span(rows, unit, of):
    """The least and the most that the machine could do around any row."""
    for threads in sorted({r.threads for r in rows}):
        seen = [of(r.machine)[min(threads, 2)] for r in rows if r.machine and r.threads == threads]
        yield f"{min(seen):.1f} to {max(seen):.1f} {unit} with {threads}" if seen else f"no {unit} with {threads}"


def slower(rows):
    """Of the rows that reach neither, what explains it."""
    rows = [r for r in rows if r.ratio and not r.fast]
    if rows:
        yield from ("", "Of the others, what their steps take of the time, and their share of the peak or, if that is more, of the bandwidth:", "")
        yield from (line(["model", "threads", "ratio", "of it", "steps"]), line(["---"] * 5))
    for r in rows:
        yield line([r.model, str(r.threads), f"{r.ratio:.2f}", f"{r.share:.0%}", r.where])


def table(rows, a):
    versions = ", ".join(f"{e} {version(e)}" for e in ENGINES[1:])
    machine = next((r.machine for r in rows if r.machine), None) or know_machine(a.build)
    figures = (("GFLOP/s", lambda m: m.peak), ("Gop/s", lambda m: m.integer_peak), ("GB/s", lambda m: m.bandwidth))
    flops, integer, bytes = (", ".join(span(rows, *x)) for x in figures)
    return [
        f"{machine.cpu}, code for {machine.level}. {versions}. Around the rows: FMA {flops} of threads; "
        f"8-bit products {integer}; reading {bytes}.",
        f"Medians, the best of {a.rounds} rounds of {a.seconds:g} s.",
        "",
        line(HEAD),
        line(["---"] * len(HEAD)),
        *(line(cells(r)) for r in rows),
        "",
        summary(rows),
        *slower(rows),
    ]


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir", type=Path)
    p.add_argument("--models", type=lambda s: s.split(","))
    p.add_argument("--threads", type=lambda s: [int(x) for x in s.split(",")], default=[1, 2])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=2)
    p.add_argument("--build", type=Path, default=Path("build"))
    p.add_argument("--json", type=Path)
    p.add_argument("--table", type=Path)
    return p.parse_args()


def main():
    a = options()
    models = a.models or sorted(p.parent.name for p in a.dir.glob("*/model.onnx"))
    rows = [Row(model, threads) for model in models for threads in a.threads]
    print(line(HEAD), flush=True)
    for i in range(a.rounds):
        for row in rows:
            measure(a, row)
            if i + 1 == a.rounds:
                explain(a, row)
                print(line(cells(row)), flush=True)
    print(summary(rows))
    for r in rows:
        for engine, message in r.failed.items():
            print(f"{r.model}, {engine}, {r.threads} threads: {message}", file=sys.stderr)
    if a.json:
        a.json.write_text(json.dumps(rows, default=lambda r: vars(r), indent=1))
    if a.table:
        write_table(a.table, "compare.py", table(rows, a))
    return 0 if all(r.ratio and r.right for r in rows) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    else:
        sys.exit(main())
