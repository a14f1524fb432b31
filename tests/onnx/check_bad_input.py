"""Wrong data in single nodes, on every device: check_bad_input.py [NAME…] [--long] (run through wheel.py).

A row is a node with inputs it must refuse, or that look wrong and must not be. Each runs with extents known when the model is
read and with symbols for all of them, with all inputs fed and with those that say where or how many (integers, booleans, strings) as
constants, on the devices reference and cpu, on one thread and on two. The devices must refuse with the same kind of error that has the node and
the values that the row says, and the same words but for the rows in OWN_WORDS; or give the same bits. Without --long: the two forms in
which the most and the least is known, on two threads. Prints `N passed, N failed, 0 skipped`.

SPDX-License-Identifier: Apache-2.0
"""
import re
import sys

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h

import bad_input_rows
import sard

OPSETS = [h.make_opsetid(*v) for v in (("", 26), ("ai.onnx.ml", 5), ("com.microsoft", 1))]
OWN_WORDS = {  # where compiled code says the same in other words, and why
    ("Range", "NaN"): "its output is of integers before they are cast",
    ("Range", "infinite"): "the same",
    ("Range", "over all of i64"): "the number of elements has no value in 64 bits",
    ("DFT", "length huge"): "the same",
    ("PRelu", "slope"): "the kernel compares extents one by one",
}
REFUSALS = (sard.InvalidError, sard.UnsupportedError, sard.MemoryLimitError)


def model(row, symbolic, constant):
    """a row's model and what to feed"""
    inputs, inits, feeds, names, before = [], [], {}, [], []
    for i, x in enumerate(row.inputs):
        name = "" if x is None else "i%d" % i
        names.append(name)
        if x is None:
            continue
        if i in row.through:
            times = 2 if row.through[i] == "SequenceConstruct" else 1
            before.append(h.make_node(row.through[i], [name] * times, ["through"], name="before"))
            names[i] = "through"
        if constant and x.dtype.kind in "iubUO":
            inits.append(h.make_tensor(name, T.STRING, x.shape, x.reshape(-1).tolist()) if x.dtype.kind in "UO"
                         else onnx.numpy_helper.from_array(x, name))
            continue
        kind = T.STRING if x.dtype.kind in "UO" else h.np_dtype_to_tensor_dtype(x.dtype)
        shape = ["d%d_%d" % (i, k) for k in range(x.ndim)] if symbolic else x.shape
        inputs.append(h.make_tensor_value_info(name, kind, shape))
        feeds[name] = x
    outs = ["y%d" % i for i in range(row.outputs)]
    node = h.make_node(row.op, names, outs, name="the node", domain=row.domain, **row.attributes)
    g = h.make_graph([*before, node], "bad", inputs, [h.make_empty_tensor_value_info(o) for o in outs], inits)
    return h.make_model(g, opset_imports=OPSETS, ir_version=10).SerializeToString(), feeds


def outcome(source, feeds, device, threads):
    """("refused", kind, words, error) or ("gives", arrays)"""
    try:
        m = sard.load(source, device=device, threads=threads, cache="off", allow="reference", max_memory=1 << 30)
        return ("gives", m.run(feeds))
    except REFUSALS as e:
        return ("refused", type(e).__name__, e.message, e)
    except Exception as e:  # what no wrong data may lead to
        return ("fails", type(e).__name__, str(e), e)


def equal(p, q):
    if isinstance(p, list):
        return len(p) == len(q) and all(map(equal, p, q))
    return p.dtype == q.dtype and np.array_equal(p, q, equal_nan=p.dtype.kind in "fc")


def same(row, a, b):
    if a[0] != b[0]:
        return False
    if a[0] == "gives":
        return equal(list(a[1].values()), list(b[1].values()))
    words = a[2].split(" (inputs:")[0] == b[2].split(" (inputs:")[0] or (row.op, row.what) in OWN_WORDS
    return a[1] == b[1] and words and (a[3].node, a[3].op) == (b[3].node, b[3].op)


def names(e):
    """the node, or, where the pass `lengths` has found two inputs to be as long as each other, both inputs"""
    return e.node == "the node" or re.search(r"dimension \d+ of input '\w+' is \d+, but .* by dimension \d+ of input '\w+'", str(e))


def told(o):
    return "%s: %s [node '%s']" % (o[1], o[2], o[3].node) if o[0] != "gives" else "gives %.200s" % o[1]


def wrong(row, symbolic, constant, long):
    """what is wrong with one form of a row"""
    source, feeds = model(row, symbolic, constant)
    first = outcome(source, feeds, "reference", 1)
    outcomes = [first] + [outcome(source, feeds, "cpu", threads) for threads in ((1, 2) if long else (2,))]
    for o in outcomes[1:]:
        if not same(row, first, o):
            yield "reference %s\n    but cpu %s" % (told(first), told(o))
    for o in outcomes:
        if row.says is None:
            if o[0] != "gives":
                yield "must be taken: " + told(o)
        elif o[0] != "refused":
            yield "must be refused: " + told(o)
        elif not names(o[3]) or any(str(w) not in str(o[3]) for w in row.says):
            yield "must say %s and the node: %s" % (row.says, told(o))


def main():
    names = [a for a in sys.argv[1:] if not a.startswith("-")]
    long = "--long" in sys.argv
    passed = failed = 0
    for row in bad_input_rows.ROWS:
        if names and row.op not in names:
            continue
        bad = {}
        # all forms only by hand: the most and the least that is known when the model is read
        for symbolic, constant in ((0, 0), (0, 1), (1, 0), (1, 1)) if long else ((0, 1), (1, 0)):
            for w in wrong(row, symbolic, constant, long):
                bad.setdefault(w, "%s, %s" % ("symbols" if symbolic else "extents", "constants" if constant else "all fed"))
        for w, form in bad.items():
            print("%s (%s), %s:\n    %s" % (row.op, row.what, form, w), flush=True)
        passed, failed = passed + (not bad), failed + bool(bad)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
