"""Tensors of a GPU in Python, over the null driver: outputs that stay there, and what other libraries lend by DLPack.

SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import unittest

import numpy as np

import models
import sard

new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype, new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", ctypes.c_int32), ("id", ctypes.c_int32), ("ndim", ctypes.c_int32),
                ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p),
                ("strides", ctypes.c_void_p), ("offset", ctypes.c_uint64)]


class DLManaged(ctypes.Structure):
    _fields_ = [("t", DLTensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Lent:
    """A tensor as another library lends it, of an older DLPack; .streams: what its producer was told."""

    def __init__(self, shape, strides=None, device=2, id=0, data=4096, bits=32):
        self.streams, self.device = [], (device, id)
        self.shape = (ctypes.c_int64 * len(shape))(*shape)
        self.strides = (ctypes.c_int64 * len(shape))(*strides) if strides else None
        at = ctypes.addressof(self.strides) if strides else None
        self.m = DLManaged(DLTensor(data, device, id, len(shape), 2, bits, 1, ctypes.addressof(self.shape), at, 0), None, None)

    def __dlpack__(self, stream=None):
        self.streams.append(stream)
        return new_capsule(ctypes.addressof(self.m), b"dltensor", None)

    def __dlpack_device__(self):
        return self.device


class Device(unittest.TestCase):
    def setUp(self):
        if not sard._native.device_available("cuda"):
            self.skipTest("no GPU, and no null driver")
        self.m = sard.load(models.one("Neg", shape=("a", "b")), device="cuda", cache="off")
        self.x = np.arange(12, dtype=np.float32).reshape(3, 4)

    def test_host_to_host(self):
        for i in range(4):
            np.testing.assert_array_equal(self.m(self.x + i), -self.x - i)
        self.assertEqual(self.m.device, "cuda")
        self.assertEqual(self.m.graphs["why"], "it has fewer than two kernels")
        self.m.release()
        np.testing.assert_array_equal(self.m(self.x), -self.x)
        self.assertIsNone(sard.load(models.one("Neg"), cache="off").graphs)

    def test_outputs_stay_there(self):
        y = self.m.run({"x": self.x}, on_device=True)["y"]
        self.assertEqual((y.shape, y.dtype, y.__dlpack_device__()), ((3, 4), "f32", (2, 0)))
        np.testing.assert_array_equal(self.m(y), self.x)  # by DLPack into another run
        z = self.m.run({"x": y}, on_device=True)["y"]
        del y
        np.testing.assert_array_equal(self.m(z), -self.x)
        other = sard.load(models.one("Neg", shape=("a", "b")), device="cuda", cache="off")
        del self.m  # the tensor outlives its model
        np.testing.assert_array_equal(other(z), -self.x)

    def test_bound_outputs(self):
        y = self.m.run({"x": self.x}, on_device=True)["y"]
        self.m.run({"x": self.x + 1}, {"y": y})  # over what was there
        np.testing.assert_array_equal(self.m(y), self.x + 1)
        with self.assertRaisesRegex(sard.UsageError, r"output 'y' is f32\[2,4\] but the memory given for it is f32\[3,4\]"):
            self.m.run({"x": self.x[:2]}, {"y": y})

    def test_capsules(self):
        y = self.m.run({"x": self.x}, on_device=True)["y"]
        for kw in ({}, {"max_version": (1, 0)}, {"stream": 2, "max_version": (0, 8), "copy": False, "dl_device": (2, 0)}):
            name = "dltensor_versioned" if kw.get("max_version") == (1, 0) else "dltensor"
            self.assertIn('"%s"' % name, repr(y.__dlpack__(**kw)))  # and is given back unused
        for kw in ({"copy": True}, {"dl_device": (1, 0)}, {"dl_device": (2, 1)}):
            with self.assertRaises(BufferError):
                y.__dlpack__(**kw)

    def test_what_is_refused(self):
        for lent, kind, why in (
            (Lent((3, 4), id=1), sard.DeviceError, "input 'x': a tensor on GPU 1; models use GPU 0"),
            (Lent((3, 4), device=10), sard.DeviceError, "input 'x': a tensor on a device that is neither"),
            (Lent((3, 4), strides=(1, 3)), sard.UnsupportedError, "input 0 is not dense"),
            (Lent((3, 4), data=4100), sard.UnsupportedError, "not aligned to 16 bytes"),
            (Lent((1,) * 17), sard.UsageError, "17 dimensions"),
            (Lent((3, 4), bits=24), sard.UnsupportedError, "an element type that Sard does not know"),
            (Lent((3, 4), bits=16), sard.InputTypeError, "f16"),
        ):
            with self.assertRaisesRegex(kind, why):
                self.m.run({"x": lent})
            self.assertEqual(lent.streams, [1] if lent.device[0] == 2 else [None])  # the default stream, by its handle
        with self.assertRaisesRegex(sard.UsageError, "in the memory of a GPU, and the model runs on 'cpu'"):
            sard.load(models.one("Neg", shape=("a", "b")), cache="off", device="cpu").run({"x": Lent((3, 4))})
        lent = Lent((3, 4), id=1)
        with self.assertRaises(sard.DeviceError):
            self.m.run({"x": lent}, stream=77)
        self.assertEqual(lent.streams, [77])
        with self.assertRaisesRegex(sard.UsageError, "outputs_on_device: the model runs on 'reference'"):
            sard.load(models.one("Neg"), cache="off", device="reference").run({"x": [1.0]}, on_device=True)


if __name__ == "__main__":
    unittest.main()
