"""Cases whose expected values are numpy's random numbers: check_random.py SARD DEVICE FOLDER... (run through wheel.py).

What a case can say of another generator's numbers is checked: shape and dtype, that every value is one that may occur, that
outputs of one run agree with each other, and that over RUNS runs values are as frequent as the probabilities ask, within six
standard deviations. Prints a line `CASE ok` or `CASE reason` per folder.

SPDX-License-Identifier: Apache-2.0
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

RUNS = 8


class Bad(Exception):
    pass


def expect(ok, reason):
    if not ok:
        raise Bad(reason)


def tensors(folder, stem):
    files = sorted(f for f in os.listdir(folder) if f.startswith(stem))
    return [numpy_helper.to_array(onnx.load_tensor(os.path.join(folder, f))) for f in files]


def run(sard, device, folder, graph, inputs):
    """the model's outputs by position"""
    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, "out.npz")
        feeds = []
        for i, port in enumerate(graph.input[: len(inputs)]):
            feeds += ["--input", "%s=%s" % (port.name, os.path.join(folder, "test_data_set_0", "input_%d.pb" % i))]
        r = subprocess.run([sard, "run", os.path.join(folder, "model.onnx"), "--device", device, "--output", out,
                            *feeds], capture_output=True, text=True)
        expect(r.returncode == 0, r.stderr.strip().replace("\n", ";"))
        with np.load(out) as z:
            return [z[port.name] for port in graph.output]


def frequent(hits, probability, what):
    """Are the numbers of hits (runs x elements) likely for independent events of these probabilities?"""
    if (hits == hits[0]).all():  # a generator that begins anew in each process: one run says it all
        hits = hits[:1]
    mean, deviation = np.sum(probability) * len(hits), np.sqrt(np.sum(probability * (1 - probability)) * len(hits))
    expect(abs(np.sum(hits) - mean) <= 6 * deviation, "%s: %d, %.1f +- %.1f are likely" % (what, np.sum(hits), mean, deviation))


def check_bernoulli(graph, inputs, results):
    seeded = any(a.name == "seed" for n in graph.node for a in n.attribute)
    ys = np.stack([r[0] for r in results]).astype(np.float64)
    expect(np.isin(ys, (0, 1)).all(), "values other than 0 and 1")
    if seeded:
        expect((ys == ys[0]).all(), "runs with one seed differ")
    frequent(ys, np.asarray(inputs[0], np.float64), "ones")


def check_dropout(graph, inputs, results):
    x = inputs[0]
    ratio = float(inputs[1]) if len(inputs) > 1 else 0.5
    kept = []
    for r in results:
        keep = r[1] if len(r) > 1 else r[0] != 0
        scaled = np.where(keep, x / (1 - ratio), 0).astype(x.dtype)
        expect(np.allclose(r[0], scaled, rtol=1e-6, atol=0), "an element is neither dropped nor scaled, or the mask says otherwise")
        kept.append(keep)
    frequent(np.stack(kept), np.where(x == 0, 0 if len(results[0]) == 1 else 1 - ratio, 1 - ratio), "kept elements")


def check(sard, device, folder):
    graph = onnx.load(os.path.join(folder, "model.onnx")).graph
    data = os.path.join(folder, "test_data_set_0")
    inputs, wanted = tensors(data, "input"), tensors(data, "output")
    results = [run(sard, device, folder, graph, inputs) for _ in range(RUNS)]
    for r in results:
        expect(len(r) == len(wanted), "%d outputs, not %d" % (len(r), len(wanted)))
        for got, want in zip(r, wanted):
            expect(got.shape == want.shape and got.dtype == want.dtype, "%s%s, not %s%s" % (got.dtype, got.shape, want.dtype, want.shape))
    name = os.path.basename(folder)
    (check_dropout if "dropout" in name else check_bernoulli)(graph, inputs, results)


def main():
    sard, device = sys.argv[1:3]
    for folder in sys.argv[3:]:
        try:
            check(sard, device, folder)
            verdict = "ok"
        except Bad as e:
            verdict = str(e)
        print(os.path.basename(folder), verdict)


if __name__ == "__main__":
    main()
