"""Unmodified clients of onnxruntime give the same results over Sard. Needs what scripts/test_python.sh installs.

SPDX-License-Identifier: Apache-2.0
"""
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import timeit
import unittest

import numpy as np

import models
import sard

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = ("sentence-transformers", "optimum", "optimum-onnx", "silero-vad", "transformers", "torch", "onnxruntime", "numpy")


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(", ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES))
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)

    def both(self, name):
        got = {}
        for engine in ("onnxruntime", "sard"):
            out = os.path.join(self.folder.name, f"{name}-{engine}.npz")
            p = subprocess.run([sys.executable, os.path.join(HERE, "client.py"), name, engine, self.folder.name, out],
                               capture_output=True, text=True, timeout=600)
            self.assertEqual(p.returncode, 0, p.stderr[-3000:])
            got[engine] = dict(np.load(out))
        self.assertEqual(sorted(got["sard"]), sorted(got["onnxruntime"]))
        return got["onnxruntime"], got["sard"]

    def close(self, name, tolerance):
        want, got = self.both(name)
        for k, w in want.items():
            if w.dtype.kind == "f":
                np.testing.assert_allclose(got[k], w, rtol=0, atol=tolerance * max(1.0, float(np.abs(w).max())), err_msg=k)
            else:
                np.testing.assert_array_equal(got[k], w, err_msg=k)
        return got

    def test_1_sentences(self):
        self.close("sentences", 1e-5)

    def test_2_features(self):
        self.close("features", 1e-5)

    def test_3_generation(self):
        self.close("generation", 1e-4)

    def test_4_speech(self):
        got = self.close("speech", 1e-3)
        self.assertGreater(len(got["spans"]), 0)
        self.assertGreater(got["probabilities"].max(), 0.8)
        self.assertLess(got["probabilities"][:20].max(), 0.3)


class Overhead(unittest.TestCase):
    def test_a_call_costs_no_more_than_onnxruntimes(self):
        """A one-node model, eight elements, interleaved; the best of each."""
        import onnxruntime
        data, x = models.one("Neg"), np.ones(8, np.float32)
        o = onnxruntime.SessionOptions()
        o.intra_op_num_threads = 1
        peer, model = onnxruntime.InferenceSession(data, o), sard.load(data, threads=1)
        drop_in = sard.onnxruntime.InferenceSession(data, sess_options=None)
        calls = {"onnxruntime": lambda: peer.run(None, {"x": x}), "sard": lambda: model.run({"x": x}),
                 "sard.onnxruntime": lambda: drop_in.run(None, {"x": x})}
        best = dict.fromkeys(calls, float("inf"))
        for _ in range(15):
            for name, f in calls.items():
                best[name] = min(best[name], timeit.timeit(f, number=2000) / 2000 * 1e6)
        print(", ".join(f"{k} {v:.2f} us a call" for k, v in best.items()))
        self.assertLessEqual(best["sard"], best["onnxruntime"])


if __name__ == "__main__":
    import sard.onnxruntime  # noqa: F401
    unittest.main()
