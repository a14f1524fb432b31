#!/usr/bin/env python3
"""gen_image.py - writes image.txt: small image files, and their pixels as Pillow decodes them (what onnx.reference does).

Needs Pillow with WebP and JPEG 2000, and numpy; run by hand: python gen_image.py > image.txt
SPDX-License-Identifier: Apache-2.0
"""
import io
import struct
import zlib

import numpy as np
from PIL import Image

rng = np.random.default_rng(5)
RGB = rng.integers(0, 256, (3, 5, 3), dtype=np.uint8)
X, Y = np.meshgrid(np.arange(0, 170, 10), np.arange(0, 90, 10))
SMOOTH = np.stack([X, Y, np.full((9, 17), 99)], -1).astype(np.uint8)


def text(a):
    return "u8[%s] %s" % (",".join(map(str, a.shape)), " ".join(map(str, a.ravel())))


def case(note, data, want, form="RGB"):
    want = np.asarray(want, np.uint8)
    print("op ImageDecoder %s\nattr pixel_format=%s\nin %s\nout %s\n" % (note, form, text(np.frombuffer(data, np.uint8)), text(want).strip()))


def pillow(data, mode="RGB"):
    return np.array(Image.open(io.BytesIO(data)).convert(mode))


def save(a, mode=None, **k):
    b = io.BytesIO()
    im = Image.fromarray(a)
    (im.convert(mode) if mode else im).save(b, **k)
    return b.getvalue()


def each(note, data):
    want = pillow(data)
    case(note, data, want)
    return want


def main():
    png = save(RGB, format="PNG")
    each("PNG", png)
    case("PNG, BGR", png, RGB[:, :, ::-1], "BGR")
    case("PNG, grey", png, pillow(png, "L")[:, :, None], "Grayscale")
    each("PNG of grey", save(RGB[:, :, 0], format="PNG"))
    each("PNG with a palette", save(RGB, "P", format="PNG"))
    each("PNG of bits", save(RGB, "1", format="PNG"))
    alpha = np.concatenate([RGB, rng.integers(0, 256, (3, 5, 1), dtype=np.uint8)], -1)
    case("PNG whose alpha is dropped", save(alpha, format="PNG"), RGB)
    for k in ("RGB", "P", "L", "1"):
        each("BMP of " + k, save(RGB, k, format="BMP"))
    rows = b"".join(RGB[y, :, ::-1].tobytes() + b"\0" for y in range(3))
    each("BMP from the top", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54 + len(rows), 0, 0, 54, 40, 5, -3, 1, 24, 0, len(rows), 0, 0, 0, 0) + rows)
    for k in ("RGB", "L", "1"):
        each("PNM of " + k, save(RGB, k, format="PPM"))
    case("PNM in text", b"P3 # a comment\n2 1\n255\n1 2 3  4 5 6\n", [[[1, 2, 3], [4, 5, 6]]])
    case("PNM of bits in text", b"P1\n3 1\n101", [[[0] * 3, [255] * 3, [0] * 3]])
    case("PNM of 16 bits", b"P5 2 1 65535\n\x00\x00\xff\xff", [[[0] * 3, [255] * 3]])
    each("JPEG", save(SMOOTH, format="JPEG", quality=90))
    each("JPEG, progressive, chroma halved", save(SMOOTH, format="JPEG", quality=75, progressive=True, subsampling=2))
    each("JPEG of grey", save(SMOOTH[:, :, 0], format="JPEG"))
    each("WebP without loss", save(RGB, format="WEBP", lossless=True))
    for c in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        each("TIFF, %s" % (c or "plain"), save(RGB, format="TIFF", compression=c))
    each("TIFF of grey", save(RGB[:, :, 0], format="TIFF"))
    each("JPEG 2000 without loss", save(RGB, format="JPEG2000", irreversible=False))
    each("JPEG 2000, bare code stream", save(RGB, format="JPEG2000", irreversible=False, no_jp2=True))
    empty = np.zeros((0, 0, 3), np.uint8)
    case("nothing", b"", empty)
    case("no image", b"hello, world", empty)
    case("no image, grey", b"hello, world", np.zeros((0, 0, 1), np.uint8), "Grayscale")
    for name, data in (("PNG", png), ("JPEG", save(SMOOTH, format="JPEG")), ("WebP", save(RGB, format="WEBP", lossless=True)),
                       ("TIFF", save(RGB, format="TIFF")), ("JPEG 2000", save(RGB, format="JPEG2000")), ("BMP", save(RGB, format="BMP")),
                       ("PNM", save(RGB, format="PPM"))):
        case("a %s cut off in its head" % name, data[:12], empty)
        case("a %s cut off" % name, data[: len(data) - 20], empty) if name not in ("JPEG 2000", "TIFF") else None
    case("a PNM that says too large a number", b"P2 1 1 10\n11", empty)
    case("a BMP whose palette is not there", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 58, 0, 0, 54, 40, 1, 1, 1, 8, 0, 4, 0, 0, 256, 0) + b"\0\0\0\0", empty)
    huge(png)


def too_large(note, data):
    print("op ImageDecoder %s\nin %s\nerror does not fit the memory limit\n" % (note, text(np.frombuffer(bytes(data), np.uint8))))


def huge(png):
    """Headers that state dimensions beyond any memory: nothing is decoded."""
    d = bytearray(png)
    d[16:24] = struct.pack(">II", 900000, 900000)
    d[29:33] = struct.pack(">I", zlib.crc32(bytes(d[12:29])))
    too_large("PNG of 900000 x 900000", d)
    d = bytearray(save(SMOOTH, format="JPEG"))
    at = d.index(b"\xff\xc0")
    d[at + 5:at + 9] = b"\xff\xdc\xff\xdc"
    too_large("JPEG of 65500 x 65500", d)
    d = bytearray(save(RGB, format="WEBP", lossless=True))
    d[21:25] = struct.pack("<I", 16382 | 16382 << 14)
    too_large("WebP of 16383 x 16383", d)
    d = bytearray(save(RGB, format="TIFF"))
    ifd, = struct.unpack("<I", d[4:8])
    for i in range(struct.unpack("<H", d[ifd:ifd + 2])[0]):
        tag = ifd + 2 + 12 * i
        if struct.unpack("<H", d[tag:tag + 2])[0] in (256, 257):
            d[tag + 2:tag + 12] = struct.pack("<HII", 4, 1, 1000000)
    too_large("TIFF of 10^6 x 10^6", d)
    d = bytearray(save(RGB, format="JPEG2000", no_jp2=True))
    d[8:16] = struct.pack(">II", 1000000, 1000000)
    d[24:32] = struct.pack(">II", 1000000, 1000000)
    too_large("JPEG 2000 of 10^6 x 10^6", d)
    too_large("PNM of 10^6 x 10^6", b"P6 1000000 1000000 255\n")
    d = bytearray(save(RGB, format="BMP"))
    d[18:26] = struct.pack("<ii", 1000000, 1000000)
    too_large("BMP of 10^6 x 10^6", d)


main()
