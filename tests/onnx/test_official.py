#!/usr/bin/env python3
"""Every case that the ONNX wheel has, on the cpu device; all but the light models on the reference device.

A case that fails must stand in expected_failures.txt, and one that stands there must fail. A case with a step on cpu that nothing
compiles must stand in needs_reference.txt, and runs with --allow reference; one that stands there must have such a step. Cases
that draw random numbers (RANDOM, and no others) are judged by `sard test` and counted apart. The closing line counts what passed
and what is wrong; expected failures are neither. With names as arguments only these cases run (node/test_abs). With SARD_BLESS=1 rows of
expected_failures.txt that match cases which pass make way for the names of those that still fail, none is ever added; and
needs_reference.txt is written anew.

SPDX-License-Identifier: Apache-2.0
"""
import fnmatch
import json
import os
import re
import subprocess
import sys

import wheel

SARD = os.path.join(os.environ.get("SARD_BUILD", os.path.join(wheel.ROOT, "build")), "sard")
SANITIZED = os.environ.get("SARD_SANITIZED") == "1"
AHEAD = os.environ.get("SARD_AHEAD")  # "so": the cases are compiled ahead of time, and run on the cpu device alone
OTHER = "SARD_CODEGEN_DIR" in os.environ  # another code generator than the build's own: what it changes is the cpu device alone
RANDOM = [  # expected outputs are NumPy's random numbers: judged by shape, type and distribution
    "node/test_bernoulli*",
    "node/test_training_dropout",
    "node/test_training_dropout_default",
    "node/test_training_dropout_default_mask",
    "node/test_training_dropout_mask",
]
KINDS = {"node": 1884, "pytorch-converted": 82, "pytorch-operator": 35, "simple": 23, "light": 9}


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, p) for p in patterns)


def expected_failures(device):
    """[(pattern, reason)] for a device"""
    with open(os.path.join(wheel.HERE, "expected_failures.txt"), encoding="utf-8") as f:
        rows = [line.split(None, 2) for line in f if line.strip() and not line.startswith("#")]
    return [(pattern, why.strip()) for on, pattern, why in rows if on in ("any", device)]


def has_cpu():
    devices = json.loads(subprocess.run([SARD, "doctor", "--json"], capture_output=True, text=True).stdout)["devices"]
    return any(d["name"] == "cpu" and d["available"] for d in devices)


def run_cases(device, folders, root, *options):
    """{name: (reason or None, steps, whether it draws random numbers)} of `sard test`"""
    if not folders:
        return {}
    if device == "cuda":  # the driver maps far more than it uses
        options += ("--max-memory", "64G")
    ahead = ["--ahead", AHEAD] if AHEAD and device == "cpu" else []
    run = subprocess.run([SARD, "test", "--json", "--device", device, *options, *ahead, *folders], capture_output=True, text=True)
    if run.returncode not in (0, 1):
        sys.exit(run.stderr + "0 passed, 1 failed, 0 skipped")
    return {os.path.relpath(c["path"], root): (None if c["result"] == "passed" else c["reason"] or c["result"], c["steps"], c["random"])
            for c in json.loads(run.stdout)["cases"]}


REFUSED = re.compile(r"no code generation for this step on device '\w+': (.*?) \((?:\w+\[|none|\?).*; node .*, op (\w+)")
NEEDS_REFERENCE = {  # by device
    "cpu": os.path.join(wheel.HERE, "needs_reference.txt"),
    "cuda": os.path.join(wheel.HERE, "needs_reference_cuda.txt"),
}


def needs_reference(device):
    """names of the cases that stand in the device's needs_reference.txt"""
    with open(NEEDS_REFERENCE[device], encoding="utf-8") as f:
        rows = [line for line in f if line.strip() and not line.startswith("#")]
    for row in rows:
        if not re.match(r"\S+ +\w+: \S", row):
            sys.exit("%s: no reason: %s0 passed, 1 failed, 0 skipped" % (NEEDS_REFERENCE[device], row))
    return {row.split(None, 1)[0] for row in rows}


def write_needs_reference(device, results):
    """the device's needs_reference.txt from results of a run that allowed nothing"""
    with open(NEEDS_REFERENCE[device], encoding="utf-8") as f:
        head = [line for line in f if line.startswith("#")]
    refused = {name: REFUSED.search(reason or "") for name, (reason, _, _) in results.items()}
    rows = ["%-62s %s: %s\n" % (name, m[2], m[1]) for name, m in sorted(refused.items()) if m]
    with open(NEEDS_REFERENCE[device], "w", encoding="utf-8") as f:
        f.writelines(head + rows)


def case_names(root, folders):
    """every case below the folders, by path from root"""
    return [os.path.relpath(path, root) for f in folders for path, _, files in os.walk(os.path.join(root, f)) if "model.onnx" in files]


def rewrite(failing):
    """replaces rows of expected_failures.txt ({pattern: {name: devices}}) by rows of the names that still fail"""
    path = os.path.join(wheel.HERE, "expected_failures.txt")
    with open(path, encoding="utf-8") as f:
        rows = f.readlines()
    with open(path, "w", encoding="utf-8") as f:
        for row in rows:
            on, pattern, why = (row.split(None, 2) + [""] * 3)[:3] if not row.startswith("#") else ("", "", "")
            if pattern not in failing:
                f.write(row)
            for name, devices in sorted(failing.get(pattern, {}).items()):
                f.write("%-9s %-62s %s" % (on if len(devices) > 1 else min(devices), name, why))
    print("expected_failures.txt: rewritten: %s" % " ".join(sorted(failing)))


class Suite:
    def __init__(self, root, wanted):
        self.root, self.wanted = root, wanted
        self.passed = self.failed = 0
        self.stale, self.alive = set(), {}  # patterns of which a case passes; {pattern: {name: devices}} that fail

    def judge(self, device, results):
        """counts results ({name: reason or None}) against the expected failures; the summary's numbers"""
        known = expected_failures(device)
        used, passed, expected = set(), 0, 0
        for name, reason in sorted(results.items()):
            row = next((k for k in known if fnmatch.fnmatchcase(name, k[0])), None)
            used.add(row)
            if row and reason:
                self.alive.setdefault(row[0], {}).setdefault(name, set()).add(device)
            elif row:
                self.stale.add(row[0])
            if not reason and not row:
                passed += 1
            elif reason and row:
                expected += 1
            else:
                self.failed += 1
                print("%s on %s: %s" % (name, device, reason or "passes, but stands in expected_failures.txt: %s" % row[0]))
        for row in known if not self.wanted else []:
            if row not in used:
                self.failed += 1
                print("expected_failures.txt: no case is called %s" % row[0])
        self.passed += passed
        return passed, expected

    def compiled(self, device, folders):
        """all cases as they are, those that stand in the device's needs_reference.txt with what they need"""
        names, needy = case_names(self.root, folders), needs_reference(device)
        if os.environ.get("SARD_BLESS") and not self.wanted:
            write_needs_reference(device, run_cases(device, [os.path.join(self.root, f) for f in folders], self.root))
            needy = needs_reference(device)
        results = run_cases(device, [os.path.join(self.root, n) for n in names if n not in needy], self.root)
        allowed = run_cases(device, [os.path.join(self.root, n) for n in names if n in needy], self.root, "--allow", "reference")
        listed = os.path.basename(NEEDS_REFERENCE[device])
        for name in [] if self.wanted else sorted(n for n in needy - set(names) if n.split("/")[0] in folders):
            self.complain("%s: no case is called %s" % (listed, name))
        for name, (reason, steps, _) in sorted(allowed.items()):
            if not reason and not steps["reference"]:
                self.complain("%s on %s: no reference step, but it stands in %s" % (name, device, listed))
        return {**results, **allowed}

    def complain(self, text):
        self.failed += 1
        print(text)

    def device(self, device, kinds):
        folders = self.wanted or kinds
        if device in NEEDS_REFERENCE:
            results = self.compiled(device, folders)
        else:
            results = run_cases(device, [os.path.join(self.root, f) for f in folders], self.root)
        for name, (_, _, random) in sorted(results.items()):
            if random != matches(name, RANDOM):
                self.complain("%s on %s: %s" % (name, device, "draws random numbers" if random else "draws no random numbers"))
        passed, expected = self.judge(device, {n: reason for n, (reason, _, _) in results.items()})
        compiled = sum(not reason and not steps["reference"] for reason, steps, _ in results.values())
        drawn = [reason for reason, _, random in results.values() if random]
        print("%s: %d of %d cases pass, %d with no reference step; of the %d random ones among them %d; %d expected failures"
              % (device, passed, len(results), compiled, len(drawn), drawn.count(None), expected))
        if not self.wanted and any(sum(n.startswith(k + "/") for n in results) != KINDS[k] for k in kinds):
            self.failed += 1
            print("%s: not all cases ran" % device)


def main():
    suite = Suite(wheel.cases(), sys.argv[1:])
    small = [k for k in KINDS if k != "light"]
    if has_cpu():
        suite.device("cpu", small if SANITIZED else list(KINDS))
    if not SANITIZED and not AHEAD and not OTHER:
        suite.device("reference", small)
    if os.environ.get("SARD_BLESS") and suite.stale:
        rewrite({pattern: suite.alive.get(pattern, {}) for pattern in suite.stale})
    print("%d passed, %d failed, 0 skipped" % (suite.passed, suite.failed))
    return 1 if suite.failed or not suite.passed else 0


if __name__ == "__main__":
    sys.exit(main())
