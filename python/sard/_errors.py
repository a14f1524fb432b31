"""Exceptions. Each kind is also the built-in exception that Python code would expect.

SPDX-License-Identifier: Apache-2.0
"""
from ._dtypes import NAMES, numpy_name


class Error(Exception):
    """Something that Sard could not do.

    str(e) says it all in one line. The parts, each "" when not known: message (the reason alone), file, node (the ONNX node,
    "#17" when it has no name), op, module (the exporter's module path, "encoder.layer.3"), source (the line of Python the
    node came from, "model.py:88, in forward") and hint (what to do).
    """

    message = file = node = op = module = source = hint = ""


class UsageError(Error, ValueError):
    """A wrong argument: an unknown name, a missing input, an impossible option."""


class InputTypeError(Error, TypeError):
    """An input or bound output whose element type is not the model's."""


class InvalidError(Error, ValueError):
    """The model or an input is not valid: shapes that do not meet, an index out of range, a damaged file."""


class UnsupportedError(Error, NotImplementedError):
    """Valid, but not handled by this build or device."""


class MemoryLimitError(Error, MemoryError):
    """Over the byte budget, or out of memory."""


class DeviceError(Error, RuntimeError):
    """The device is not there, or failed."""


class FileError(Error, OSError):
    """A file could not be read or written."""


class CancelledError(Error, RuntimeError):
    """The call was cancelled."""


class DeadlineError(Error, TimeoutError):
    """The call took longer than its timeout."""


class InternalError(Error, RuntimeError):
    """A bug in Sard."""


KINDS = {2: UsageError, 3: InvalidError, 4: UnsupportedError, 5: MemoryLimitError, 6: DeviceError, 7: FileError,
         8: CancelledError, 9: DeadlineError, 10: InternalError}
PARTS = ("message", "file", "node", "op", "module", "source", "hint")


def make(status, parts):
    """The exception for a status of the C API; parts: the whole text, then PARTS."""
    e = KINDS.get(status, InternalError)(parts[0] or "out of memory")
    for name, value in zip(PARTS, parts[1:]):
        setattr(e, name, value)
    return e


def wrong_type(what, name, given, wanted):
    e = InputTypeError(f"{what} '{name}' takes {NAMES[wanted]}, got {NAMES.get(given, given)}")
    e.message = str(e)
    e.hint = (f"pass x.astype('{numpy_name(wanted)}')" if what == "input"
              else f"bind memory of dtype '{numpy_name(wanted)}'")
    e.args = (f"{e.message}; {e.hint}",)
    return e
