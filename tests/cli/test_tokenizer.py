#!/usr/bin/env python3
"""--text: token ids as Hugging Face tokenizers 0.23 gives them, for a WordPiece tokenizer.json and variants of it.

The expected ids are in tokenizer_cases.json, made by gen_tokenizer.py.
SPDX-License-Identifier: Apache-2.0
"""

import copy
import json
import os
import sys
import tempfile

import onnx_writer as w
from harness import HERE, Checks, sard

NAMES = ["input_ids", "attention_mask", "token_type_ids"]


def identity_model(path, dtype=w.I64):
    """passes its inputs through, under the names out_…"""
    kind = w.tensor_type(dtype, ["batch", "seq"])
    with open(path, "wb") as f:
        f.write(
            w.model(
                [w.node("Identity", [n], ["out_" + n]) for n in NAMES],
                [w.value(n, kind) for n in NAMES],
                [w.value("out_" + n, kind) for n in NAMES],
            )
        )


def encode(model, tokenizer, texts, npz):
    """ids, mask and types as lists of rows"""
    run = sard("run", model, "--tokenizer", tokenizer, "--output", npz, *["--text=" + t for t in texts])
    if run.returncode:
        return run.stderr, None, None
    rows = []
    for name in NAMES:
        _, (batch, length), flat = w.read_npz(npz)["out_" + name]
        rows.append([flat[i * length : (i + 1) * length] for i in range(batch)])
    return rows


def apply(base, change):
    d = copy.deepcopy(base)
    for key, v in change.items():
        if key == "added":
            d["added_tokens"] += v
        else:
            d[key] = v
    return d


def check_variants(c, tmp, cases, base):
    texts = cases["texts"]
    model, npz, tok = (os.path.join(tmp, n) for n in ("ids.onnx", "ids.npz", "tok.json"))
    identity_model(model)
    for v in cases["variants"]:
        with open(tok, "w", encoding="utf-8") as f:
            json.dump(apply(base, v["change"]), f)
        ids, mask, types = encode(model, tok, texts, npz)
        for i, want in enumerate(v["ids"]):
            if mask is None:
                c.check("%s: %r" % (v["variant"], texts[i]), False, ids)
                continue
            pad = len(ids[i]) - len(want)
            ok = ids[i] == want + [0] * pad and mask[i] == [1] * len(want) + [0] * pad and not any(types[i])
            c.check("%s: %r" % (v["variant"], texts[i][:40]), ok, "%s\nexpected %s" % (ids[i][:60], want[:60]))
    c.check(
        "padded to the longest", mask is not None and len(ids[0]) == max(len(x) for x in cases["variants"][-1]["ids"])
    )


def check_refused(c, tmp, base):
    model, tok = os.path.join(tmp, "ids.onnx"), os.path.join(tmp, "tok.json")
    bad = [
        ("another model type", {"model": {"type": "BPE", "vocab": {}, "merges": []}}, 4, "'BPE'"),
        ("another normalizer", {"normalizer": {"type": "NFKC"}}, 4, "'NFKC'"),
        ("another pre-tokenizer", {"pre_tokenizer": {"type": "Metaspace"}}, 4, "'Metaspace'"),
        ("another post-processor", {"post_processor": {"type": "RobertaProcessing"}}, 4, "'RobertaProcessing'"),
        ("no model", {"model": None}, 3, "no model"),
        (
            "a vocabulary that is a list",
            {"model": {"type": "WordPiece", "vocab": [], "unk_token": "[UNK]"}},
            3,
            "vocab",
        ),
        ("an id that is text", {"model": {"type": "WordPiece", "vocab": {"a": "b"}, "unk_token": "a"}}, 3, "id"),
        ("no unknown token", {"model": {"type": "WordPiece", "vocab": {"a": 1}, "unk_token": "[UNK]"}}, 3, "unk_token"),
    ]
    for name, change, code, text in bad:
        with open(tok, "w", encoding="utf-8") as f:
            json.dump(apply(base, change), f)
        c.error(name, sard("run", model, "--tokenizer", tok, "--text", "x"), code, text, tok)
    with open(tok, "w", encoding="utf-8") as f:
        f.write("{ not json")
    c.error("damaged JSON", sard("run", model, "--tokenizer", tok, "--text", "x"), 3, "tokenizer.json", tok)
    good = os.path.join(HERE, "tokenizer.json")
    c.error("no tokenizer", sard("run", model, "--text", "x"), 2, "--tokenizer")
    c.error(
        "a tokenizer that is not there",
        sard("run", model, "--tokenizer", tok + "x", "--text", "x"),
        3,
        "No such file",
        tok + "x",
    )
    c.error("text that is no UTF-8", sard("run", model, "--tokenizer", good, "--text", b"\xff\xfe"), 2, "UTF-8")
    c.error(
        "an input given twice",
        sard(
            "run",
            model,
            "--tokenizer",
            good,
            "--text",
            "x",
            "--input",
            "attention_mask=ones:1x3",
            "--input",
            "attention_mask=ones:1x3",
        ),
        2,
        "given twice",
    )


def check_types(c, tmp):
    model, npz, good = (
        os.path.join(tmp, "ids32.onnx"),
        os.path.join(tmp, "ids.npz"),
        os.path.join(HERE, "tokenizer.json"),
    )
    identity_model(model, w.I32)
    c.check("inputs of int32", encode(model, good, ["The cat"], npz)[0] == [[101, 1996, 4937, 102]])
    identity_model(model, w.F32)
    c.error("inputs of float32", sard("run", model, "--tokenizer", good, "--text", "x"), 4, "i64 and i32")
    beside = os.path.join(tmp, "beside")
    os.mkdir(beside)
    identity_model(os.path.join(beside, "m.onnx"))
    with open(good, "rb") as src, open(os.path.join(beside, "tokenizer.json"), "wb") as dst:
        dst.write(src.read())
    c.check(
        "a tokenizer beside the model is found",
        sard("run", os.path.join(beside, "m.onnx"), "--text", "x").returncode == 0,
    )


def main():
    c = Checks()
    with open(os.path.join(HERE, "tokenizer.json"), encoding="utf-8") as f:
        base = json.load(f)
    with open(os.path.join(HERE, "tokenizer_cases.json"), encoding="utf-8") as f:
        cases = json.load(f)
    with tempfile.TemporaryDirectory() as tmp:
        check_variants(c, tmp, cases, base)
        check_refused(c, tmp, base)
        check_types(c, tmp)
    return c.done()


if __name__ == "__main__":
    sys.exit(main())
