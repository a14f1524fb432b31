#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Export the models of the zoo from PyTorch and store each with PyTorch's own inputs and outputs.

usage: models/export.py [--out DIR] [--list | --ops] [NAME ...]

Writes DIR/NAME/EXPORT/{model.onnx, test_data_set_N/{input,output}_K.pb}, by default in models/fixtures, where it also
refreshes ops.txt, and refused.json and the table of README.md beside it. A NAME may be MODEL or MODEL/EXPORT. Weights
are random from a fixed seed; outputs are those of the module in eager mode. The set-up is in requirements.txt.
"""

import argparse, collections, inspect, json, logging, os, re, shutil, sys, sysconfig, warnings, zlib
from pathlib import Path

if os.environ.get("PYTHONHASHSEED") != "0":  # the exporter's names depend on the order of sets
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})
os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np, onnx, onnxruntime, torch
from onnx import numpy_helper

from zoo import MODELS

HERE = Path(__file__).resolve().parent

EXPORTS = {  # name -> (dynamo exporter?, opset; None is the exporter's own choice)
    "dynamo": (True, None),
    "dynamo24": (True, 24),
    "ts14": (False, 14),
    "ts17": (False, 17),
}
EXTERNAL_DATA = {
    "encoder/dynamo",
    "bert_qa/dynamo",
    "gpt2/dynamo",
    "resnet/dynamo",
}  # weights in a file beside the model
METADATA = {"bert_qa/dynamo", "llama/dynamo"}  # keep what the exporter says of each node
TOLERANCE = 1e-4

# Paths of this machine: the first are cut off stored texts, and none of the rest may be in them.
PREFIXES = [str(Path(torch.__file__).parents[1]), str(HERE.parent), sysconfig.get_path("stdlib")]
MACHINE = [*PREFIXES[1:], sys.prefix, f"{Path.home()}/", "/tmp/", "/home/", "site-packages"]


class Refused(Exception):
    """The exporter's own message."""


def portable(text):
    """The text without this machine's paths and this process's counters."""
    for prefix in sorted(PREFIXES, key=len, reverse=True):
        text = text.replace(prefix + "/", "")
    return re.sub(r"<eval_with_key>\.\d+", "<eval_with_key>", text)


# ---- export ----


def dynamic_shapes(m):
    """One entry per parameter of forward; those of *args are a tuple of their own."""
    fixed = [p for p in inspect.signature(m.module.forward).parameters.values() if p.kind != p.VAR_POSITIONAL]
    n = len(fixed)
    return tuple(m.dynamic[:n]) + ((tuple(m.dynamic[n:]),) if len(m.dynamic) > n else ())


def export_dynamo(m, opset, path, external):
    torch.onnx.export(
        m.module,
        m.feeds[0],
        path,
        input_names=m.inputs,
        output_names=m.outputs,
        dynamo=True,
        opset_version=opset,
        dynamic_shapes=dynamic_shapes(m),
        external_data=external,
        verbose=False,
    )


def export_torchscript(m, opset, path):
    axes = {n: {a: d if isinstance(d, str) else d.__name__ for a, d in s.items()} for n, s in zip(m.inputs, m.dynamic)}
    torch.onnx.export(
        m.module,
        m.feeds[0],
        path,
        input_names=m.inputs,
        output_names=m.outputs,
        dynamo=False,
        opset_version=opset,
        dynamic_axes=axes,
        **m.options,
    )


def graphs(model):
    """All graphs of a model, functions and bodies of control flow included."""
    stack = [model.graph, *model.functions]
    while stack:
        g = stack.pop()
        yield g
        for n in g.node:
            for a in n.attribute:
                stack += [a.g] if a.HasField("g") else list(a.graphs)


def clean(model, keep_metadata):
    """Drop what the exporter says of nodes and values, or make it say the same on every machine."""
    for p in model.metadata_props:
        p.value = portable(p.value)
    for g in graphs(model):
        for p in g.metadata_props:
            p.value = portable(p.value)
        values = list(g.value_info)
        if isinstance(g, onnx.GraphProto):
            values += [*g.input, *g.output, *g.initializer]
        for x in [*g.node, *values]:
            if keep_metadata:
                x.doc_string = portable(x.doc_string)
                for p in x.metadata_props:
                    p.value = portable(p.value)
            else:
                x.ClearField("doc_string")
                x.ClearField("metadata_props")


def outputs_of(module, feed):
    y = module(*feed)
    return [y] if torch.is_tensor(y) else list(y)


def write_data_set(m, feed, expected, folder):
    folder.mkdir()
    for kind, names, tensors in (("input", m.inputs, feed), ("output", m.outputs, expected)):
        for k, (name, t) in enumerate(zip(names, tensors, strict=True)):
            tensor = numpy_helper.from_array(np.ascontiguousarray(t.numpy()), name)
            (folder / f"{kind}_{k}.pb").write_bytes(tensor.SerializeToString())


def write_tolerance(data_sets, folder):
    """`sard test`'s tolerance per element, "rtol atol": 1e-5 of the largest magnitude of the output that has the least."""
    least = min(float(t.abs().max()) for tensors in data_sets for t in tensors if t.numel())
    (folder / "tolerance.txt").write_text(f"1e-3 {1e-5 * least:.1g}\n")


def check_with_onnxruntime(folder):
    """Texts about data sets on which onnxruntime differs from PyTorch: a check of the export, not of PyTorch."""
    read = lambda f: numpy_helper.to_array(onnx.TensorProto.FromString(f.read_bytes()))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    except Exception as e:
        return [f"onnxruntime does not load it: {str(e)[:200]}"]
    found = []
    for data in sorted(folder.glob("test_data_set_*")):
        try:
            feed = {x.name: read(data / f"input_{k}.pb") for k, x in enumerate(session.get_inputs())}
            got = session.run(None, feed)
        except Exception as e:
            found.append(f"{data.name}: {str(e)[:300]}")
            continue
        for k, y in enumerate(got):
            want = read(data / f"output_{k}.pb")
            if y.shape != want.shape or y.dtype != want.dtype:
                found.append(f"{data.name} output {k}: {y.dtype}{y.shape}, not {want.dtype}{want.shape}")
                continue
            error = np.abs(y.astype(float) - want).max() / max(np.abs(want).max(), 1e-6)
            if not error <= TOLERANCE:
                found.append(f"{data.name} output {k}: relative error {error:.1e}")
    return found


def check_text(folder):
    """No path of this machine may stand in a stored file."""
    for f in folder.rglob("*"):
        if f.is_file():
            data = f.read_bytes()
            for word in MACHINE:
                assert word.encode() not in data, f"{f}: has {word}"


def export(name, kind, out):
    """Write one fixture; return warnings. Raises Refused."""
    dynamo, opset = EXPORTS[kind]
    torch.manual_seed(zlib.crc32(name.encode()))
    m = MODELS[name](not dynamo)
    expected = [outputs_of(m.module, feed) for feed in m.feeds]
    for tensors in expected:
        assert all(torch.isfinite(t).all() for t in tensors), "an output is not finite"

    key = f"{name}/{kind}"
    folder = out / name / kind
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    try:
        if dynamo:
            export_dynamo(m, opset, path, key in EXTERNAL_DATA)
        else:
            export_torchscript(m, opset, path)
    except Exception as e:
        shutil.rmtree(folder)
        raise Refused(f"{type(e).__name__}: {e}") from e
    proto = onnx.load(path, load_external_data=False)
    clean(proto, key in METADATA)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    for k, (feed, tensors) in enumerate(zip(m.feeds, expected)):
        write_data_set(m, feed, tensors, folder / f"test_data_set_{k}")
    write_tolerance(expected, folder)
    check_text(folder)
    return check_with_onnxruntime(folder)


# ---- summaries ----


def fixtures(out):
    """(MODEL/EXPORT, folder) of all that is stored, in the order of the zoo."""
    for name in MODELS:
        for kind in EXPORTS:
            if (out / name / kind / "model.onnx").exists():
                yield f"{name}/{kind}", out / name / kind


def operators(out):
    """Lines 'domain op count opsets': every operator of every fixture."""
    count, opsets = collections.Counter(), collections.defaultdict(set)
    for _, folder in fixtures(out):
        model = onnx.load(folder / "model.onnx", load_external_data=False)
        for g in graphs(model):
            imports = {o.domain: o.version for o in getattr(g, "opset_import", [])}
            imports = imports or {o.domain: o.version for o in model.opset_import}
            for n in g.node:
                op = (n.domain or "ai.onnx", n.op_type)
                count[op] += 1
                opsets[op].add(imports[n.domain])
    return [f"{d} {o} {count[d, o]} {','.join(map(str, sorted(opsets[d, o])))}" for d, o in sorted(count)]


def table(out):
    rows = ["| Fixture | opset | nodes | bytes |", "|---|--:|--:|--:|"]
    for key, folder in fixtures(out):
        model = onnx.load(folder / "model.onnx", load_external_data=False)
        opset = next(o.version for o in model.opset_import if o.domain == "")
        nodes = sum(len(g.node) for g in graphs(model))
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        rows.append(f"| {key} | {opset} | {nodes:,} | {size:,} |")
    return rows


def refresh(out, refused):
    (out / "ops.txt").write_text("".join(line + "\n" for line in operators(out)))
    if out != HERE / "fixtures":
        return
    (HERE / "refused.json").write_text(json.dumps(refused, indent=1, sort_keys=True) + "\n")
    readme = HERE / "README.md"
    text = readme.read_text()
    head, rest = text.split("<!-- table -->\n")[0], text.split("<!-- end of table -->")[1]
    body = "".join(row + "\n" for row in table(out))
    readme.write_text(f"{head}<!-- table -->\n{body}<!-- end of table -->{rest}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=HERE / "fixtures", metavar="DIR")
    p.add_argument("--list", action="store_true", help="list the models and exit")
    p.add_argument("--ops", action="store_true", help="print every operator of the stored fixtures and exit")
    p.add_argument("names", nargs="*", metavar="NAME", help="MODEL or MODEL/EXPORT; all of them without one")
    a = p.parse_args()
    if a.list:
        print(*MODELS, sep="\n")
        return 0
    if a.ops:
        print(*operators(a.out.resolve()), sep="\n")
        return 0

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    out = a.out.resolve()
    store = HERE / "refused.json"
    refused = json.loads(store.read_text()) if store.exists() else {}
    warned = []
    for full in a.names or list(MODELS):
        name, _, kind = full.partition("/")
        for k in [kind] if kind else EXPORTS:
            refused.get(name, {}).pop(k, None)
            try:
                found = export(name, k, out)
            except Refused as e:
                message = re.sub(r"\x1b\[[0-9;]*m", "", portable(str(e)))
                print(f"{name}/{k}: refused: {message[:1500]}", flush=True)
                refused.setdefault(name, {})[k] = re.sub(r"\s+", " ", message)[:400]
                continue
            warned += [f"{name}/{k}: {w}" for w in found]
            print(f"{name}/{k}: " + ("; ".join(found) or "ok"), flush=True)
    refused = {n: r for n, r in refused.items() if r}
    refresh(out, refused)
    if warned:
        print("\nWarnings:", *warned, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
