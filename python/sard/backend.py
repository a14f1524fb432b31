"""The ONNX backend interface (onnx.backend.base) over Sard, for onnx.backend.test and tools that take a backend.

SPDX-License-Identifier: Apache-2.0
"""
import logging

from onnx import defs, helper, shape_inference
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

from . import _errors
from ._model import load

log = logging.getLogger("sard")


class SardRep(BackendRep):
    """A prepared model."""

    def __init__(self, model):
        self.model = model

    def run(self, inputs, **kwargs):
        """inputs: arrays in the order of the graph's inputs, or a dict by name. Returns a tuple that also takes names."""
        y = self.model.run(inputs)
        return self.model._named(y.values())


class SardBackend(Backend):
    @classmethod
    def is_compatible(cls, model, device="CPU", **kwargs):
        """Can the model be loaded for the device?"""
        if not cls.supports_device(device):
            return False
        try:
            load(model, allow="reference")
        except _errors.Error as e:
            log.info("not compatible: %s", e)
            return False
        return True

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        """Loads a ModelProto. kwargs: options of sard.load. Steps that nothing compiles run all the same, with a warning each."""
        super().prepare(model, device, **kwargs)
        if not cls.supports_device(device):
            raise _errors.DeviceError(f"device {device} is not available: Sard's Python package runs on the CPU")
        m = load(model, **{"allow": "reference", **kwargs})
        m._log_reference()
        return SardRep(m)

    @classmethod
    def run_model(cls, model, inputs, device="CPU", **kwargs):
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, **kwargs):
        """Runs one node on arrays, one per input that is not empty.

        outputs_info: (dtype, shape) per output; without it the types come from the operator's inference. opset_version (in
        kwargs): the newest that onnx knows unless given.
        """
        super().run_node(node, inputs, device, outputs_info)
        import numpy as np
        names = [n for n in node.input if n]
        graph = helper.make_graph(
            [node], "node",
            [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.asarray(x).dtype), np.shape(x))
             for n, x in zip(names, inputs)],
            [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.dtype(outputs_info[i][0])), outputs_info[i][1])
             if outputs_info else helper.make_empty_tensor_value_info(n) for i, n in enumerate(node.output) if n])
        version = kwargs.pop("opset_version", None)
        opset = helper.make_opsetid(node.domain, version or (defs.onnx_opset_version() if not node.domain else 1))
        model = shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[opset]))
        return cls.run_model(model, list(inputs), device, **kwargs)

    @classmethod
    def supports_device(cls, device):
        return Device(device).type == DeviceType.CPU


prepare = SardBackend.prepare
run_model = SardBackend.run_model
run_node = SardBackend.run_node
supports_device = SardBackend.supports_device
is_compatible = SardBackend.is_compatible
