#!/usr/bin/env python3
# gen_special.py - writes special.txt: cases of losses, signals, detection, image geometry, recurrences, random numbers and
# training. Expected values come from PyTorch or torchvision in double, from numpy.fft, from onnx.reference, or from the
# equations of the ONNX documentation in NumPy. Needs torch, torchvision, onnx and numpy:
#   python3 tests/op/gen_special.py > tests/op/special.txt
# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from gen_nn import NUMPY, case, f32, reference, rng, small, t

def i64(x):
    return ("i64", np.asarray(x, dtype=np.int64))


def typed(dtype, x):
    return (dtype, np.asarray(x).astype(NUMPY[dtype]))


# --- losses ---

def losses():
    for shape, reduction, weighted, ignore in [
            ((3, 5), "mean", False, None), ((3, 5), "none", True, None), ((2, 4, 3), "sum", True, 1),
            ((2, 4, 3), "mean", True, -7), ((2, 3, 2, 2), "none", False, 0), ((2, 3, 2, 2), "mean", False, 2),
            ((1, 2, 1, 2, 2), "sum", False, None)]:
        x = small(*shape)
        labels = rng.integers(0, shape[1], (shape[0],) + shape[2:])
        if ignore is not None:
            labels.reshape(-1)[0] = ignore
        w = rng.integers(1, 9, shape[1]) / 4.0 if weighted else None
        attrs = {} if reduction == "mean" and ignore is None else {"reduction": reduction}
        if ignore is not None:
            attrs["ignore_index"] = ignore
        kw = dict(weight=None if w is None else t(w), reduction=reduction,
                  ignore_index=-100 if ignore is None else ignore)
        ins = [f32(x), i64(labels)] + ([f32(w)] if weighted else [])
        logp = F.log_softmax(t(x), dim=1)
        case("NegativeLogLikelihoodLoss", "", attrs, ins, [f32(F.nll_loss(t(x), torch.from_numpy(labels), **kw))])
        loss = F.cross_entropy(t(x), torch.from_numpy(labels), **kw)
        case("SoftmaxCrossEntropyLoss", "", attrs, ins, [f32(loss), f32(logp)])
        case("SoftmaxCrossEntropyLoss", "without the logarithms", attrs, ins, [f32(loss), None])
    x, labels = small(2, 3), np.array([2, 0])
    for dtype in ("f64", "f16", "bf16"):
        case("SoftmaxCrossEntropyLoss", dtype, {"reduction": "none"}, [typed(dtype, x), ("i32", labels)],
             [typed(dtype, F.cross_entropy(t(x), torch.from_numpy(labels), reduction="none")),
              typed(dtype, F.log_softmax(t(x), dim=1))])


# --- signals ---

def pair(z):
    return np.stack([z.real, z.imag], -1)


def dft_case(shape, axis, n=None, inverse=0, onesided=0, dtype="f32", note=""):
    x = small(*shape)
    z = x[..., 0] + (1j * x[..., 1] if shape[-1] == 2 else 0)
    at = axis if axis >= 0 else axis + len(shape)
    if inverse and onesided:
        y = np.fft.irfft(z, n=n, axis=at)[..., None]
    elif inverse:
        y = pair(np.fft.ifft(z, n=n, axis=at))
    else:
        y = np.fft.fft(z, n=n, axis=at)
        if onesided:
            y = np.take(y, range(y.shape[at] // 2 + 1), axis=at)
        y = pair(y)
    attrs = {k: 1 for k, v in (("inverse", inverse), ("onesided", onesided)) if v}
    ins = [typed(dtype, x)] + ([("i64", np.array(n)) if n else None] if n or axis != -2 else [])
    ins += [("i64", np.array(axis))] if axis != -2 else []
    case("DFT", note, attrs, ins, [typed(dtype, y)], tol=1e-5 if dtype == "f32" else None)


def signals():
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 30, 31, 37, 64, 74, 96):
        dft_case((1, n, 1), -2, note="length %d" % n)
    dft_case((2, 6, 2), 1, note="complex")
    dft_case((2, 6, 2), 1, inverse=1, note="inverse")
    dft_case((2, 37, 2), 1, inverse=1, dtype="f64", note="inverse, a prime")
    dft_case((2, 6, 1), 1, onesided=1, note="one-sided")
    dft_case((2, 7, 1), 1, onesided=1, note="one-sided, odd")
    dft_case((2, 4, 2), 1, inverse=1, onesided=1, note="to real")
    dft_case((1, 4, 2), 1, n=7, inverse=1, onesided=1, note="to real, odd")
    dft_case((3, 2, 4, 1), 0, note="first axis")
    dft_case((3, 4, 2, 2), 1, n=6, note="padded")
    dft_case((3, 4, 2, 2), -3, n=3, note="cut off")
    dft_case((2, 8, 1), -2, dtype="f64")
    dft_case((2, 8, 1), -2, dtype="f16")
    dft_case((1, 1000, 1), 1, dtype="f64", note="1000")
    for shape, step, length, window, onesided in [((1, 16, 1), 4, 8, None, 1), ((2, 17, 1), 3, None, 6, 0),
                                                  ((1, 20, 2), 5, 10, 10, 0), ((2, 15, 1), 7, None, 7, 1)]:
        x = small(*shape)
        w = rng.integers(1, 9, window) / 8.0 if window else None
        n = length or window
        z = torch.complex(t(x[..., 0]), t(x[..., 1])) if shape[-1] == 2 else t(x[..., 0])
        y = torch.stft(z, n, step, window=t(np.ones(n) if w is None else w), center=False, onesided=bool(onesided),
                       return_complex=True)
        ins = [f32(x), ("i64", np.array(step)), None if w is None else f32(w)]
        ins += [("i64", np.array(length))] if length else []
        case("STFT", "", {} if onesided else {"onesided": 0}, ins, [f32(torch.view_as_real(y.transpose(1, 2)))], tol=1e-5)
    windows = {"HannWindow": torch.hann_window, "BlackmanWindow": torch.blackman_window,
               "HammingWindow": lambda n, periodic=True, **k: torch.hamming_window(n, periodic, 25 / 46, 21 / 46, **k)}
    for name, fn in windows.items():
        for n, periodic in (1, 0), (3, 0), (9, 0), (2, 1), (9, 1):
            case(name, "", {} if periodic else {"periodic": 0}, [("i64", np.array(n))],
                 [f32(fn(n, periodic=bool(periodic), dtype=torch.float64))], tol=1e-6)
        case(name, "f64", {"output_datatype": 11}, [("i32", np.array(5))],
             [("f64", fn(5, dtype=torch.float64).numpy())], tol=1e-12)
    for bands, n, rate, low, high in [(8, 16, 8192, 0.0, 4096.0), (4, 33, 16000, 100.0, 7000.0)]:
        ins = [np.array(bands, np.int64), np.array(n, np.int64), np.array(rate, np.int64), np.array(low, np.float32),
               np.array(high, np.float32)]
        y = reference("MelWeightMatrix", ins)[0]
        case("MelWeightMatrix", "", {}, [("i64", v) for v in ins[:3]] + [f32(v) for v in ins[3:]], [f32(y)])


# --- detection ---

def detection():
    corner, size = np.abs(small(2, 7, 2)), np.abs(small(2, 7, 2)) + 0.5
    scores = rng.permutation(42).reshape(2, 3, 7) / 64.0
    for center, most, iou, score in [(0, 3, 0.5, None), (0, 7, 0.25, 0.3), (1, 2, 0.1, 0.2), (0, 0, 0.5, None)]:
        kept = []
        boxes = np.concatenate([corner, size if center else corner + size], 2)
        for b, c in itertools.product(range(2), range(3)):
            box = t(boxes[b])
            box = torchvision.ops.box_convert(box, "cxcywh", "xyxy") if center else box
            keep = [i for i in range(7) if score is None or scores[b, c, i] > score]
            order = torchvision.ops.nms(box[keep], t(scores[b, c, keep]), iou) if keep else []
            kept += [(b, c, keep[int(k)]) for k in list(order)[:most]]
        ins = [f32(boxes), f32(scores), i64([most]), f32([iou])] + ([f32([score])] if score is not None else [])
        case("NonMaxSuppression", "", {"center_point_box": 1} if center else {}, ins,
             [("i64", np.array(kept, np.int64).reshape(-1, 3))])
    boxes = np.concatenate([corner, corner + size], 2)
    flipped = boxes[:, :, [2, 3, 0, 1]]
    case("NonMaxSuppression", "corners in the other order", {}, [f32(flipped[:1]), f32(scores[:1, :1]), i64([7]), f32([0.5])],
         [("i64", np.array([(0, 0, int(i)) for i in torchvision.ops.nms(t(boxes[0]), t(scores[0, 0]), 0.5)]))])
    case("NonMaxSuppression", "without a number of boxes", {}, [f32(boxes), f32(scores)], [("i64", np.zeros((0, 3), int))])
    x = small(2, 2, 6, 7)
    rois = np.array([[0, 0, 4, 4], [1.5, 0.5, 6, 5], [5, 4, 3, 3], [-3, -2, 9, 9]])
    index = np.array([0, 1, 1, 0])
    full = np.concatenate([index[:, None], rois], 1)
    for ratio, aligned, scale in [(2, True, 1.0), (0, True, 0.5), (3, False, 0.75), (0, False, 1.0)]:
        r = rois[:2] if ratio == 0 and aligned else rois
        y = torchvision.ops.roi_align(t(x), t(full[:len(r)]), (3, 2), scale, ratio, aligned)
        attrs = {"output_height": 3, "output_width": 2, "sampling_ratio": ratio, "spatial_scale": scale,
                 "coordinate_transformation_mode": "half_pixel" if aligned else "output_half_pixel"}
        case("RoiAlign", "", attrs, [f32(x), f32(r), i64(index[:len(r)])], [f32(y)], tol=1e-5)
    attrs = {"output_height": 2, "output_width": 2, "sampling_ratio": 2, "mode": "max"}
    y = reference("RoiAlign", [x.astype(np.float32), rois.astype(np.float32), index], **attrs)[0]
    case("RoiAlign", "max", attrs, [f32(x), f32(rois), i64(index)], [f32(y)], tol=1e-5)
    for pooled, scale in [((3, 2), 1.0), ((2, 4), 0.5), ((1, 1), 2.0)]:
        y = torchvision.ops.roi_pool(t(x), t(full), pooled, scale)
        case("MaxRoiPool", "", {"pooled_shape": list(pooled), "spatial_scale": scale}, [f32(x), f32(full)], [f32(y)])


# --- images ---

def images():
    for size, align in itertools.product(((2, 3, 3, 4), (1, 1, 2, 1), (2, 1, 2, 3, 2)), (0, 1)):
        theta = small(size[0], len(size) - 2, len(size) - 1)
        y = F.affine_grid(t(theta), list(size), align_corners=bool(align))
        case("AffineGrid", "", {"align_corners": 1} if align else {}, [f32(theta), i64(size)], [f32(y)], tol=1e-6)
    for shape, want, axes in [((4, 5), (3, 8), None), ((5, 3, 4), (2, 7), [-1, 0]), ((3, 4), (6, 4), None), ((2, 5), (0, 1), None)]:
        x = small(*shape)
        attrs = {"axes": axes} if axes else {}
        y = reference("CenterCropPad", [x.astype(np.float32), np.array(want)], **attrs)[0]
        case("CenterCropPad", "", attrs, [f32(x), i64(want)], [f32(y)])
    x = np.arange(6).reshape(2, 3)
    case("CenterCropPad", "i32", {}, [("i32", x), ("i32", np.array([4, 2]))], [("i32", np.pad(x[:, 0:2], ((1, 1), (0, 0))))])
    for image, kernel, attrs in [((5, 5), (1, 5), {}), ((5, 5), (3, 3), {"pads": [1, 0, 1, 0]}),
                                 ((6, 5), (2, 2), {"strides": [2, 1], "dilations": [1, 2]})]:
        k = dict(kernel_size=kernel, stride=attrs.get("strides", 1), padding=tuple(attrs.get("pads", [0, 0])[:2]),
                 dilation=attrs.get("dilations", 1))
        cols = F.unfold(torch.zeros(2, 3, *image, dtype=torch.float64), **k).shape
        x = small(*cols)
        case("Col2Im", "", attrs, [f32(x), i64(image), i64(kernel)], [f32(F.fold(t(x), image, **k))])
    attrs = {"pads": [0, 1, 1, 0, 0, 1]}
    x = small(1, 8, 2 * 3 * 4)
    y = reference("Col2Im", [x.astype(np.float32), np.array([3, 3, 3]), np.array([2, 2, 2])], **attrs)[0]
    case("Col2Im", "3-D, unequal pads", attrs, [f32(x), i64([3, 3, 3]), i64([2, 2, 2])], [f32(y)])
    x = t(rng.permutation(2 * 2 * 36).reshape(2, 2, 6, 6))
    y, at = F.max_pool2d(x, 2, return_indices=True)
    flat = at + 36 * torch.arange(4).reshape(2, 2, 1, 1)
    case("MaxUnpool", "", {"kernel_shape": [2, 2], "strides": [2, 2]}, [f32(y), i64(flat)], [f32(F.max_unpool2d(y, at, 2))])
    wide = F.pad(F.max_unpool2d(y, at, 2), (0, 1, 0, 2))
    case("MaxUnpool", "into a larger shape", {"kernel_shape": [2, 2], "strides": [2, 2]},
         [f32(y), i64(flat), i64([2, 2, 8, 7])], [f32(wide)])
    x = t(small(1, 1, 9))
    y, at = F.max_pool1d(x, 3, 2, return_indices=True)
    case("MaxUnpool", "1-D", {"kernel_shape": [3], "strides": [2]}, [f32(y), i64(at)], [f32(F.max_unpool1d(y, at, 3, 2))])


def deformed():
    for note, xs, ws, parts, attrs, masked, bias in [
            ("", (1, 2, 5, 5), (3, 2, 3, 3), 1, {"pads": [1, 1, 1, 1]}, False, False),
            ("mask and bias", (2, 2, 4, 5), (2, 2, 2, 2), 1, {}, True, True),
            ("groups", (1, 4, 6, 5), (4, 2, 3, 2), 2, {"group": 2, "strides": [2, 1], "dilations": [1, 2], "pads": [1, 0, 1, 0]}, True, True)]:
        s, d, p = attrs.get("strides", [1, 1]), attrs.get("dilations", [1, 1]), attrs.get("pads", [0, 0])[:2]
        x, w = small(*xs), small(*ws)
        out = [(xs[i + 2] + 2 * p[i] - d[i] * (ws[i + 2] - 1) - 1) // s[i] + 1 for i in range(2)]
        o = small(xs[0], parts * 2 * ws[2] * ws[3], *out)
        m = small(xs[0], parts * ws[2] * ws[3], *out) if masked else None
        b = small(ws[0]) if bias else None
        y = torchvision.ops.deform_conv2d(t(x), t(o), t(w), None if b is None else t(b), s, p, d, None if m is None else t(m))
        full = dict(attrs, **({"offset_group": parts} if parts > 1 else {}))
        ins = [f32(x), f32(w), f32(o)] + ([f32(b) if bias else None, f32(m)] if masked else [])
        case("DeformConv", note, full, ins, [f32(y)], tol=1e-5)


# --- Unique, Det ---

def uniques():
    for x, axis in [([2, 1, 1, 3, 4, 3], None), ([[1, 3], [2, 3]], None), ([[1, 0, 0], [1, 0, 0], [2, 3, 4]], 0),
                    ([[1, 1, 0, 1], [2, 2, 1, 2]], 1), ([[[1, 1], [0, 1]], [[1, 1], [0, 1]]], -2)]:
        x = np.array(x)
        y, at, inverse, count = np.unique(x, True, True, True, axis=axis)
        attrs = {} if axis is None else {"axis": axis}
        lists = [("i64", v.reshape(-1)) for v in (at, inverse, count)]
        case("Unique", "", attrs, [f32(x)], [f32(y)] + lists)
        order = np.argsort(at)
        back = np.argsort(order)
        y = np.take(y, order, axis=0 if axis is None else axis)
        case("Unique", "in order of occurrence", dict(attrs, sorted=0), [("i32", x)],
             [("i32", y), ("i64", at[order]), ("i64", back[inverse.reshape(-1)]), ("i64", count[order])])
    case("Unique", "NaN is one value", {}, [f32([np.nan, 1, np.nan, -np.inf])],
         [f32([-np.inf, 1, np.nan]), i64([3, 1, 0]), i64([2, 1, 2, 0]), i64([1, 1, 2])])
    case("Unique", "nothing", {}, [f32(np.zeros((0,)))], [f32(np.zeros(0)), i64([]), i64([]), i64([])])
    for shape in ((2, 2), (3, 3), (2, 3, 4, 4), (5, 5), (0, 0)):
        x = small(*shape)
        case("Det", "", {}, [f32(x)], [f32(np.linalg.det(x))], tol=1e-5)
    case("Det", "singular", {}, [f32([[1, 2, 3], [2, 4, 6], [1, 0, 1]])], [f32(np.array(0.0))])
    case("Det", "a pivot of 0", {}, [("f64", np.array([[0.0, 2], [3, 4]]))], [("f64", np.array(-6.0))])


# --- recurrences ---

def linear_attention(q, k, v, past, decay, beta, hq, hk, scale):
    """The recurrence of the documentation, a token at a time, in double."""
    B, T = q.shape[:2]
    q, k, v = (x.reshape(B, T, h, -1) for x, h in ((q, hq), (k, hk), (v, hk)))
    S = np.zeros((B, hk, k.shape[3], v.shape[3])) if past is None else past.copy()
    out = np.zeros((B, T, hq, v.shape[3]))
    for i in range(T):
        if decay is not None:
            S = S * np.exp(decay[:, i].reshape(B, hk, -1))[..., None]
        u = v[:, i]
        if beta is not None:
            u = beta[:, i].reshape(B, -1, 1) * (u - np.einsum("bhij,bhi->bhj", S, k[:, i]))
        S = S + k[:, i, :, :, None] * u[:, :, None, :]
        out[:, i] = np.einsum("bhij,bhi->bhj", np.repeat(S, hq // hk, 1), q[:, i]) * (scale or k.shape[3] ** -0.5)
    return out.reshape(B, T, -1), S


def recurrences():
    for rule, hq, hk, with_past, scale, per_key, B, T in [
            ("linear", 2, 2, False, 0.5, False, 1, 3), ("gated", 4, 2, True, None, False, 2, 2),
            ("gated", 2, 1, False, None, True, 1, 4), ("delta", 2, 2, True, None, False, 2, 3),
            ("gated_delta", 4, 2, True, None, True, 1, 3), ("gated_delta", 3, 3, False, 2.0, False, 2, 1)]:
        dk, dv = 4, 3
        q, k, v = small(B, T, hq * dk), small(B, T, hk * dk) / 4, small(B, T, hk * dv)
        past = small(B, hk, dk, dv) if with_past else None
        decay = -np.abs(small(B, T, hk * dk if per_key else hk)) if "gated" in rule else None
        beta = np.abs(small(B, T, 1 if hk == 3 else hk)) / 4 if "delta" in rule else None
        y, S = linear_attention(q, k, v, past, decay, beta, hq, hk, scale)
        attrs = {"q_num_heads": hq, "kv_num_heads": hk, "update_rule": rule, **({"scale": scale} if scale else {})}
        ins = [f32(x) if x is not None else None for x in (q, k, v, past, decay, beta)]
        while ins[-1] is None:
            ins.pop()
        case("LinearAttention", rule, attrs, ins, [f32(y), f32(S)], tol=1e-5)
    for note, (B, C, L, K), biased, with_past, act in [("", (2, 3, 5, 3), True, True, "none"), ("from nothing", (1, 2, 4, 4), False, False, "silu"),
                                                ("a kernel of one", (1, 2, 3, 1), True, False, "swish"), ("one token", (2, 2, 1, 4), True, True, "silu")]:
        x, w, b, p = small(B, C, L), small(C, 1, K), small(C), small(B, C, K - 1)
        padded = np.concatenate([p if with_past else 0 * p, x], 2)
        y = F.conv1d(t(padded), t(w), t(b) if biased else None, groups=C)
        y = F.silu(y) if act != "none" else y
        ins = [f32(x), f32(w), f32(b) if biased else None, f32(p) if with_past else None]
        while ins[-1] is None:
            ins.pop()
        case("CausalConvWithState", note, {"activation": act} if act != "none" else {}, ins,
             [f32(y), f32(padded[:, :, L:])], tol=1e-6)


# --- random numbers: Philox4x32-10, as its paper defines it ---

def philox(key, block):
    c, k = [block & 0xffffffff, block >> 32, 0, 0], [key & 0xffffffff, key >> 32]
    for _ in range(10):
        p, q = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(q >> 32) ^ c[1] ^ k[0], q & 0xffffffff, (p >> 32) ^ c[3] ^ k[1], p & 0xffffffff]
        k = [(k[0] + 0x9E3779B9) & 0xffffffff, (k[1] + 0xBB67AE85) & 0xffffffff]
    return c


assert philox(0, 0) == [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]  # the known answer of its authors' library


def uniform(seed, n, wide=False):
    key = int(np.float32(seed).view(np.uint32))
    words = [philox(key, i) for i in range(n)]
    return np.array([(w[0] << 32 | w[1]) >> 11 for w in words]) * 2.0 ** -53 if wide else \
        np.array([w[0] >> 8 for w in words]) * 2.0 ** -24


def normal(seed, n):
    key = int(np.float32(seed).view(np.uint32))
    words = np.array([philox(key, i) for i in range(n)])
    u, v = 1 - (words[:, 0] >> 8) * 2.0 ** -24, (words[:, 1] >> 8) * 2.0 ** -24
    return np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)


def randoms():
    case("RandomUniform", "", {"seed": 3.5, "shape": [2, 3]}, [], [f32(uniform(3.5, 6).reshape(2, 3))])
    case("RandomUniform", "no seed is 0", {"shape": [4]}, [], [f32(uniform(0, 4))])
    case("RandomUniform", "range, f64", {"seed": 1.0, "shape": [5], "low": -2.0, "high": 6.0, "dtype": 11}, [],
         [("f64", uniform(1, 5, True) * 8 - 2)])
    case("RandomUniformLike", "of integers", {"seed": 2.0, "dtype": 1}, [i64([[1, 2], [3, 4]])], [f32(uniform(2, 4).reshape(2, 2))])
    case("RandomUniformLike", "f64", {"seed": 2.0}, [("f64", np.zeros(3))], [("f64", uniform(2, 3, True))])
    case("RandomNormal", "", {"seed": 3.5, "shape": [2, 3]}, [], [f32(normal(3.5, 6).reshape(2, 3))], tol=1e-5)
    case("RandomNormalLike", "", {"seed": 7.0, "mean": 1.0, "scale": 0.5}, [f32(np.zeros((3, 2)))],
         [f32(1 + 0.5 * normal(7, 6).reshape(3, 2))], tol=1e-5)
    p = np.abs(small(4, 5)) / 2
    case("Bernoulli", "", {"seed": 5.0}, [f32(p)], [f32(uniform(5, 20).reshape(4, 5) < p)])
    case("Bernoulli", "bool", {"seed": 5.0, "dtype": 9}, [f32(p)], [("bool", uniform(5, 20).reshape(4, 5) < p)])
    x = small(2, 4)
    e = np.cumsum(np.exp(x), 1)
    u = uniform(4, 10, True).reshape(2, 5)
    y = np.array([[np.searchsorted(e[b] / e[b, -1], v, side="right") for v in u[b]] for b in range(2)])
    case("Multinomial", "", {"seed": 4.0, "sample_size": 5}, [f32(x)], [("i32", y)])
    case("Multinomial", "i64", {"seed": 4.0, "sample_size": 5, "dtype": 7}, [f32(x)], [("i64", y)])


# --- training ---

def training():
    domain = "ai.onnx.preview.training."
    x, g, h, v = small(2, 3), small(2, 3), np.abs(small(2, 3)), small(2, 3)
    r, n = np.array(0.125), np.array(2)
    for coefficient, count in ((0.0, 0), (0.25, 2)):
        gr = g + coefficient * x
        attrs = {"norm_coefficient": coefficient} if coefficient else {}
        hn = h + gr * gr
        case(domain + "Adagrad", "", dict(attrs, decay_factor=0.5, epsilon=0.125), [f32(r), i64(count), f32(x), f32(g), f32(h)],
             [f32(x - r / (1 + count * 0.5) * gr / (np.sqrt(hn) + 0.125)), f32(hn)])
        vn, hn = 0.75 * v + 0.25 * gr, 0.5 * h + 0.5 * gr * gr
        rate = r * np.sqrt(1 - 0.5 ** count) / (1 - 0.75 ** count) if count else r
        xn = (1 - 0.125) * (x - rate * vn / (np.sqrt(hn) + 0.25))
        case(domain + "Adam", "", dict(attrs, alpha=0.75, beta=0.5, epsilon=0.25, norm_coefficient_post=0.125),
             [f32(r), i64(count), f32(x), f32(g), f32(v), f32(h)], [f32(xn), f32(vn), f32(hn)])
        vn = 0.75 * v + (0.5 if count else 1) * gr
        for mode in ("standard", "nesterov"):
            xn = x - r * (gr + 0.75 * vn if mode == "nesterov" else vn)
            case(domain + "Momentum", "", {"alpha": 0.75, "beta": 0.5, "mode": mode, "norm_coefficient": coefficient},
                 [f32(r), i64(count), f32(x), f32(g), f32(v)], [f32(xn), f32(vn)])
    p = torch.nn.Parameter(t(x).clone())
    opt = torch.optim.SGD([p], lr=0.125, momentum=0.75, nesterov=True)
    p.grad = t(g)
    opt.step()
    case(domain + "Momentum", "as SGD of PyTorch", {"alpha": 0.75, "beta": 1.0, "mode": "nesterov", "norm_coefficient": 0.0},
         [f32(r), i64(0), f32(x), f32(g), f32(0 * x)], [f32(p.detach()), f32(g)])
    x2, g2, v2 = small(2), small(2), small(2)
    vn, vn2 = v + g, v2 + g2
    case(domain + "Momentum", "two variables", {"alpha": 1.0, "beta": 1.0, "mode": "standard", "norm_coefficient": 0.0},
         [f32(r), i64(n), f32(x), f32(x2), f32(g), f32(g2), f32(v), f32(v2)],
         [f32(x - r * vn), f32(x2 - r * vn2), f32(vn), f32(vn2)])
    data = small(3, 4)
    mask = np.array([philox(11, i)[0] >> 8 for i in range(12)]).reshape(3, 4) * 2.0 ** -24 >= 0.25
    case("Dropout", "training", {"seed": 11}, [f32(data), f32(np.array(0.25)), ("bool", np.array(True))],
         [f32(np.where(mask, data / 0.75, 0)), ("bool", mask)])
    case("Dropout", "training, everything dropped", {"seed": 1}, [f32(data), f32(np.array(1.0)), ("bool", np.array(True))],
         [f32(0 * data), ("bool", np.zeros((3, 4), bool))])


def long_signals():
    """Lengths with primes too large to be summed over, and ones that radices 4, 2, 3, 5 and 7 make up, on several rows."""
    dft_case((1, 67, 1), -2, dtype="f64", note="a prime above 64")
    dft_case((3, 71, 2), 1, inverse=1, dtype="f64", note="inverse, a prime above 64")
    dft_case((2, 146, 1), 1, onesided=1, dtype="f64", note="one-sided, 2 times a large prime")
    dft_case((2, 40, 2), 1, n=79, inverse=1, onesided=1, dtype="f64", note="to real, a large prime")
    dft_case((17, 2, 67, 1), 2, note="more rows than one table is for")
    dft_case((1, 840, 1), 1, onesided=1, dtype="f64", note="840")
    dft_case((1, 512, 1), 1, n=1024, onesided=1, dtype="f64", note="1024, padded")


if __name__ == "__main__":
    print("# Made by gen_special.py; do not edit.\n")
    for family in (losses, signals, detection, images, deformed, uniques, recurrences, randoms, training, long_signals):
        family()
