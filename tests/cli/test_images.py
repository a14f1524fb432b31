#!/usr/bin/env python3
"""Decoders of images are in a shared object of their own: loaded for the files that need it, found beside the tool, missed with a clear
error; and no other process carries the libraries.

SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

import onnx_writer as w
from harness import SARD, Checks, sard

IMAGES = "libsard-images.so"
CODE = 4  # something that is not supported
PIXELS = [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [1, 2, 3]]]


def png(pixels):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", len(pixels[0]), len(pixels), 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(sum(row, [])) for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bmp(pixels):
    """24 bits, rows from below, each a multiple of four bytes"""
    rows = [b"".join(bytes(p[::-1]) for p in row) for row in reversed(pixels)]
    data = b"".join(r + bytes(-len(r) % 4) for r in rows)
    head = struct.pack("<IiiHHIIiiII", 40, len(pixels[0]), len(pixels), 1, 24, 0, len(data), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 14 + len(head) + len(data), 0, 0, 14 + len(head)) + head + data


def run(tool, folder, name):
    """ImageDecoder over a file, by a tool that may stand elsewhere"""
    return subprocess.run(
        [tool, "run", os.path.join(folder, "m.onnx"), "--input", "x=" + os.path.join(folder, name), "--device", "reference", "--output",
         "y=" + os.path.join(folder, "y.npy")],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def array(data):
    return w.npy(w.U8, [len(data)], list(data))


def decoded(folder):
    with open(os.path.join(folder, "y.npy"), "rb") as f:
        descr, shape, values = w.read_npy(f.read())
    return (descr, shape, list(values)) == ("|u1", (2, 2, 3), [v for row in PIXELS for p in row for v in p])


def main():
    c = Checks()
    loaded = subprocess.run([SARD], env=dict(os.environ, LD_TRACE_LOADED_OBJECTS="1"), capture_output=True, text=True).stdout
    c.check("the list of what the tool loads", "libc.so" in loaded, loaded)
    for name in ("libtiff", "libpng", "jpeg", "libwebp", "libopenjp2", "libLLVM"):
        c.check("the tool does without %s" % name, name not in loaded, loaded)
    has_png = json.loads(sard("doctor", "--json").stdout)["libraries"]["libpng"] not in (None, "none")
    with tempfile.TemporaryDirectory() as tmp:
        out = w.tensor_type(w.U8, ["h", "w", 3])
        model = w.model([w.node("ImageDecoder", ["x"], ["y"])], [w.value("x", w.tensor_type(w.U8, ["n"]))], [w.value("y", out)])
        for name, data in (("m.onnx", model), ("png.npy", array(png(PIXELS))), ("bmp.npy", array(bmp(PIXELS)))):
            with open(os.path.join(tmp, name), "wb") as f:
                f.write(data)
        alone = os.path.join(tmp, "bin", "sard")
        os.makedirs(os.path.dirname(alone))
        shutil.copy(SARD, alone)
        r = run(alone, tmp, "bmp.npy")
        c.check("formats of our own need no library", r.returncode == 0 and decoded(tmp), r.stderr)
        r = run(alone, tmp, "png.npy")
        c.error("without the library", r, CODE, IMAGES + " was not found", "looked for " + os.path.dirname(alone))
        beside = os.path.join(tmp, "bin", IMAGES)
        shutil.copy(os.path.join(os.path.dirname(SARD), "libsard.so"), beside)
        r = run(alone, tmp, "png.npy")
        c.error("another library of its name", r, CODE, "belongs to another build")
        with open(beside, "wb") as f:
            f.write(b"no library")
        c.error("no library", run(alone, tmp, "png.npy"), CODE, "does not load")
        shutil.copy(os.path.join(os.path.dirname(SARD), IMAGES), beside)
        r = run(alone, tmp, "png.npy")
        if has_png:
            c.check("with the library", r.returncode == 0 and decoded(tmp), r.stderr)
        else:
            c.error("a build without libpng", r, CODE, "made without libpng")
    return c.done()


if __name__ == "__main__":
    sys.exit(main())
