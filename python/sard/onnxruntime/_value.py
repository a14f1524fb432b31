"""OrtValue and IOBinding.

SPDX-License-Identifier: Apache-2.0
"""
import ctypes

import numpy as np

from .._dtypes import NAMES, bits, code_of, numpy_dtype
from ._types import element_code, type_text


class OrtDevice:
    """Where memory is. There is the CPU."""

    def __init__(self, kind="cpu", index=0):
        if kind not in ("cpu", "cuda_pinned"):
            raise ValueError(f"device '{kind}' is not available: Sard's Python package runs on the CPU")
        self._kind, self._index = kind, index

    @staticmethod
    def make(name, device_id=0):
        return OrtDevice(name, device_id)

    def device_type(self):
        return self._kind

    def device_id(self):
        return self._index


def array_at(ptr, code, shape):
    """The memory at an address as a writable numpy array."""
    n = int(np.prod(shape, dtype=np.int64))
    size = (n * bits(code) + 7) // 8
    raw = np.frombuffer((ctypes.c_ubyte * size).from_address(ptr), dtype=np.uint8) if size else np.empty(0, np.uint8)
    if bits(code) < 8:
        raise NotImplementedError(f"raw pointers to {NAMES[code]} elements are not supported: bind an OrtValue")
    return raw.view(numpy_dtype(code)).reshape(shape)


class OrtValue:
    """A tensor (numpy memory, shared and not copied), or a list of them: a sequence."""

    def __init__(self, value, code=None):
        self._v = value
        if code is None:
            code = code_of(value.dtype) if isinstance(value, np.ndarray) else 0
        self._code = code

    @classmethod
    def ortvalue_from_numpy(cls, numpy_obj, device_type="cpu", device_id=0):
        OrtDevice(device_type, device_id)
        return cls(np.asarray(numpy_obj))

    @classmethod
    def ortvalue_from_numpy_with_onnx_type(cls, data, onnx_element_type):
        code = int(onnx_element_type)
        a = np.asarray(data)
        return cls(a if code_of(a.dtype) == code else a.view(numpy_dtype(code)), code)

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape, element_type, device_type="cpu", device_id=0):
        OrtDevice(device_type, device_id)
        code = element_code(element_type)
        return cls(np.zeros(tuple(shape), dtype=numpy_dtype(code)), code)

    @classmethod
    def ort_value_from_sparse_tensor(cls, _sparse):
        raise NotImplementedError("sparse tensors as values are not supported: pass the dense tensor")

    @classmethod
    def from_dlpack(cls, data, is_bool_tensor=False):
        a = np.from_dlpack(data)
        return cls(a.view(np.bool_) if is_bool_tensor else a)

    def __dlpack__(self, **kw):
        return self._v.__dlpack__(**kw)

    def __dlpack_device__(self):
        return (1, 0)

    to_dlpack = __dlpack__

    def numpy(self):
        return self._v

    def shape(self):
        return list(self._v.shape)

    def element_type(self):
        return self._code

    def data_type(self):
        if isinstance(self._v, list):
            return f"seq({type_text('tensor', code_of(self._v[0].dtype)) if self._v else 'tensor(float)'})"
        return type_text("tensor", self._code)

    def data_ptr(self):
        return self._v.ctypes.data

    def device_name(self):
        return "cpu"

    def has_value(self):
        return self._v is not None

    def is_tensor(self):
        return isinstance(self._v, np.ndarray)

    def is_sparse_tensor(self):
        return False

    def is_tensor_sequence(self):
        return isinstance(self._v, list)

    def update_inplace(self, np_arr):
        self._v[...] = np_arr

    def tensor_size_in_bytes(self):
        return self._v.nbytes


class IOBinding:
    """Inputs and outputs bound to memory ahead of a run."""

    def __init__(self, session):
        self._session = session
        self._in, self._out = {}, {}
        self._results = []

    def bind_cpu_input(self, name, arr_on_cpu):
        self._session._check_input(name)
        self._in[name] = np.asarray(arr_on_cpu)

    def bind_input(self, name, device_type, device_id, element_type, shape, buffer_ptr):
        OrtDevice(device_type, device_id)
        self._session._check_input(name)
        self._in[name] = array_at(buffer_ptr, element_code(element_type), tuple(shape))

    def bind_ortvalue_input(self, name, ortvalue):
        self._session._check_input(name)
        self._in[name] = ortvalue.numpy()

    def bind_output(self, name, device_type="cpu", device_id=0, element_type=None, shape=None, buffer_ptr=None):
        OrtDevice(device_type, device_id)
        self._session._check_output(name)
        self._out[name] = None if buffer_ptr is None else array_at(buffer_ptr, element_code(element_type), tuple(shape))

    def bind_ortvalue_output(self, name, ortvalue):
        self._session._check_output(name)
        self._out[name] = ortvalue.numpy()

    def synchronize_inputs(self):
        """Everything is on the CPU."""

    synchronize_outputs = synchronize_inputs

    def get_outputs(self):
        return [OrtValue(x) for x in self._results]

    get_outputs_as_ortvaluevector = get_outputs

    def copy_outputs_to_cpu(self):
        return list(self._results)

    def clear_binding_inputs(self):
        self._in = {}

    def clear_binding_outputs(self):
        self._out, self._results = {}, []

