"""TypeHelper: element types of sessions as numpy's and torch's.

SPDX-License-Identifier: Apache-2.0
"""
from ..._dtypes import TABLE, numpy_dtype
from .._types import BY_NAME


def _code(ort_type):
    name = ort_type[ort_type.rindex("(") + 1:].rstrip(")")
    if name not in BY_NAME:
        raise ValueError(f"{ort_type} not found in map")
    return BY_NAME[name]


class TypeHelper:
    @staticmethod
    def get_input_type(session, name):
        return next((x.type for x in session.get_inputs() if x.name == name), None)

    @staticmethod
    def get_output_type(session, name):
        return next((x.type for x in session.get_outputs() if x.name == name), None)

    @staticmethod
    def ort_type_to_numpy_type(ort_type):
        return numpy_dtype(_code(ort_type)).type

    @staticmethod
    def ort_type_to_torch_type(ort_type):
        import torch
        return getattr(torch, TABLE[_code(ort_type)][1])

    @staticmethod
    def numpy_type_to_torch_type(numpy_type):
        import numpy as np
        import torch
        return getattr(torch, np.dtype(numpy_type).name)

    @staticmethod
    def torch_type_to_numpy_type(torch_type):
        import numpy as np
        return np.dtype(str(torch_type).removeprefix("torch.")).type

    @staticmethod
    def get_io_numpy_type_map(session):
        return {x.name: TypeHelper.ort_type_to_numpy_type(x.type) for x in session.get_inputs() + session.get_outputs()}
