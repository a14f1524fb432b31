"""The classes, under the module that defines them in onnxruntime.

SPDX-License-Identifier: Apache-2.0
"""
from .._session import InferenceSession  # noqa: F401
from .._value import IOBinding, OrtDevice, OrtValue  # noqa: F401
