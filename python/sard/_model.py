"""Loading and running models.

SPDX-License-Identifier: Apache-2.0
"""
import difflib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import _native
from ._dtypes import NAMES, numpy_name
from ._errors import UsageError
from ._report import Explanation, MemoryPlan, Profile

log = logging.getLogger("sard")
PRECISIONS = ("exact", "fp32", "tf32", "bf16", "fp16", "int8")
LEGACY = 1  # CU_STREAM_LEGACY: the default stream, by its handle
KINDS = ("tensor", "sequence", "optional", "map")


class Port(NamedTuple):
    """An input or output of a model."""

    name: str
    kind: str           # "tensor", "sequence", "optional" or "map"
    dtype: str          # numpy's or ml_dtypes' name; "" when it is known only in the run
    shape: tuple | None  # an int or the name of a symbol per axis ("batch", "past+seq"); None: rank known only in the run
    optional: bool      # an input with a default value in the model


class Outputs(tuple):
    """What a model with several outputs gives: a tuple that also takes names, y["logits"]."""

    __slots__ = ()
    names = ()

    def __getitem__(self, i):
        return tuple.__getitem__(self, self.names.index(i)) if isinstance(i, str) else tuple.__getitem__(self, i)

    def keys(self):
        return list(self.names)


def _port(row):
    name, kind, dtype, rank, optional, dims = row
    return Port(name, KINDS[kind], numpy_name(dtype) if dtype else "", dims if rank >= 0 else None, bool(optional))


def _restore(source, options):
    return load(source, **options)


class Model:
    """A model that is loaded and compiled. Immutable: any number of threads may run it at once.

    Made by sard.load. Pickling keeps where it came from (the path, or the bytes) and the options, and loads again.
    After a fork the child may go on using it; its runs take one thread.
    """

    def __init__(self, native, source, options):
        self._m = native
        self._source, self._options = source, options
        self.inputs = [_port(r) for r in native.inputs()]
        self.outputs = [_port(r) for r in native.outputs()]
        self._in = [p.name for p in self.inputs]
        self._out = [p.name for p in self.outputs]
        self._in_set = frozenset(self._in)
        self._named = type("Outputs", (Outputs,), {"__slots__": (), "names": tuple(self._out)})
        about = native.about()
        self.device, self.threads, self.cache = about["device"], about["threads"], about["cache"]  # "hit", "miss" or "off"
        self.precision = about["precision"]  # "fp32", "bf16" …
        self.load_ms = about["import_ms"] + about["passes_ms"] + about["compile_ms"]

    @property
    def caches(self) -> list[tuple[str, str, int]]:
        """(input, output, axis) of every cache that grows in place when both are views of one buffer with room along the axis."""
        return self._m.caches()

    @property
    def symbols(self) -> list[str]:
        """Names of the symbols in the input shapes."""
        return self._m.symbols()

    @property
    def metadata(self) -> dict[str, str]:
        """The model's metadata_props, a dict of strings."""
        return self._m.metadata()

    def _ordered(self, inputs):
        """A list in the order of the inputs of what a dict or sequence gives."""
        if not isinstance(inputs, dict):
            given = list(inputs)
            if len(given) > len(self._in):
                raise UsageError(f"{len(given)} inputs given, the model takes {len(self._in)}: {', '.join(self._in)}")
            return given + [None] * (len(self._in) - len(given))
        if not inputs.keys() <= self._in_set:
            self._unknown("input", next(k for k in inputs if k not in self._in_set), self._in)
        return list(map(inputs.get, self._in))

    @staticmethod
    def _unknown(what, name, names):
        near = difflib.get_close_matches(str(name), names, 1)
        raise UsageError(f"the model has no {what} '{name}'" + (f"; did you mean '{near[0]}'?" if near else "") +
                         f" It has: {', '.join(names)}")

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        """Runs the model on arrays given in order or by name; torch tensors and anything numpy.asarray takes will do.

        Returns the output's array, or Outputs when there are several. Arrays and CPU tensors are not copied.
        """
        if args:
            if len(args) > len(self._in):
                self._ordered(args)
            for name, value in zip(self._in, args):
                if name in inputs:
                    raise UsageError(f"input '{name}' is given twice")
                inputs[name] = value
        y = self._m.run(self._ordered(inputs), None, 0.0, False)
        return y[0] if len(y) == 1 else self._named(y)

    def run(self, inputs: Mapping[str, Any] | Sequence[Any], outputs: Mapping[str, Any] | Sequence[str] | None = None, *,
            timeout: float | None = None, stream: int | None = None, on_device: bool = False) -> dict[str, Any]:
        """Runs the model and returns a dict of outputs by name.

        inputs: a dict by name, or a sequence in order; None or a missing name stands for a default in the model.
        outputs: None for all of them; a list of names for some; or a dict of writable arrays (numpy, torch on the CPU) by
        name, which are filled in place, without a copy when dense, and returned. Their dtypes and shapes must be the
        outputs'; they may not overlap the inputs.
        timeout: seconds until DeadlineError. Ctrl-C stops a run in the main thread within milliseconds.

        On device "cuda", inputs and bound outputs may be tensors of the GPU that speak DLPack (torch, cupy): dense, aligned to 16
        bytes, on GPU 0. stream: the CUDA stream that the run comes behind and that waits for it, as a number
        (torch.cuda.current_stream().cuda_stream); None, or 0: the default stream. on_device: outputs stay there, as DeviceTensors, which
        speak DLPack.
        """
        stream = stream or LEGACY
        feeds = self._ordered(inputs)
        if isinstance(outputs, dict):
            for k in outputs:
                if k not in self._out:
                    self._unknown("output", k, self._out)
            self._m.run(feeds, [outputs.get(n) for n in self._out], timeout or 0.0, False, stream, False)
            return dict(outputs)
        y = dict(zip(self._out, self._m.run(feeds, None, timeout or 0.0, False, stream, on_device)))
        if not outputs:
            return y
        for k in outputs:
            if k not in y:
                self._unknown("output", k, self._out)
        return {k: y[k] for k in outputs}

    def output_shape(self, name: str, **shapes: Sequence[int]) -> tuple[int, ...]:
        """The shape of an output for input shapes by name. UnsupportedError: it depends on the data."""
        if name not in self._out:
            self._unknown("output", name, self._out)
        return self._m.output_shape(self._out.index(name), [() if s is None else s for s in self._ordered(shapes)])

    def plan(self, **inputs: Any) -> MemoryPlan:
        """The memory of a run, before it, for input shapes by name. An array tells its elements as well, on which some sizes
        may hang. print() it."""
        return MemoryPlan(self._m.plan(self._ordered(inputs)), self._m.steps())

    def explain(self) -> Explanation:
        """Every step of the program: what it is, its kernel, the nodes and modules it came from. print() it."""
        return Explanation(self._m.steps())

    def profile(self, inputs: Mapping[str, Any] | Sequence[Any], runs: int = 10) -> Profile:
        """Time per step, the median of some runs, from hottest to coldest. print() it."""
        feeds = self._ordered(inputs)
        self._m.run(feeds, None, 0.0, False)
        return Profile(self._m.steps(), [self._m.run(feeds, None, 0.0, True)[1] for _ in range(max(1, runs))])

    @property
    def graphs(self) -> dict[str, Any] | None:
        """On device "cuda": whether runs are recorded as CUDA graphs ("on", or "why" not and at which "step"), how many "kernels" are in
        one, and how many runs were "recorded" and "replayed"; "grows": for how many lengths of a cache, say, one serves, or 0. None on
        other devices."""
        return self._m.graphs()

    def release(self) -> None:
        """Gives back the working memory that runs have left with the model, here and on its device; the next runs begin anew."""
        self._m.release()

    def _log_reference(self):
        """A warning for every step that runs by its reference evaluator: for callers whose users allowed nothing."""
        for s in self._m.steps():
            if s["kind"] == "reference":
                log.warning("node '%s' (%s) runs by its reference evaluator: %s", s["node"], s["op"], s["why"])

    def __repr__(self):
        def show(p):
            return f"{p.name}: {p.dtype or p.kind}{list(p.shape) if p.shape is not None else ''}"
        return (f"<sard.Model on {self.device}: ({', '.join(map(show, self.inputs))}) -> "
                f"({', '.join(map(show, self.outputs))})>")

    def __reduce__(self):
        return _restore, (self._source, self._options)


def _one_of(option, value, values):
    if value not in values:
        raise UsageError(f"{option}={value!r}: not a value of this option; values: {', '.join(map(repr, values))}")


def load(model: Any, *, device: str | None = None, threads: int = 0, max_memory: int = 0, timeout: float | None = None,
         strict: bool = False, cache: str | None = None, external_data_dir: str | None = None, allow: str | None = None,
         precision: str = "exact") -> Model:
    """Loads, optimises and compiles a model.

    model: a path, the bytes of an .onnx file, or an onnx.ModelProto. Weights in files are mapped, not copied: the files
    must not change while the model lives. External data of a model from memory is looked for in external_data_dir.
    device: "cpu" (None), "cuda" or "reference". threads: 0 for what the process may really use (affinity and
    cgroup quota). max_memory: most bytes for the model and its runs, weights in files not counted; 0: the machine's.
    timeout: seconds that loading may take. strict: refuse what is legal but suspicious. cache: the directory of compiled
    models, or "off"; None: what the environment variable SARD_CACHE says, else ~/.cache/sard.
    allow: None refuses a model with a step that nothing compiles for the device (UnsupportedError, which names the node and
    the reason); "reference" runs such steps by their reference evaluators, slowly: explain() tells which.
    precision: "exact" or "fp32", which mean the same: everything is computed in the model's own types. "bf16" or "fp16" on the
    CPU stores the constants that products and convolutions multiply by in 16 bits (where the CPU multiplies bf16
    faster than f32, "bf16" rounds what they are multiplied with, too), "int8" those of products in 8 bits and a scale to 32 of
    them; "tf32" on a GPU rounds the operands of products to that. A model compiled ahead of time has its own.
    Raises FileNotFoundError and its kin, or a sard.Error.
    """
    _one_of("allow", allow, (None, "reference"))
    _one_of("precision", precision, PRECISIONS)
    options = dict(device=device, threads=threads, max_memory=max_memory, timeout=timeout, strict=strict,
                   cache=cache, external_data_dir=external_data_dir, allow=allow, precision=precision)
    args = dict(device=device, threads=threads, max_memory=max_memory, timeout=timeout or 0.0, strict=strict,
                cache=None if cache is None else os.fspath(cache), allow_reference=allow == "reference",
                precision=None if precision == "exact" else precision)
    if hasattr(model, "SerializeToString"):
        model = model.SerializeToString()
    if isinstance(model, (bytes, bytearray, memoryview)):
        source = bytes(model)
        return Model(_native.Model(data=source, dir=external_data_dir, **args), source, options)
    source = os.path.abspath(os.fspath(model))
    with open(source, "rb"):  # the usual exceptions: not found, no permission, a directory
        pass
    return Model(_native.Model(path=source, **args), source, options)
