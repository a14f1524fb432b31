#!/usr/bin/env python3
"""Makes tokenizer.json (a subset of the uncased BERT vocabulary) and tokenizer_cases.json (texts with the ids that
Hugging Face tokenizers gives for them, for that file and variants of it). By hand, with tokenizers 0.23 installed:

    gen_tokenizer.py FULL_TOKENIZER.json

SPDX-License-Identifier: Apache-2.0
"""

import copy
import json
import os
import sys

from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))

TEXTS = [
    "The cat sat on the mat",
    "A kitten is resting on a rug.",
    "",
    " ",
    "\t\n\r",
    "我爱学习编程",
    "I love 学习 and 日本語!",
    "한국어 텍스트",
    "naïve café Ångström ÉCOLE",
    "e\u0301le\u0300ve",
    "İstanbul ISTANBUL ıstanbul",
    "Straße ẞ ſ",
    "ΑΣ Οδυσσεύς",
    "Привет, мир",
    "مرحبا بالعالم",
    "שלום עולם",
    "नमस्ते दुनिया",
    "สวัสดี",
    "😀 smile 👩‍👩‍👧 family",
    "\U0001f1e9\U0001f1ea flag",
    "a\u200bb\u00adc\ufeffd",
    "zero\x01width\x7fcontrols\x85here",
    "replacement \ufffd character",
    "no\u00a0break\u3000ideographic\u2028line",
    "don't can't I'm you're",
    "\"quoted\" ‘single’ “double” «guillemets»",
    "e-mail: me@example.com, http://x.y/z?q=1&r=2",
    "C++ and C# and F# (100%)",
    "$5.00 €3,50 £7 ¥900",
    "a_b__c--d...e",
    "[CLS] already [SEP] here [MASK] [PAD] [UNK]",
    "[cls] [Mask] [ MASK ]",
    "word[MASK]word",
    "unaffable unbelievably internationalization",
    "supercalifragilisticexpialidocious",
    "x" * 100,
    "x" * 101,
    "\u0301" * 120 + "a",
    "1234567890 3.14159 1e-5 0xff",
    "ﬁne ligature ① Ⅷ ½ ™",
    "~`!@#$%^&*()_+-={}[]|\\:;\"'<>,.?/",
    "   many    spaces   ",
    "word " * 200,
]

VARIANTS = {
    "plain": {},
    "cased": {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": False,
        }
    },
    "accents kept": {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": False,
            "strip_accents": False,
            "lowercase": True,
        }
    },
    "not cleaned": {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": False,
            "handle_chinese_chars": True,
            "strip_accents": True,
            "lowercase": True,
        }
    },
    "no normalizer": {"normalizer": None},
    "no pre-tokenizer": {"pre_tokenizer": None},
    "no post-processor": {"post_processor": None},
    "BertProcessing": {"post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}},
    "truncated to 6": {"truncation": {"max_length": 6, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}},
    "truncated left": {"truncation": {"max_length": 6, "strategy": "LongestFirst", "stride": 0, "direction": "Left"}},
    "not truncated": {"truncation": None},
    "added tokens": {
        "added": [
            {
                "id": 30600,
                "content": "cat",
                "single_word": True,
                "lstrip": False,
                "rstrip": False,
                "normalized": True,
                "special": False,
            },
            {
                "id": 30601,
                "content": "ÉCOLE",
                "single_word": False,
                "lstrip": True,
                "rstrip": True,
                "normalized": True,
                "special": False,
            },
            {
                "id": 30602,
                "content": "love ",
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": False,
            },
            {
                "id": 30603,
                "content": "[MASK",
                "single_word": False,
                "lstrip": True,
                "rstrip": True,
                "normalized": False,
                "special": True,
            },
        ]
    },
}


def variant(base, change):
    d = copy.deepcopy(base)
    for key, v in change.items():
        if key == "added":
            d["added_tokens"] += v
        else:
            d[key] = v
    return d


def subset(full):
    """the tokens that the texts need, all single characters of Latin text, and every seventh whole word of the rest"""
    tok = Tokenizer.from_str(json.dumps(full))
    tok.no_truncation()
    tok.no_padding()
    vocab = full["model"]["vocab"]
    keep = {0, 100, 101, 102, 103}
    for text in TEXTS:
        keep.update(tok.encode(text).ids)
    for token, i in vocab.items():
        bare = token[2:] if token.startswith("##") else token
        if len(bare) == 1 and ord(bare) < 0x250:
            keep.add(i)
        if i > 1995 and i % 29 == 0:
            keep.add(i)
    out = copy.deepcopy(full)
    out["model"]["vocab"] = {t: i for t, i in sorted(vocab.items(), key=lambda x: x[1]) if i in keep}
    return out


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        base = subset(json.load(f))
    with open(os.path.join(HERE, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(base, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    out = []
    for name, change in VARIANTS.items():
        tok = Tokenizer.from_str(json.dumps(variant(base, change)))
        tok.no_padding()
        # tokenizers numbers added tokens on from the vocabulary's size, which in a subset is not what the file says
        ids = {
            tok.token_to_id(a["content"]): a["id"]
            for a in change.get("added", [])
            if a["content"] not in base["model"]["vocab"]
        }
        out.append(
            {"variant": name, "change": change, "ids": [[ids.get(i, i) for i in tok.encode(t).ids] for t in TEXTS]}
        )
    with open(os.path.join(HERE, "tokenizer_cases.json"), "w", encoding="utf-8") as f:
        json.dump({"texts": TEXTS, "variants": out}, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
