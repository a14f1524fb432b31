"""onnx.backend.test over sard.backend: every official case, but for those whose expected values are numpy's random numbers.

SPDX-License-Identifier: Apache-2.0
"""
import unittest
import warnings

import onnx.backend.test

import sard.backend

warnings.filterwarnings("ignore", category=RuntimeWarning)  # numpy's, while the cases are made

cases = onnx.backend.test.BackendTest(sard.backend.SardBackend, __name__)
# Bernoulli without a seed and Dropout in training mode: tests/onnx checks them by their statistics.
for pattern in (r"test_bernoulli.*", r"test_training_dropout_(default|mask|default_mask|zero_ratio_mask)?_?.*(?<!zero_ratio)_cpu"):
    cases.exclude(pattern)
globals().update(cases.test_cases)

if __name__ == "__main__":
    unittest.main()
