"""SPDX-License-Identifier: Apache-2.0"""
from . import io_binding_helper  # noqa: F401
