"""Judges graphs by onnx.reference: onnx_reference.py, run by test_random --peer (peer.c says what comes in).

A graph is evaluated node by node with the operators' implementations of onnx.reference, and its outputs are compared with what
the evaluators made, within the bounds that come with them. A node that stands in WRONG, because onnx.reference does not do
there what ONNX says, is left to the evaluators: the values that came with the graph take its place.

Answers `ok NODES SPARED`, `different …` or `error …`, a line per graph. SPDX-License-Identifier: Apache-2.0
"""
import os
import struct
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_wrong import spared


def read_exactly(f, n):
    data = f.read(n)
    if len(data) != n:
        sys.exit(0)  # the other side is done
    return data


def read_pieces(f):
    (n,) = struct.unpack("<I", read_exactly(f, 4))
    return [read_exactly(f, struct.unpack("<I", read_exactly(f, 4))[0]) for _ in range(n)]


def tensor(piece):
    """(name, array)"""
    t = onnx.TensorProto.FromString(piece)
    return t.name, numpy_helper.to_array(t)


class Question:
    def __init__(self, pieces):
        nin, nout, self.steady = struct.unpack("<III", pieces[0])
        self.model = onnx.ModelProto.FromString(pieces[1])
        self.inputs = dict(tensor(p) for p in pieces[2 : 2 + nin])
        at = 2 + nin
        self.outputs = [(*tensor(pieces[at + 2 * i]), np.frombuffer(pieces[at + 2 * i + 1], np.float64)) for i in range(nout)]
        self.values = dict(tensor(p) for p in pieces[at + 2 * nout :])


def evaluate(q):
    """all values by name, and how many nodes were left to the evaluators"""
    ref = ReferenceEvaluator(q.model)
    results = {"": None, **ref.rt_inits_, **q.inputs}
    left = 0
    for node in ref.rt_nodes_:
        args = [results[i] for i in node.input]
        if spared(node.onnx_node, args):
            left += 1
            results.update((o, q.values[o]) for o in node.output if o)
            continue
        context = {"context": results.copy()} if node.need_context() else {}
        try:
            out = node.run(*args, **context)
        except Exception as e:
            raise RuntimeError("%s: %s: %s" % (node.op_type, type(e).__name__, e)) from e
        results.update(zip(node.output, out))
    return results, left, len(ref.rt_nodes_)


def number(x):
    """as float64, or as Python's integers where 64 bits would be rounded"""
    return x.astype(np.float64) if x.dtype.itemsize < 8 or x.dtype.kind not in "iu" else x.astype(object)


def compare(q, results):
    """what is wrong, or None"""
    for i, (name, want, bound) in enumerate(q.outputs):
        got = np.asarray(results[name])
        if got.dtype != want.dtype:
            return "output %d (%%%s) is %s, not %s" % (i, name, got.dtype, want.dtype)
        if got.shape != want.shape:
            if q.steady:
                return "output %d (%%%s) has shape %s, not %s" % (i, name, got.shape, want.shape)
            continue
        a, b = number(got).ravel(), number(want).ravel()
        with np.errstate(all="ignore"):
            same = (a == b) | ((a != a) & (b != b)) | np.isinf(bound) | (np.abs(a - b) <= bound)
        bad = np.flatnonzero(~same.astype(bool))
        if bad.size:
            return "output %d (%%%s, %s%s), element %d is %s, not %s, bound %.3g" % (
                i, name, want.dtype, list(want.shape), bad[0], a[bad[0]], b[bad[0]], bound[bad[0]])
    return None


def answer(q):
    try:
        results, left, nodes = evaluate(q)
    except Exception as e:
        return "error " + str(e)
    why = compare(q, results)
    return "different " + why if why else "ok %d %d" % (nodes, left)


def main():
    warnings.filterwarnings("ignore")
    np.seterr(all="ignore")
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints, prints elsewhere
    while True:
        print(answer(Question(read_pieces(sys.stdin.buffer))).replace("\n", " ")[:380], file=out, flush=True)


if __name__ == "__main__":
    main()
