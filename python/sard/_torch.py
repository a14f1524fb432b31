"""From PyTorch: export and load, and find the first module whose output diverges.

SPDX-License-Identifier: Apache-2.0
"""
import ast
import os
import tempfile
import weakref

from ._errors import UsageError


def _export(module, args, path, kwargs, dynamic_shapes):
    import torch
    was = module.training
    module.eval()
    try:
        torch.onnx.export(module, tuple(args), path, kwargs=kwargs, dynamo=True, dynamic_shapes=dynamic_shapes, verbose=False)
    finally:
        module.train(was)


def from_torch(module, args, *, kwargs=None, dynamic_shapes=None, path=None, **options):
    """Exports a torch.nn.Module with torch.onnx.export(dynamo=True) and loads it.

    args, kwargs: example inputs. dynamic_shapes: as torch.export takes them. path: where to keep the .onnx file; without it
    the file lives in a temporary folder until the model goes. options: those of sard.load. Needs torch and onnxscript.
    """
    from ._model import load
    if path is not None:
        _export(module, args, path, kwargs, dynamic_shapes)
        return load(path, **options)
    folder = tempfile.TemporaryDirectory(prefix="sard-")
    file = os.path.join(folder.name, "model.onnx")
    _export(module, args, file, kwargs, dynamic_shapes)
    model = load(file, **options)
    weakref.finalize(model, folder.cleanup)
    return model


class Divergence(list):
    """One row per compared module, in order of execution: dicts of module, error (largest difference relative to the largest
    magnitude), source. first: the first row above the tolerance, None when there is none."""

    def __init__(self, rows, tolerance):
        super().__init__(rows)
        self.tolerance = tolerance
        self.first = next((r for r in self if not r["error"] <= tolerance), None)

    def __str__(self):
        lines = [f"{r['error']:9.2e}  {r['module'] or '(the model)'}" for r in self]
        f = self.first
        lines.append(f"first above {self.tolerance:g}: {f['module'] or '(the model)'}" + (f" from {f['source']}" if f["source"] else "")
                     if f else f"all within {self.tolerance:g}")
        return "\n".join(lines)


def _scopes(node):
    """Module paths a node of an export belongs to, outermost first."""
    meta = {p.key: p.value for p in node.metadata_props}
    try:
        return [s for s in ast.literal_eval(meta.get("pkg.torch.onnx.name_scopes", "[]"))][:-1], meta
    except (ValueError, SyntaxError):
        return [], meta


def _source(meta):
    """The innermost line of the model's own code: torch's files are not what one wants to see."""
    lines = [x.strip() for x in meta.get("pkg.torch.onnx.stack_trace", "").splitlines() if x.strip().startswith("File ")]
    own = [x for x in lines if "/torch/" not in x]
    return (own or lines or [""])[-1]


def _module_values(graph):
    """Per module path the values that its nodes make and others read, in order, with the source line of the last."""
    inside, made = {}, {}
    for i, n in enumerate(graph.node):
        scopes, meta = _scopes(n)
        for s in scopes:
            inside.setdefault(s, set()).add(i)
            for o in n.output:
                made.setdefault(s, []).append((o, i, _source(meta)))
    readers = {}
    for i, n in enumerate(graph.node):
        for x in n.input:
            readers.setdefault(x, []).append(i)
    ends = {o.name for o in graph.output}
    return {s: [(v, i, src) for v, i, src in values
                if v in ends or any(r not in inside[s] for r in readers.get(v, []))]
            for s, values in made.items()}


def _first_tensor(x):
    import torch
    if torch.is_tensor(x):
        return x
    values = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ()
    return next((t for t in map(_first_tensor, values) if t is not None), None)


def _error(want, got):
    import numpy as np
    want, got = np.asarray(want, dtype=np.float64), np.asarray(got, dtype=np.float64)
    if not (np.isfinite(want) == np.isfinite(got)).all():
        return float("inf")
    ok = np.isfinite(want)
    return float(np.max(np.abs(want - got), where=ok, initial=0.0) / (1e-12 + np.max(np.abs(want), where=ok, initial=0.0)))


def compare(module, model, inputs, *, tolerance=1e-4, kwargs=None):
    """Names the first module of a torch.nn.Module whose output an exported model computes otherwise.

    model: a sard.Model loaded from an export of module (torch.onnx.export with dynamo=True keeps the module paths).
    inputs: the module's positional arguments, tensors in the order of the model's inputs. Runs both once; values between
    modules become outputs of a second copy of the model, so some fusions do not happen in it. Needs torch and onnx.
    Returns a Divergence.
    """
    import onnx
    import torch
    from ._model import load
    source, options = model._source, dict(model._options)
    proto = onnx.load(source, load_external_data=False) if isinstance(source, str) else onnx.load_from_string(source)
    if isinstance(source, str):
        options["external_data_dir"] = os.path.dirname(source)
    values = _module_values(proto.graph)
    seen, hooks = {}, []

    def keep(name):
        def hook(_m, _args, out):
            t = _first_tensor(out)
            if t is not None:
                seen[name] = t.detach().clone()
        return hook

    for name, m in module.named_modules():
        hooks.append(m.register_forward_hook(keep(name)))
    was = module.training
    module.eval()
    try:
        with torch.no_grad():
            module(*inputs, **(kwargs or {}))
    finally:
        module.train(was)
        for h in hooks:
            h.remove()
    if not any(values.get(n) for n in seen if n):
        raise UsageError("no module of the torch model stands in the export's metadata: export with dynamo=True")
    have = {o.name for o in proto.graph.output}
    for name in seen:
        for v, _, _ in values.get(name, ()):
            if v not in have:
                have.add(v)
                proto.graph.output.append(onnx.ValueInfoProto(name=v))
    y = load(proto, **options).run(list(inputs))
    rows = []
    for name, want in seen.items():
        for v, i, src in reversed(values.get(name, ())):
            if tuple(y[v].shape) == tuple(want.shape):
                rows.append((i, dict(module=name, error=_error(want.float().cpu().numpy(), y[v].astype("float64")), source=src)))
                break
    return Divergence([r for _, r in sorted(rows, key=lambda x: x[0])], tolerance)
