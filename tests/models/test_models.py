#!/usr/bin/env python3
"""Every fixture of models/ in every export, against PyTorch's outputs, to 1e-5 of each output's largest magnitude.

Runs on the cpu and on the reference device. Prints the list of fixtures and exports with the result
of each on the former, and how many of its numeric steps ran compiled; below it the steps that ran as reference, with the
reason that `sard explain` gives. All others than NEEDS_REFERENCE run with what every user gets: nothing but compiled steps.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import json
import os
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SARD = os.path.join(os.environ.get("SARD_BUILD", os.path.join(ROOT, "build")), "sard")
FIXTURES = os.path.join(ROOT, "models", "fixtures")
EXPORTS = ["dynamo", "dynamo24", "ts14", "ts17"]
NEEDS_REFERENCE = set()


def expected_exports():
    """(model, export) for all that must be there: four exports each, less what the exporter refused"""
    with open(os.path.join(ROOT, "models", "refused.json")) as f:
        refused = json.load(f)
    models = sorted(d for d in os.listdir(FIXTURES) if os.path.isdir(os.path.join(FIXTURES, d)))
    return models, [(m, e) for m in models for e in EXPORTS if e not in refused.get(m, {})]


def results_on(device):
    run = subprocess.run([SARD, "test", "--relative", "1e-5", "--json"] + device + [FIXTURES], capture_output=True, text=True)
    if run.returncode not in (0, 1):
        sys.exit(run.stderr + "0 passed, 1 failed, 0 skipped")
    return {tuple(case["case"].split("/")): case for case in json.loads(run.stdout)["cases"]}


def share(steps):
    """compiled/numeric"""
    return "%d/%d" % (steps["compiled"], steps["compiled"] + steps["library"] + steps["reference"])


def left_on_reference(path):
    """{(operator, why): number} of the model's reference steps"""
    run = subprocess.run([SARD, "explain", "--allow", "reference", "--json", os.path.join(path, "model.onnx")], capture_output=True, text=True)
    steps = json.loads(run.stdout)["steps"]
    return collections.Counter((s["op"], s["why"] or "") for s in steps if s["kind"] == "reference")


def print_reference(result):
    for (m, e), case in sorted(result.items()):
        if case["steps"]["compiled"] and case["steps"]["reference"]:
            left = sorted(left_on_reference(case["path"]).items())
            print("%s/%s on reference: %s" % (m, e, "; ".join("%d %s (%s)" % (n, op, why) for (op, why), n in left)))


def main():
    models, pairs = expected_exports()
    result, oracle = results_on(["--device", "cpu", "--allow", "reference"]), results_on(["--device", "reference"])
    passed = failed = 0
    for pair in pairs:
        needs = result.get(pair, {"steps": {"reference": 0}})["steps"]["reference"] > 0
        if needs != (pair in NEEDS_REFERENCE):
            failed += 1
            print("%s/%s: %s" % (*pair, "steps that nothing compiles" if needs else "all is compiled: strike it from NEEDS_REFERENCE"))
    for pair in pairs:
        if oracle.get(pair, {}).get("result") == "passed":
            passed += 1
        else:
            failed += 1
            print("%s/%s on the reference device: %s" % (pair + (oracle.get(pair, {}).get("reason", "not run"),)))
    for m in models:
        line = []
        for e in EXPORTS:
            case = result.get((m, e))
            if (m, e) not in pairs:
                line.append("%-9s refused    " % e)
            elif case and case["result"] == "passed":
                passed += 1
                line.append("%-9s ok %-8s" % (e, share(case["steps"])))
            else:
                failed += 1
                line.append("%-9s FAILED     " % e)
        print("%-18s %s" % (m, "  ".join(line)))
    print_reference(result)
    for (m, e), case in sorted(result.items()):
        if case["result"] != "passed":
            print("%s/%s: %s" % (m, e, case.get("reason", "")))
    if len(models) < 20:
        print("only %d models found" % len(models))
        failed += 1
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
