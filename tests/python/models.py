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
