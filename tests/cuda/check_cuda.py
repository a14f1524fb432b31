#!/usr/bin/env python3
"""`make test-cuda`: every official case, every fixture, and a list of products and convolutions on the device cuda, and some under
compute-sanitizer.

usage: check_cuda.py [products] [official] [fixtures] [sanitizer]    (all of them)

The driver is that of this machine; SARD_CUDA_DIR=build/tests/null makes it the null driver (null/), which tries the script where
there is no GPU: without the light models, which are large for an interpreter. Cases with a step that nothing compiles for
the device stand in tests/onnx/needs_reference_cuda.txt and run with --allow reference; the list is checked in both directions,
SARD_BLESS=1 writes it. Exit code 2: there is no GPU, and nothing has run.

SPDX-License-Identifier: Apache-2.0
"""
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "onnx"))
import products  # noqa: E402
import test_official as official  # noqa: E402
import wheel  # noqa: E402

FIXTURES = os.path.join(ROOT, "models", "fixtures")
os.environ["SARD_CACHE"] = "off"
PARTS = ("products", "official", "fixtures", "sanitizer")
SANITIZERS = ("/usr/local/cuda/bin/compute-sanitizer", "/opt/cuda/bin/compute-sanitizer")
CHECKED = {  # by tool: what reads and writes out of bounds, races in shared memory, threads that miss a barrier
    "memcheck": ["bert_qa/ts17", "gpt2/ts17", "llama/dynamo", "resnet/ts17", "lstm_tagger/ts17", "dlrm/ts17", "swin/dynamo"],
    "racecheck": ["bert_qa/ts17", "llama/dynamo", "xlnet/ts17"],
    "synccheck": ["bert_qa/ts17", "gru_tagger/ts17"],
}


def gpu():
    """what `sard doctor` says of the GPU: (there, text)"""
    facts = json.loads(subprocess.run([official.SARD, "doctor", "--json"], capture_output=True, text=True).stdout)
    device = next(d for d in facts["devices"] if d["name"] == "cuda")
    return device["available"], device["note"]


def how(path):
    """how the steps of a model are computed: "8 rows, cuBLASLt" """
    run = subprocess.run([official.SARD, "explain", "--device", "cuda", "--json", path], capture_output=True, text=True)
    steps = json.loads(run.stdout)["steps"] if run.returncode == 0 else []
    return "; ".join(s["tile"] or s["kind"] for s in steps if s["kind"] != "host")


def run_products(null):
    """(passed, failed) of products.py, listed with how each is computed"""
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        names = products.write(folder, not null)
        for tf32 in ("0", "1"):  # eighths are the same in tf32
            some = [p for p in names if tf32 == "0" or names[p].startswith("f32")]
            run = subprocess.run([official.SARD, "test", "--device", "cuda", "--json", *some], capture_output=True, text=True,
                                 env=dict(os.environ, SARD_CUDA_TF32=tf32))
            if run.returncode not in (0, 1):
                sys.exit(run.stderr + "0 passed, 1 failed, 0 skipped")
            for case in json.loads(run.stdout)["cases"]:
                ok = case["result"] == "passed" and not case["steps"]["reference"]
                passed, failed = passed + ok, failed + (not ok)
                name = names[case["path"].rstrip("/")]
                if tf32 == "0":
                    print("  %-6s  %s: %s" % ("ok" if ok else "FAILED", name, how(os.path.join(case["path"], "model.onnx"))))
                if not ok:
                    print("          %s%s" % ("in tf32: " if tf32 == "1" else "", case["reason"] or case["steps"]))
    print("products: %d of %d pass on the device" % (passed, passed + failed))
    return passed, failed


def run_official(null):
    """(passed, failed) of the official cases"""
    suite = official.Suite(wheel.cases(), [])
    suite.device("cuda", [k for k in official.KINDS if k != "light" or not null])
    return suite.passed, suite.failed


def run_fixtures(null):
    """(passed, failed) of the fixtures in all exports: PyTorch's outputs to 1e-5 of the largest magnitude, no reference step"""
    folders = sorted(glob.glob(os.path.join(FIXTURES, "*", "*", "")))
    run = subprocess.run([official.SARD, "test", "--device", "cuda", "--relative", "1e-5", "--max-memory", "64G", "--json", *folders],
                         capture_output=True, text=True)
    if run.returncode not in (0, 1):
        sys.exit(run.stderr + "0 passed, 1 failed, 0 skipped")
    passed = failed = 0
    for case in json.loads(run.stdout)["cases"]:
        bad = case["reason"] or case["result"] if case["result"] != "passed" else ""
        steps = case["steps"]
        if not bad and (steps["reference"] or not steps["compiled"]):
            bad = "steps that are not on the device: %s" % steps
        passed, failed = passed + (not bad), failed + bool(bad)
        if bad:
            print("%s: %s" % (os.path.relpath(case["path"], FIXTURES), bad))
    print("fixtures: %d of %d pass on the device" % (passed, passed + failed))
    return passed, failed


def run_sanitizer(null):
    """(passed, failed) of fixtures under compute-sanitizer, where there is one"""
    tool = shutil.which("compute-sanitizer") or next((s for s in SANITIZERS if os.path.exists(s)), None)
    if not tool or null:
        print("sanitizer: %s" % ("no compute-sanitizer here" if not null else "not over the null driver, which checks as much"))
        return 0, 0
    passed = failed = 0
    for check, models in CHECKED.items():
        for model in models:
            run = subprocess.run([tool, "--tool", check, "--target-processes", "all", "--error-exitcode", "9", official.SARD, "test",
                                  "--device", "cuda", "--jobs", "1", os.path.join(FIXTURES, model)], capture_output=True, text=True)
            ok = run.returncode == 0
            passed, failed = passed + ok, failed + (not ok)
            if not ok:
                print("%s under %s: exit code %d\n%s" % (model, check, run.returncode, (run.stdout + run.stderr)[-3000:]))
    print("sanitizer: %d runs without a finding, %d with" % (passed, failed))
    return passed, failed


def main():
    parts = sys.argv[1:] or PARTS
    if set(parts) - set(PARTS):
        sys.exit(__doc__)
    there, note = gpu()
    if not there:
        print("make test-cuda needs an NVIDIA GPU, and this machine has none: %s\n"
              "SARD_CUDA_DIR=build/tests/null tries it over the null driver.\nnothing has run" % note, file=sys.stderr)
        return 2
    null = note.startswith("Null GPU")
    print(note)
    passed = failed = 0
    for part in parts:
        start = time.monotonic()
        p, f = {"products": run_products, "official": run_official, "fixtures": run_fixtures, "sanitizer": run_sanitizer}[part](null)
        passed, failed = passed + p, failed + f
        print("%s: %.0f s" % (part, time.monotonic() - start), flush=True)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
