"""Type texts as onnxruntime spells them, "tensor(float16)".

SPDX-License-Identifier: Apache-2.0
"""
import numpy as np

from .._dtypes import TABLE, code_of

ONNX_NAMES = {**{k: v[1] for k, v in TABLE.items()}, 1: "float", 8: "string", 11: "double", 17: "float8e4m3fn", 18: "float8e4m3fnuz",
              19: "float8e5m2", 20: "float8e5m2fnuz", 23: "float4e2m1", 24: "float8e8m0", 27: "float6e2m3", 28: "float6e3m2"}
BY_NAME = {v: k for k, v in ONNX_NAMES.items()}


def type_text(kind, code):
    t = f"tensor({ONNX_NAMES.get(code, 'undefined')})"
    return {"tensor": t, "sequence": f"seq({t})", "optional": f"optional({t})", "map": f"map({t})"}[kind]


def element_code(element_type):
    """ONNX's number of an element type given as such, or as a numpy dtype or type."""
    return int(element_type) if isinstance(element_type, (int, np.integer)) else code_of(np.dtype(element_type))
