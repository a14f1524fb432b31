"""Between numpy and tensors that the buffer protocol cannot describe: strings, bfloat16, float8, packed small types.

SPDX-License-Identifier: Apache-2.0
"""
from ._dtypes import EXTENDED, INTEGERS, STRING, bits, code_of, numpy_dtype


def pack(codes, width):
    """One element per byte (its code in the low bits) to a dense stream of bits, the first element lowest."""
    import numpy as np
    return np.packbits(np.unpackbits(codes.reshape(-1, 1), axis=1, bitorder="little")[:, :width], bitorder="little")


def unpack(stream, width, n):
    import numpy as np
    b = np.unpackbits(stream, bitorder="little")[: n * width].reshape(n, width)
    return np.packbits(b, axis=1, bitorder="little").reshape(n)


def _strings(a):
    import numpy as np
    flat = []
    for x in np.asarray(a).reshape(-1).tolist():
        if not isinstance(x, (str, bytes)):
            raise TypeError(f"an array of strings holds {type(x).__name__}: pass str or bytes")
        flat.append(x.encode() if isinstance(x, str) else x)
    return flat, STRING, np.shape(a)


def to_buffer(obj, want):
    """(buffer, dtype, shape) of an object that has no usable memory. want: the dtype for what has none of its own, 0: any."""
    import numpy as np
    if isinstance(obj, np.ndarray) or isinstance(obj, np.generic):
        a = np.asarray(obj)
    elif want == STRING:
        a = np.asarray(obj, dtype=object)
    else:
        a = np.asarray(obj, dtype=numpy_dtype(want) if want else None)
    code = code_of(a.dtype)
    if code == STRING:
        return _strings(a)
    if not code:
        raise TypeError(f"arrays of {a.dtype} have no counterpart in ONNX")
    shape, a = a.shape, np.ascontiguousarray(a)
    if code in EXTENDED:
        a = a.astype(np.int8).view(np.uint8) if code in INTEGERS else a.view(np.uint16 if bits(code) == 16 else np.uint8)
        if bits(code) < 8:
            a = pack(a, bits(code))
    return a, code, shape


def from_array(array, code, shape):
    """The numpy array over (or, below 8 bits, made of) a run's memory."""
    import numpy as np
    raw, dtype = np.asarray(array), numpy_dtype(code)
    if bits(code) < 8:
        n = int(np.prod(shape, dtype=np.int64))
        raw = unpack(raw, bits(code), n)
        if code in INTEGERS:
            if np.dtype(dtype).name.startswith("int"):  # extend the sign
                raw = (raw << (8 - bits(code))).view(np.int8) >> (8 - bits(code))
            return raw.astype(dtype).reshape(shape)
    return raw.view(dtype).reshape(shape)


def map_lists(d):
    """[keys, values] of a dict, as arrays. Floats of Python's own are float32, as ONNX maps mostly have them; numpy's keep
    their type."""
    import numpy as np
    keys, values = list(d), list(d.values())
    plain = all(type(v) is float for v in values)
    return [np.array(keys, None if keys else np.int64), np.array(values, np.float32 if plain else None)]


def to_strings(flat, shape):
    import numpy as np
    a = np.empty(len(flat), dtype=object)
    a[:] = [x.decode("utf-8", "surrogateescape") for x in flat]
    return a.reshape(shape)
