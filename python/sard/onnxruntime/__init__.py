"""What code written for onnxruntime uses of it, over Sard.

    import sard.onnxruntime as ort            # change one import, or
    sard.as_onnxruntime(); import onnxruntime # change none

Sessions run on Sard's cpu device; numeric steps that would run by a reference evaluator are allowed and logged (logger
"sard"). What has no meaning here is accepted and does nothing when it only tunes, and is refused when results depend on it.

SPDX-License-Identifier: Apache-2.0
"""
from ._options import (ExecutionMode, ExecutionOrder, GraphOptimizationLevel, OrtAllocatorType, OrtArenaCfg, OrtMemType,
                       RunOptions, SessionOptions)
from ._session import InferenceSession, ModelMetadata, NodeArg
from ._value import IOBinding, OrtDevice, OrtValue
from . import capi, transformers  # noqa: F401  (clients reach them as attributes)

__version__ = "1.32.0"  # the API described here


def get_available_providers():
    return ["CPUExecutionProvider"]


get_all_providers = get_available_providers


def get_device():
    return "CPU"


def get_version_string():
    return __version__


def get_build_info():
    from .. import __version__ as sard
    return f"ORT API by Sard {sard}"


def set_default_logger_severity(severity):
    """0 verbose … 4 fatal: the level of the logger "sard"."""
    import logging
    logging.getLogger("sard").setLevel({0: 10, 1: 20, 2: 30, 3: 40}.get(int(severity), 50))


def set_default_logger_verbosity(_verbosity):
    """Nothing depends on it."""


def set_seed(_seed):
    """Random operators follow their own seed attributes."""


def disable_telemetry_events():
    """There are none."""


def enable_telemetry_events():
    """There are none to enable."""


def preload_dlls(cuda=True, cudnn=True, msvc=True, directory=None):
    """Nothing needs loading ahead."""
