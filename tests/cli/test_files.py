#!/usr/bin/env python3
"""Arrays in and out: .npy, .npz and .pb round trips, damaged files, --expect, outputs that appear whole or not at all.

SPDX-License-Identifier: Apache-2.0
"""

import os
import resource
import struct
import subprocess
import sys
import tempfile

import models
import onnx_writer as w
from harness import SARD, Checks, sard


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)
    return path


def read(path):
    with open(path, "rb") as f:
        return f.read()


def identity(tmp, dtype, shape):
    return write(os.path.join(tmp, "identity_%d_%d.onnx" % (dtype, len(shape))), models.identity(dtype, shape))


def run_npy(tmp, dtype, shape, data, *more):
    """an .npy through the identity; the run"""
    m = identity(tmp, dtype, ["d%d" % i for i in range(len(shape))])
    return sard(
        "run",
        m,
        "--input",
        "x=" + write(os.path.join(tmp, "in.npy"), data),
        "--output",
        "y=" + os.path.join(tmp, "out.npy"),
        *more
    )


VALUES = {
    w.F32: [0.0, -1.5, float("inf"), 3.0, 0.125, 65504.0],
    w.F64: [0.0, 1e300, -2.5, 3.0, 1e-300, 1.0],
    w.F16: [0.0, -1.5, 65504.0, 1.0, 2.0, 3.0],
    w.I8: [-128, 127, 0, 1, 2, 3],
    w.U8: [0, 255, 1, 2, 3, 4],
    w.I32: [-(2**31), 2**31 - 1, 0, 1, 2, 3],
    w.I64: [-(2**63), 2**63 - 1, 0, 1, 2, 3],
    w.BOOL: [True, False, True, True, False, False],
}


def round_trips(c, tmp):
    out = os.path.join(tmp, "out.npy")
    for dtype, values in VALUES.items():
        for shape in ([6], [2, 3], [1, 2, 3]):
            r = run_npy(tmp, dtype, shape, w.npy(dtype, shape, values))
            got = w.read_npy(read(out)) if not r.returncode else r.stderr
            c.check("npy of type %d, shape %s" % (dtype, shape), got == (w.DESCR[dtype], tuple(shape), values), got)
    r = run_npy(tmp, w.F32, [], w.npy(w.F32, [], [7.0]))
    c.check("npy of rank 0", r.returncode == 0 and w.read_npy(read(out)) == ("<f4", (), [7.0]), r.stderr)
    r = run_npy(tmp, w.F32, [0, 3], w.npy(w.F32, [0, 3], []))
    c.check("npy of no elements", r.returncode == 0 and w.read_npy(read(out)) == ("<f4", (0, 3), []), r.stderr)
    r = run_npy(tmp, w.F32, [2, 3], w.npy(w.F32, [2, 3], [1, 4, 2, 5, 3, 6], fortran=True))
    c.check("Fortran order", r.returncode == 0 and w.read_npy(read(out))[2] == [1, 2, 3, 4, 5, 6], r.stderr)
    r = run_npy(tmp, w.F32, [2, 2, 2], w.npy(w.F32, [2, 2, 2], [0, 4, 2, 6, 1, 5, 3, 7], fortran=True))
    c.check("Fortran order, rank 3", r.returncode == 0 and w.read_npy(read(out))[2] == list(range(8)), r.stderr)
    r = run_npy(tmp, w.I32, [2], w.npy(w.I32, [2], struct.pack(">2i", 1, -2), descr=">i4"))
    c.check("big-endian data", r.returncode == 0 and w.read_npy(read(out))[2] == [1, -2], r.stderr)
    r = run_npy(tmp, w.F32, [2], w.npy(w.F32, [2], [1, 2], version=2))
    c.check("format version 2", r.returncode == 0 and w.read_npy(read(out))[2] == [1, 2], r.stderr)
    r = run_npy(tmp, w.BF16, [2], w.npy(w.BF16, [2], b"\x80\x3f\x00\xc0", descr="<V2"))
    c.check(
        "bfloat16 as V2", r.returncode == 0 and w.read_npy(read(out)) == ("<V2", (2,), b"\x80\x3f\x00\xc0"), r.stderr
    )
    text = "aé".encode("utf-32-le") + "学😀".encode("utf-32-le")
    r = run_npy(tmp, w.STRING, [2], w.npy(w.STRING, [2], text, descr="<U2"))
    c.check("strings", r.returncode == 0 and w.read_npy(read(out))[2][:4] == b"a\0\0\0", r.stderr)
    r = sard("run", identity(tmp, w.STRING, ["n"]), "--input", "x=" + os.path.join(tmp, "in.npy"))
    c.check("strings are printed", '["aé" "学😀"]' in r.stdout, r.stdout + r.stderr)


def damaged_npy(c, tmp):
    good = w.npy(w.F32, [2, 3], range(6))
    head = lambda text: b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + bytes(24)
    bad = [
        ("empty", b"", 3, "NUMPY"),
        ("another format", b"PK\3\4" + bytes(60), 3, "NUMPY"),
        ("version 9", good[:6] + b"\x09" + good[7:], 4, "version 9"),
        ("cut in the header", good[:40], 3, "ends in the header"),
        ("cut in the data", good[:-1], 3, "23 bytes"),
        ("data too long", good + b"\0", 3, "25 bytes"),
        ("header length past the end", good[:8] + b"\xff\xff" + good[10:], 3, "ends in the header"),
        ("Python objects", head(b"{'descr': '|O', 'fortran_order': False, 'shape': (3,), }"), 4, "objects"),
        ("a structure", head(b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }"), 4, "structured"),
        ("an unknown type", head(b"{'descr': '<M8', 'fortran_order': False, 'shape': (3,), }"), 4, "'<M8'"),
        ("a negative extent", head(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-6,), }"), 3, "shape"),
        ("an extent of 2^70", head(b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }" % 2**70), 3, "shape"),
        (
            "extents that overflow",
            head(b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }" % (2**40, 2**40)),
            3,
            "overflows",
        ),
        (
            "more than it has",
            head(b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }" % 2**40),
            3,
            "24 bytes",
        ),
        (
            "strings of 2^60 characters",
            head(b"{'descr': '<U%d', 'fortran_order': False, 'shape': (0,), }" % 2**60),
            3,
            "",
        ),
        ("strings of no characters", head(b"{'descr': '|S0', 'fortran_order': False, 'shape': (%d,), }" % 2**33)[:-24], 3, "characters"),
        (
            "20 dimensions",
            head(b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1," * 20 + b"), }"),
            4,
            "dimensions",
        ),
        ("no shape", head(b"{'descr': '<f4', 'fortran_order': False, }"), 3, "not complete"),
        (
            "a key twice",
            head(b"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,)}"),
            3,
            "repeated",
        ),
        ("no dictionary", head(b"hello"), 3, "dictionary"),
        ("an open quote", head(b"{'descr"), 3, "header"),
        ("a bool of 2", w.npy(w.BOOL, [1], b"\x02"), 3, "bool"),
    ]
    for name, data, code, text in bad:
        r = run_npy(tmp, w.BOOL if name == "a bool of 2" else w.F32, [2, 3] if name.startswith("cut") else [6], data)
        c.error("npy: " + name, r, code, text, "in.npy")
    r = run_npy(tmp, w.F32, [2], w.npy(w.F64, [2], [1.0, 2.0]))
    c.error("another element type", r, 3, "'x'", "f32[d0]", "f64[2]", "float32")


def archives(c, tmp):
    m = write(os.path.join(tmp, "pair.onnx"), models.pair())
    ins, out = os.path.join(tmp, "in.npz"), os.path.join(tmp, "out.npz")
    arrays = {"a": w.npy(w.F32, [1, 2], [1, 2]), "b": w.npy(w.F32, [1, 2], [10, 20]), "k": w.npy(w.I64, [1], [5])}
    want = {"y": ("<f4", (1, 2), [11, 22]), "z": ("<i8", (1,), [5])}
    for compress in (False, True):
        w.npz(ins, arrays, compress)
        r = sard("run", m, "--inputs", ins, "-o", out)
        c.check(
            "npz in and out, compressed: %s" % compress,
            r.returncode == 0 and not r.stdout and w.read_npz(out) == want,
            r.stderr,
        )
    first = read(out)
    sard("run", m, "--inputs", ins, "-o", out)
    c.check("the same run stores the same bytes", read(out) == first)
    r = sard("run", m, "--inputs", out)
    c.error("arrays that are no inputs", r, 2, "no input 'y'", out)
    w.npz(ins, dict(arrays, b=arrays["b"][:-3]))
    c.error("a damaged array", sard("run", m, "--inputs", ins), 3, "array 'b'", ins)
    good = read(ins)
    c.error("no archive", sard("run", m, "--inputs", write(os.path.join(tmp, "x.npz"), b"PK nothing")), 3, "x.npz")
    c.error(
        "an archive cut short", sard("run", m, "--inputs", write(os.path.join(tmp, "x.npz"), good[:-30])), 3, "x.npz"
    )
    c.error(
        "an archive that is not there", sard("run", m, "--inputs", os.path.join(tmp, "none.npz")), 3, "No such file"
    )
    w.npz(ins, {"a": arrays["a"]})
    r = sard("run", m, "--inputs", ins, "--input", "b=" + ins, "--input", "k=[3]")
    c.check(
        "an archive of one array serves any input",
        r.returncode == 0 and "[[2. 4.]]" in r.stdout.replace("0", ""),
        r.stdout + r.stderr,
    )
    c.error("the same input twice", sard("run", m, "--inputs", ins, "--input", "a=[[1,2]]"), 2, "'a' is given twice")


def protobufs(c, tmp):
    add = write(os.path.join(tmp, "add.onnx"), models.add())
    x, y = os.path.join(tmp, "x.pb"), os.path.join(tmp, "y.pb")
    write(x, w.tensor("x", w.F32, [1, 3], [1, 2, 3]))
    r = sard("run", add, "--input", "x=" + x, "--output", "y=" + y)
    c.check(
        "a tensor in and out", r.returncode == 0 and read(y) == w.tensor("y", w.F32, [1, 3], [11, 22, 33]), r.stderr
    )
    m = write(os.path.join(tmp, "seq.onnx"), models.sequences())
    write(x, w.tensor("x", w.F32, [2, 2], [1, 2, 3, 4]))
    r = sard("run", m, "--input", "x=" + x, "--output", "y=" + y)
    strip = lambda t: t.replace(w.field(8, ""), b"")
    want = w.sequence("y", [strip(w.tensor("", w.F32, [1, 2], v)) for v in ([1, 2], [3, 4])])
    c.check("a sequence out", r.returncode == 0 and read(y) == want, r.stderr or read(y))
    c.error(
        "a sequence as .npy",
        sard("run", m, "--input", "x=" + x, "--output", "y=" + os.path.join(tmp, "y.npy")),
        4,
        "sequence",
        "'y'",
    )
    m = write(os.path.join(tmp, "length.onnx"), models.sequence_length())
    items = [w.tensor("", w.F32, [1], [1]), w.tensor("", w.F32, [2, 0], []), w.tensor("", w.F32, [], [3])]
    for n in range(4):
        r = sard("run", m, "--input", "x=" + write(y, w.sequence("x", items[:n])))
        c.check(
            "a sequence of %d in" % n,
            r.returncode == 0 and r.stdout.split() == ["n", "i64[]", str(n)],
            r.stdout + r.stderr,
        )
    c.error("a tensor for a sequence", sard("run", m, "--input", "x=" + x), 3, "x.pb")
    c.error("a sequence cut short", sard("run", m, "--input", "x=" + write(y, w.sequence("x", items)[:-2])), 3, "y.pb")
    m = write(os.path.join(tmp, "has.onnx"), models.sequence_length("OptionalHasElement"))
    for text, data in (("true", w.field(2, 1) + w.field(3, items[0])), ("false", w.field(2, 1))):
        r = sard("run", m, "--input", "x=" + write(y, data))
        c.check("an optional in: " + text, r.returncode == 0 and r.stdout.split()[-1] == text, r.stdout + r.stderr)
    deep = b""
    for _ in range(20):
        deep = w.field(2, 3) + w.field(5, deep)
    m = write(os.path.join(tmp, "length.onnx"), models.sequence_length())
    c.error("sequences nested too deep", sard("run", m, "--input", "x=" + write(y, deep)), 3, "nested")
    write(x, w.tensor("x", w.F32, [2, 2], [1, 2, 3, 4]))
    for name, data in (
        ("cut short", read(x)[:-3]),
        ("no protobuf", b"\xff" * 40),
        ("dims and data that differ", w.tensor("x", w.F32, [3, 3], range(6))),
    ):
        c.error("a tensor file: " + name, sard("run", add, "--input", "x=" + write(x, data)), 3, "x.pb")


def expectations(c, tmp):
    m = write(os.path.join(tmp, "add.onnx"), models.add())
    e = os.path.join(tmp, "expect.npz")
    args = ["run", m, "--input", "x=[[1,2,3]]", "--expect", e]
    w.npz(e, {"y": w.npy(w.F32, [1, 3], [11, 22, 33])})
    r = sard(*args)
    c.check("equal", r.returncode == 0 and r.stdout == "ok        y: all 3 elements equal\n", r.stdout + r.stderr)
    w.npz(e, {"y": w.npy(w.F32, [1, 3], [11, 22.01, 33])})
    r = sard(*args)
    c.check("within tolerance", r.returncode == 0 and "at [0,1]: 22, expected 22.01" in r.stdout, r.stdout + r.stderr)
    r = sard(*args, "--rtol", "1e-6")
    c.check(
        "out of tolerance",
        r.returncode == 1 and "MISMATCH  y: 1 of 3" in r.stdout and "[0,1]" in r.stdout,
        r.stdout + r.stderr,
    )
    r = sard(*args, "--relative", "1e-6")
    c.check("relative", r.returncode == 1 and "MISMATCH" in r.stdout, r.stdout + r.stderr)
    r = sard(*args, "--relative", "1e-3")
    c.check("relative, wide", r.returncode == 0, r.stdout + r.stderr)
    r = sard(*args, "--rtol", "1e-6", "--output", os.path.join(tmp, "kept.npz"))
    c.check(
        "outputs are stored for a look at the mismatch",
        r.returncode == 1 and os.path.exists(os.path.join(tmp, "kept.npz")),
    )
    w.npz(e, {"y": w.npy(w.F32, [3], [11, 22, 33])})
    c.check("another shape", sard(*args).returncode == 1 and "f32[1,3], expected f32[3]" in sard(*args).stdout)
    w.npz(e, {"y": w.npy(w.F32, [1, 3], [11, float("nan"), 33])})
    c.check("NaN is no number", sard(*args).returncode == 1)
    w.npz(e, {"Y": w.npy(w.F32, [1, 3], [11, 22, 33])})
    c.error("an output that is none", sard(*args), 2, "no output 'Y'", "did you mean 'y'")


def whole_or_nothing(c, tmp):
    m = write(os.path.join(tmp, "gather.onnx"), models.gather())
    out = os.path.join(tmp, "made")
    os.mkdir(out)
    ok, bad = ["run", m, "--input", "i=[0]"], ["run", m, "--input", "i=[9]"]
    sard(*bad, "-o", out + "/all.npz", "-o", "y=" + out + "/y.npy")
    c.check("a failed run stores nothing", os.listdir(out) == [], os.listdir(out))
    c.error(
        "a folder that is not there",
        sard(*ok, "-o", out + "/all.npz", "-o", "y=" + out + "/none/y.npy"),
        3,
        "No such file",
    )
    c.check("a failed store leaves nothing", os.listdir(out) == [], os.listdir(out))
    c.error("an unknown output", sard(*ok, "-o", "Y=" + out + "/y.npy"), 2, "did you mean 'y'")
    c.error("an unknown suffix", sard(*ok, "-o", out + "/all.csv"), 2, "FILE.npz is wanted")
    pipe = os.path.join(tmp, "pipe.npy")
    os.mkfifo(pipe)
    c.error("what is no regular file is not replaced", sard(*ok, "-o", "y=" + pipe), 3, "no regular file")
    write(out + "/y.npy", b"old")
    c.check(
        "an old file is replaced",
        sard(*ok, "-o", "y=" + out + "/y.npy").returncode == 0 and read(out + "/y.npy")[:6] == b"\x93NUMPY",
    )
    c.check("and nothing else is left", os.listdir(out) == ["y.npy"], os.listdir(out))
    os.remove(out + "/y.npy")
    for name in ("all.npz", "y=" + out + "/y.npy"):
        to = name if "=" in name else out + "/" + name
        r = subprocess.run(
            [SARD, *ok, "-o", to],
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        )
        c.check("a limit on file sizes is an error", r.returncode == 3 and "File too large" in r.stderr, r.stderr)
        c.check("that leaves nothing", os.listdir(out) == [], os.listdir(out))
    if os.path.exists("/dev/full"):
        with open("/dev/full", "wb") as full:
            r = subprocess.run([SARD, *ok], stdout=full, stderr=subprocess.PIPE)
        c.check("a full disk under stdout is an error", r.returncode == 3 and b"No space" in r.stderr, r.stderr)


def main():
    c = Checks()
    with tempfile.TemporaryDirectory() as tmp:
        for part in (round_trips, damaged_npy, archives, protobufs, expectations, whole_or_nothing):
            folder = os.path.join(tmp, part.__name__)
            os.mkdir(folder)
            part(c, folder)
    return c.done()


if __name__ == "__main__":
    sys.exit(main())
