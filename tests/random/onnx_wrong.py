"""Where onnx.reference is not to be asked: it does not do what ONNX says, cannot do it, or ONNX leaves open what it does.

Decided node by node, by operator, attributes and inputs: WRONG holds what it computes wrongly, RAISES what it refuses.
A row says why, in ONNX's words where there are any (in quotation marks). SPDX-License-Identifier: Apache-2.0
"""
import functools
import re

import numpy as np
import onnx
from onnx import defs


class Node:
    """A node as the rows see it."""

    def __init__(self, proto, args):
        self.op, self.domain, self.args, self.outputs = proto.op_type, proto.domain, args, list(proto.output)
        self.given = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute if a.type != onnx.AttributeProto.GRAPH}

    def get(self, name, default=None):
        v = self.given.get(name, default)
        return v.decode() if isinstance(v, bytes) else v

    def arg(self, i):
        return self.args[i] if i < len(self.args) else None

    def rank(self, i=0):
        return np.ndim(self.args[i])

    def finite(self, *which):
        return all(np.isfinite(self.args[i].astype(np.float64)).all() for i in which if self.arg(i) is not None)


def large(x):
    """Are there elements whose exponentials leave float32?"""
    return not (np.abs(x.astype(np.float64)) < 40).all()


def any_not(n, name, usual):
    v = n.get(name)
    return v is not None and any(x != usual for x in v)


def negative_pads(n):
    """Is the output of a ConvTranspose larger than all that its kernel reaches?"""
    space = n.rank() - 2
    x, k = n.args[0].shape[2:], n.args[1].shape[2:]
    stride, dilation = n.get("strides") or [1] * space, n.get("dilations") or [1] * space
    extra = n.get("output_padding") or [0] * space
    same = n.get("auto_pad", "NOTSET").startswith("SAME")
    want = n.get("output_shape") or ([a * b for a, b in zip(x, stride)] if same else None)
    return want and any(stride[i] * (x[i] - 1) + extra[i] + (k[i] - 1) * dilation[i] + 1 < want[i] for i in range(space))


def empty_window(n):
    """Does a pooling window reach none of the data?"""
    space = n.rank() - 2
    k, s, d, p = n.get("kernel_shape"), n.get("strides") or [1] * space, n.get("dilations") or [1] * space, n.get("pads") or [0] * (2 * space)
    for i, x in enumerate(n.args[0].shape[2:]):
        starts = range(-p[i], x + p[space + i] - (k[i] - 1) * d[i] + (s[i] if n.get("ceil_mode", 0) else 0), s[i])
        if any(not any(0 <= at + t * d[i] < x for t in range(k[i])) for at in starts):
            return True
    return False


def not_ieee(*which):
    """Zero times infinity: a sum that skips what has no weight differs from one that does not. ONNX does not say."""
    return lambda n: not n.finite(*which)


SKIPS = "whether what has the weight zero counts when it is infinite or NaN; ONNX does not say"
TO_FLOAT = '"Y : tensor(float)"; it returns the type of X'

WRONG = [
    # numbers
    ("LpNormalization", lambda n: n.get("p", 2) == 1, "it sums x, not |x|: \"norm = Sum(Abs(x)) for p = 1\""),
    ("ReduceL2", lambda n: n.args[0].dtype.kind in "iu" and (n.args[0].astype(np.float64) ** 2 > np.iinfo(n.args[0].dtype).max).any(),
     "squares that leave the type wrap before they are summed; ONNX does not say"),
    ("LRN", lambda n: n.args[0].shape[0] != n.args[0].shape[1], "it goes through as many channels as there are batch entries: "
     '"for all (n, c, d1, ..., dk) … square_sum"'),
    ("HannWindow HammingWindow BlackmanWindow", lambda n: n.args[0] <= 1, "0 / 0, or 0, at size 1, where rounding decides"),
    ("SoftmaxCrossEntropyLoss", lambda n: large(n.args[0]), "log(softmax) instead of \"LogSoftmax(scores, axis=1)\": small probabilities are lost"),
    ("QLinearMatMul", lambda n: n.args[7] is not None and (np.asarray(n.args[7]) % 2 != 0).any(),
     "it rounds behind adding the zero point: \"For (x / y_scale), it rounds to nearest ties to even\"; ties differ if that is odd"),
    ("QLinearConv", lambda n: n.rank() != 4 or (np.asarray(n.args[7]) % 2 != 0).any(),
     "scales by channel are laid out for two axes of space only; and it rounds behind adding the zero point"),
    ("ConvInteger", lambda n: n.rank() != 4, "zero points by channel are laid out for two axes of space only"),
    ("LogSoftmax", lambda n: large(n.args[0]), "log(softmax): small probabilities are lost"),
    ("QuantizeLinear DynamicQuantizeLinear", not_ieee(0), "infinities do not saturate: \"Saturation is done according to\" the type"),
    ("AffineGrid", lambda n: n.get("align_corners", 0) == 1 and (np.asarray(n.args[1])[2:] == 1).any(),
     "2 / 0: the step of an axis of one; as in PyTorch, it is in the middle"),
    ("HardSwish Gelu Erf GroupNormalization LayerNormalization RMSNormalization Attention Resize Swish Mish Selu Celu",
     lambda n: n.args[0].dtype == np.float64, "constants, or whole stages, of its implementation are float32"),
    ("PRelu", not_ieee(1), "0 times the slope: \"f(x) = x for x >= 0\""),
    ("Det", not_ieee(0), SKIPS),
    # layers
    ("GRU LSTM RNN", lambda n: n.arg(4) is not None, "sequence_lens is not looked at"),
    ("GRU LSTM RNN", lambda n: n.get("clip") is not None, "clip is not looked at"),
    ("GRU LSTM", lambda n: n.get("activations") is not None or n.get("input_forget", 0) == 1, "activations and input_forget are not looked at"),
    ("LSTM", lambda n: n.arg(7) is None and not n.finite(6), "peepholes that are not given are zeros, which meet infinities: " + SKIPS),
    ("RNN", lambda n: n.get("activations") is not None, "it knows three activations, and takes one for both directions"),
    ("Conv", lambda n: any_not(n, "dilations", 1) and not n.finite(0), "a dilated kernel is filled with zeros, which meet infinities"),
    ("ConvTranspose", lambda n: n.get("group", 1) > 1 and n.arg(2) is not None, "it adds the first elements of B to every group: "
     '"B: Optional 1D bias to be added to the convolution, has size of M"'),
    ("GlobalMaxPool", lambda n: n.rank() != 4, "reduces two axes, whatever the rank: \"the operation applies to all spatial axes\""),
    ("AveragePool LpPool MaxPool", lambda n: n.get("auto_pad", "NOTSET") != "NOTSET" and (any_not(n, "dilations", 1) or n.get("ceil_mode", 0)),
     "dilations are not looked at with auto_pad: \"output_spatial_shape[i] = ceil((input_spatial_shape[i] - "
     '((kernel_spatial_shape[i] - 1) * dilations[i] + 1) + 1) / strides_spatial_shape[i])"'),
    ("MaxPool", lambda n: len(set(n.get("pads") or [0])) > 1,
     "it mixes up begins and ends: \"pads format should be as follow [x1_begin, x2_begin…x1_end, x2_end,…]\""),
    ("MaxPool", lambda n: n.rank() != 4 and any_not(n, "pads", 0) and not any_not(n, "strides", 1) and not any_not(n, "dilations", 1),
     "pads of other than two axes of space are counted by half, and not laid around the data"),
    ("MaxPool AveragePool LpPool", lambda n: n.get("auto_pad", "NOTSET").startswith("SAME") and n.get("strides") and
     any(s > k for s, k in zip(n.get("strides"), n.get("kernel_shape"))), "a stride longer than the kernel gives pads below 0"),
    ("MaxPool AveragePool LpPool", lambda n: n.get("auto_pad") == "SAME_LOWER", "the odd pad is put behind: \"SAME_LOWER … at the beginning\""),
    ("LpPool", lambda n: n.get("ceil_mode", 0) or any_not(n, "pads", 0), "the mean times the kernel's size, not the sum of what is there"),
    ("AveragePool", not_ieee(0), "it pads with NaN and averages what is not NaN"),
    ("AveragePool", empty_window, "the mean of no elements is NaN; ours, as onnxruntime's, is 0. ONNX does not say"),
    ("ConvTranspose", lambda n: n.get("output_shape") and any_not(n, "pads", 0), "\"If output_shape is specified pads values are ignored\""),
    ("ConvTranspose", negative_pads, "it begins before the data; ours, as onnxruntime's, gets more at its end. ONNX has pads of \"total_padding[i]/2\" and "
     "does not say what is below 0"),
    ("Attention", lambda n: len(n.outputs) > 3 and n.get("qk_matmul_output_mode", 0) == 0 and n.get("softcap", 0),
     "\"0 (default): raw QK matmul result\"; it gives what is behind the soft cap"),
    ("Resize", lambda n: n.get("coordinate_transformation_mode") == "pytorch_half_pixel", "-0.5 where one element is left: "
     '"length_resized > 1 ? (x_resized + 0.5) / scale - 0.5 : 0"'),
    ("Resize", lambda n: n.get("mode", "nearest") == "nearest" and n.get("coordinate_transformation_mode") == "half_pixel_symmetric",
     "at whole positions it takes the element before"),
    ("MaxPool", lambda n: len(n.outputs) > 1,
     "\"the values in indices are in [0, N x C x D1 x ... x Dn)\", and \"do not consider padding\": it counts in one image, as padded"),
    ("LayerNormalization", lambda n: len(n.outputs) > 1 and n.args[0].dtype != np.float32, "the mean has \"stash_type\", not the type of X"),
    ("AffineGrid Attention Resize GridSample RoiAlign MaxPool LinearRegressor", not_ieee(0, 1, 2, 4, 5), SKIPS),
    # shapes and types
    ("Unique", lambda n: n.get("sorted", 1) == 0 and n.get("axis") not in (None, 0), "it takes the unsorted slices along axis 0"),
    ("ReduceLogSumExp", not_ieee(0), "where all are -inf it takes that off: NaN, not the logarithm of 0"),
    ("Einsum", lambda n: len(n.args) > 2 and not n.finite(*range(len(n.args))), "which factor a sum is multiplied by before it is one: "
     "numpy.einsum chooses, and infinities tell"),
    ("Unique", lambda n: n.get("sorted", 1) == 0 and n.get("axis") is None and n.rank() != 1,
     "it takes rows of X at places in the flattened one: \"the unique elements of the flattened input are returned\""),
    ("Scaler Normalizer LinearRegressor", lambda n: n.args[0].dtype.kind == "i", TO_FLOAT + ", and what lies behind the point is lost"),
    ("OneHotEncoder", lambda n: n.args[0].dtype != np.int64, "\"If the input is a tensor of float, int32, or double, the data will be cast to "
     'integers"; it compares uncast'),
    ("Loop", lambda n: len(n.outputs) > len(n.args) - 2, "np.vstack: no new axis for \"scan_outputs … concatenated along a new leading axis\""),
]

# What it returns is right, but of another type than ONNX says: operators, the type, the reason.
OTHER_TYPE = [
    ("Scaler Normalizer LinearRegressor FeatureVectorizer", lambda n: np.float32, TO_FLOAT),
    ("Adam Adagrad Momentum", lambda n: n.args[2].dtype, "float64 where T is float"),
    ("ReduceSumSquare", lambda n: n.args[0].dtype, "what numpy sums up in"),
]

RAISES = [
    ("MaxRoiPool GlobalLpPool", "No registered implementation", "it has none"),
    ("Scan", "is not implemented|zero scan-input length", "axes and directions are not implemented"),
    ("GatherElements", "all dimensions of index and self", "\"indices … same rank r as the input\": no more is asked of it"),
    ("LRN", "only applies on 4D|out of bounds", "other ranks are not implemented"),
    ("Pad", "can't contain negative values", "\"negative values … remove\" is not implemented"),
    ("Pad", "can't extend empty axis", "an axis of no elements, where the result has none either"),
    ("Loop", "need at least one array", "scan outputs of no trips"),
    ("Reshape Flatten", "cannot reshape array of size 0", "-1 beside an axis of no elements"),
    ("NonMaxSuppression", "too many indices|Issues with types", "\"max_output_boxes_per_class … It is a scalar\": it asks for an array of one"),
    ("RNN GRU LSTM", "Unknown activation function", "it knows three"),
    ("AveragePool LpPool MaxPool", "ceil_mode is not supported with auto_pad", "not implemented"),
    ("MaxPool", "cannot convert float NaN", "it pads with NaN"),
    ("AveragePool LpPool MaxPool", "output shape cannot be null|zero-size array|out of (bounds|range)|remapped shapes", "windows that nothing is in"),
    ("GlobalMaxPool GlobalAveragePool", "zero-size array|division by zero", "the largest, or the mean, of no elements"),
    ("DynamicQuantizeLinear", "zero-size array", "the largest of no elements"),
    ("ConvTranspose", "Given n_input_plane|cannot reshape array", "output_padding and output_shape are not looked at everywhere"),
    ("ConvTranspose", "could not broadcast|Issues with types", "output_padding and output_shape are not looked at everywhere"),
    ("Unique", "Issues with types|out of bounds", "inputs of one element; unsorted slices"),
    ("Resize", "cannot reshape array of size 0", "images without elements"),
    ("GatherElements", "at most 32 array objects|is out of bounds for axis", "numpy.choose takes 32, and what stands in for it takes rows for columns"),
    ("Resize", "Issues with types", "antialias, where an axis has few elements"),
    ("GroupNormalization", "out of bounds", "its function's body takes axes of space for granted"),
    ("Mean", "non-broadcastable output operand", "it adds to its first input in place"),
    ("Softsign LogSoftmax ReduceLogSumExp ThresholdedRelu", "Issues with types|read-only", "rank 0: it writes to a number"),
    ("MeanVarianceNormalization", "Cannot get value of reference attribute", "axes are not handed to the function's body"),
    ("Cast", "Issues with types", "integers of less than a byte to ones of the other sign, which NumPy does not convert"),
    ("ArgMax ArgMin", "of an empty sequence", "the largest of no elements"),
]


def table(rows):
    by_op = {}
    for ops, when, why in rows:
        for op in ops.split():
            by_op.setdefault(op, []).append((when, why))
    return by_op


WRONG_OF, RAISES_OF = table(WRONG), table(RAISES)
DTYPES = {"float32": "float", "float64": "double"}


@functools.lru_cache(maxsize=None)
def formal(op, domain, i):
    """what input i may be, or None: anything"""
    s = defs.get_schema(op, domain)
    variadic = s.inputs and s.inputs[-1].option == defs.OpSchema.FormalParameterOption.Variadic
    if i >= len(s.inputs) and not variadic:
        return None
    return frozenset(s.inputs[min(i, len(s.inputs) - 1)].types)


def type_text(x):
    return "tensor(%s)" % DTYPES.get(str(x.dtype), str(x.dtype).replace("_", ""))


def beyond_onnx(n):
    """Sard takes some types that ONNX does not list."""
    for i, x in enumerate(n.args):
        may = formal(n.op, n.domain, i) if isinstance(x, np.ndarray) else None
        if may is not None and type_text(x) not in may:
            return "%s is no type of %s" % (type_text(x), n.op)
    return None


def spared(proto, args):
    """why onnx.reference is not asked what the node gives, or None"""
    n = Node(proto, args)
    for when, why in WRONG_OF.get(n.op, ()):
        if when(n):
            return why
    return beyond_onnx(n)


def as_onnx_says(proto, args, out):
    """the outputs, of the type that they should have"""
    n = Node(proto, args)
    for ops, dtype, _ in OTHER_TYPE:
        if n.op in ops.split():
            return tuple(np.asarray(x).astype(dtype(n)) for x in out)
    return out


def may_raise(op, message):
    return next((why for pattern, why in RAISES_OF.get(op, ()) if re.search(pattern, message)), None)
