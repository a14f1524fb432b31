"""Single nodes with wrong data, for check_bad_input.py.

SPDX-License-Identifier: Apache-2.0
"""
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h


class Row(NamedTuple):
    op: str
    what: str
    inputs: list
    says: list | None  # what the error must have in it; None: the data are not wrong
    attributes: dict
    domain: str
    outputs: int
    through: dict  # {input: operator that makes of the tensor, twice for a sequence, what the node takes}


ROWS = []


def row(op: str, what: str, inputs: list, says: Any, outputs: int = 1, domain: str = "", through: dict | None = None, **attributes):
    says = says if says is None or isinstance(says, list) else [says]
    ROWS.append(Row(op, what, inputs, says, attributes, domain, outputs, through or {}))


def f(*shape, dtype=np.float32):
    """numbers 0, 1, 2 …"""
    return np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)


def i(*v):
    return np.array(v, np.int64)


def i32(*v):
    return np.array(v, np.int32)


def n(v, dtype=np.int64):
    return np.array(v, dtype)


HUGE = 2**62

# --- indices ---
for t in (np.int64, np.int32):
    row("Gather", "index beyond, %s" % t.__name__, [f(3, 4), n([0, 3], t)], [3])
    row("Gather", "index before, %s" % t.__name__, [f(3, 4), n([[-4]], t)], [-4])
    row("GatherElements", "beyond, %s" % t.__name__, [f(3, 4), n([[0, 7, 0, 0]], t)], [7])
    row("ScatterElements", "beyond, %s" % t.__name__, [f(3, 4), n([[0, 3]], t), f(1, 2)], [3])
row("Gather", "2^40", [f(3, 4), i(2**40)], [2**40])
row("Gather", "axis 1", [f(3, 4), i(4)], ["index 4", "axis 1", "4"], axis=1)
row("Gather", "from nothing", [f(0, 4), i(0)], [0])
row("Gather", "nothing from nothing", [f(0, 4), n([])], None)
row("Gather", "of strings", [n(["a", "b"], object), i(2)], [2])
row("GatherElements", "before", [f(3, 4), n([[-4, 0, 0, 0]])], [-4])
row("GatherElements", "indices larger than the data", [f(2, 2), n([[0, 0, 0]])], ["axis 1"])
row("GatherElements", "ranks differ", [f(2, 2), i(0)], ["rank"])
row("GatherND", "beyond", [f(2, 3), n([[0, 3]])], [3])
row("GatherND", "before", [f(2, 3), n([[-3, 0]])], [-3])
row("GatherND", "batches differ", [f(2, 3), n([[0]] * 3)], [2, 3], batch_dims=1)
row("GatherND", "tuples too long", [f(2, 3), n([[0, 0, 0]])], [3])
row("ScatterElements", "before", [f(3, 4), n([[-4, 0]]), f(1, 2)], [-4])
row("ScatterElements", "updates differ", [f(3, 4), n([[1, 0]]), f(1, 3)], ["shape"])
row("ScatterElements", "indices beyond the data on another axis", [f(3, 4), n([[0] * 5]), f(1, 5)], [5])
row("ScatterElements", "add, beyond", [f(3, 4), n([[0, 9]]), f(1, 2)], [9], reduction="add")
row("ScatterND", "beyond", [f(3, 4), n([[3]]), f(1, 4)], [3])
row("ScatterND", "before", [f(3, 4), n([[0, -5]]), f(1)], [-5])
row("ScatterND", "updates differ", [f(3, 4), n([[1]]), f(1, 3)], [3, 4])
row("ScatterND", "too few updates", [f(3, 4), n([[1], [2]]), f(1, 4)], ["updates"])
row("TensorScatter", "beyond", [f(1, 4, 2), f(1, 2, 2), i(3)], [3], axis=1)
row("TensorScatter", "before", [f(1, 4, 2), f(1, 2, 2), i(-1)], [-1], axis=1)
row("TensorScatter", "too many rows", [f(1, 4, 2), f(1, 5, 2), i(0)], [5, 4], axis=1)
row("TensorScatter", "too many rows, circular", [f(1, 4, 2), f(1, 5, 2), i(0)], [5, 4], axis=1, mode="circular")
row("TensorScatter", "batches differ", [f(2, 4, 2), f(1, 1, 2), i(0, 0)], [2, 1], axis=1)
row("TensorScatter", "number of indices", [f(2, 4, 2), f(2, 1, 2), i(0)], [1, 2], axis=1)
row("ArrayFeatureExtractor", "beyond", [f(2, 3), i(3)], [3], domain="ai.onnx.ml")
row("ArrayFeatureExtractor", "from the end, as numpy", [f(2, 3), i(-1)], None, domain="ai.onnx.ml")
row("Compress", "true beyond", [f(2), n([0, 0, 1], bool)], [2])
row("Compress", "false beyond", [f(2), n([0, 1, 0], bool)], None)
row("Compress", "true beyond, axis 1", [f(2, 2), n([0, 1, 1], bool)], [2], axis=1)
row("ReverseSequence", "length beyond", [f(3, 2), i(4, 1)], [4])
row("ReverseSequence", "length below 0", [f(3, 2), i(1, -1)], [-1])
row("ReverseSequence", "number of lengths", [f(3, 2), i(1)], [1, 2])
row("OneHot", "depth below 0", [i(0), n(-1), f(2)], [-1])
row("OneHot", "depth NaN", [i(0), n(np.nan, np.float32), f(2)], ["depth"])
row("OneHot", "depth below 0, f32", [i(0), n(-3, np.float32), f(2)], [-3])
row("OneHot", "depth a fraction", [i(0), n(2.7, np.float32), f(2)], None)
row("OneHot", "three values", [i(0), n(3), f(3)], [3])
row("OneHot", "depth twice", [i(0), i(3, 3), f(2)], [2])
row("OneHot", "indices beyond", [i(0, 7, -9), n(3), f(2)], None)
row("MaxUnpool", "index beyond", [f(1, 1, 2, 2), n([[[[0, 1], [2, 99]]]])], [99], kernel_shape=[2, 2], strides=[2, 2])
row("MaxUnpool", "index before", [f(1, 1, 2, 2), n([[[[0, 1], [2, -1]]]])], [-1], kernel_shape=[2, 2], strides=[2, 2])
row("MaxUnpool", "shapes differ", [f(1, 1, 2, 2), n([[[[0, 1]]]])], [1, 2], kernel_shape=[2, 2], strides=[2, 2])
row("RoiAlign", "batch index", [f(1, 1, 4, 4), f(1, 4), i(1)], [1], output_height=2, output_width=2)
row("RoiAlign", "batch index before", [f(1, 1, 4, 4), f(1, 4), i(-1)], [-1], output_height=2, output_width=2)
row("RoiAlign", "number of batch indices", [f(1, 1, 4, 4), f(2, 4), i(0)], [2, 1], output_height=2, output_width=2)
row("RoiAlign", "three corners", [f(1, 1, 4, 4), f(1, 3), i(0)], [4, 3], output_height=2, output_width=2)
row("MaxRoiPool", "batch index", [f(1, 1, 4, 4), n([[1, 0, 0, 2, 2]], np.float32)], [1], pooled_shape=[2, 2])
row("MaxRoiPool", "batch index NaN", [f(1, 1, 4, 4), n([[np.nan, 0, 0, 2, 2]], np.float32)], ["-1"], pooled_shape=[2, 2])
row("RotaryEmbedding", "position", [f(1, 1, 2, 4), f(3, 2), f(3, 2), n([[0, 3]])], [3])
row("RotaryEmbedding", "position before", [f(1, 1, 2, 4), f(3, 2), f(3, 2), n([[0, -1]])], [-1])
row("RotaryEmbedding", "caches differ", [f(1, 1, 2, 4), f(3, 2), f(3, 3), n([[0, 1]])], ["cache"])
row("RotaryEmbedding", "com.microsoft, position", [f(1, 2, 4), n([[0, 3]]), f(3, 2), f(3, 2)], [3], domain="com.microsoft", num_heads=1)
row("RotaryEmbedding", "com.microsoft, position from", [f(1, 2, 4), i(2), f(3, 2), f(3, 2)], [3], domain="com.microsoft", num_heads=1)
row("NegativeLogLikelihoodLoss", "label", [f(2, 3), i(0, 3)], [3])
row("NegativeLogLikelihoodLoss", "label before", [f(2, 3), i(0, -1)], [-1])
row("NegativeLogLikelihoodLoss", "label in space", [f(2, 3, 2), n([[0, 1], [5, 0]])], [5])
row("NegativeLogLikelihoodLoss", "ignored label", [f(2, 3), i(0, 9)], None, ignore_index=9)
row("SoftmaxCrossEntropyLoss", "label", [f(2, 3), i(0, 3)], [3])
row("SoftmaxCrossEntropyLoss", "label before", [f(2, 3), i(0, -1)], [-1], reduction="none")
row("EmbedLayerNormalization", "word", [i32(9)[None], i32(0)[None], f(4, 4), f(4, 4), f(2, 4), f(4), f(4)], [9], outputs=2, domain="com.microsoft")
row("MatMulNBits", "g_idx", [f(1, 32), n(np.zeros((1, 1, 16)), np.uint8), f(1), None, i32(*([0] * 31 + [1]))], [1], domain="com.microsoft",
    K=32, N=1, bits=4, block_size=32)
row("MatMulNBits", "g_idx before", [f(1, 32), n(np.zeros((1, 1, 16)), np.uint8), f(1), None, i32(*([0] * 31 + [-1]))], [-1], domain="com.microsoft",
    K=32, N=1, bits=4, block_size=32)
row("GatherBlockQuantized", "index", [n(np.zeros((2, 16)), np.uint8), i(2), f(2, 1)], [2], domain="com.microsoft", block_size=16, bits=8, gather_axis=0,
    quantize_axis=1)

# --- probabilities ---
for t in (np.float32, np.float64, np.float16):
    for p in (-0.5, 1.5, np.nan, np.inf):
        row("Bernoulli", "p is %s, %s" % (p, t.__name__), [n([0, 1, 0.5, p], t)], ["%g" % p], seed=1.0)
row("Bernoulli", "p in [0, 1]", [n([0, 1, 0.5, -0.0], np.float32)], None, seed=1.0)
row("Bernoulli", "p of many", [np.where(f(40000) < 33333, 0.5, -f(40000)).astype(np.float32)], ["-33333"], seed=1.0)

# --- integers that have no quotient ---
for t in (np.int8, np.int32, np.int64, np.uint8, np.uint32, np.uint64):
    row("Div", "by 0, %s" % t.__name__, [n([6, 7], t), n([2, 0], t)], [0])
    row("Mod", "by 0, %s" % t.__name__, [n([6, 7], t), n([2, 0], t)], [0])
row("Mod", "by 0, fmod", [i(6, 7), i(2, 0)], [0], fmod=1)
row("Div", "by 0 in many", [f(40000, dtype=np.int32), np.where(f(40000) == 33333, 0, 1).astype(np.int32)], [0])
row("Div", "least by -1", [n([-2**31], np.int32), i32(-1)], [-2**31])
row("Div", "least by -1, i64", [i(-2**63), i(-1)], [-2**63])
row("Mod", "least by -1", [n([-2**31], np.int32), i32(-1)], None)
row("Div", "reals by 0", [f(3), np.zeros(3, np.float32)], None)
row("Pow", "0 to below 0", [i(2, 0), i(-1, -1)], [0, -1])
row("Pow", "integers to below 0", [i(2, -1), i(-1, -3)], None)
for d in ("LEFT", "RIGHT"):
    row("BitShift", "by 8 and more, " + d, [n([255] * 3, np.uint8), n([8, 200, 7], np.uint8)], None, direction=d)
    row("BitShift", "by 64, " + d, [n([2**63], np.uint64), n([64], np.uint64)], None, direction=d)
row("Cast", "NaN and more than fits", [n([np.nan, np.inf, -np.inf, 1e30, -1e30, 300.7], np.float32)], None, to=6)

# --- sizes that data tell ---
row("Reshape", "count", [f(3, 4), i(5, 2)], [5, 2, "4"])
row("Reshape", "-1 does not divide", [f(3, 4), i(5, -1)], [5, 12])
row("Reshape", "-1 twice", [f(3, 4), i(-1, -1)], [-1])
row("Reshape", "-2", [f(3, 4), i(-2, 6)], [-2])
row("Reshape", "copies beyond the rank", [f(12), i(12, 0)], [0])
row("Reshape", "0 and -1", [f(0, 3), i(0, -1)], [0], allowzero=1)
row("Reshape", "overflows", [f(3, 4), i(2**40, 2**40)], [2**40])
row("Reshape", "overflows to the count", [f(0, 4), i(2**32, 2**32)], [2**32])
row("Expand", "does not broadcast", [f(3, 1), i(2, 4)], [2])
row("Expand", "below 0", [f(3, 1), i(3, -1)], [-1])
row("Expand", "huge", [f(3, 1), i(HUGE, 3, 4)], [HUGE])
row("Tile", "below 0", [f(3, 1), i(1, -2)], [-2])
row("Tile", "too few", [f(3, 1), i(2)], [1, 2])
row("Tile", "overflows", [f(3, 2), i(HUGE, HUGE)], [HUGE])
row("Pad", "below 0 by too much", [f(3, 2), i(0, -3, 0, 0)], [-3])
row("Pad", "number", [f(3, 2), i(0, 1, 0)], [3, 4])
row("Pad", "overflows", [f(3, 2), i(HUGE, 0, HUGE, 0)], [HUGE])
row("Pad", "axes", [f(3, 2), i(1, 1), None, i(2)], [2])
row("Pad", "axes twice", [f(3, 2), i(1, 1, 1, 1), None, i(1, -1)], ["axis"])
row("Pad", "reflect from nothing", [f(0, 2), i(1, 0, 1, 0)], [0], mode="reflect")
row("Pad", "edge from nothing", [f(0, 2), i(1, 0, 1, 0)], [0], mode="edge")
row("Pad", "wrap from nothing", [f(0, 2), i(1, 0, 1, 0)], [0], mode="wrap")
row("Range", "step 0", [n(0), n(5), n(0)], [0])
row("Range", "step 0, f32", [n(0, np.float32), n(5, np.float32), n(0, np.float32)], [0])
row("Range", "NaN", [n(0, np.float32), n(np.nan, np.float32), n(1, np.float32)], [])
row("Range", "infinite", [n(0, np.float32), n(np.inf, np.float32), n(1, np.float32)], [])
row("Range", "huge", [n(0), n(2**62), n(1)], [])
row("Range", "over all of i64", [n(-2**63), n(2**63 - 1), n(1)], [])
row("Range", "backwards", [n(5), n(0), n(1)], None)
row("ConstantOfShape", "below 0", [i(2, -1)], [-1])
row("ConstantOfShape", "overflows", [i(HUGE, HUGE)], [HUGE])
row("ConstantOfShape", "17 axes", [i(*[1] * 17)], [17])
row("TopK", "k beyond", [f(3), i(4)], [4, 3], outputs=2)
row("TopK", "k below 0", [f(3), i(-1)], [-1], outputs=2)
row("TopK", "two k", [f(3), i(1, 2)], [2], outputs=2)
row("Split", "sum", [f(5), i(2, 2)], [5], outputs=2)
row("Split", "below 0", [f(5), i(6, -1)], [-1], outputs=2)
row("Split", "number of parts", [f(5), i(2, 2, 1)], [3, 2], outputs=2)
row("Split", "overflows to the sum", [f(4), i(2**62, 2**62, 2**62, 2**62 + 4)], [2**62], outputs=4)
row("SplitToSequence", "sum", [f(5), i(2, 2)], [5])
row("SplitToSequence", "below 0", [f(5), i(-1, 6)], [-1])
row("SplitToSequence", "parts of 0", [f(5), n(0)], [0])
row("Slice", "step 0", [f(5), i(0), i(3), i(0), i(0)], [0])
row("Slice", "axis", [f(5), i(0), i(3), i(1)], [1])
row("Slice", "axis twice", [f(5, 5), i(0, 0), i(3, 3), i(1, -1)], [])
row("Slice", "lengths differ", [f(5, 5), i(0, 0), i(3)], [2, 1])
row("Slice", "far beyond", [f(5), i(-2**63), i(2**63 - 1), i(0), i(2**63 - 1)], None)
row("Slice", "far beyond backwards", [f(5), i(2**63 - 1), i(-2**63), i(0), i(-2**63)], None)
row("Squeeze", "extent 3", [f(3, 1), i(0)], [3])
row("Squeeze", "axis", [f(3, 1), i(2)], [2])
row("Squeeze", "axis twice", [f(3, 1), i(1, -1)], [])
row("Unsqueeze", "axis", [f(3), i(2)], [2])
row("Unsqueeze", "axis twice", [f(3), i(0, -3)], [])
row("CumSum", "axis", [f(3, 2), n(2)], [2])
row("CumSum", "axis before", [f(3, 2), n(-3)], [-3])
row("CumSum", "two axes", [f(3, 2), i(0, 1)], [2])
row("CumProd", "axis", [f(3, 2), n(2)], [2])
row("Trilu", "k of two", [f(3, 3), i(0, 1)], [2])
row("Trilu", "k huge", [f(3, 3), n(2**63 - 1)], None)
row("Trilu", "k huge below 0", [f(3, 3), n(-2**63)], None, upper=0)
row("Trilu", "rank 1", [f(3), n(0)], [2])
for op in ("ReduceSum", "ReduceMax", "ReduceMean", "ReduceLogSumExp", "ReduceProd", "ReduceL2"):
    row(op, "axis", [f(3, 2), i(2)], [2])
    row(op, "axis before", [f(3, 2), i(-3)], [-3], keepdims=0)
    row(op, "axis twice", [f(3, 2), i(1, -1)], [])
row("ReduceMax", "integers of nothing", [f(0, 2, dtype=np.int32), i(0)], None)
row("DFT", "axis", [f(1, 4, 1), None, n(3)], [3])
row("DFT", "the axis of the parts", [f(1, 4, 1), None, n(2)], [])
row("DFT", "length 0", [f(1, 4, 1), n(0), n(1)], [0])
row("DFT", "length below 0", [f(1, 4, 1), n(-4), n(1)], [-4])
row("DFT", "length huge", [f(1, 4, 1), n(HUGE), n(1)], [])
row("DFT", "three parts", [f(1, 4, 3), None, n(1)], [3])
row("STFT", "step 0", [f(1, 8, 1), n(0), f(4)], [0])
row("STFT", "step below 0", [f(1, 8, 1), n(-1), f(4)], [-1])
row("STFT", "frame longer than the signal", [f(1, 8, 1), n(1), None, n(9)], [9])
row("STFT", "frame below 0", [f(1, 8, 1), n(1), None, n(-1)], [-1])
row("STFT", "window and frame", [f(1, 8, 1), n(1), f(4), n(5)], [4, 5])
row("HannWindow", "below 0", [n(-1)], [-1])
row("HannWindow", "huge", [n(HUGE)], [])
row("BlackmanWindow", "two sizes", [i(4, 5)], [2])
MEL = dict(bins=n(8), dft=n(16), rate=n(8000), low=n(0, np.float32), high=n(4000, np.float32))
for k, v, says in (("bins", n(-1), [-1]), ("dft", n(-2), [-2]), ("rate", n(0), [0]), ("low", n(-5, np.float32), ["band 0"]),
                   ("high", n(np.nan, np.float32), ["band 0"]), ("high", n(-1, np.float32), ["band 1"])):
    row("MelWeightMatrix", "%s %s" % (k, v), list({**MEL, k: v}.values()), says)
row("Resize", "sizes below 0", [f(1, 1, 4), None, None, i(1, 1, -4)], [-4])
row("Resize", "sizes huge", [f(1, 1, 4), None, None, i(1, 1, HUGE)], [])
row("Resize", "number of sizes", [f(1, 1, 4), None, None, i(4)], [1, 3])
row("Resize", "scale 0", [f(1, 1, 4), None, n([1, 1, 0], np.float32)], [0])
row("Resize", "scale NaN", [f(1, 1, 4), None, n([1, 1, np.nan], np.float32)], ["nan"])
row("Resize", "scale huge", [f(1, 1, 4), None, n([1, 1, 1e30], np.float32)], [])
row("Resize", "from nothing", [f(1, 1, 0), None, None, i(1, 1, 4)], ["axis 2"], mode="linear")
row("CenterCropPad", "below 0", [f(3, 4), i(-1, 2)], [-1])
row("CenterCropPad", "number", [f(3, 4), i(2)], [1, 2])
row("CenterCropPad", "huge", [f(3, 4), i(HUGE, HUGE)], [HUGE])
row("Col2Im", "blocks", [f(1, 4, 5), i(3, 3), i(2, 2)], [5, 4])
row("Col2Im", "channels", [f(1, 3, 4), i(3, 3), i(2, 2)], [3])
row("Col2Im", "image below 0", [f(1, 4, 4), i(-3, 3), i(2, 2)], [-3])
row("Col2Im", "an empty block", [f(1, 4, 4), i(3, 3), i(0, 2)], [0])
row("AffineGrid", "size below 0", [f(1, 2, 3), i(1, 1, -2, 2)], [-2])
row("AffineGrid", "batches differ", [f(1, 2, 3), i(2, 1, 2, 2)], [2, 1])
row("AffineGrid", "sizes for other axes", [f(1, 2, 3), i(1, 1, 2, 2, 2)], [])
row("NonMaxSuppression", "boxes below 0", [f(1, 2, 4), f(1, 1, 2), n(-1)], None)
row("NonMaxSuppression", "three corners", [f(1, 2, 3), f(1, 1, 2), n(1)], [3])
row("NonMaxSuppression", "numbers of boxes", [f(1, 2, 4), f(1, 1, 3), n(1)], [2, 3])
row("NonMaxSuppression", "threshold above 1", [f(1, 2, 4), f(1, 1, 2), n(1), n([1.5], np.float32)], ["iou_threshold"])
row("NonMaxSuppression", "threshold NaN", [f(1, 2, 4), f(1, 1, 2), n(1), n([np.nan], np.float32)], ["iou_threshold"])
row("Dropout", "ratio", [f(3), n(1.5, np.float32), n(True, bool)], ["ratio", 1.5], seed=1)
row("Dropout", "ratio NaN", [f(3), n(np.nan, np.float32), n(True, bool)], ["ratio", "nan"], seed=1)
row("Dropout", "ratio unused", [f(3), n(1.5, np.float32), n(False, bool)], None)

# --- shapes that do not meet ---
row("Add", "extents", [f(2, 3), f(2, 4)], [3, 4])
row("Where", "extents", [n([[1, 0]], bool), f(2, 3), f(1)], [2, 3])
row("Max", "extents", [f(2), f(3), f(1)], [2, 3])
row("Concat", "extents", [f(2, 3), f(2, 4)], [3, 4], axis=0)
row("Concat", "ranks", [f(2, 3), f(2)], ["rank"], axis=0)
row("MatMul", "inner", [f(2, 3), f(4, 2)], [3, 4])
row("MatMul", "inner of vectors", [f(3), f(4)], [3, 4])
row("MatMul", "batches", [f(2, 2, 3), f(3, 3, 2)], [2, 3])
row("MatMul", "scalar", [n(1, np.float32), f(3)], [])
row("Gemm", "inner", [f(2, 3), f(4, 2)], [3, 4])
row("Gemm", "inner, transposed", [f(3, 2), f(2, 4)], [3, 4], transA=1, transB=1)
row("Gemm", "C", [f(2, 3), f(3, 4), f(3)], [3, 4])
row("Gemm", "rank 3", [f(2, 2, 3), f(3, 4)], [3])
row("Einsum", "extents", [f(2, 3), f(4, 2)], [3, 4], equation="ij,jk->ik")
row("Einsum", "rank", [f(2, 3), f(3)], [], equation="ij,jk->ik")
row("MatMulInteger", "inner", [n([[1, 2]], np.uint8), n([[1]], np.uint8)], [2, 1])
row("MatMulInteger", "zero points", [n([[1, 2]], np.uint8), n([[1], [1]], np.uint8), n([0, 0], np.uint8)], [2])
row("Conv", "channels", [f(1, 3, 5), f(2, 2, 3)], [3, 2])
row("Conv", "window", [f(1, 3, 2), f(2, 3, 3)], [3, 2])
row("Conv", "bias", [f(1, 3, 5), f(2, 3, 3), f(3)], [2, 3])
row("Conv", "kernel_shape", [f(1, 3, 5), f(2, 3, 3)], [2, 3], kernel_shape=[2])
row("Conv", "groups", [f(1, 4, 5), f(3, 2, 3)], [2, 3], group=2)
row("Conv", "an empty window", [f(1, 3, 5), f(2, 3, 0)], [0])
row("ConvTranspose", "channels", [f(1, 3, 5), f(2, 2, 3)], [3, 2])
row("ConvTranspose", "bias", [f(1, 3, 5), f(3, 2, 3), f(3)], [2, 3])
row("ConvInteger", "channels", [n(np.ones((1, 3, 5)), np.uint8), n(np.ones((2, 2, 3)), np.uint8)], [3, 2])
row("DeformConv", "offsets", [f(1, 1, 3, 3), f(1, 1, 2, 2), f(1, 7, 2, 2)], [7])
row("DeformConv", "mask", [f(1, 1, 3, 3), f(1, 1, 2, 2), f(1, 8, 2, 2), None, f(1, 3, 2, 2)], [3])
row("MaxPool", "window", [f(1, 1, 2)], [3, 2], kernel_shape=[3])
row("AveragePool", "window", [f(1, 1, 2)], [3, 2], kernel_shape=[3])
row("LpPool", "window", [f(1, 1, 2)], [3, 2], kernel_shape=[3])
row("DepthToSpace", "channels", [f(1, 6, 2, 2)], [6], blocksize=2)
row("SpaceToDepth", "extents", [f(1, 1, 3, 2)], [3], blocksize=2)
row("Det", "not square", [f(2, 3)], [2, 3])
row("BatchNormalization", "scale", [f(1, 2, 3), f(3), f(2), f(2), f(2)], [3, 2])
row("InstanceNormalization", "scale", [f(1, 2, 3), f(3), f(2)], [3, 2])
row("GroupNormalization", "groups", [f(1, 3, 4), f(3), f(3)], [2, 3], num_groups=2)
row("GroupNormalization", "scale", [f(1, 4, 4), f(3), f(4)], [3, 4], num_groups=2)
row("LayerNormalization", "scale", [f(2, 3), f(2), f(3)], [2, 3])
row("LayerNormalization", "bias", [f(2, 3), f(3), f(2)], [2, 3])
row("RMSNormalization", "scale", [f(2, 3), f(2)], [2, 3])
row("PRelu", "slope", [f(2, 3), f(2)], [2, 3])
row("GridSample", "batches", [f(1, 1, 2, 2), f(2, 1, 1, 2)], [1, 2])
row("GridSample", "coordinates", [f(1, 1, 2, 2), f(1, 1, 1, 3)], [2, 3])
row("LSTM", "input", [f(2, 1, 3), f(1, 8, 2), f(1, 8, 2)], [3, 2], outputs=2, hidden_size=2)
row("LSTM", "length", [f(2, 1, 3), f(1, 8, 3), f(1, 8, 2), None, i32(3)], [3], outputs=2, hidden_size=2)
row("GRU", "length below 0", [f(2, 1, 3), f(1, 6, 3), f(1, 6, 2), None, i32(-1)], [-1], outputs=2, hidden_size=2)
row("RNN", "number of lengths", [f(2, 1, 3), f(1, 2, 3), f(1, 2, 2), None, i32(1, 1)], [1, 2], outputs=2, hidden_size=2)
row("RNN", "initial_h", [f(2, 1, 3), f(1, 2, 3), f(1, 2, 2), None, None, f(1, 2, 2)], [1, 2], outputs=2, hidden_size=2)
row("Attention", "heads", [f(1, 3, 2, 4), f(1, 2, 2, 4), f(1, 2, 2, 4)], [3, 2])
row("Attention", "head size", [f(1, 2, 2, 4), f(1, 2, 2, 3), f(1, 2, 2, 4)], [3, 4])
row("Attention", "lengths of K and V", [f(1, 2, 2, 4), f(1, 2, 2, 4), f(1, 2, 3, 4)], [2, 3])
row("Attention", "batches", [f(2, 2, 2, 4), f(1, 2, 2, 4), f(1, 2, 2, 4)], [2, 1])
row("Attention", "mask", [f(1, 2, 2, 4), f(1, 2, 2, 4), f(1, 2, 2, 4), f(3, 3)], [3])
row("Attention", "valid keys", [f(1, 2, 2, 4), f(1, 2, 2, 4), f(1, 2, 2, 4), None, None, None, i(3)], [3])
row("Attention", "valid keys below 0", [f(1, 2, 2, 4), f(1, 2, 2, 4), f(1, 2, 2, 4), None, None, None, i(-1)], [-1])
row("Attention", "pasts differ", [f(1, 2, 2, 4), f(1, 2, 2, 4), f(1, 2, 2, 4), None, f(1, 2, 1, 4), f(1, 2, 2, 4)], [1, 2], outputs=3)
row("QuantizeLinear", "scales", [f(2, 3), f(2), n([0, 0], np.uint8)], [2, 3], axis=1)
row("QuantizeLinear", "zero points", [f(2, 3), f(3), n([0, 0], np.uint8)], [2, 3], axis=1)
row("QuantizeLinear", "axis", [f(2, 3), f(3), n([0] * 3, np.uint8)], [2], axis=2)
row("QuantizeLinear", "blocks", [f(2, 3), f(2, 2), n([[0, 0]] * 2, np.uint8)], [], axis=1, block_size=1)
row("DequantizeLinear", "scales", [n([[1, 2, 3]] * 2, np.uint8), f(2)], [2, 3], axis=1)
row("DequantizeLinear", "axis", [n([[1, 2, 3]] * 2, np.uint8), f(3)], [-3], axis=-3)
row("DequantizeLinear", "blocks", [n([[1, 2, 3]] * 2, np.uint8), f(2, 2)], [], axis=1, block_size=1)
row("DequantizeLinear", "zero points", [n([[1, 2, 3]] * 2, np.uint8), f(3), n([1, 2], np.uint8)], [2, 3], axis=1)
row("QLinearMatMul", "scales of a", [n([[1, 2]] * 3, np.uint8), f(2), n([0, 0], np.uint8), n([[1]] * 2, np.uint8), n(1, np.float32), n(0, np.uint8), n(1, np.float32),
                                   n(0, np.uint8)], [2, 3])
row("QLinearConv", "scales of w", [n(np.ones((1, 1, 3)), np.uint8), n(1, np.float32), n(0, np.uint8), n(np.ones((2, 1, 1)), np.uint8), f(3), n([0] * 3, np.uint8),
                                   n(1, np.float32), n(0, np.uint8)], [2, 3])
row("NegativeLogLikelihoodLoss", "labels", [f(2, 3), i(0)], [2, 1])
row("NegativeLogLikelihoodLoss", "weights", [f(2, 3), i(0, 0), f(2)], [2, 3])
row("StringConcat", "extents", [n(["a", "b"], object), n(["a", "b", "c"], object)], [2, 3])
row("Multinomial", "rank", [f(3)], [1], sample_size=1)

# --- attributes ---
row("Flatten", "type", [f(2, 3)], ["axis"], axis=1.0)
row("LeakyRelu", "type", [f(2, 3)], ["alpha"], alpha=1)
row("Transpose", "type", [f(2, 3)], ["perm"], perm=1)
row("Concat", "type", [f(2, 3)], ["axis"], axis="0")
row("Conv", "type", [f(1, 1, 3), f(1, 1, 1)], ["strides"], strides=[1.0])
row("Cast", "no such type", [f(2)], [99], to=99)
row("BitShift", "direction", [n([1], np.uint8), n([1], np.uint8)], ["direction"], direction="UP")
for op in ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "ArgMax", "ArgMin"):
    row(op, "axis", [f(2, 3)], [2], axis=2)
    row(op, "axis before", [f(2, 3)], [-3], axis=-3)
    row(op, "of a scalar", [n(1, np.float32)], [], axis=0)
for op, more in (("Gather", i(0)), ("GatherElements", n([[0]])), ("TopK", i(1)), ("Split", i(1, 1)), ("Compress", n([1], bool)), ("LayerNormalization", f(3)),
                 ("RMSNormalization", f(3)), ("SplitToSequence", i(1, 1))):
    row(op, "axis attribute", [f(2, 3), more], [5], outputs=2 if op in ("TopK", "Split") else 1, axis=5)
    row(op, "axis attribute before", [f(2, 3), more], [-5], outputs=2 if op in ("TopK", "Split") else 1, axis=-5)
row("ScatterElements", "axis attribute", [f(2, 3), n([[0]]), f(1, 1)], [5], axis=5)
row("Concat", "axis attribute", [f(2, 3), f(2, 3)], [5], axis=5)
row("Concat", "of scalars", [n(1), n(2)], [], axis=0)
row("Flatten", "axis attribute", [f(2, 3)], [5], axis=5)
row("Unique", "axis attribute", [f(2, 3)], [5], axis=5)
row("OneHot", "axis attribute", [i(0), n(3), f(2)], [5], axis=5)
row("MeanVarianceNormalization", "axes", [f(2, 3)], [5], axes=[0, 5])
row("TensorScatter", "axis attribute", [f(1, 4, 2), f(1, 2, 2), i(0)], [5], axis=5)
row("CenterCropPad", "axes", [f(2, 3), i(1)], [5], axes=[5])
for mode in ("linear", "cubic"):
    row("Resize", "strings in between, " + mode, [n(["a", "b"], object), None, None, i(3)], [mode], mode=mode)
    row("GridSample", "strings in between, " + mode, [n([[["a", "b"]]], object), f(1, 3, 1)], [mode], mode=mode)
row("Resize", "a region of strings beyond them", [n(["a", "b"], object), n([0, 2], np.float32), None, i(3)], ["string"],
    coordinate_transformation_mode="tf_crop_and_resize")
row("Resize", "axes", [f(2, 3), None, None, i(1)], ["axes"], axes=[5])
row("SoftmaxCrossEntropyLoss", "rank 1", [f(3), i(0)], [])
row("LRN", "rank 1", [f(3)], [], size=1)
row("InstanceNormalization", "rank 1", [f(3), f(3), f(3)], [])
row("GroupNormalization", "rank 1", [f(3), f(3), f(3)], [], num_groups=1)
row("GlobalAveragePool", "rank 1", [f(3)], [])
row("LpNormalization", "p", [f(2, 3)], [3], p=3)
row("LSTM", "rank 2", [f(2, 3), f(1, 8, 3), f(1, 8, 2)], [], outputs=2, hidden_size=2)
row("RotaryEmbedding", "rank 2", [f(2, 4), f(3, 2), f(3, 2)], [])
row("EyeLike", "rank 1", [f(3)], [])
row("NonZero", "of a scalar", [n(1, np.float32)], None)
row("Shape", "start beyond", [f(2, 3)], None, start=7, end=-9)
row("Einsum", "equation", [f(2, 3)], [], equation="i%j->i")
row("Einsum", "no such output", [f(2, 3)], [], equation="ij->k")
row("DepthToSpace", "blocksize", [f(1, 4, 2, 2)], [0], blocksize=0)
row("Split", "num_outputs", [f(5)], [3, 2], outputs=2, num_outputs=3)
row("MaxPool", "kernel_shape", [f(1, 1, 4)], ["kernel_shape"], kernel_shape=[2, 2])
row("MaxPool", "strides", [f(1, 1, 4)], ["strides"], kernel_shape=[2], strides=[0])
row("ArgMax", "of nothing, axis 1", [f(3, 0)], ["axis 1"], axis=1)
row("ArgMax", "of nothing", [f(0, 3)], [0], axis=0)
row("Transpose", "perm", [f(2, 3)], ["perm"], perm=[0, 0])
row("StringNormalizer", "locale", [n(["a"], object)], ["case_change_action"], case_change_action="UPSIDE")
row("RegexFullMatch", "pattern", [n(["a"], object)], ["("], pattern="(")

# --- sequences, optionals, bodies ---
PAIR = {0: "SequenceConstruct"}
for t in (np.int64, np.int32):
    row("SequenceAt", "beyond, %s" % t.__name__, [f(2), n(2, t)], [2], through=PAIR)
    row("SequenceAt", "before, %s" % t.__name__, [f(2), n(-3, t)], [-3], through=PAIR)
row("SequenceInsert", "beyond", [f(2), f(2), n(3)], [3], through=PAIR)
row("SequenceInsert", "at the end", [f(2), f(2), n(2)], None, through=PAIR)
row("SequenceInsert", "another type", [f(2), i(1), n(0)], [], through=PAIR)
row("SequenceErase", "beyond", [f(2), n(2)], [2], through=PAIR)
row("ConcatFromSequence", "axis attribute", [f(2)], [3], through=PAIR, axis=3)
row("SplitToSequence", "axis of parts", [f(5), i(2, 2)], [5])
row("OptionalGetElement", "of a tensor", [f(2)], None, through={0: "Optional"})


def body(ins, nodes, outs):
    """a body of tensors: (name, type, shape); nodes: (operator, inputs, outputs, attributes)"""
    info = [[h.make_tensor_value_info(*v) for v in side] for side in (ins, outs)]
    return h.make_graph([h.make_node(op, a, b, name=op, **more) for op, a, b, more in nodes], "body", *info)


def trips(*nodes, shape=None, made="s"):
    return body([("i", T.INT64, []), ("c", T.BOOL, []), ("v", T.FLOAT, shape)], [*nodes, ("Identity", ["c"], ["c2"], {}), ("Identity", ["v"], ["v2"], {})],
                [("c2", T.BOOL, []), ("v2", T.FLOAT, shape), (made, T.FLOAT, None)])


GROWS = trips(("Unsqueeze", ["i", "zero"], ["to"], {}), ("Slice", ["v", "zero", "to"], ["s"], {}), ("Constant", [], ["zero"], {"value_ints": [0]}))
GROWS.node.insert(0, GROWS.node.pop(2))
row("Loop", "parts of different extents", [n(3), None, f(4)], [], outputs=2, body=GROWS)
row("Loop", "one trip", [n(1), None, f(4)], None, outputs=2, body=GROWS)
row("Loop", "fewer than no trips", [n(-1), None, f(4)], None, outputs=1, body=trips(("Neg", ["v"], ["s"], {})))
row("Loop", "trips that are two numbers", [i(1, 1), None, f(4)], [2], outputs=2, body=trips(("Neg", ["v"], ["s"], {})))
row("If", "two conditions", [n([1, 0], bool)], [2], then_branch=body([], [("Constant", [], ["t"], {"value_float": 1.0})], [("t", T.FLOAT, [])]),
    else_branch=body([], [("Constant", [], ["e"], {"value_float": 2.0})], [("e", T.FLOAT, [])]))
SUMS = body([("p", T.FLOAT, []), ("q", T.FLOAT, [])], [("Add", ["p", "q"], ["r"], {})], [("r", T.FLOAT, [])])
row("Scan", "lengths differ", [f(3), f(4)], [3, 4], body=SUMS, num_scan_inputs=2)
row("Scan", "axis", [f(3), f(3)], [1], body=SUMS, num_scan_inputs=2, scan_input_axes=[0, 1])
row("ImageDecoder", "no image, which ONNX has give none", [n([1, 2, 3], np.uint8)], None)
row("SkipLayerNormalization", "skip", [f(1, 2, 4), f(1, 2, 3), f(4)], [3, 4], domain="com.microsoft")
row("BiasGelu", "bias", [f(2, 4), f(3)], [3, 4], domain="com.microsoft")
