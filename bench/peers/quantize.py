# SPDX-License-Identifier: Apache-2.0
"""Quantises models that models.py wrote, with ONNX Runtime's tools.

usage: quantize.py DIR

Writes, beside them,
  bert_base_dynamic_int8         DynamicQuantizeLinear and MatMulInteger, weights per channel
  resnet50_qdq_int8              QuantizeLinear and DequantizeLinear around every operator; u8 activations, s8 weights
  llama_135m_int4, _int4_step, _int8_step    MatMulNBits, blocks of 32, symmetric, the head included
The expected outputs are ONNX Runtime's with its optimiser off and products as they are defined: those of 8 bits in float64 (its own
saturate on CPUs without VNNI), those of MatMulNBits in fp32. Values near a rounding edge still fall to either side.
"""

import logging, shutil, sys, tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

FEEDS = 4  # that activations are calibrated with


class Noisy(CalibrationDataReader):
    """The measured inputs with noise."""

    def __init__(self, path):
        rng, fed = np.random.default_rng(0), dict(np.load(path))
        noise = lambda v: (v + 0.3 * rng.standard_normal(v.shape)).astype(v.dtype)
        self.feeds = iter([{k: noise(v) for k, v in fed.items()} for _ in range(FEEDS)])

    def get_next(self):
        return next(self.feeds, None)


def dynamic(src, dst):
    quantize_dynamic(src / "model.onnx", dst / "model.onnx", weight_type=QuantType.QInt8, per_channel=True)


def static(src, dst):
    quantize_static(
        src / "model.onnx",
        dst / "model.onnx",
        Noisy(src / "inputs.npz"),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def untie(m):
    """A weight that reaches its product through a Transpose (the head's) is made a constant, or it would stay in fp32."""
    weights = {t.name: t for t in m.graph.initializer}
    for n in [n for n in m.graph.node if n.op_type == "Transpose" and n.input[0] in weights]:
        order = next((list(a.ints) for a in n.attribute if a.name == "perm"), None)
        w = numpy_helper.to_array(weights[n.input[0]]).transpose(order)
        m.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(w), n.output[0]))
        m.graph.node.remove(n)
    return m


def blocks(bits):
    def quantize(src, dst):
        m = untie(onnx.load(src / "model.onnx"))
        q = MatMulNBitsQuantizer(m, bits=bits, block_size=32, is_symmetric=True, accuracy_level=4)
        q.process()
        q.model.save_model_to_file(str(dst / "model.onnx"), use_external_data_format=True)

    return quantize


WRITTEN = {  # name: (model, how)
    "bert_base_dynamic_int8": ("bert_base", dynamic),
    "resnet50_qdq_int8": ("resnet50", static),
    "llama_135m_int4": ("llama_135m", blocks(4)),
    "llama_135m_int4_step": ("llama_135m_step", blocks(4)),
    "llama_135m_int8_step": ("llama_135m_step", blocks(8)),
}


def double_product(n):
    """MatMulInteger in float64, which holds its sums exactly."""
    t = n.output[0]
    as_double = lambda v, to: helper.make_node("Cast", [v], [to], to=TensorProto.DOUBLE)
    taken = []
    for side, (v, zero) in enumerate(zip(n.input[:2], [*n.input[2:], "", ""])):
        yield as_double(v, f"{t}/{side}")
        taken.append(f"{t}/{side}")
        if zero:
            yield as_double(zero, f"{t}/{side}/zero")
            yield helper.make_node("Sub", [taken[-1], f"{t}/{side}/zero"], [f"{t}/{side}/less"])
            taken[-1] = f"{t}/{side}/less"
    yield helper.make_node("MatMul", taken, [f"{t}/product"])
    yield helper.make_node("Cast", [f"{t}/product"], [t], to=TensorProto.INT32)


def exact(m):
    """The model with products as they are defined: ONNX Runtime's of 8 bits saturate on CPUs without VNNI, and those that
    accuracy_level allows round their input to 8 bits."""
    nodes = []
    for n in m.graph.node:
        if n.op_type == "MatMulNBits":
            kept = [a for a in n.attribute if a.name != "accuracy_level"]
            del n.attribute[:]
            n.attribute.extend(kept)
        nodes.extend(double_product(n) if n.op_type == "MatMulInteger" else [n])
    del m.graph.node[:]
    m.graph.node.extend(nodes)
    return m


def expect(folder):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    with tempfile.TemporaryDirectory(dir=folder) as work:
        onnx.save(exact(onnx.load(folder / "model.onnx")), f"{work}/model.onnx", save_as_external_data=True)
        session = ort.InferenceSession(f"{work}/model.onnx", options, providers=["CPUExecutionProvider"])
    fed = np.load(folder / "inputs.npz")
    out = session.run(None, {i.name: fed[i.name] for i in session.get_inputs()})
    np.savez(folder / "expected.npz", **{o.name: v for o, v in zip(session.get_outputs(), out)})


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    logging.disable(logging.INFO)
    top = Path(sys.argv[1])
    for name, (source, how) in WRITTEN.items():
        src, dst = top / source, top / name
        if not src.is_dir():
            continue
        dst.mkdir(exist_ok=True)
        how(src, dst)
        shutil.copy(src / "inputs.npz", dst)
        expect(dst)
        print(name, flush=True)


if __name__ == "__main__":
    main()
