"""Element types: numbers are ONNX's TensorProto.DataType.

SPDX-License-Identifier: Apache-2.0
"""
# number: (Sard's name, numpy's or ml_dtypes' name, bits of an element)
TABLE = {
    1: ("f32", "float32", 32), 2: ("u8", "uint8", 8), 3: ("i8", "int8", 8), 4: ("u16", "uint16", 16), 5: ("i16", "int16", 16),
    6: ("i32", "int32", 32), 7: ("i64", "int64", 64), 8: ("str", "str", 0), 9: ("bool", "bool", 8), 10: ("f16", "float16", 16),
    11: ("f64", "float64", 64), 12: ("u32", "uint32", 32), 13: ("u64", "uint64", 64), 14: ("c64", "complex64", 64),
    15: ("c128", "complex128", 128), 16: ("bf16", "bfloat16", 16), 17: ("f8e4m3fn", "float8_e4m3fn", 8),
    18: ("f8e4m3fnuz", "float8_e4m3fnuz", 8), 19: ("f8e5m2", "float8_e5m2", 8), 20: ("f8e5m2fnuz", "float8_e5m2fnuz", 8),
    21: ("u4", "uint4", 4), 22: ("i4", "int4", 4), 23: ("f4e2m1", "float4_e2m1fn", 4), 24: ("f8e8m0", "float8_e8m0fnu", 8),
    25: ("u2", "uint2", 2), 26: ("i2", "int2", 2), 27: ("f6e2m3", "float6_e2m3fn", 6), 28: ("f6e3m2", "float6_e3m2fn", 6),
}
NAMES = {0: "a type known at run time", **{k: v[0] for k, v in TABLE.items()}}
STRING = 8
# Types numpy itself does not have; the package ml_dtypes brings them.
EXTENDED = frozenset((16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28))
INTEGERS = frozenset((21, 22, 25, 26))  # among the extended
_BY_NAME = {v[1]: k for k, v in TABLE.items()}


def numpy_name(code):
    return TABLE[code][1] if code in TABLE else "?"


def bits(code):
    return TABLE[code][2]


def code_of(dtype):
    """The number of a numpy dtype; 0: there is none."""
    return STRING if dtype.kind in "UOST" else _BY_NAME.get(dtype.newbyteorder("=").name, 0)


def numpy_dtype(code):
    """The numpy dtype of a number. ImportError: it takes ml_dtypes, which is not installed."""
    import numpy as np
    if code == STRING:
        return np.dtype(object)
    if code not in EXTENDED:
        return np.dtype(TABLE[code][1])
    try:
        import ml_dtypes
    except ImportError:
        raise ImportError(f"{TABLE[code][0]} is no type of numpy's: pip install ml_dtypes") from None
    return np.dtype(getattr(ml_dtypes, TABLE[code][1]))
