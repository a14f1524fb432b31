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

import ml_dtypes
import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

import onnx_wrong


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


class Spared(Exception):
    """A node that onnx.reference is not to be asked about."""


class Broken:
    """In place of an implementation that there is none of."""

    has_linked_attribute = False

    def __init__(self, proto, error):
        self.onnx_node, self.error = proto, error
        self.op_type, self.input, self.output = proto.op_type, proto.input, proto.output

    def need_context(self):
        return False

    def run(self, *args, **options):
        raise self.error


class Guard:
    """An implementation of onnx.reference, asked only where the tables of onnx_wrong.py let it be."""

    def __init__(self, inner):
        self.inner, self.onnx_node = inner, inner.onnx_node
        self.op_type, self.input, self.output = inner.op_type, inner.input, inner.output
        self.has_linked_attribute = inner.has_linked_attribute

    def need_context(self):
        return self.inner.need_context()

    def run(self, *args, **options):
        why = onnx_wrong.spared(self.onnx_node, args)
        if why:
            raise Spared(why)
        try:
            return onnx_wrong.as_onnx_says(self.onnx_node, args, self.inner.run(*args, **options))
        except Spared:
            raise
        except Exception as e:
            why = onnx_wrong.may_raise(self.op_type, str(e))
            raise Spared(why) if why else RuntimeError("%s: %s: %s" % (self.op_type, type(e).__name__, e)) from e


class Evaluator(ReferenceEvaluator):
    def _load_impl(self, node, input_types=None):
        def make(proto, *args, **options):
            try:
                return cl(proto, *args, **options)
            except Exception as e:
                return Broken(proto, e)

        try:
            cl = super()._load_impl(node, input_types)
        except NotImplementedError as e:
            error = e
            return lambda proto, *args: Broken(proto, error)
        return make

    def _init(self):
        super()._init()
        self.rt_nodes_ = [Guard(n) for n in self.rt_nodes_]

    def step(self, node, results, attributes=None):
        """the node's outputs by name; its own `run` would take an absent output for the value of absent inputs"""
        options = {"linked_attributes": attributes} if node.has_linked_attribute and attributes else {}
        if node.need_context():
            options["context"] = dict(results)
        out = node.run(*[results[i] for i in node.input], **options)
        return {name: v for name, v in zip(node.output, out) if name}

    def run(self, output_names, feed_inputs, attributes=None, **options):
        results = {**self.rt_inits_, **feed_inputs, "": None}
        for node in self.rt_nodes_:
            results.update(self.step(node, results, attributes))
        return [results[name] for name in output_names or self.output_names]


def evaluate(q, model, inputs):
    """all values by name, and how many nodes were left to the evaluators"""
    ref = Evaluator(model)
    results = {**ref.rt_inits_, **inputs, "": None}
    left = 0
    for node in ref.rt_nodes_:
        try:
            results.update(ref.step(node, results))
        except Spared:
            left += 1
            results.update((o, q.values[o].astype(wider(q.values[o].dtype)) if model is not q.model else q.values[o]) for o in node.output if o)
    return results, left, len(ref.rt_nodes_)


# --- the same in float64: what onnx.reference's own rounding comes to ---


def is_float(dtype):
    return np.issubdtype(dtype, np.floating) or dtype == ml_dtypes.bfloat16


def wider(dtype):
    return np.float64 if is_float(dtype) and dtype.itemsize > 1 else dtype


FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


def widen_graph(g):
    for t in g.initializer:
        if t.data_type in FLOATS:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float64), t.name))
    for node in g.node:
        for a in node.attribute:
            if a.type == onnx.AttributeProto.GRAPH:
                widen_graph(a.g)
            elif a.name in ("to", "dtype") and a.i in FLOATS and node.op_type != "BitCast":
                a.i = onnx.TensorProto.DOUBLE


def evaluate_wide(q):
    """all values by name as float64 gives them; None: that does not work"""
    model = onnx.ModelProto()
    model.CopyFrom(q.model)
    widen_graph(model.graph)
    try:
        return evaluate(q, model, {k: v.astype(wider(v.dtype)) for k, v in q.inputs.items()})[0]
    except Exception:
        return None


def number(x):
    """as float64, or as Python's integers where 64 bits would be rounded"""
    return x.astype(np.float64) if x.dtype.itemsize < 8 or x.dtype.kind not in "iu" else x.astype(object)


def within(a, b, bound):
    with np.errstate(all="ignore"):
        return ((a == b) | ((a != a) & (b != b)) | np.isinf(bound) | (np.abs(a - b) <= bound)).astype(bool)


def compare(q, results):
    """what is wrong, or None"""
    wide = None
    for i, (name, want, bound) in enumerate(q.outputs):
        got = np.asarray(results[name])
        if got.dtype != want.dtype:
            return "output %d (%%%s) is %s, not %s" % (i, name, got.dtype, want.dtype)
        if got.shape != want.shape:
            if q.steady:
                return "output %d (%%%s) has shape %s, not %s" % (i, name, got.shape, want.shape)
            continue
        a, b = number(got).ravel(), number(want).ravel()
        same = within(a, b, bound)
        if not same.all():
            wide = wide or evaluate_wide(q) or {}
            w = np.asarray(wide.get(name, got))
            if w.shape == got.shape:
                w = number(w).ravel()
                same |= within(w, b, bound + 2 * np.abs(np.nan_to_num(w - a, nan=0.0, posinf=0.0, neginf=0.0)).astype(np.float64))
        bad = np.flatnonzero(~same)
        if bad.size:
            return "output %d (%%%s, %s%s), element %d is %s, not %s, bound %.3g" % (
                i, name, want.dtype, list(want.shape), bad[0], a[bad[0]], b[bad[0]], bound[bad[0]])
    return None


def alike(got, want):
    if got.dtype != want.dtype or got.shape != want.shape:
        return False
    a, b = number(got), number(want)
    with np.errstate(all="ignore"):
        return bool(np.all((a == b) | ((a != a) & (b != b)) | (np.abs(a - b) <= 1e-4 * np.abs(b) + 1e-6)))


def blame(q):
    """the first node that computes something else from the evaluators' own values"""
    ref = Evaluator(q.model)
    results = {**ref.rt_inits_, **q.inputs, **q.values, "": None}
    for node in ref.rt_nodes_:
        try:
            out = ref.step(node, results)
        except Spared:
            continue
        if not all(alike(np.asarray(v), q.values[name]) for name, v in out.items()):
            ins = ["%s%s" % (results[i].dtype, list(results[i].shape)) if i else "-" for i in node.input]
            return " ".join([node.op_type, *map(str, onnx_wrong.Node(node.onnx_node, []).given.items()), *ins])
    return "rounding"


def answer(q):
    try:
        results, left, nodes = evaluate(q, q.model, q.inputs)
    except Exception as e:
        return "error " + str(e)
    why = compare(q, results)
    return "different " + why + "; " + blame(q) if why else "ok %d %d" % (nodes, left)


def main():
    warnings.filterwarnings("ignore")
    np.seterr(all="ignore")
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints, prints elsewhere
    while True:
        print(answer(Question(read_pieces(sys.stdin.buffer))).replace("\n", " ")[:380], file=out, flush=True)


if __name__ == "__main__":
    main()
