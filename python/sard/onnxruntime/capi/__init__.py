"""SPDX-License-Identifier: Apache-2.0"""
from . import _pybind_state, onnxruntime_pybind11_state  # noqa: F401
