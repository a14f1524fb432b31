#!/usr/bin/env python3
"""sard tune: what it says of a model's products, that what it keeps is used from then on, and what it refuses. Which cut is better
only the clock tells, so nothing here depends on that.

SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import sys
import tempfile

from harness import ROOT, Checks, sard

MODEL = os.path.join(ROOT, "models", "fixtures", "encoder", "dynamo", "model.onnx")
FEED = ["--input", "tokens=random:5x2:0..95"]


def tiles(cache):
    r = sard("explain", MODEL, "--json", "--cache", cache)
    return {s["kernel"]: s["tile"] for s in json.loads(r.stdout)["steps"] if (s["kernel"] or "").startswith("product.")}


def tuning(c, tmp):
    cache = os.path.join(tmp, "cache")
    r = sard("tune", MODEL, *FEED, "--threads", "1", "--runs", "2", "--cache", cache, "--json")
    x = json.loads(r.stdout) if r.returncode == 0 else {}
    p = x.get("products", [])
    c.check("tune --json", len(p) >= 2 and x["trials"] > 5 and x["directory"] == cache and x["cpu"], r.stdout + r.stderr)
    c.check("products are told apart", len({k["key"] for k in p}) == len(p), p)
    c.check("those that are kept are counted", x and x["kept"] == sum(k["cut"] is not None for k in p), x)
    c.check("none is kept that was not faster", all(k["after_ms"] < k["before_ms"] or k["cut"] is None for k in p), p)
    c.check("the slowest comes first", [k["before_ms"] for k in p] == sorted((k["before_ms"] for k in p), reverse=True), p)
    by_name = {k["name"]: k for k in p}
    plain, now = tiles("off"), tiles(cache)
    same = [n for n, k in by_name.items() if not (k["cut"] and k["cut"]["tile"])]
    c.check("what is not kept stays as it was", all(plain[n] == now[n] for n in same if n in plain), (plain, now, p))
    r = sard("cache", "list", "--cache", cache)
    c.check("the table is in the cache", "(tuning of products)" in r.stdout, r.stdout)
    c.check("and is in order", sard("cache", "verify", "--cache", cache).returncode == 0)
    r = sard("tune", MODEL, *FEED, "--threads", "1", "--runs", "1", "--cache", cache)
    c.check("as text", r.returncode == 0 and "before ms" in r.stdout and "cut otherwise from now on" in r.stdout, r.stdout + r.stderr)


def refused(c, tmp):
    c.error("without a cache there is no table", sard("tune", MODEL, *FEED, "--cache", "off"), 2, "compile cache is off")
    c.error("other devices have none", sard("tune", MODEL, *FEED, "--device", "reference", "--cache", tmp), 2, "on the CPU alone")
    c.error("no such model", sard("tune", os.path.join(tmp, "no.onnx"), "--cache", tmp), 3, "no.onnx")


def main():
    c = Checks()
    with tempfile.TemporaryDirectory() as tmp:
        tuning(c, tmp)
        refused(c, tmp)
    return c.done()


if __name__ == "__main__":
    sys.exit(main())
