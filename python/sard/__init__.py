"""Sard runs ONNX models.

    import sard
    model = sard.load("model.onnx")
    y = model(input_ids=ids, attention_mask=mask)

SPDX-License-Identifier: Apache-2.0
"""
from . import _native
from ._errors import (CancelledError, DeadlineError, DeviceError, Error, FileError, InputTypeError, InternalError, InvalidError,
                      MemoryLimitError, UnsupportedError, UsageError)
from ._model import Model, Outputs, Port, load
from ._report import Explanation, MemoryPlan, Profile
from ._torch import compare, from_torch

__version__ = _native.version()

__all__ = ["CancelledError", "DeadlineError", "DeviceError", "Error", "Explanation", "FileError", "InputTypeError",
           "InternalError", "InvalidError", "MemoryLimitError", "MemoryPlan", "Model", "Outputs", "Port", "Profile", "UnsupportedError",
           "UsageError", "as_onnxruntime", "compare", "from_torch", "load"]


def as_onnxruntime():
    """Makes `import onnxruntime` mean sard.onnxruntime in this process. See there."""
    from .onnxruntime import _install
    _install.install()


def __getattr__(name):
    """sard.onnxruntime and sard.backend are imported when they are asked for: the latter needs the package onnx."""
    if name in ("onnxruntime", "backend"):
        import importlib
        return importlib.import_module("." + name, __name__)
    raise AttributeError(f"module 'sard' has no attribute {name!r}")
