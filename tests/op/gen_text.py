#!/usr/bin/env python3
"""gen_text.py - writes text.txt: expected values of the operators on strings, from onnx.reference and Python.

Needs onnx (1.23) and numpy; run by hand: python gen_text.py > text.txt
SPDX-License-Identifier: Apache-2.0
"""
import re
import warnings

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

warnings.filterwarnings("ignore")
NAMES = {"float32": "f32", "float64": "f64", "int64": "i64", "int32": "i32", "bool": "bool", "uint8": "u8"}


def quoted(s):
    raw = s if isinstance(s, bytes) else s.encode()
    out = ""
    for b in raw:
        out += chr(b) if 32 <= b < 127 and b not in b'"\\' else "\\x%02x" % b
    return '"%s"' % out


def tensor(a):
    if isinstance(a, dict):
        keys, values = list(a), list(a.values())
        return "map{ %s | %s }" % (tensor(strings(keys) if isinstance(keys[0], str) else np.array(keys, np.int64)),
                                   tensor(strings(values) if isinstance(values[0], str) else np.array(values)))
    if isinstance(a, list):
        return "seq{ " + " | ".join(tensor(x) for x in a) + " }"
    a = np.asarray(a)
    if a.dtype.kind in "OUS":
        kind, values = "str", [quoted(s) for s in a.ravel()]
    else:
        kind = NAMES[a.dtype.name]
        values = [("%.9g" % v if kind == "f32" else repr(float(v))) if kind[0] == "f" else str(int(v)) for v in a.ravel()]
    return ("%s[%s] %s" % (kind, ",".join(map(str, a.shape)), " ".join(values))).strip()


def strings(v, shape=None):
    a = np.empty(len(v), dtype=object)
    a[:] = v
    return a if shape is None else a.reshape(shape)


def attr(k, v):
    def one(x):
        return quoted(x) if isinstance(x, str) else "%.9g" % x if isinstance(x, float) else str(x)
    if isinstance(v, np.ndarray):
        return "%s={%s}" % (k, tensor(v))
    if isinstance(v, list):
        return "%s=[%s]" % (k, ",".join(one(x) for x in v))
    return "%s=%s" % (k, one(v))


def model(op, ins, nout, domain, opset, attrs):
    names = ["x%d" % i for i in range(len(ins))]
    real = {k: onnx.numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for k, v in attrs.items()}
    node = helper.make_node(op, names, ["y%d" % i for i in range(nout)], domain=domain, **real)
    info = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in zip(names, ins)]
    graph = helper.make_graph([node], "g", info, [helper.make_empty_tensor_value_info("y%d" % i) for i in range(nout)])
    opsets = [helper.make_opsetid(domain, opset)] + ([helper.make_opsetid("", 17)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def write(op, ins, outs, attrs, note="", tol=None):
    print("op", op + note)
    if attrs:
        print("attr", " ".join(attr(k, v) for k, v in attrs.items()))
    for x in ins:
        print("in", tensor(x))
    for y in outs:
        print("out", tensor(y))
    if tol:
        print("tol", tol)
    print()


def case(op, *ins, nout=1, want=None, note="", **attrs):
    ins = [strings(x) if isinstance(x, list) else x for x in ins]
    if want is None:
        want = ReferenceEvaluator(model(op, ins, nout, "", 21, attrs)).run(None, {"x%d" % i: x for i, x in enumerate(ins)})
    write(op, ins, want, attrs, note)


def concat():
    case("StringConcat", ["a", "", "h\u00e9"], ["b", "", "\u4e16"])
    case("StringConcat", strings(["a", "b"], (2, 1)), ["x", "y", "z"])
    case("StringConcat", strings(["a"], ()), strings(["b"], ()), want=[strings(["ab"], ())])
    case("StringConcat", strings([], (0, 2)), ["x", "y"], want=[strings([], (0, 2))])


def split():
    words = ["a b  c", "", "  ", " q ", "\u3000x\u2003y\x1fz"]
    case("StringSplit", words, nout=2)
    case("StringSplit", ["a,b,,c", "", ",", "abc"], nout=2, delimiter=",")
    case("StringSplit", ["a--b-c--", "----"], nout=2, delimiter="--")
    case("StringSplit", ["a,b,,c", "x"], nout=2, delimiter=",", maxsplit=2)
    case("StringSplit", ["a b  c", "x"], nout=2, maxsplit=1)
    case("StringSplit", ["a b", "x"], nout=2, maxsplit=0)
    case("StringSplit", [" a b  c "], nout=2, maxsplit=1, want=[strings(["a", "b  c"], (1, 2)), np.array([2])],
         note=" the text of the specification: no white space at the end")
    case("StringSplit", strings([], (0,)), nout=2, want=[strings([], (0, 0)), np.zeros(0, np.int64)])
    case("StringSplit", [b"a\xff b\xfe"], nout=2, want=[strings([b"a\xff", b"b\xfe"], (1, 2)), np.array([2])],
         note=" of bytes that are not UTF-8")


def normalizer():
    def py(words, stop=(), sensitive=0, action="NONE"):
        keep = [w for w in words if (w if sensitive else w.lower()) not in [s if sensitive else s.lower() for s in stop]]
        return [{"LOWER": str.lower, "UPPER": str.upper, "NONE": str}[action](w) for w in keep] or [""]
    words = ["monday", "Tuesday", "\u00c9T\u00c9", "\u0394\u03b5", "monday ", ""]
    for action in ("NONE", "LOWER", "UPPER"):
        for sensitive in (0, 1):
            a = dict(stopwords=["MONDAY", "Tuesday"], is_case_sensitive=sensitive, case_change_action=action)
            want = py(words, a["stopwords"], sensitive, action)
            case("StringNormalizer", words, want=[strings(want)], **a)
    case("StringNormalizer", strings(["a", "b"], (1, 2)), want=[strings([""], (1, 1))], stopwords=["a", "b"], is_case_sensitive=1)
    case("StringNormalizer", ["iI"], want=[strings(["\u0130I"])], case_change_action="UPPER", locale="tr_TR.UTF-8")
    case("StringNormalizer", ["iI"], want=[strings(["II"])], case_change_action="UPPER", locale="trv_TW")


def regex():
    def full(pattern, words):
        case("RegexFullMatch", words, want=[np.array([re.fullmatch(pattern, w) is not None for w in words])], pattern=pattern)
    full(r"[a-z]+@[a-z]+\.(com|org)", ["a@b.com", "a@b.comx", "xa@b.org", "", "A@b.com"])
    full(r"a|ab|abc", ["a", "ab", "abc", "abcd"])
    full(r".*", ["", "x", "a\nb", "\u00e9\u4e16"])
    full(r"(?s).*", ["a\nb"])
    full("(?i)stra\u00dfe", ["STRA\u00dfE", "strasse"])
    full(r".", ["\u00e9", "\u4e16", "ab", "\U0001f600"])
    full(r"a*?b{2,3}\d", ["abb1", "aabbb2", "ab1", "abbbb1"])
    full(r"", ["", "x"])
    case("RegexFullMatch", ["a" * 40, "a" * 40 + "b"], want=[np.array([False, True])], pattern="(a+)+b",
         note=" which backtracking would not finish")
    case("RegexFullMatch", strings(["ab", "b"], (2, 1)), want=[np.array([[True], [False]])], pattern="(?P<x>a)b")
    case("RegexFullMatch", [b"a\xffb", "ab"], want=[np.array([False, True])], pattern="a.*b",
         note=" what is not UTF-8 does not match, as in RE2")
    case("RegexFullMatch", ["a\n", "a"], want=[np.array([False, True])], pattern="a$")


def tfidf():
    ints = dict(ngram_counts=[0, 4], ngram_indexes=[0, 1, 2, 3, 4, 5, 6], pool_int64s=[2, 3, 5, 4, 5, 6, 7, 8, 6, 7])
    x = np.array([1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8], np.int32)
    for low, high in ((1, 1), (2, 2), (1, 2)):
        for skip in (0, 1, 5):
            case("TfIdfVectorizer", x, mode="TF", min_gram_length=low, max_gram_length=high, max_skip_count=skip, **ints)
            case("TfIdfVectorizer", x.astype(np.int64).reshape(3, 4), mode="TF", min_gram_length=low, max_gram_length=high,
                 max_skip_count=skip, **ints)
    weights = [0.5, 2.0, 1.5, 3.0, 0.25, 4.0, 0.125]
    for mode in ("IDF", "TFIDF"):
        case("TfIdfVectorizer", x, mode=mode, min_gram_length=1, max_gram_length=2, max_skip_count=1, weights=weights, **ints)
    a = dict(mode="TFIDF", min_gram_length=1, max_gram_length=2, max_skip_count=5, **ints)
    ones = ReferenceEvaluator(model("TfIdfVectorizer", [x], 1, "", 21, dict(a, weights=[1.0] * 7))).run(None, {"x0": x})
    case("TfIdfVectorizer", x, want=ones, note=" without weights, which are 1", **a)
    case("TfIdfVectorizer", np.array([5, 6, 6, 7, 7, 7]), want=[np.array([40, 90, 10], np.float32)], mode="TFIDF", min_gram_length=1,
         max_gram_length=1, max_skip_count=0, ngram_counts=[0], ngram_indexes=[2, 0, 1], pool_int64s=[5, 6, 7],
         weights=[10.0, 20.0, 30.0], note=" a weight belongs to its n-gram, wherever that stands in the output (as in ONNX Runtime)")
    case("TfIdfVectorizer", ["a", "b", "a", "z", "a", "b"], mode="TF", min_gram_length=1, max_gram_length=2, max_skip_count=0,
         ngram_counts=[0, 2], ngram_indexes=[0, 1, 2, 3], pool_strings=["a", "b", "a", "b", "b", "a"])
    case("TfIdfVectorizer", strings([], (0,)), want=[np.zeros(1, np.float32)], mode="TF", min_gram_length=1, max_gram_length=1,
         max_skip_count=0, ngram_counts=[0], ngram_indexes=[0], pool_strings=["a"])


def moved():
    """Strings through operators that take any type."""
    case("Equal", ["a", "b", ""], ["a", "B", ""])
    case("Equal", strings(["a", "b"], (2, 1)), ["a", "b", "c"])
    case("Where", np.array([True, False]), ["a", "b"], ["c", "d"])
    case("Expand", strings(["a", "b"], (2, 1)), np.array([2, 3]))
    case("Tile", ["a", "b"], np.array([2]))
    case("Gather", ["a", "b", "c"], np.array([[2, 0]]))
    case("GatherND", strings(["a", "b", "c", "d"], (2, 2)), np.array([[1, 0]]))
    case("Transpose", strings(["a", "b", "c", "d", "e", "f"], (2, 3)))
    case("Reshape", ["a", "b"], np.array([2, 1]))
    case("Concat", ["a"], ["b", "c"], axis=0)
    case("Slice", ["a", "b", "c", "d"], np.array([1]), np.array([4]), np.array([0]), np.array([2]))
    case("ScatterElements", ["a", "b"], np.array([1]), ["z"])
    case("Compress", ["a", "b", "c"], np.array([True, False, True]), axis=0)


def casts():
    NP = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
    text = ["1.5", "-0", "1e10", "inf", "-INF", "NaN", " 7 ", "1e-5", "123456789", "16777217"]
    for d in (1, 11):
        case("Cast", text, to=d)
    case("Cast", ["1", "-5", "9007199254740993", "2.75"], want=[np.array([1, -5, 9007199254740993, 2], np.int64)], to=7)
    case("Cast", np.array([1.5, 1e6, 1e-5, 123456789, 0.1, -0.0, np.inf, np.nan], np.float32), to=8)
    case("Cast", np.array([1.5, 1e16, 1e-5, 123456789.125, 0.1]), to=8)
    case("Cast", np.array([0, -5, 2**62]), to=8)
    case("Cast", np.array([True, False]), to=8)


if __name__ == "__main__":
    for f in (concat, split, normalizer, regex, tfidf, moved, casts):
        f()
