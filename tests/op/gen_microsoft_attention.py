#!/usr/bin/env python3
# gen_microsoft_attention.py - writes tests/frontend/microsoft_attentions.txt: attentions of com.microsoft in the forms that
# gen_microsoft.py leaves out. Expected values are stated here in NumPy in double, from ONNX Runtime's documentation of the operators, and
# compared with its CPU kernels where those take the case.
# Needs onnxruntime, onnx and numpy:  python3 tests/op/gen_microsoft_attention.py > tests/frontend/microsoft_attentions.txt
# SPDX-License-Identifier: Apache-2.0
import gen_microsoft
import numpy as np
from gen_microsoft import small, softmax

gen_microsoft.IMPORT = True
HEADS, DIM = 2, 4
rng = np.random.default_rng(13)


def case(*a, **more):
    gen_microsoft.case(*a, **dict(dict(tol=1e-4), **more))


def f(*x):
    return [t if t is None else ("f32", t) for t in x]


def i32(*x):
    return [("i32", np.array(t)) for t in x]


def split(x):
    return x.reshape(x.shape[0], x.shape[1], HEADS, -1).swapaxes(1, 2)


def joined(x):
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def attend(q, k, v, more=0.0, causal=False):
    """Of heads that are split: the result, and the scores before the softmax. causal: query i stands at key i + L - S."""
    s = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5 + more
    if causal:
        s = np.where(np.tri(s.shape[-2], s.shape[-1], s.shape[-1] - s.shape[-2], dtype=bool), s, -np.inf)
    return joined(softmax(s) @ v), s


def multi_head():
    attrs = dict(num_heads=HEADS)
    q, k, v, bias = small(2, 3, 8), small(2, 3, 8), small(2, 3, 8), small(24)
    five = lambda *x: np.stack([t.reshape(2, 3, HEADS, DIM) for t in x], 3)
    y = attend(split(q), split(k), split(v))[0]
    case("MultiHeadAttention", "packed", attrs, f(five(q, k, v)), f(y), peer=False)
    case("MultiHeadAttention", "keys and values packed", attrs, f(q, five(k, v)), f(y), peer=False)
    biased = [split(x + b) for x, b in zip((q, k, v), np.split(bias, 3))]
    case("MultiHeadAttention", "packed, bias", attrs, f(five(q, k, v), None, None, bias), f(attend(*biased)[0]), peer=False)
    k4, v4, b1 = small(2, HEADS, 5, DIM), small(2, HEADS, 5, DIM), small(1, HEADS, 3, 5)
    case("MultiHeadAttention", "split keys and values", attrs, f(q, k4, v4), f(attend(split(q), k4, v4)[0]))
    case("MultiHeadAttention", "split keys and values, bias", attrs, f(q, k4, v4, bias), f(attend(split(q + bias[:8]), k4, v4)[0]))
    mask = np.array([[1, 0, 1, 1, 1], [1, 1, 1, 1, 0]])
    padded = (mask[:, None, None] - 1) * 1e4
    y, scores = attend(split(q), k4, v4, b1 + padded)
    case("MultiHeadAttention", "split keys and values, padding, attention_bias, scores", attrs, f(q, k4, v4, None) + i32(mask) + f(b1),
         f(y, None, None, scores))
    pk, pv = small(2, HEADS, 2, DIM), small(2, HEADS, 2, DIM)
    nk, nv = np.concatenate([pk, split(k)], 2), np.concatenate([pv, split(v)], 2)
    case("MultiHeadAttention", "causal with a past", dict(attrs, unidirectional=1), f(q, k, v, None, None, None, pk, pv),
         f(attend(split(q), nk, nv, 0, True)[0], nk, nv))
    y, scores = attend(split(q), nk, nv, padded)
    case("MultiHeadAttention", "past, padding, scores", dict(attrs, scale=0.5), f(q, k, v, None) + i32(mask) + f(None, pk, pv), f(y, nk, nv, scores))


def buffers():
    """Three rows of six are there already."""
    def one(op, seq, note="", mask=False, more=False, bias=False, causal=False):
        q, k, v, b, extra = small(2, seq, 8), small(2, seq, 8), small(2, seq, 8), small(24), small(1, HEADS, seq, 3 + seq)
        pk, pv, keep = small(2, HEADS, 6, DIM), small(2, HEADS, 6, DIM), np.array([[1, 0] + [1] * (1 + seq), [1] * (3 + seq)])
        bq, bk, bv = np.split(b if bias else 0 * b, 3)
        nk, nv = pk.copy(), pv.copy()
        nk[:, :, 3 : 3 + seq], nv[:, :, 3 : 3 + seq] = split(k + bk), split(v + bv)
        add = (keep[:, None, None] - 1) * 1e4 * mask + extra * more
        y = attend(split(q + bq), nk[:, :, : 3 + seq], nv[:, :, : 3 + seq], add, causal)[0]
        masks, b = (i32(keep) if mask else [None]) + f(extra if more else None), f(b if bias else None)
        attrs = dict(num_heads=HEADS, **(dict(unidirectional=1) if causal else {}))
        if op == "MultiHeadAttention":
            ins = f(q, k, v) + b + masks + f(pk, pv) + i32([3])
        else:
            ins = f(q, k, v) + masks + f(pk, pv) + i32([3]) + [None, None] * bias + b * bias
            attrs["past_present_share_buffer"] = 1
        case(op, note, attrs, ins, f(y, nk, nv))
    one("MultiHeadAttention", 1, "into room")
    one("MultiHeadAttention", 3, "into room, causal", causal=True)
    one("DecoderMaskedMultiHeadAttention", 1)
    one("DecoderMaskedMultiHeadAttention", 1, "padding, attention_bias", mask=True, more=True)
    one("DecoderMaskedMultiHeadAttention", 1, "bias", bias=True)
    attrs = dict(num_heads=HEADS)
    q, k4, v4, b = small(2, 1, 8), small(2, HEADS, 5, DIM), small(2, HEADS, 5, DIM), small(24)
    y, s = attend(split(q), k4, v4)
    case("DecoderMaskedMultiHeadAttention", "of another sequence, scores", dict(attrs, output_qk=1), f(q, k4, v4), f(y, None, None, s))
    q, k, v, pk, pv = small(2, 1, 8), small(2, 1, 8), small(2, 1, 8), small(2, HEADS, 3, DIM), small(2, HEADS, 3, DIM)
    nk, nv = np.concatenate([pk, split(k)], 2), np.concatenate([pv, split(v)], 2)
    y = attend(split(q), nk, nv)[0]
    case("DecoderMaskedMultiHeadAttention", "packed, a past", attrs, f(np.concatenate([q, k, v], -1), None, None, None, None, pk, pv), f(y, nk, nv),
         peer=False)


def group_query():
    """Four heads of queries in twos over heads of keys; sequences of some length in the end."""
    heads, kv = 4, 2
    def one(note, seq, lengths, past=0, sink=False, smooth=False, norm=False, bias=False, window=-1, softcap=0.0, peer=True, rotary=False):
        lengths = np.array(lengths)
        batch, dim = len(lengths), 16 if rotary else 8
        part = lambda x: x.reshape(batch, seq, -1, dim).swapaxes(1, 2)
        q, k, v = small(batch, seq, heads * dim), small(batch, seq, kv * dim), small(batch, seq, kv * dim)
        pk, pv, gq, gk = small(batch, kv, past, dim), small(batch, kv, past, dim), small(dim), small(dim)
        at = (lengths - seq)[:, None] + np.arange(seq)
        angle, ids = rng.uniform(-1, 1, (12, dim // 2)), at[:, ::-1] + 1
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        rms = lambda x, g: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-3) * g if norm else x
        def turn(x):
            c, s, (a, b) = cos[ids][:, None], sin[ids][:, None], np.split(x, 2, -1)
            return np.concatenate([a * c - b * s, b * c + a * s], -1) if rotary else x
        q4, k4, v4 = turn(rms(part(q), gq)), turn(rms(part(k), gk)), part(v)
        nk, nv = np.concatenate([pk, k4], 2), np.concatenate([pv, v4], 2)
        rows = past + seq
        s = q4 @ np.repeat(nk, heads // kv, 1).swapaxes(-1, -2) * dim**-0.5
        s = softcap * np.tanh(s / softcap) if softcap else s
        extra = small(1, heads, seq, rows)
        s = s + extra if bias else s
        column, row = np.arange(rows), at[:, None, :, None]
        s = np.where((column <= row) & ((window < 0) | (column > row - window)), s, -np.inf)
        drain = small(heads)
        e, more = np.exp(s), np.exp(drain)[:, None, None] if sink else 1.0 if smooth else 0.0
        y = e / (e.sum(-1, keepdims=True) + more) @ np.repeat(nv, heads // kv, 1)
        attrs = dict(num_heads=heads, kv_num_heads=kv)
        attrs.update({k: v for k, v in dict(softcap=softcap, smooth_softmax=int(smooth), do_rotary=int(rotary)).items() if v})
        attrs.update(dict(local_window_size=window) if window >= 0 else {}, **(dict(qk_norm_epsilon=1e-3) if norm else {}))
        ins = f(q, k, v) + f(*((pk, pv) if past else (None, None))) + i32(lengths - 1, rows)
        ins += (f(cos, sin) + [("i64", ids)] if rotary else [None] * 3) + f(extra if bias else None, drain if sink else None)
        ins += [None, None] + f(gq, gk) if norm else []
        while ins[-1] is None:
            ins.pop()
        case("GroupQueryAttention", note, attrs, ins, f(y.swapaxes(1, 2).reshape(batch, seq, -1), nk, nv), peer=peer)
    one("sinks", 3, [3, 3], sink=True)
    one("sinks, a past, a window", 1, [5, 5], 4, sink=True, window=3)
    one("sinks, softcap, attention_bias", 2, [4], 2, sink=True, softcap=1.5, bias=True)
    one("smooth softmax", 1, [5, 5], 4, smooth=True)
    one("norms of queries and keys", 3, [3, 3], norm=True, peer=False)
    one("norms, positions, a past", 1, [5], 4, norm=True, rotary=True, peer=False)
    one("positions", 1, [5], 4, rotary=True)


if __name__ == "__main__":
    print("# Made by gen_microsoft_attention.py; do not edit.\n")
    for make in (multi_head, buffers, group_query):
        make()
