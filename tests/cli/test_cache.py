#!/usr/bin/env python3
"""The compile cache from the command line: the second run starts from the first one's entry and computes the same; whatever
the entry depends on makes it miss when it changes; and no trouble with the directory keeps a model from running.

SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

import models
import onnx_writer as w
from harness import SARD, Checks, sard

ROWS, COLS = 64, 80
KILLS = int(os.environ.get("SARD_KILLS", "10"))  # make test-ci: 50; make test-long: 1000
WEIGHTS = [((i * 37) % 101 - 50) / 64 for i in range(ROWS * COLS)]  # sums of these are exact in f32
X = [(i % 7) - 3.0 for i in range(2 * ROWS)]
WANT = [sum(X[r * ROWS + k] * WEIGHTS[k * COLS + c] for k in range(ROWS)) + 1 for r in range(2) for c in range(COLS)]


def matmul_add(external=None, doc=None):
    """y = x @ weights + 1, the weights in the file or beside it"""
    inits = [
        w.tensor("w", w.F32, [ROWS, COLS], WEIGHTS, external=external),
        w.tensor("one", w.F32, [], [1.0]),
    ]
    return w.model(
        [w.node("MatMul", ["x", "w"], ["h"], "product"), w.node("Add", ["h", "one"], ["y"], "add")],
        [w.value("x", w.tensor_type(w.F32, ["n", ROWS]))],
        [w.value("y", w.tensor_type(w.F32, ["n", COLS]))],
        inits,
        producer="tests",
        meta={"doc": doc} if doc else None,
    )


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


class Place:
    """a model and a cache of its own"""

    def __init__(self, tmp, name, external=True):
        self.dir, self.cache = os.path.join(tmp, name), os.path.join(tmp, name + ".cache")
        self.model = os.path.join(self.dir, "model.onnx")
        os.mkdir(self.dir)
        if external:
            write(os.path.join(self.dir, "w.bin"), w.pack(w.F32, WEIGHTS))
        write(self.model, matmul_add(("w.bin", 0, 4 * ROWS * COLS) if external else None))
        self.age()

    def age(self):
        """files written within a clock tick are not relied on"""
        time.sleep(0.15)

    def run(self, *args, cache=None, model=None, **kw):
        """(state, outputs, stderr) of a run"""
        r = sard("run", model or self.model, "--input", "x=%s" % json.dumps([X[:ROWS], X[ROWS:]]), "--json", "-v", "--cache",
                 cache or self.cache, *args, **kw)
        if r.returncode:
            return "failed", None, r.stderr
        d = json.loads(r.stdout)
        return d["cache"], d["outputs"][0]["data"], r.stderr

    def entries(self):
        return sorted(os.listdir(self.cache)) if os.path.isdir(self.cache) else []

    def entry(self):
        return os.path.join(self.cache, self.entries()[0])


def states(c, name, runs, want):
    got = [s for s, _, _ in runs]
    c.check(name + ": " + " ".join(want), got == want, got + [e for _, _, e in runs])
    c.check(name + ": results", all(y == WANT for s, y, _ in runs if s != "failed"))


def hits(c, tmp):
    for external in (True, False):
        p = Place(tmp, "hit%d" % external, external)
        states(c, "weights %s" % ("beside" if external else "inside"), [p.run() for _ in range(3)], ["miss", "hit", "hit"])
        c.check("one entry", len(p.entries()) == 1 and p.entries()[0].endswith(".sard"), p.entries())
        c.check("modes", os.stat(p.cache).st_mode & 0o7777 == 0o700 and os.stat(p.entry()).st_mode & 0o7777 == 0o600)
        states(c, "threads do not matter", [p.run("--threads", "1"), p.run("--threads", "2")], ["hit", "hit"])
        states(c, "cache off", [p.run(cache="off")], ["off"])
    r = sard("bench", p.model, "--input", "x=ones:2x64", "--runs", "2", "--json", "--cache", p.cache + "2")
    d = json.loads(r.stdout)
    c.check("bench says what writing took", d["cache"] == "miss" and d["cache_write_ms"] > 0, d)
    d = json.loads(sard("bench", p.model, "--input", "x=ones:2x64", "--runs", "2", "--json", "--cache", p.cache + "2").stdout)
    c.check("and nothing on a hit", d["cache"] == "hit" and d["cache_write_ms"] is None and d["compile_ms"] == 0, d)
    said = p.run()[2]
    c.check("-v says that it was a hit", "cache    hit" in said and "miss" not in said, said)


def variables(c, tmp):
    p = Place(tmp, "variables")
    env = {"XDG_CACHE_HOME": os.path.join(tmp, "xdg"), "SARD_CACHE": ""}
    run = [SARD, "run", p.model, "--input", "x=ones:2x64", "-q"]
    subprocess.run(run, env=dict(os.environ, **env), check=True)
    c.check("the default directory", len(os.listdir(os.path.join(tmp, "xdg", "sard"))) == 1)
    env["SARD_CACHE"] = os.path.join(tmp, "named")
    subprocess.run(run, env=dict(os.environ, **env), check=True)
    c.check("SARD_CACHE", len(os.listdir(env["SARD_CACHE"])) == 1)
    env["SARD_CACHE"] = "off"
    env["XDG_CACHE_HOME"] = os.path.join(tmp, "none")
    subprocess.run(run, env=dict(os.environ, **env), check=True)
    c.check("SARD_CACHE=off", not os.path.exists(os.path.join(tmp, "none")))


def changes(c, tmp):
    """What the program was made from or for."""
    p = Place(tmp, "changes")
    states(c, "first", [p.run()], ["miss"])
    states(c, "another device is another program", [p.run("--device", "reference"), p.run("--device", "reference"), p.run()],
           ["miss", "hit", "hit"])
    states(c, "strict", [p.run("--strict"), p.run("--strict")], ["miss", "hit"])
    for option in (["--time-passes"], ["--dump-after=all"], ["--stop-after=dce"]):
        c.check("%s has no cache" % option[0], p.run(*option)[0] == "off")
    before = p.entries()
    write(p.model, matmul_add(("w.bin", 0, 4 * ROWS * COLS), doc="another text"))
    states(c, "another graph", [p.run(), p.run()], ["miss", "hit"])
    c.check("beside the old ones", len(p.entries()) == len(before) + 1)

    # the weights change under the same graph, with the same size and the same time of modification
    data = os.path.join(p.dir, "w.bin")
    st = os.stat(data)
    with open(data, "r+b") as f:
        f.write(struct.pack("<f", WEIGHTS[0] + 1))
    os.utime(data, ns=(st.st_atime_ns, st.st_mtime_ns))
    p.age()
    s, y, said = p.run()
    c.check("changed weights are seen", s == "miss" and y[0] == WANT[0] + X[0] and "w.bin" in said, (s, y and y[0], said))
    s, y, _ = p.run()
    c.check("and kept", s == "hit" and y[0] == WANT[0] + X[0])
    with open(data, "r+b") as f:
        f.write(struct.pack("<f", WEIGHTS[0]))
    s, y, said = p.run()
    c.check("weights a moment old are not relied on", s == "miss" and y == WANT and "a moment ago" in said, said)
    p.age()
    states(c, "later they are", [p.run(), p.run()], ["miss", "hit"])
    os.rename(data, data + "x")
    r = p.run()
    c.check("weights that are gone", r[0] == "failed" and "w.bin" in r[2], r)

    p = Place(tmp, "inside", external=False)
    states(c, "weights inside", [p.run()], ["miss"])
    data = bytearray(open(p.model, "rb").read())
    at = data.index(w.pack(w.F32, WEIGHTS))
    data[at : at + 4] = struct.pack("<f", WEIGHTS[0] + 1)
    write(p.model, data)
    p.age()
    s, y, _ = p.run()
    c.check("changed weights inside are seen", s == "miss" and y[0] == WANT[0] + X[0])
    c.check("in the place of the old", len(p.entries()) == 1, p.entries())

    # the same files in two directories, and the same graph with other weights in another
    a, b = Place(tmp, "twin_a"), Place(tmp, "twin_b")
    b.cache = a.cache
    write(os.path.join(b.dir, "w.bin"), w.pack(w.F32, [2 * x for x in WEIGHTS]))
    b.age()
    states(c, "a twin", [a.run()], ["miss"])
    s, y, _ = b.run()
    c.check("another directory is another model", s == "miss" and y[0] == 2 * (WANT[0] - 1) + 1)
    c.check("and neither takes the other's place", a.run()[0] == "hit" and b.run()[0] == "hit")

    copy = os.path.join(tmp, "copy")
    os.mkdir(copy)
    for f in os.listdir(os.path.dirname(SARD)):
        if f == "sard" or f.startswith("libsard-codegen"):
            shutil.copy(os.path.join(os.path.dirname(SARD), f), copy)
    r = subprocess.run([os.path.join(copy, "sard"), "run", a.model, "--input", "x=ones:2x64", "--json", "--cache", a.cache],
                       capture_output=True, text=True)
    c.check("another build has its own", json.loads(r.stdout)["cache"] == "miss" and a.run()[0] == "hit", r.stderr)


def perf_map(c, tmp):
    """perf-PID.map names the code, compiled or from the cache"""
    p = Place(tmp, "perf")
    if "compiled" not in json.dumps(json.loads(sard("explain", p.model, "--json").stdout)["steps"]):
        return  # without the code generator there is no code
    for state in ("miss", "hit"):
        maps = os.path.join(tmp, "maps_" + state)
        os.mkdir(maps)
        got = p.run(env={"SARD_PERF_MAP": maps})[0]
        text = "".join(open(os.path.join(maps, f)).read() for f in os.listdir(maps))
        lines = [x.split(" ", 2) for x in text.splitlines()]
        c.check("a perf map on a %s" % state, got == state and any("sard:product" in n for _, _, n in lines)
                and all(int(a, 16) and int(n, 16) for a, n, _ in lines), text)
    c.check("no place for a map", p.run(env={"SARD_PERF_MAP": os.path.join(tmp, "nowhere")})[1] == WANT)


def damage(c, tmp):
    p = Place(tmp, "damage")
    p.run()
    good = open(p.entry(), "rb").read()
    for at in (0, 8, 40, 100, 300, 1000, len(good) // 2 // 4096 * 2048):
        bad = bytearray(good)
        bad[at] ^= 4
        write(p.entry(), bad)
        states(c, "byte %d damaged" % at, [p.run(), p.run()], ["miss", "hit"])
    for n in (0, 10, 4096, len(good) - 1):
        write(p.entry(), good[:n])
        states(c, "cut to %d" % n, [p.run(), p.run()], ["miss", "hit"])
    r = sard("cache", "verify", "--cache", p.cache)
    c.check("verify finds nothing", r.returncode == 0 and r.stdout.startswith("ok"), r.stdout + r.stderr)
    at = len(good) - 100  # packed weights are not read at every start
    bad = bytearray(good)
    bad[at] ^= 1
    write(p.entry(), bad)
    r = sard("cache", "verify", "--cache", p.cache)
    if "cpu" in r.stdout or "packed weights" in r.stdout:
        c.check("verify finds a flipped bit", r.returncode == 1 and "packed weights are damaged" in r.stdout, r.stdout)
    d = json.loads(sard("cache", "verify", "--json", "--cache", p.cache).stdout)
    c.check("in JSON too", d["entries"][0]["problem"] and d["directory"] == p.cache, d)
    d = json.loads(sard("cache", "list", "--json", "--cache", p.cache).stdout)
    c.check("list", d["entries"][0]["model"] == os.path.realpath(p.model) and d["entries"][0]["bytes"] == len(good)
            and abs(d["entries"][0]["written"] - time.time()) < 600, d)
    d = json.loads(sard("cache", "clear", "--json", "--cache", p.cache).stdout)
    c.check("clear", d["removed"] == 1 and p.entries() == [], d)
    c.check("an empty cache", sard("cache", "list", "--cache", p.cache).stdout.startswith("0 entries"))
    c.check("none yet", sard("cache", "list", "--cache", p.cache + "none").stdout.startswith("0 entries"))
    c.error("a wrong word", sard("cache", "prune", "--cache", p.cache), 2, "prune")
    c.error("no cache", sard("cache", "list", "--cache", "off"), 2, "off")


def unprivileged():
    if os.geteuid() == 0:
        os.setgid(12345)
        os.setuid(12345)


def directories(c, tmp):
    p = Place(tmp, "directories")
    p.run()
    os.chmod(p.cache, 0o770)
    s, y, said = p.run()
    c.check("a directory that others may write to", s == "off" and y == WANT and "warning: compile cache" in said
            and "may be written to by other users" in said, (s, said))
    os.chmod(p.cache, 0o700)
    if os.geteuid() == 0:
        os.chown(p.cache, 12345, 12345)
        s, y, said = p.run()
        c.check("another user's directory", s == "off" and y == WANT and "belongs to another user" in said, (s, said))
        os.chown(p.cache, 0, 0)
        os.chown(p.entry(), 12345, 12345)
        states(c, "another user's entry", [p.run(), p.run()], ["miss", "hit"])
    file = os.path.join(tmp, "file")
    write(file, b"")
    s, y, said = p.run(cache=file)
    c.check("no directory", s == "off" and y == WANT and "note: compile cache" in said and "warning" not in said, (s, said))
    s, y, said = p.run(cache="/proc/nothing/here")
    c.check("no such place", s == "off" and y == WANT, (s, said))

    limit = os.path.join(tmp, "limit")  # a limit on file sizes
    r = subprocess.run([SARD, "run", p.model, "--input", "x=ones:2x64", "--json", "-v", "--cache", limit], capture_output=True, text=True,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))
    c.check("a limit on file sizes", r.returncode == 0 and "nothing is kept" in r.stderr and os.listdir(limit) == [], r.stderr)

    os.chmod(tmp, 0o755)
    os.chmod(p.dir, 0o755)
    read_only = os.path.join(tmp, "read_only")
    os.mkdir(read_only, 0o500)
    if os.geteuid() == 0:
        os.chown(read_only, 12345, 12345)
    r = subprocess.run([SARD, "run", p.model, "--input", "x=ones:2x64", "--json", "-v", "--cache", read_only], capture_output=True, text=True,
                       preexec_fn=unprivileged)
    if r.returncode != 126:  # the build folder may not be readable for others
        c.check("a directory that cannot be written to", r.returncode == 0 and "nothing is kept" in r.stderr and os.listdir(read_only) == [],
                (r.returncode, r.stderr))


def file_systems(c, tmp):
    """a file system without room, and one that is mounted to be read only; where this process may mount some"""
    p = Place(tmp, "file_systems")
    where = os.path.join(tmp, "mounted")
    os.mkdir(where, 0o700)
    apart = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    mount = 'mount -t tmpfs -o size=%s,mode=700 none "$0" && %s && exec "$@"'
    run = [SARD, "run", p.model, "--input", "x=%s" % json.dumps([X[:ROWS], X[ROWS:]]), "--json", "-v", "--cache", where]
    out = os.path.join(where, "x.sard")
    if subprocess.run([*apart, "sh", "-c", mount % ("16k", "true"), where, "true"], capture_output=True).returncode:
        return
    for size, then, why in ("16k", "true", "No space left"), ("1m", 'mount -o remount,ro "$0"', "Read-only file system"):
        r = subprocess.run([*apart, "sh", "-c", mount % (size, then), where, *run], capture_output=True, text=True)
        d = json.loads(r.stdout) if r.returncode == 0 else r.stderr
        c.check(why + ": the model runs", r.returncode == 0 and d["cache"] == "miss" and d["outputs"][0]["data"] == WANT, d)
        c.check(why + ": the log says why nothing is kept", why in r.stderr, r.stderr)
        r = subprocess.run([*apart, "sh", "-c", (mount % (size, then)).replace("exec", "") + '; code=$?; ls "$0"; exit $code', where,
                            SARD, "compile", p.model, "-o", out], capture_output=True, text=True)
        c.check(why + ": sard compile says so, and leaves nothing", r.returncode == 3 and why in r.stderr and not r.stdout, r.stdout + r.stderr)


def together(c, tmp):
    p = Place(tmp, "together")
    run = [SARD, "run", p.model, "--input", "x=%s" % json.dumps([X[:ROWS], X[ROWS:]]), "--json", "--cache", p.cache]
    several = [subprocess.Popen(run, stdout=subprocess.PIPE, text=True) for _ in range(32)]
    out = [json.loads(x.communicate(timeout=60)[0]) for x in several]
    c.check("several processes at once", all(x["outputs"][0]["data"] == WANT for x in out) and len(p.entries()) == 1, p.entries())
    c.check("leave an entry", p.run()[0] == "hit")
    c.check("and nothing else", len(os.listdir(p.cache)) == 1, os.listdir(p.cache))
    for i in range(KILLS):  # killed somewhere between the start and the end of writing
        shutil.rmtree(p.cache)
        k = subprocess.Popen(run, stdout=subprocess.DEVNULL)
        time.sleep(0.01 + 0.2 * ((i * 0.618) % 1))
        k.send_signal(signal.SIGKILL)
        k.wait()
        s, y, said = p.run()
        c.check("after a kill", s in ("miss", "hit") and y == WANT and "damaged" not in said, (s, said))
        c.check("one entry then", len(p.entries()) == 1, p.entries())


def limit(c, tmp):
    """entries that were not used for longest make way for new ones"""
    places = [Place(tmp, "limit%d" % i) for i in range(4)]
    cache = places[0].cache
    places[0].run(cache=cache)
    size = os.path.getsize(os.path.join(cache, places[0].entries()[0]))
    env = {"SARD_CACHE_SIZE": str(size * 5 // 2)}  # two of them
    states = []
    for i in (1, 0, 2, 0, 1):
        states.append(places[i].run(cache=cache, env=env)[0])
        time.sleep(0.02)
    # 0 and 1 are there; 0 is used; 2 takes the place of 1; 0 is there still, 1 is not
    c.check("what was used last stays", states == ["miss", "hit", "miss", "hit", "miss"], states)
    c.check("two entries", len(places[0].entries()) == 2, places[0].entries())
    s, y, said = places[3].run("-v", cache=cache, env={"SARD_CACHE_SIZE": "1K"})
    c.check("an entry above the limit is not kept", s == "miss" and y == WANT and len(places[0].entries()) == 2, said)


def shared(c, tmp):
    """a directory that is only read: of one's own, or of root's"""
    p = Place(tmp, "shared")
    theirs, own = os.path.join(tmp, "theirs"), os.path.join(tmp, "own")
    os.mkdir(theirs, 0o755)
    p.run(cache=theirs)
    entry = os.path.join(theirs, os.listdir(theirs)[0])
    c.check("entries of a directory that others may read are readable", os.stat(entry).st_mode & 0o777 == 0o644, oct(os.stat(entry).st_mode))
    before = os.stat(entry)
    s, y, said = p.run(cache=own, env={"SARD_CACHE_SHARED": "/nowhere:" + theirs})
    c.check("a shared entry is found", s == "hit" and y == WANT, (s, said))
    c.check("and left alone", os.stat(entry).st_mtime_ns == before.st_mtime_ns and not os.listdir(own), os.listdir(own))
    os.chmod(entry, 0o666)
    s, y, said = p.run(cache=own, env={"SARD_CACHE_SHARED": theirs})
    c.check("one that others may write to is not believed", s == "miss" and y == WANT and "may be written to" in said, (s, said))
    os.chmod(entry, 0o644)
    s, y, said = p.run(cache="/proc/nowhere", env={"SARD_CACHE_SHARED": theirs})
    c.check("without a directory of one's own", s == "hit" and y == WANT, (s, said))


def strict(c, tmp):
    """an entry made with --allow reference is none for a run that allows nothing"""
    model, cache = os.path.join(tmp, "ranks.onnx"), os.path.join(tmp, "strict.cache")
    write(model, models.ranks())
    time.sleep(0.15)
    run = ["run", model, "--input", "x=[0,4]", "--device", "cpu", "--json", "--cache", cache]
    allowed = [json.loads(sard(*run, "--allow", "reference").stdout) for _ in range(2)]
    c.check("allowed", [x["cache"] for x in allowed] == ["miss", "hit"] and allowed[0]["outputs"] == allowed[1]["outputs"], allowed)
    r = sard(*run)
    c.check("refused all the same", r.returncode == 4 and "'root' (Sqrt)" in r.stderr and "f32[*]" in r.stderr, r.stderr)
    r = sard(*run, "--allow", "reference")
    c.check("the entry stays", json.loads(r.stdout)["cache"] == "hit" and r.stderr.count("runs as reference") == 2, r.stderr)


def main():
    c = Checks()
    with tempfile.TemporaryDirectory() as tmp:
        for test in (hits, variables, changes, perf_map, damage, directories, file_systems, together, limit, shared, strict):
            test(c, tmp)
    return c.done()


if __name__ == "__main__":
    sys.exit(main())
