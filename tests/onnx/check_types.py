"""What `sard ops` says of types against what runs: check_types.py SARD CASES [OPERATOR…] (run through wheel.py).

An official case of one node is the pattern for its operator. For every type variable of the newest form and every type that ONNX
lets it have, the node gets inputs of that type. It must run on the devices cpu, with no step interpreted, and reference, and give the
same, if `sard ops` lists the type, and be refused by both if it does not, or if it is strings that a mode would have to mix. Prints `N passed, N failed, 0 skipped`.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import re
import subprocess
import sys

import ml_dtypes  # noqa: F401  numpy's types of few bits
import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import defs, helper, numpy_helper

import sard
from check_operators import allowed, type_name

CASES = {"Resize": "test_resize_upsample_sizes_nearest"}  # the pattern that takes every type; elsewhere the first of one node
REALS = (T.FLOAT, T.FLOAT16, T.DOUBLE, T.BFLOAT16)
INTEGERS = (T.INT2, T.UINT2, T.INT4, T.UINT4, T.INT8, T.UINT8, T.INT16, T.UINT16, T.INT32, T.UINT32, T.INT64, T.UINT64)
TYPES = {"tensor(%s)" % T.DataType.Name(k).lower(): k for k in T.DataType.values() if k}
MODES = {"Resize": ("nearest", "linear", "cubic"), "GridSample": ("nearest", "linear", "cubic")}  # each of these has types of its own
OTHERWISE = {"LabelEncoder", "TfIdfVectorizer"}  # whose attributes have the types of its input
WITH = {  # attributes that go with a type
    ("BitCast", "T1"): lambda to: {"to": to},  # as many bits
    ("DequantizeLinear", "T2"): lambda to: {"output_dtype": T.FLOAT if to == T.FLOAT8E8M0 else to},  # which is no T3
}
OUTPUT_TYPE = ("to", "dtype", "output_dtype", "output_datatype")


class Pattern:
    """An official case: its model, its node and the tensors of its first data set, None where the node has no input."""

    def __init__(self, folder, proto):
        self.node, self.proto = proto.graph.node[0], proto
        at = {v.name: i for i, v in enumerate(proto.graph.input)}
        self.args = [load(os.path.join(folder, "test_data_set_0", "input_%d.pb" % at[name])) if name in at else None for name in self.node.input]


def load(path):
    tensor = T()
    with open(path, "rb") as f:
        tensor.ParseFromString(f.read())
    return tensor


def patterns(root):
    """{(domain, operator): Pattern}: cases of one node on tensors"""
    found = {}
    for name in sorted(os.listdir(root)):
        with open(os.path.join(root, name, "model.onnx"), "rb") as f:
            proto = onnx.ModelProto.FromString(f.read())
        g, node = proto.graph, proto.graph.node[0] if proto.graph.node else None
        if len(g.node) != 1 or g.initializer or not all(v.type.HasField("tensor_type") for v in g.input):
            continue
        key = ("" if node.domain == "ai.onnx" else node.domain, node.op_type)
        if CASES.get(node.op_type, name) == name and not any(a.type == onnx.AttributeProto.GRAPH for a in node.attribute):
            found.setdefault(key, Pattern(os.path.join(root, name), proto))
    return found


def cast(tensor, to):
    """the tensor's numbers in another type; for what was real and becomes an integer, ones: nothing is divided by 0"""
    x = numpy_helper.to_array(tensor)
    if tensor.data_type == to:
        return tensor
    if x.dtype.kind in "UOS":
        x = np.arange(x.size).reshape(x.shape)
    if to == T.STRING:
        return helper.make_tensor("", to, x.shape, [str(v).encode() for v in x.reshape(-1)])
    if to in INTEGERS and tensor.data_type in REALS:
        x = np.ones(x.shape)
    elif to in INTEGERS[:4] and x.dtype.kind in "iu":
        x = np.abs(x) % 2
    x = x.astype(np.float64) if x.dtype.kind == "V" else x
    with np.errstate(over="ignore"):
        return numpy_helper.from_array(np.nan_to_num(x).astype(helper.tensor_dtype_to_np_dtype(to)))


def set_attribute(node, name, value):
    keep = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*keep, helper.make_attribute(name, value)])


def of_type(p, schema, variable, to, mode):
    """the pattern's model with a type for a variable, and its inputs; None: the pattern has no place for it"""
    if (schema.name, variable) == ("BitCast", "T2"):  # with T1
        return None
    node, inputs, args, touched = onnx.NodeProto(), [], [], False
    node.CopyFrom(p.node)
    for i, (name, arg) in enumerate(zip(node.input, p.args)):
        if arg is None:
            continue
        if schema.inputs[min(i, len(schema.inputs) - 1)].type_str == variable:
            arg, touched = cast(arg, to), True
        inputs.append(helper.make_tensor_value_info(name, arg.data_type, list(arg.dims)))
        args.append(arg)
    if mode:
        set_attribute(node, "mode", mode)
    for name, value in WITH.get((schema.name, variable), lambda to: {})(to).items():
        set_attribute(node, name, value)
    by = [k for k in OUTPUT_TYPE if k in schema.attributes]
    if not touched:
        if not by or variable not in [o.type_str for o in schema.outputs]:
            return None
        set_attribute(node, by[0], to)
    g = helper.make_graph([node], "types", inputs, [helper.make_empty_tensor_value_info(o) for o in node.output if o])
    return helper.make_model(g, opset_imports=p.proto.opset_import, ir_version=p.proto.ir_version), args


def listed(row, schema, variable, to):
    """does `sard ops` have the type for the variable's first input or output?"""
    takes, gives = (side.split() for side in row["signature"].split(";")[0].split(">"))
    for params, tokens in ((schema.inputs, takes), (schema.outputs, gives)):
        for i, p in enumerate(params):
            if p.type_str == variable:
                types = allowed(row, tokens, i)
                return not types or type_name("tensor(%s)" % T.DataType.Name(to).lower()) in types
    return True


def feed(tensor):
    x = numpy_helper.to_array(tensor)
    return x.astype(object) if x.dtype.kind in "US" else x


def run(model, args, device):
    """the outputs, or what is said"""
    try:
        return list(sard.load(model, device=device, threads=1, cache="off").run([feed(a) for a in args]).values())
    except sard.Error as e:
        return str(e)


def near(a, b):
    if isinstance(a, list):
        return len(a) == len(b) and all(map(near, a, b))
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind in "OUSb" or a.dtype.kind in "iu":
        return np.array_equal(a, b)
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    return np.allclose(a.astype(wide), b.astype(wide), rtol=0.02, atol=0.02, equal_nan=True)


def wrong(row, schema, pattern, variable, to, mode):
    """(how many were tried, what is wrong)"""
    made = of_type(pattern, schema, variable, to, mode)
    if not made:
        return 0, None
    cpu, reference = (run(*made, device) for device in ("cpu", "reference"))
    if not listed(row, schema, variable, to):
        both = isinstance(cpu, str) and isinstance(reference, str)
        return 1, None if both else "is not listed, but runs"
    if mode in ("linear", "cubic") and variable == "T1" and to == T.STRING:
        return 1, None if all("strings have no values in between" in str(y) for y in (cpu, reference)) else "is not refused"
    if row["cpu"] == "reference" and not isinstance(cpu, str):
        return 1, "is said to be interpreted on cpu, but is compiled"
    for device, y in (("cpu", cpu), ("reference", reference)):
        if isinstance(y, str):
            return 1, "is listed, but %s: %s" % (device, y)
    return 1, None if all(map(near, cpu, reference)) else "is not the same on cpu as on reference"


def main():
    command, root, *names = sys.argv[1:]
    found = patterns(root)
    rows = {(r["domain"], r["op"]): r for r in json.loads(subprocess.run([command, "ops", "--json"], capture_output=True).stdout)}
    passed = failed = 0
    for schema in sorted(defs.get_all_schemas(), key=lambda s: (s.domain, s.name)):
        key = (schema.domain, schema.name)
        if key not in rows or key not in found or key[1] in OTHERWISE or (names and schema.name not in names):
            continue
        for c in schema.type_constraints:
            for text in sorted(set(c.allowed_type_strs) & set(TYPES)):
                for mode in MODES.get(schema.name, (None,)):
                    tried, why = wrong(rows[key], schema, found[key], c.type_param_str, TYPES[text], mode)
                    if why:
                        print("%s %s=%s %s %s" % (schema.name, c.type_param_str, re.sub(r"tensor\((.*)\)", r"\1", text), mode or "", why), flush=True)
                    passed, failed = passed + (tried and not why), failed + bool(why)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
