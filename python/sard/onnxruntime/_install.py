"""Makes `import onnxruntime` mean this package in one process.

SPDX-License-Identifier: Apache-2.0
"""
import importlib
import importlib.metadata
import sys

ALIASES = ("", ".capi", ".capi.onnxruntime_pybind11_state", ".capi._pybind_state", ".capi.onnxruntime_inference_collection",
           ".transformers", ".transformers.io_binding_helper")


class _Distribution(importlib.metadata.Distribution):
    """What importlib.metadata says of the package onnxruntime: some libraries look for it before they import."""

    def read_text(self, filename):
        from . import __version__
        return f"Metadata-Version: 2.1\nName: onnxruntime\nVersion: {__version__}\n" if filename == "METADATA" else None

    def locate_file(self, path):
        raise FileNotFoundError(path)


class _Finder(importlib.metadata.DistributionFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None

    def find_distributions(self, context=importlib.metadata.DistributionFinder.Context()):
        return [_Distribution()] if context.name in (None, "onnxruntime") else []


def install():
    real = sys.modules.get("onnxruntime")
    ours = importlib.import_module("sard.onnxruntime")
    if real is ours:
        return
    if real is not None:
        raise ImportError("onnxruntime is imported already: call sard.as_onnxruntime() before anything imports it")
    for tail in ALIASES:
        sys.modules["onnxruntime" + tail] = importlib.import_module("sard.onnxruntime" + tail)
    sys.meta_path.insert(0, _Finder())
