"""test_cache.py - the compile cache for the device cuda, over a driver and an nvJitLink of our own (null/): machine code for the very GPU is
kept where nvJitLink is, PTX where it is not, and neither is a secret; and real machine code, where the toolkit is. So are cuBLASLt's
algorithms, which are asked for once.

SPDX-License-Identifier: Apache-2.0
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "cli"))
from harness import Checks, sard  # noqa: E402

BUILD = os.environ.get("SARD_BUILD", os.path.join(ROOT, "build"))
NULL = os.path.join(BUILD, "tests", "null")
FIXTURE = os.path.join(ROOT, "models", "fixtures", "minilm", "dynamo", "model.onnx")
REST = ["--input", "attention_mask=ones", "--input", "token_type_ids=zeros"]
FEED = ["--bind", "batch=1,seq=3", "--input", "input_ids=[[1,2,3]]", *REST]
LONG = ["--bind", "batch=1,seq=9", "--input", "input_ids=[[1,2,3,4,5,6,7,8,9]]", *REST]  # more rows than code of ours multiplies
REAL_LINK = "/usr/local/cuda/lib64/libnvJitLink.so.13"


class Place:
    """a model, a cache, and a folder that the driver puts the code it is given into"""

    def __init__(self, c, folder):
        self.c, self.folder, self.cache, self.count = c, folder, os.path.join(folder, "cache"), 0
        self.model = shutil.copy(FIXTURE, os.path.join(folder, "model.onnx"))
        self.bare = os.path.join(folder, "bare")  # a driver without nvJitLink
        os.mkdir(self.bare)
        for name in ("libcuda.so.1", "libcublasLt.so.13"):
            os.symlink(os.path.join(NULL, name), os.path.join(self.bare, name))
        time.sleep(0.15)  # files written within a clock tick are not relied on

    def run(self, cuda=NULL, cache=None, feed=FEED, **env):
        """(state of the cache, outputs, stderr, modules that came as PTX, modules that came as machine code)"""
        self.count += 1
        code = os.path.join(self.folder, "code%d" % self.count)
        os.mkdir(code)
        r = sard("run", self.model, *feed, "--device", "cuda", "--cache", cache or self.cache, "--json", "-v",
                 env=dict(env, SARD_CUDA_DIR=cuda, SARD_NULL_PTX=code))
        if r.returncode:
            return "failed", None, r.stderr, 0, 0
        d = json.loads(r.stdout)
        compiled = len(glob.glob(os.path.join(code, "*.compiled.ptx")))
        return d["cache"], d["outputs"][1]["data"], r.stderr, len(os.listdir(code)) - compiled, compiled


def machine_code(c, p):
    """with nvJitLink: machine code for this GPU, made once"""
    first = p.run()
    c.check("compiled", first[0] == "miss" and first[3] == 0 and first[4] > 0, first)
    c.check("said to be", "device 'cuda' runs machine code for sm_90" in first[2], first[2])
    second = p.run()
    c.check("kept", second[0] == "hit" and second[1] == first[1] and second[3:] == first[3:], second)
    third = p.run(cuda=p.bare)
    c.check("a start needs no nvJitLink", third[0] == "hit" and third[1] == first[1] and third[3:] == first[3:], third)
    run = sard("cache", "list", "--cache", p.cache)
    c.check("listed with its GPU", "cuda sm_90\n" in run.stdout and "1 entry" in run.stdout, run.stdout)
    run = sard("cache", "verify", "--cache", p.cache)
    c.check("whole", run.returncode == 0, run.stdout + run.stderr)
    other = p.run(SARD_NULL_GPU="8.6")
    c.check("another GPU has an entry of its own", other[0] == "miss" and other[1] == first[1] and "sm_86" in other[2], other)
    c.check("both stay", p.run()[0] == "hit" and p.run(SARD_NULL_GPU="8.6")[0] == "hit")
    return first[1]


def ptx(c, p, want):
    """without nvJitLink: PTX, which the driver compiles; machine code as soon as there is one"""
    cache = os.path.join(p.folder, "bare.cache")
    first = p.run(cuda=p.bare, cache=cache)
    c.check("PTX", first[0] == "miss" and first[1] == want and first[3] > 0 and first[4] == 0, first)
    c.check("why", re.search("no machine code for sm_90 is made or kept: libnvJitLink: .*No such file", first[2]) is not None, first[2])
    c.check("PTX is said to be", "device 'cuda' runs PTX for sm_80, which the driver compiles at every start" in first[2], first[2])
    second = p.run(cuda=p.bare, cache=cache)
    c.check("PTX is kept", second[0] == "hit" and second[1] == want and second[3:] == first[3:], second)
    run = sard("cache", "list", "--cache", cache)
    c.check("PTX is listed", "cuda sm_90, PTX\n" in run.stdout, run.stdout)
    third = p.run(cache=cache)
    c.check("nvJitLink is there now", third[0] == "miss" and third[3] == 0 and "compiled anew" in third[2], third)
    c.check("kept in its place", p.run(cache=cache)[0] == "hit" and p.run(cuda=p.bare, cache=cache)[4] > 0)
    newer = p.run(SARD_NULL_LINK="newer", cache=os.path.join(p.folder, "newer.cache"))
    c.check("a driver may not know what a later nvJitLink makes", newer[1] == want and newer[3] > 0 and "newer than the driver" in newer[2], newer)
    for how, said in (("refuses", "nvJitLinkComplete: error 4, compiling for sm_90: ptxas fatal: this PTX is not for me"),
                      ("old", "nvJitLinkCreate: error 17: it makes no code for sm_90")):
        cache = os.path.join(p.folder, how + ".cache")
        r = p.run(SARD_NULL_LINK=how, cache=cache)
        c.check("nvJitLink " + how, r[0] == "miss" and r[1] == want and r[3] > 0 and "warning" in r[2] and said in r[2], r)
        r = p.run(SARD_NULL_LINK=how, cache=cache)
        c.check("nvJitLink %s, and is not asked again" % how, r[0] == "hit" and r[1] == want and r[3] > 0 and said not in r[2], r)


def algorithms(c, p):
    """of a library are asked for once for each form of a product; of another GPU others"""
    cache, path, asked = os.path.join(p.folder, "asked.cache"), os.path.join(p.folder, "asked"), []
    for gpu in ("9.0", "9.0", "8.6", "9.0"):
        r = p.run(cache=cache, feed=LONG, SARD_NULL_ASKED=path, SARD_NULL_GPU=gpu)
        asked.append((r[0], int(open(path).read())))
    first = asked[0][1]
    c.check("algorithms", first > 3 and asked == [("miss", first), ("hit", 0), ("miss", first), ("hit", 0)], asked)
    run = sard("cache", "list", "--cache", cache)
    listed = re.findall(r"\(algorithms of products\)  cuBLASLt 130100, Null GPU.* (sm_\d+), ", run.stdout)
    c.check("listed", sorted(listed) == ["sm_86", "sm_90"] and "4 entries" in run.stdout, run.stdout)


def explained(c, p):
    for cuda, said in ((NULL, "machine code for sm_90"), (p.bare, "PTX for sm_80, which the driver compiles at every start")):
        env = {"SARD_CUDA_DIR": cuda}
        run = sard("explain", p.model, "--device", "cuda", "--cache", "off", env=env)
        c.check("explain: " + said, "\ncuda runs %s\n" % said in run.stdout, run.stdout[-300:] + run.stderr)
        d = json.loads(sard("explain", p.model, "--device", "cuda", "--cache", "off", "--json", env=env).stdout)
        c.check("explain --json: " + said, d["device_code"] == said, d["device_code"])
    d = json.loads(sard("explain", p.model, "--cache", "off", "--json").stdout)
    c.check("nothing of that on a CPU", d["device_code"] is None, d["device_code"])


def damaged(c, p):
    """a start finds damage, and compiles anew"""
    cache = os.path.join(p.folder, "damaged.cache")
    want = p.run(cache=cache)[1]
    (path,) = glob.glob(os.path.join(cache, "*"))
    data = bytearray(open(path, "rb").read())
    at = data.index(b".visible .entry")
    data[at + 3] ^= 1
    os.chmod(path, 0o600)
    with open(path, "wb") as f:
        f.write(data)
    again = p.run(cache=cache)
    c.check("damage is found", again[0] == "miss" and again[1] == want and "damaged" in again[2], again)
    c.check("and mended", p.run(cache=cache)[0] == "hit")


def real(c, p):
    """nvJitLink itself, and our driver, which is given what it makes and cannot run it"""
    if not os.path.exists(REAL_LINK):
        print("no nvJitLink here: its machine code is not looked at")
        return
    folder = os.path.join(p.folder, "real")
    os.mkdir(folder)
    for name in ("libcuda.so.1", "libcublasLt.so.13"):
        os.symlink(os.path.join(NULL, name), os.path.join(folder, name))
    os.symlink(REAL_LINK, os.path.join(folder, "libnvJitLink.so.13"))
    for gpu, sm in (("8.9", 89), ("9.0", 90)):
        path = os.path.join(p.folder, "sm_%d.elf" % sm)
        r = p.run(cuda=folder, cache="off", SARD_NULL_GPU=gpu, SARD_NULL_FOREIGN=path)
        c.check("machine code for %s comes to the driver" % gpu, r[0] == "failed" and "NO_BINARY_FOR_GPU" in r[2], r)
        run = subprocess.run(["readelf", "-hsW", path], capture_output=True, text=True)
        kernels = re.findall(r" FUNC +GLOBAL .* (\w+)$", run.stdout, re.M)
        c.check("it is machine code with the kernels", "NVIDIA CUDA" in run.stdout and any(k.startswith("attention") for k in kernels), run.stdout + run.stderr)
        flags = int(re.search(r"Flags: +0x(\w+)", run.stdout)[1], 16)
        c.check("for sm_%d" % sm, sm in (flags & 0xFF, flags >> 8 & 0xFF), hex(flags))


def main():
    if not os.path.exists(os.path.join(BUILD, "libsard-codegen.so")):
        print("this build has no code generator\n0 passed, 0 failed, 1 skipped")
        return 77
    c = Checks()
    with tempfile.TemporaryDirectory() as folder:
        p = Place(c, folder)
        want = machine_code(c, p)
        ptx(c, p, want)
        algorithms(c, p)
        explained(c, p)
        damaged(c, p)
        real(c, p)
    return c.done()


sys.exit(main())
