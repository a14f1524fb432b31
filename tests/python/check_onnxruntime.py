"""sard.onnxruntime: the interface that clients of onnxruntime use.

SPDX-License-Identifier: Apache-2.0
"""
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest

import numpy as np
from onnx import TensorProto as T

import models
import sard
import sard.onnxruntime as ort
from sard.onnxruntime.capi import onnxruntime_pybind11_state as state
from sard.onnxruntime.transformers.io_binding_helper import TypeHelper


class Sessions(unittest.TestCase):
    def setUp(self):
        self.s = ort.InferenceSession(models.two_outputs(), providers=["CPUExecutionProvider"])
        self.a = np.arange(3, dtype=np.float32)

    def test_run(self):
        y = self.s.run(None, {"a": self.a})
        np.testing.assert_array_equal(y[0], self.a + 1)
        np.testing.assert_array_equal(self.s.run(["twice"], {"a": self.a})[0], 2 * self.a)
        np.testing.assert_array_equal(self.s.run([], {"a": [1.0, 2.0]})[1], [2, 4])

    def test_reference_steps(self):
        with self.assertLogs("sard", "WARNING") as said:
            s = ort.InferenceSession(models.ranks())
        self.assertEqual(["'root' (Sqrt)" in said.output[0], "'power' (Exp)" in said.output[1], len(said.output)], [True, True, 2])
        with self.assertNoLogs("sard", "WARNING"):
            np.testing.assert_allclose(s.run(None, {"x": np.float32([0, 1])})[0], np.exp([0, 1]), rtol=1e-6)
            ort.InferenceSession(models.two_outputs())

    def test_description(self):
        a = self.s.get_inputs()[0]
        self.assertEqual((a.name, a.type, a.shape), ("a", "tensor(float)", ["n"]))
        self.assertEqual([o.name for o in self.s.get_outputs()], ["sum", "twice"])
        meta = self.s.get_modelmeta()
        self.assertEqual((meta.producer_name, meta.version, meta.graph_name), ("tests", 7, "two"))
        self.assertEqual(meta.custom_metadata_map, {"author": "Sard's tests"})
        self.assertEqual(self.s.get_providers(), ["CPUExecutionProvider"])
        self.assertEqual(self.s.get_provider_options(), {"CPUExecutionProvider": {}})
        self.assertEqual(self.s._model_path, "")

    def test_errors(self):
        x = self.a
        with self.assertRaisesRegex(ValueError, r"Required inputs \(\['a'\]\) are missing"):
            self.s.run(None, {})
        for feed, text in (({"a": x, "z": x}, "Invalid input name: z"), ({"a": x.astype(np.float64)}, "INVALID_ARGUMENT"),
                           ({"a": x.reshape(1, 3)}, "INVALID_ARGUMENT")):
            with self.assertRaisesRegex(state.InvalidArgument, text):
                self.s.run(None, feed)
        with self.assertRaisesRegex(state.InvalidArgument, "Invalid output name"):
            self.s.run(["no"], {"a": x})
        with self.assertRaises(state.NoSuchFile):
            ort.InferenceSession("/nonexistent.onnx")
        with self.assertRaises(state.InvalidProtobuf):
            ort.InferenceSession(b"no model")
        with self.assertRaises(state.NotImplemented):
            ort.InferenceSession(models.one("NoSuchOperator"))

    def test_providers(self):
        with self.assertWarnsRegex(UserWarning, "CUDAExecutionProvider"):
            s = ort.InferenceSession(models.one("Neg"), providers=[("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"])
        self.assertEqual(s.get_providers(), ["CPUExecutionProvider"])

    def test_iobinding(self):
        b = self.s.io_binding()
        out = np.zeros(3, np.float32)
        b.bind_input("a", "cpu", 0, np.float32, self.a.shape, self.a.ctypes.data)
        b.bind_output("sum", "cpu", 0, np.float32, out.shape, out.ctypes.data)
        self.s.run_with_iobinding(b)
        np.testing.assert_array_equal(out, self.a + 1)
        b.bind_output("twice")
        self.s.run_with_iobinding(b)
        self.assertEqual([o.shape() for o in b.get_outputs()], [[3], [3]])
        np.testing.assert_array_equal(b.copy_outputs_to_cpu()[1], 2 * self.a)
        b.clear_binding_inputs()
        with self.assertRaises(ValueError):
            self.s.run_with_iobinding(b)
        v = ort.OrtValue.ortvalue_from_numpy(self.a)
        b.bind_ortvalue_input("a", v)
        b.clear_binding_outputs()
        b.bind_ortvalue_output("sum", ort.OrtValue.ortvalue_from_shape_and_type([3], np.float32))
        self.s.run_with_iobinding(b)
        np.testing.assert_array_equal(b.get_outputs()[0].numpy(), self.a + 1)

    def test_ort_values(self):
        v = ort.OrtValue.ortvalue_from_numpy(self.a)
        self.assertEqual((v.data_type(), v.shape(), v.element_type(), v.device_name()), ("tensor(float)", [3], 1, "cpu"))
        self.assertEqual(v.data_ptr(), self.a.ctypes.data)
        y = self.s.run_with_ort_values(["twice"], {"a": v})
        np.testing.assert_array_equal(y[0].numpy(), 2 * self.a)
        v.update_inplace(np.ones(3, np.float32))
        self.assertEqual(self.a.tolist(), [1, 1, 1])
        self.assertEqual(np.from_dlpack(v).tolist(), [1, 1, 1])

    def test_narrow_types_come_back(self):
        try:
            import ml_dtypes
        except ImportError:
            self.skipTest("ml_dtypes is not installed")
        s = ort.InferenceSession(models.one("Identity", T.BFLOAT16))
        y = s.run(None, {"x": np.array([1.5, -2], ml_dtypes.bfloat16)})[0]
        self.assertEqual(ort.OrtValue.ortvalue_from_numpy(y).data_type(), "tensor(bfloat16)")

    def test_async(self):
        done, got = threading.Event(), []

        def callback(results, user, err):
            got.extend([results, user, err])
            done.set()
        self.s.run_async(["twice"], {"a": self.a}, callback, "mine")
        self.assertTrue(done.wait(10))
        np.testing.assert_array_equal(got[0][0], 2 * self.a)
        self.assertEqual(got[1:], ["mine", ""])

    def test_profiling(self):
        with tempfile.TemporaryDirectory() as d:
            o = ort.SessionOptions()
            o.enable_profiling, o.profile_file_prefix, o.intra_op_num_threads = True, os.path.join(d, "p"), 1
            s = ort.InferenceSession(models.two_outputs(), o)
            s.run(None, {"a": self.a})
            with open(s.end_profiling()) as f:
                events = json.load(f)
        self.assertTrue(events and all(e["ph"] == "X" and e["dur"] >= 0 for e in events))

    def test_options(self):
        o = ort.SessionOptions()
        o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        o.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        o.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.assertEqual(o.get_session_config_entry("session.intra_op.allow_spinning"), "0")
        with self.assertRaises(NotImplementedError):
            o.register_custom_ops_library("x.so")

    def test_type_helper(self):
        self.assertIs(TypeHelper.ort_type_to_numpy_type("tensor(float16)"), np.float16)
        self.assertEqual(TypeHelper.get_io_numpy_type_map(self.s)["sum"], np.float32)


class InstalledAs(unittest.TestCase):
    def test_import_and_metadata(self):
        code = ("import sard; sard.as_onnxruntime()\n"
                "import onnxruntime, importlib.util, importlib.metadata\n"
                "from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument\n"
                "from onnxruntime.transformers.io_binding_helper import TypeHelper\n"
                "assert importlib.util.find_spec('onnxruntime') is not None\n"
                "print(importlib.metadata.version('onnxruntime'), onnxruntime.get_device())\n")
        p = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual((p.returncode, p.stdout), (0, f"{ort.__version__} CPU\n"), p.stderr)

    def test_too_late(self):
        code = ("import sys, types; sys.modules['onnxruntime'] = types.ModuleType('onnxruntime')\n"
                "import sard; sard.as_onnxruntime()\n")
        p = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertIn("imported already", p.stderr)


if __name__ == "__main__":
    unittest.main()
