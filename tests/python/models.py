"""Small models for the tests of the Python package, as bytes.

SPDX-License-Identifier: Apache-2.0
"""
import onnx
from onnx import TensorProto as T
from onnx import helper as h


def one(op, dtype=T.FLOAT, inputs=("x",), shape=("n",), out=None, out_shape=None, opset=21, **attributes):
    """A model of one node; every input has the same type."""
    graph = h.make_graph([h.make_node(op, list(inputs), ["y"], **attributes)], "one",
                         [h.make_tensor_value_info(i, dtype, shape) for i in inputs],
                         [h.make_tensor_value_info("y", out or dtype, shape if out_shape is None else out_shape)])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=10).SerializeToString()


def two_outputs():
    """sum = a + b, twice = 2 a; b has a default of one."""
    import numpy as np
    nodes = [h.make_node("Add", ["a", "b"], ["sum"]), h.make_node("Add", ["a", "a"], ["twice"])]
    graph = h.make_graph(nodes, "two", [h.make_tensor_value_info(n, T.FLOAT, [s]) for n, s in (("a", "n"), ("b", 1))],
                         [h.make_tensor_value_info(n, T.FLOAT, ["n"]) for n in ("sum", "twice")],
                         [onnx.numpy_helper.from_array(np.ones(1, np.float32), "b")])
    m = h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10, producer_name="tests", model_version=7)
    h.set_model_props(m, {"author": "Sard's tests"})
    return m.SerializeToString()


def endless():
    """A loop of 2^40 trips that adds one: for cancelling."""
    import numpy as np
    trip = h.make_graph([h.make_node("Identity", ["go"], ["go_on"]), h.make_node("Add", ["v", "one"], ["w"])], "trip",
                        [h.make_tensor_value_info("i", T.INT64, []), h.make_tensor_value_info("go", T.BOOL, []),
                         h.make_tensor_value_info("v", T.FLOAT, [])],
                        [h.make_tensor_value_info("go_on", T.BOOL, []), h.make_tensor_value_info("w", T.FLOAT, [])])
    graph = h.make_graph([h.make_node("Loop", ["trips", "", "x"], ["y"], body=trip)], "endless",
                         [h.make_tensor_value_info("x", T.FLOAT, [])], [h.make_tensor_value_info("y", T.FLOAT, [])],
                         [onnx.numpy_helper.from_array(np.array(2**40, np.int64), "trips"),
                          onnx.numpy_helper.from_array(np.array(1, np.float32), "one")])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10).SerializeToString()


def _ml(node, inputs, outputs):
    graph = h.make_graph([node], "ml", inputs, outputs)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 21), h.make_opsetid("ai.onnx.ml", 1)], ir_version=10).SerializeToString()


def zip_map():
    """x of n rows to a sequence of maps from the labels a, b."""
    value = h.make_tensor_type_proto(T.FLOAT, [])
    out = h.make_value_info("y", h.make_sequence_type_proto(h.make_map_type_proto(T.STRING, value)))
    return _ml(h.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_strings=["a", "b"]),
               [h.make_tensor_value_info("x", T.FLOAT, ["n", 2])], [out])


def dict_vectorizer(keys, values):
    """A map from i64 or strings to a row."""
    words = {"int64_vocabulary": [7, 5, 3]} if keys == T.INT64 else {"string_vocabulary": ["a", "b"]}
    x = h.make_value_info("x", h.make_map_type_proto(keys, h.make_tensor_type_proto(values, [])))
    return _ml(h.make_node("DictVectorizer", ["x"], ["y"], domain="ai.onnx.ml", **words), [x],
               [h.make_tensor_value_info("y", values, [1, None])])


def optionals():
    """tensor and list: optionals of x and of [x, x]; none: an empty one."""
    x = h.make_tensor_type_proto(T.FLOAT, ["n"])
    pair = h.make_sequence_type_proto(x)
    nodes = [h.make_node("SequenceConstruct", ["x", "x"], ["s"]), h.make_node("Optional", ["x"], ["tensor"]),
             h.make_node("Optional", ["s"], ["list"]), h.make_node("Optional", [], ["none"], type=x)]
    graph = h.make_graph(nodes, "optionals", [h.make_value_info("x", x)],
                         [h.make_value_info(n, h.make_optional_type_proto(t)) for n, t in (("tensor", x), ("list", pair), ("none", x))])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10).SerializeToString()


def decoder():
    """Attention with a cache: y = Attention(q, K, V) of K = past_k, k and V = past_v, v."""
    kv, past, both = ["b", 2, "n", 8], ["b", 2, "past", 8], ["b", 2, "all", 8]
    nodes = [h.make_node("Concat", ["past_k", "k"], ["K"], axis=2), h.make_node("Concat", ["past_v", "v"], ["V"], axis=2),
             h.make_node("Attention", ["q", "K", "V"], ["y"])]
    types = [("q", ["b", 4, "n", 8]), ("k", kv), ("v", kv), ("past_k", past), ("past_v", past)]
    graph = h.make_graph(nodes, "decoder", [h.make_tensor_value_info(n, T.FLOAT, s) for n, s in types],
                         [h.make_tensor_value_info(n, T.FLOAT, s) for n, s in (("y", types[0][1]), ("K", both), ("V", both))])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 24)], ir_version=11).SerializeToString()


def ranks():
    """y = exp(sqrt(x)), x of a rank that only the run tells: nothing compiles that."""
    graph = h.make_graph([h.make_node("Sqrt", ["x"], ["r"], "root"), h.make_node("Exp", ["r"], ["y"], "power")], "ranks",
                         [h.make_tensor_value_info("x", T.FLOAT, None)], [h.make_tensor_value_info("y", T.FLOAT, None)])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10).SerializeToString()


def sequence():
    """y = x[1] + x[0] of a sequence."""
    import numpy as np
    nodes = [h.make_node("SequenceAt", ["x", "zero"], ["a"]), h.make_node("SequenceAt", ["x", "one"], ["b"]),
             h.make_node("Add", ["a", "b"], ["y"]), h.make_node("SequenceConstruct", ["b", "a"], ["swapped"])]
    graph = h.make_graph(nodes, "sequence", [h.make_tensor_sequence_value_info("x", T.FLOAT, None)],
                         [h.make_tensor_value_info("y", T.FLOAT, None), h.make_tensor_sequence_value_info("swapped", T.FLOAT, None)],
                         [onnx.numpy_helper.from_array(np.array(v, np.int64), n) for v, n in ((0, "zero"), (1, "one"))])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10).SerializeToString()
