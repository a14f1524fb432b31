"""onnx.backend.test over sard.backend: every official case, but for those whose expected values are numpy's random numbers.

SPDX-License-Identifier: Apache-2.0
"""
import unittest
import warnings

import numpy as np
import onnx.backend.test

import sard.backend

warnings.filterwarnings("ignore", category=RuntimeWarning)  # numpy's, while the cases are made


def in_double(transform):
    """NumPy 2 transforms single precision in that, and what it leaves where the result is 0 is more than the cases' own tolerance;
    their expected values are computed as NumPy 1 did."""
    return lambda x, *args, **kwargs: transform(np.asarray(x).astype(np.result_type(np.asarray(x).dtype, np.float64)), *args, **kwargs)


for name in ("fft", "ifft", "rfft", "irfft"):
    setattr(np.fft, name, in_double(getattr(np.fft, name)))


class Cases(onnx.backend.test.BackendTest):
    @classmethod
    def assert_similar_outputs(cls, ref_outputs, outputs, *args, **kwargs):
        if isinstance(outputs, np.ndarray):  # an item of a sequence: the runner would go through its rows, which a scalar has not
            ref_outputs, outputs = [ref_outputs], [outputs]
        super().assert_similar_outputs(ref_outputs, outputs, *args, **kwargs)


cases = Cases(sard.backend.SardBackend, __name__)
# Bernoulli without a seed and Dropout in training mode: tests/onnx checks them by their statistics.
for pattern in (r"test_bernoulli.*", r"test_training_dropout(?!.*zero_ratio).*_cpu"):
    cases.exclude(pattern)
globals().update(cases.test_cases)

if __name__ == "__main__":
    unittest.main()
