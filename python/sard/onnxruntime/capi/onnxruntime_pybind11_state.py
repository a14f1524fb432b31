"""onnxruntime's exception types, and Sard's errors as such.

SPDX-License-Identifier: Apache-2.0
"""
import contextlib

from ... import _errors


class Fail(Exception):
    code, name = 1, "FAIL"


class InvalidArgument(Exception):
    code, name = 2, "INVALID_ARGUMENT"


class NoSuchFile(Exception):
    code, name = 3, "NO_SUCHFILE"


class NoModel(Exception):
    code, name = 4, "NO_MODEL"


class EngineError(Exception):
    code, name = 5, "ENGINE_ERROR"


class RuntimeException(Exception):
    code, name = 6, "RUNTIME_EXCEPTION"


class InvalidProtobuf(Exception):
    code, name = 7, "INVALID_PROTOBUF"


class ModelLoaded(Exception):
    code, name = 8, "MODEL_LOADED"


class NotImplemented(Exception):  # noqa: A001  (its name there)
    code, name = 9, "NOT_IMPLEMENTED"


class InvalidGraph(Exception):
    code, name = 10, "INVALID_GRAPH"


class EPFail(Exception):
    code, name = 11, "EP_FAIL"


class ModelLoadCanceled(Exception):
    code, name = 12, "MODEL_LOAD_CANCELED"


class ModelRequiresCompilation(Exception):
    code, name = 13, "MODEL_REQUIRES_COMPILATION"


def _translated(kind, e):
    x = kind(f"[ONNXRuntimeError] : {kind.code} : {kind.name} : {e}")
    x.sard = e
    return x


def _kind_of_load_error(e):
    if isinstance(e, _errors.InvalidError):
        return InvalidProtobuf if "protobuf" in e.message else InvalidGraph
    if isinstance(e, _errors.UnsupportedError):
        return NotImplemented
    return Fail


@contextlib.contextmanager
def loading(path):
    try:
        yield
    except FileNotFoundError:
        raise NoSuchFile(f"[ONNXRuntimeError] : 3 : NO_SUCHFILE : Load model from {path} failed. File doesn't exist") from None
    except OSError as e:
        raise _translated(Fail, e) from e
    except _errors.Error as e:
        raise _translated(_kind_of_load_error(e), e) from e


def of_run(e):
    """A Sard error of a run as one of these."""
    if isinstance(e, (_errors.UsageError, _errors.InputTypeError, _errors.InvalidError)):
        return _translated(InvalidArgument, e)
    return _translated(NotImplemented if isinstance(e, _errors.UnsupportedError) else RuntimeException, e)


from .._options import (ExecutionMode, ExecutionOrder, GraphOptimizationLevel, OrtAllocatorType, OrtMemType,  # noqa: E402,F401
                        RunOptions, SessionOptions)
from .._value import OrtDevice, OrtValue  # noqa: E402,F401
