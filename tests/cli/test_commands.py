#!/usr/bin/env python3
"""Exit codes, interrupts, time limits, JSON, colour, completion, `sard test` with cases that fail in every way, and
`sard inspect` of a 10 GB model.

SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import models
import onnx_writer as w
from harness import SARD, Checks, sard

SANITIZED = "asan" in os.environ.get("SARD_BUILD", "")


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    return path


# --- interrupts ---


# Time is the program's own processor time, as other tests run beside this one: a loop without end uses it up.


def processor_time(pid):
    with open(f"/proc/{pid}/stat") as f:
        user, system = f.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def until(condition):
    for _ in range(2000):
        if condition():
            break
        time.sleep(0.01)


def finish(p):
    """what the program printed, and the processor time it took in all; it is killed after a minute"""
    killer = threading.Timer(60, p.kill)
    killer.start()
    stdout, stderr = p.stdout.read(), p.stderr.read()
    _, status, usage = os.wait4(p.pid, 0)
    killer.cancel()
    p.stdout.close(), p.stderr.close()
    p.returncode = os.waitstatus_to_exitcode(status)
    return stdout, stderr, usage.ru_utime + usage.ru_stime


def interrupts(c, tmp):
    m = write(os.path.join(tmp, "loop.onnx"), models.loop_forever())
    out = os.path.join(tmp, "out.npz")
    p = subprocess.Popen(
        [SARD, "run", m, "--input", "x=0", "-o", out], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: processor_time(p.pid) > 0.5)
    before = processor_time(p.pid)
    p.send_signal(signal.SIGINT)
    stdout, stderr, seconds = finish(p)
    c.check(
        "an interrupt ends a run with 130",
        p.returncode == 130 and stdout == "" and "interrupted" in stderr,
        (p.returncode, stderr),
    )
    c.check("soon", seconds - before < 2, (before, seconds))
    p = subprocess.Popen(
        [SARD, "run", m, "--input", "x=0", "--timeout", "0.3", "-o", out],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    stdout, stderr, seconds = finish(p)
    c.check("a time limit ends a run", p.returncode == 5 and "time limit" in stderr, (p.returncode, stderr))
    c.check("in time", seconds < 3, seconds)
    c.error("a byte budget", sard("run", m, "--input", "x=0", "--max-memory", "1K"), 5, "out of memory")
    c.check("nothing was stored", os.listdir(tmp) == ["loop.onnx"], os.listdir(tmp))


# --- sard test ---


def case(folder, model, sets, tolerance=None):
    """sets: [(inputs, outputs)] of TensorProto bytes"""
    write(os.path.join(folder, "model.onnx"), model)
    for n, (ins, outs) in enumerate(sets):
        for stem, values in (("input", ins), ("output", outs)):
            for i, v in enumerate(values):
                write(os.path.join(folder, "test_data_set_%d" % n, "%s_%d.pb" % (stem, i)), v)
    if tolerance:
        write(os.path.join(folder, "tolerance.txt"), tolerance.encode())


def f32(values, name="t"):
    return w.tensor(name, w.F32, [1, len(values)], values)


def scalar(v):
    return w.tensor("x", w.F32, [], [v])


def case_suite(root):
    x, good = f32([1, 2, 3]), f32([11, 22, 33])
    case(root + "/a/good", models.add(), [([x], [good]), ([f32([0, 0, 0])], [f32([10, 20, 30])])])
    case(root + "/a/close", models.add(), [([x], [f32([11, 22.02, 33])])])
    case(root + "/a/strict", models.add(), [([x], [f32([11, 22.02, 33])])], "1e-6 0")
    case(root + "/b/wrong", models.add(), [([x], [good]), ([x], [f32([11, 23, 33])])])
    case(root + "/b/shape", models.add(), [([x], [w.tensor("y", w.F32, [3], [11, 22, 33])])])
    case(root + "/b/dtype", models.add(), [([x], [w.tensor("y", w.F64, [1, 3], [11, 22, 33])])])
    case(root + "/b/unknown", models.unknown(), [([w.tensor("x", w.F32, [1], [1])], [w.tensor("y", w.F32, [1], [1])])])
    case(root + "/b/damaged", models.add()[:-20], [([x], [good])])
    case(root + "/b/badinput", models.add(), [([x[:-2]], [good])])
    case(root + "/b/rejected", models.gather(), [([w.tensor("i", w.I64, [1], [7])], [f32([0, 1])])])
    case(root + "/c/nosets", models.add(), [])
    case(
        root + "/c/sequence",
        models.sequences(),
        [
            (
                [w.tensor("x", w.F32, [2, 2], [1, 2, 3, 4])],
                [w.sequence("y", [w.tensor("", w.F32, [1, 2], [1, 2]), w.tensor("", w.F32, [1, 2], [3, 4])])],
            )
        ],
    )


def conformance(c, tmp):
    case_suite(tmp)
    want = {
        "a/good": ("passed", ""),
        "a/close": ("passed", ""),
        "a/strict": ("failed", "out of tolerance"),
        "b/wrong": ("failed", "test_data_set_1: output 'y': 1 of 3"),
        "b/shape": ("failed", "is f32[1,3], expected f32[3]"),
        "b/dtype": ("failed", "expected f64"),
        "b/unknown": ("failed", "Frobnicate"),
        "b/damaged": ("failed", ""),
        "b/badinput": ("failed", ""),
        "b/rejected": ("failed", "model.py:12"),
        "c/nosets": ("skipped", "test_data_set_N"),
        "c/sequence": ("passed", ""),
    }
    for jobs in ("1", "3"):
        r = sard("test", "--json", "-j", jobs, tmp)
        try:
            d = json.loads(r.stdout)
        except ValueError:
            c.check("test --json is JSON", False, r.stdout + r.stderr)
            return
        got = {x["case"]: x for x in d["cases"]}
        for name, (result, text) in want.items():
            x = got.get(name, {})
            c.check("%s, %s jobs" % (name, jobs), x.get("result") == result and text in x.get("reason", ""), x)
        c.check(
            "counts",
            (d["passed"], d["failed"], d["skipped"]) == (3, 8, 1) and len(d["cases"]) == 12 and r.returncode == 1,
        )
        c.check("order of names", [x["case"] for x in d["cases"]] == sorted(want))
        c.check("steps by kind", sum(got["a/good"]["steps"].values()) == 1, got["a/good"])
    r = sard("test", tmp)
    lines = r.stdout.splitlines()
    c.check("last line", lines[-1] == "3 passed, 8 failed, 1 skipped" and r.returncode == 1, r.stdout)
    c.check("a line per case", len(lines) == 13 and lines[0].startswith("passed  a/close"), lines[0])
    r = sard("test", "-q", tmp)
    c.check("quiet: failures only", "a/good" not in r.stdout and "b/wrong" in r.stdout, r.stdout)
    r = sard("test", tmp + "/a/good", tmp + "/a/close")
    c.check(
        "folders that are cases",
        r.returncode == 0 and r.stdout.splitlines()[-1] == "2 passed, 0 failed, 0 skipped",
        r.stdout,
    )
    r = sard("test", "--relative", "1e-5", tmp + "/a")
    c.check("--relative", r.returncode == 1 and r.stdout.splitlines()[-1] == "1 passed, 2 failed, 0 skipped", r.stdout)
    r = sard("test", "--require", "compiled", "--device", "reference", tmp + "/a/good")
    c.check("--require compiled", r.returncode == 1 and "reference" in r.stdout, r.stdout)
    needy = tmp + "/needy"
    case(needy + "/d/ranks", models.ranks(), [([w.tensor("x", w.F32, [1], [0])], [w.tensor("y", w.F32, [1], [1])])])
    r = sard("test", "--device", "cpu", needy)
    c.check("a reference step fails a case", r.returncode == 1 and "no code generation" in r.stdout and "root" in r.stdout, r.stdout)
    r = sard("test", "--device", "cpu", "--json", "--allow", "reference", needy)
    d = json.loads(r.stdout)
    c.check("unless it is allowed", r.returncode == 0 and d["cases"][0]["steps"]["reference"] == 2 and not r.stderr, r.stdout + r.stderr)
    r = sard("test", "--device", "cpu", "--allow", "reference", "--require", "compiled", needy)
    c.check("or compiled steps are required", r.returncode == 1 and "--require compiled refuses" in r.stdout, r.stdout)


def random_numbers(c, tmp):
    n = 40
    x, zeros, double = ([i / 8 - 2 for i in range(n)], [0] * n, [i / 4 - 4 for i in range(n)])

    def vector(values):
        return w.tensor("t", w.F32, [len(values)], values)

    case(tmp + "/good", models.noise(), [([vector(x)], [vector(zeros), vector(double)])])
    case(tmp + "/shape", models.noise(), [([vector(x)], [vector(zeros[1:]), vector(double)])])
    case(tmp + "/other", models.noise(), [([vector(x)], [vector(zeros), vector(zeros)])])
    case(tmp + "/body", models.noise_in_body(), [([vector(double)], [vector(zeros)])])
    case(tmp + "/function", models.noise_in_function(), [([vector(x)], [vector(zeros), vector([-v for v in x])])])
    case(tmp + "/none", models.noise_in_body(), [([vector(zeros)], [vector(zeros)])])
    want = {
        "good": ("passed", "RandomNormalLike: ", "Dropout: "),
        "shape": ("failed", "output 'r': is f32[40], expected f32[39]"),
        "other": ("failed", "output 's': 39 of 40 elements out of tolerance"),
        "body": ("failed", "RandomUniformLike draws random numbers in a function or body"),
        "function": ("failed", "RandomUniformLike draws random numbers in a function or body"),
        "none": ("passed", ""),
    }
    for device in ("reference", "cpu"):
        r = sard("test", "--json", "--device", device, "--allow", "reference", tmp)
        d = json.loads(r.stdout)
        got = {x["case"]: x for x in d["cases"]}
        for name, (result, *texts) in want.items():
            x = got[name]
            c.check("%s on %s" % (name, device), x["result"] == result and all(t in x["reason"] for t in texts), x)
            c.check("%s is judged" % name, x["random"] == (name != "none"), x)
        c.check("counts", (d["passed"], d["random"], d["failed"], d["skipped"]) == (2, 1, 4, 0) and r.returncode == 1, d)
    r = sard("test", tmp + "/good", tmp + "/none")
    last = ["1 of those that passed draw random numbers, which were judged by their distribution", "2 passed, 0 failed, 0 skipped"]
    c.check("they are counted apart", r.returncode == 0 and r.stdout.splitlines()[-2:] == last, r.stdout)


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            return [int(x) for x in f.read().split()]
    except OSError:
        return []


def broken_workers(c, tmp):
    loop = [([scalar(0)], [scalar(0)])]
    case(tmp + "/1loop", models.loop_forever(), loop)
    case(tmp + "/2good", models.add(), [([f32([1, 2, 3])], [f32([11, 22, 33])])])
    r = sard("test", "--timeout", "0.5", tmp)
    c.check(
        "a case over its time limit fails alone",
        "over the time limit" in r.stdout
        and "passed  2good" in r.stdout
        and r.stdout.splitlines()[-1] == "1 passed, 1 failed, 0 skipped",
        r.stdout,
    )
    p = subprocess.Popen([SARD, "test", "-j", "1", tmp], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(200):
        pids = children(p.pid)
        if pids:
            break
        time.sleep(0.02)
    time.sleep(0.3)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    out, _ = p.communicate(timeout=30)
    c.check(
        "a case that dies fails alone", "FAILED  1loop: the process died: Killed" in out and "passed  2good" in out, out
    )
    p = subprocess.Popen([SARD, "test", tmp], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    pids = children(p.pid)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=30)
    time.sleep(0.1)
    alive = [x for x in pids if os.path.exists("/proc/%d" % x)]
    c.check("an interrupt ends all", p.returncode == 130 and pids and not alive, (p.returncode, pids, alive, err))
    case(tmp + "/3big", big_result(), [([w.tensor("n", w.I64, [1], [1 << 28])], [scalar(0)])])
    r = sard("test", "--max-memory", "64M", tmp + "/3big")
    c.check("a case over its memory limit", r.returncode == 1 and "out of memory" in r.stdout, r.stdout)


def big_result():
    """ConstantOfShape of n elements"""
    return w.model(
        [w.node("ConstantOfShape", ["n"], ["y"])],
        [w.value("n", w.tensor_type(w.I64, [1]))],
        [w.value("y", w.tensor_type(w.F32, ["m"]))],
        producer="tests",
    )


# --- inspect ---


def big_model(c, tmp):
    """10 GB of external data in a sparse file: in under a second and 100 MB"""
    rows, cols, n = 65536, 4096, 10
    nodes, inits, value = [], [], "x"
    for i in range(n):
        inits.append(
            w.tensor(
                "w%d" % i,
                w.F32,
                [cols, rows] if i % 2 == 0 else [rows, cols],
                external=("big.data", i * rows * cols * 4, rows * cols * 4),
            )
        )
        nodes.append(w.node("MatMul", [value, "w%d" % i], ["v%d" % i], "m%d" % i))
        value = "v%d" % i
    m = write(
        os.path.join(tmp, "big.onnx"),
        w.model(
            nodes,
            [w.value("x", w.tensor_type(w.F32, ["batch", cols]))],
            [w.value(value, w.tensor_type(w.F32, ["batch", cols]))],
            inits,
        ),
    )
    with open(os.path.join(tmp, "big.data"), "wb") as f:
        f.truncate(n * rows * cols * 4)
    p = subprocess.Popen([SARD, "inspect", m, "--json", "--bind", "batch=2"], stdout=subprocess.PIPE, text=True)
    out = p.stdout.read()
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime
    p.stdout.close()
    d = json.loads(out)
    c.check(
        "inspect of 10 GB",
        p.returncode == 0
        and d["parameters"]
        == [{"dtype": "f32", "tensors": n, "elements": n * rows * cols, "bytes": n * rows * cols * 4}],
        out[:2000],
    )
    c.check("flops", d["cost"]["flops"] == 2 * 2 * n * rows * cols, d["cost"])
    c.check("files", [x["bytes"] for x in d["files"]] == [os.path.getsize(m), n * rows * cols * 4], d["files"])
    c.check("under a second", seconds < (10 if SANITIZED else 1), seconds)
    c.check("under 100 MB", SANITIZED or usage.ru_maxrss < 100 * 1024, usage.ru_maxrss)


def costs(c, tmp):
    """operations by arithmetic stated here"""

    def one(name, op, shapes, out, flops, **attrs):
        names = ["i%d" % i for i in range(len(shapes))]
        m = write(
            os.path.join(tmp, name + ".onnx"),
            w.model(
                [w.node(op, names, ["y"], **attrs)],
                [w.value(n, w.tensor_type(w.F32, s)) for n, s in zip(names, shapes)],
                [w.value("y", w.tensor_type(w.F32, out))],
                opset=23,
            ),
        )
        r = sard("inspect", m, "--json", "--bind", "b=2")
        cost = json.loads(r.stdout)["cost"] if not r.returncode else None
        c.check(
            "flops of " + name,
            cost is not None and cost["flops"] == flops and cost["unknown_nodes"] == 0,
            (cost, flops, r.stderr),
        )

    one("matmul", "MatMul", [["b", 3, 4], [4, 5]], ["b", 3, 5], 2 * (2 * 3 * 5) * 4)
    one("gemm", "Gemm", [[4, "b"], [4, 5]], ["b", 5], 2 * (2 * 5) * 4, transA=1)
    one("conv", "Conv", [["b", 4, 8, 8], [6, 2, 3, 3]], ["b", 6, 6, 6], 2 * (2 * 6 * 6 * 6) * (2 * 3 * 3), group=2)
    one(
        "convtranspose",
        "ConvTranspose",
        [["b", 4, 5, 5], [4, 3, 2, 2]],
        ["b", 3, 10, 10],
        2 * (2 * 4 * 5 * 5) * (3 * 2 * 2),
        strides=[2, 2],
    )
    one(
        "lstm",
        "LSTM",
        [[7, "b", 3], [1, 20, 3], [1, 20, 5]],
        [7, 1, "b", 5],
        2 * 7 * 2 * (20 * 3 + 20 * 5),
        hidden_size=5,
    )
    one(
        "attention",
        "Attention",
        [["b", 4, 6, 8], ["b", 4, 9, 8], ["b", 4, 9, 8]],
        ["b", 4, 6, 8],
        2 * 2 * (2 * 4 * 6 * 9 * 8),
    )
    one("einsum", "Einsum", [["b", 3, 4], ["b", 4, 5]], ["b", 3, 5], 2 * 2 * 3 * 4 * 5, equation="bij,bjk->bik")
    one("relu", "Relu", [["b", 3]], ["b", 3], 0)


# --- the rest ---


def output_forms(c, tmp):
    m = write(os.path.join(tmp, "mlp.onnx"), models.mlp())
    for args in (
        ["run", m, "--input", "x=ones:2x4", "--json"],
        ["inspect", m, "--json"],
        ["ops", "--json"],
        ["doctor", "--json"],
    ):
        r = sard(*args)
        try:
            json.loads(r.stdout)
            ok = True
        except ValueError:
            ok = False
        c.check("%s --json is JSON" % args[0], ok and r.returncode == 0, r.stdout[:500] + r.stderr)
    r = sard("inspect", m, "--color", "always")
    c.check("colour when asked for", "\033[1m" in r.stdout)
    r = sard("inspect", m)
    c.check("none without a terminal", "\033" not in r.stdout)
    r = sard("run", m, "--input", "x=ones:1x4", "-q")
    c.check("quiet", r.returncode == 0 and r.stdout == "" and r.stderr == "")
    r = sard("run", m, "--input", "x=ones:1x4", "-v", "-q")
    c.check(
        "times with -v",
        all(x in r.stderr for x in ("load ", "import", "passes", "compile", "run ", "reference", "memory")),
        r.stderr,
    )
    r = sard("run", m, "--input", "x=ones:1x4", "--dump-after", "all", "--time-passes")
    c.check(
        "dumps on stderr",
        r.returncode == 0 and "MatMul" in r.stderr and "dce" in r.stderr and r.stdout.startswith("y  f32[1,2]"),
        r.stderr,
    )
    r = sard("doctor")
    c.check("doctor", r.returncode == 0 and "reference yes" in r.stdout and "cores" in r.stdout, r.stdout)
    odd = models.identity(w.F32, ("n",)).replace(b"tests", b"t\x1b[2J")
    r = sard("inspect", write(os.path.join(tmp, "odd.onnx"), odd))
    name = "a name of more than forty characters, \x1b[1m escaped"
    x = w.tensor_type(w.F32, [2])
    long = w.model([w.node("Relu", [name], ["y"], "n")], [w.value(name, x)], [w.value("y", x)], [])
    long = sard("inspect", write(os.path.join(tmp, "long.onnx"), long)).stdout
    c.check("names and types stay apart", "escaped  f32[2]" in long and "  y  f32[2]" in long, long)
    c.check("no escape codes of strangers reach the terminal", "\033" not in r.stdout and "\\x1b" in r.stdout, r.stdout)


def completion(c, tmp):
    script = sard("completion", "bash").stdout
    bash = shutil.which("bash")
    if not bash:
        return

    def complete(*words):
        code = script + 'COMP_WORDS=(%s); COMP_CWORD=%d; _sard; echo "${COMPREPLY[@]}"' % (
            " ".join("'%s'" % x for x in words),
            len(words) - 1,
        )
        return subprocess.run([bash, "-c", code], capture_output=True, text=True).stdout.split()

    c.check("commands are completed", complete("sard", "ins") == ["inspect"], complete("sard", "ins"))
    c.check(
        "options are completed", complete("sard", "run", "--tok") == ["--tokenizer"], complete("sard", "run", "--tok")
    )
    c.check("only those of the command", complete("sard", "ops", "--tok") == [])
    c.check("values are completed", complete("sard", "run", "--device", "re") == ["reference"])


def manual(c, tmp):
    groff = shutil.which("groff") or shutil.which("mandoc")
    for name in ([], ["run"], ["inspect"], ["test"], ["ops"], ["doctor"]):
        r = sard("help", *name, "--man")
        c.check(
            "manual page of %s" % (name or "sard"),
            r.returncode == 0 and r.stdout.startswith('.TH "') and ".SH NAME" in r.stdout,
        )
        if groff and "groff" in groff:
            g = subprocess.run([groff, "-man", "-Tascii", "-ww"], input=r.stdout, capture_output=True, text=True)
            c.check("groff takes it", g.returncode == 0 and "warning" not in g.stderr, g.stderr)


def main():
    c = Checks()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as tmp:
        for part in (interrupts, conformance, random_numbers, broken_workers, big_model, costs, output_forms, completion, manual):
            folder = os.path.join(tmp, part.__name__)
            os.mkdir(folder)
            part(c, folder)
    return c.done()


if __name__ == "__main__":
    sys.exit(main())
