"""The same names as in onnxruntime_pybind11_state.

SPDX-License-Identifier: Apache-2.0
"""
from .onnxruntime_pybind11_state import *  # noqa: F401,F403
