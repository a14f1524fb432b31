"""InferenceSession.

SPDX-License-Identifier: Apache-2.0
"""
import json
import logging
import os
import threading
import time
import warnings

from .._errors import Error
from .._model import load
from .._dtypes import TABLE
from . import _meta
from ._options import SessionOptions
from ._types import type_text
from ._value import IOBinding, OrtValue
from .capi import onnxruntime_pybind11_state as errors

log = logging.getLogger("sard")
_CODES = {v[1]: k for k, v in TABLE.items()}


class NodeArg:
    """An input or output: name, shape (ints, names of symbols, None) and type ("tensor(float)")."""

    def __init__(self, port):
        self.name = port.name
        self.shape = [] if port.shape is None else [None if d == "?" else d for d in port.shape]
        self.type = type_text(port.kind, _CODES.get(port.dtype, 0))

    def __repr__(self):
        return f"NodeArg(name='{self.name}', type='{self.type}', shape={self.shape})"

    __str__ = __repr__


class ModelMetadata:
    """producer_name, graph_name, domain, description, graph_description, version and custom_metadata_map."""

    def __init__(self, fields, custom):
        self.producer_name = fields.get("producer_name", "")
        self.graph_name = fields.get("graph_name", "")
        self.domain = fields.get("domain", "")
        self.description = fields.get("description", "")
        self.graph_description = fields.get("graph_description", "")
        self.version = fields.get("version", 0)
        self.custom_metadata_map = custom


def _providers(providers, options):
    """The names among those asked for that there are, with their options; a warning for the others, as onnxruntime gives."""
    names = {}
    for i, p in enumerate(providers or []):
        name, opt = (p, (options or [])[i] if options else {}) if isinstance(p, str) else (p[0], p[1])
        if name == "CPUExecutionProvider":
            names[name] = {str(k): str(v) for k, v in opt.items()}
        else:
            warnings.warn(f"Specified provider '{name}' is not in available provider names. Available providers: "
                          "'CPUExecutionProvider'", UserWarning, stacklevel=4)
    return names or {"CPUExecutionProvider": {}}


class InferenceSession:
    """A model behind onnxruntime's interface. `session.sard` is the sard.Model."""

    def __init__(self, path_or_bytes, sess_options=None, providers=None, provider_options=None, **kwargs):
        if kwargs.get("disabled_optimizers"):
            log.info("disabled_optimizers has no meaning here")
        self._sess_options = sess_options or SessionOptions()
        self._opened_ns = time.perf_counter_ns()
        self._providers = _providers(providers, provider_options)
        if isinstance(path_or_bytes, (str, os.PathLike)):
            self._model_path, source = os.fspath(path_or_bytes), os.fspath(path_or_bytes)
        else:
            self._model_path, source = "", bytes(path_or_bytes)
        self._model_bytes = source if isinstance(source, bytes) else None
        with errors.loading(self._model_path):
            self.sard = load(source, threads=self._sess_options.intra_op_num_threads, allow="reference")
        self._inputs, self._outputs = list(map(NodeArg, self.sard.inputs)), list(map(NodeArg, self.sard.outputs))
        self._in, self._out = [p.name for p in self._inputs], [p.name for p in self._outputs]
        self._required = [p.name for p in self.sard.inputs if not p.optional and p.kind != "optional"]
        self._trace = [] if self._sess_options.enable_profiling else None
        self._lock = threading.Lock()
        self.sard._log_reference()

    # --- description ---

    def get_inputs(self):
        return list(self._inputs)

    def get_outputs(self):
        return list(self._outputs)

    def get_overridable_initializers(self):
        return []

    def get_session_options(self):
        return self._sess_options

    def get_modelmeta(self):
        return ModelMetadata(_meta.read(self._model_path or self._model_bytes), self.sard.metadata)

    def get_providers(self):
        return list(self._providers)

    def get_provider_options(self):
        return {k: dict(v) for k, v in self._providers.items()}

    def set_providers(self, providers=None, provider_options=None):
        self._providers = _providers(providers, provider_options)

    def disable_fallback(self):
        """There is nothing to fall back to."""

    enable_fallback = disable_fallback

    # --- running ---

    def _check_input(self, name):
        if name not in self._in:
            raise errors.InvalidArgument(f"[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Invalid input name: {name}")

    def _check_output(self, name):
        if name not in self._out:
            raise errors.InvalidArgument(f"[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Invalid output name:{name}")

    def _feeds(self, input_feed):
        feeds = list(map(input_feed.get, self._in))
        if len(input_feed) != len(feeds) or any(x is None for x in feeds):
            for name in input_feed:
                self._check_input(name)
            missing = [n for n in self._required if input_feed.get(n) is None]
            if missing:
                raise ValueError(f"Required inputs ({missing}) are missing from input feed ({list(input_feed)}).")
        return feeds

    def _call(self, feeds, bound):
        native = self.sard._m
        try:
            if self._trace is None:
                return native.run(feeds, bound, 0.0, False)
            y, times = native.run(feeds, bound, 0.0, True)
        except Error as e:
            raise errors.of_run(e) from e
        with self._lock:
            self._trace += times
        return y

    def run(self, output_names, input_feed, run_options=None):
        """The outputs of those names (None or an empty list: all) as a list of numpy arrays."""
        y = self._call(self._feeds(input_feed), None)
        if not output_names:
            return y
        for n in output_names:
            self._check_output(n)
        return [y[self._out.index(n)] for n in output_names]

    def run_async(self, output_names, input_feed, callback, user_data, run_options=None):
        """As run, in a thread of its own; callback(results, user_data, error text)."""
        def work():
            try:
                y, err = self.run(output_names, input_feed, run_options), ""
            except Exception as e:  # handed to the callback, as onnxruntime does
                y, err = None, str(e)
            callback(y, user_data, err)
        threading.Thread(target=work, daemon=True).start()

    def run_with_ort_values(self, output_names, input_dict_ort_values, run_options=None):
        feed = {k: v.numpy() for k, v in input_dict_ort_values.items()}
        return [OrtValue(x) for x in self.run(output_names, feed, run_options)]

    def run_with_iobinding(self, iobinding, run_options=None):
        names = list(iobinding._out)
        bound = [iobinding._out.get(n) for n in self._out]
        feeds = self._feeds(iobinding._in)
        if names and all(iobinding._out[n] is not None for n in names):
            self._call(feeds, bound)
            iobinding._results = [iobinding._out[n] for n in names]
            return
        y = dict(zip(self._out, self._call(feeds, None)))
        for n in names:
            if iobinding._out[n] is not None:
                iobinding._out[n][...] = y[n]
                y[n] = iobinding._out[n]
        iobinding._results = [y[n] for n in names]

    def io_binding(self):
        return IOBinding(self)

    # --- profiling ---

    def get_profiling_start_time_ns(self):
        return self._opened_ns

    def end_profiling(self):
        """Writes the steps of all runs as a Chrome trace and returns the file's name; "" when profiling is not on."""
        if self._trace is None:
            return ""
        steps, name = self.sard._m.steps(), f"{self._sess_options.profile_file_prefix}_{time.strftime('%Y-%m-%d_%H-%M-%S')}.json"
        with self._lock:
            events = [{"cat": "Node", "pid": os.getpid(), "tid": 0, "ph": "X", "ts": start / 1e3, "dur": (end - start) / 1e3,
                       "name": steps[i]["kernel"] or steps[i]["op"],
                       "args": {"op_name": steps[i]["op"], "node": steps[i]["node"], "module": steps[i]["module"],
                                "provider": "CPUExecutionProvider"}}
                      for i, _, _, start, end, _, _ in self._trace]
            self._trace = None
        with open(name, "w") as f:
            json.dump(events, f)
        return name

