"""What models say of themselves: explanations and profiles.

SPDX-License-Identifier: Apache-2.0
"""


def _table(head, rows):
    widths = [max(len(str(r[i])) for r in [head, *rows]) for i in range(len(head))]
    return "\n".join("  ".join(str(x).ljust(w) for x, w in zip(r, widths)).rstrip() for r in [head, *rows])


class Explanation(list):
    """Steps in order of execution, a dict each: kind ("compiled", "library", "host", "reference"), op, kernel, tile,
    why (it is a reference step, or computed apart from what reads it), copies (it only moves elements), node, module, source,
    fused (names of the other nodes in it)."""

    def __str__(self):
        return _table(("step", "kind", "what", "tile", "module", "nodes", "why"),
                      [(i, s["kind"], s["kernel"] or s["op"], s["tile"], s["module"], " ".join([s["node"], *s["fused"]]),
                        s["why"]) for i, s in enumerate(self)])

    def count(self, kind):
        """How many steps are of a kind."""
        return sum(s["kind"] == kind for s in self)


class MemoryPlan(dict):
    """What a run will need, in bytes: weights_mapped (in the model's files), weights_packed (for the CPU), weights_own (inside the
    program), arena (values between steps), apart (values allocated one by one, outputs among them), scratch (of kernels),
    outputs; peak, the largest sum of values that live at once, with largest and largest_bytes, the largest of them; peak_step and
    unknown_step, dicts of step, op, kernel, node and module, or None; unknown, how many sizes only the run tells; complete."""

    def __init__(self, values, steps):
        def step(i):
            return {"step": i, **{k: steps[i][k] for k in ("op", "kernel", "node", "module")}} if i >= 0 else None
        super().__init__(values, peak_step=step(values["peak_step"]), unknown_step=step(values["unknown_step"]),
                         complete=not values["unknown"])

    def __str__(self):
        return "\n".join(f"{k:15} {v}" for k, v in self.items())


class Profile(list):
    """Steps from hottest to coldest, a dict each: that of Explanation, and ms (median), share, gflops and gbs (0: not known)."""

    def __init__(self, steps, runs):
        times = {}
        for run in runs:
            total = {}
            for step, _, _, start, end, flops, moved in run:  # a step in a loop body comes several times
                t = total.setdefault(step, [0, 0, 0])
                t[0] += end - start
                t[1] += flops
                t[2] += moved
            for step, t in total.items():
                times.setdefault(step, []).append(t)
        rows = []
        for step, ts in times.items():
            ns, flops, moved = sorted(ts)[len(ts) // 2]
            rows.append({**steps[step], "step": step, "ms": ns * 1e-6, "gflops": flops / ns if ns else 0.0,
                         "gbs": moved / ns if ns else 0.0})
        self.total_ms = sum(r["ms"] for r in rows)
        for r in rows:
            r["share"] = r["ms"] / self.total_ms if self.total_ms else 0.0
        super().__init__(sorted(rows, key=lambda r: -r["ms"]))

    def by_module(self):
        """Milliseconds per module path."""
        out = {}
        for r in self:
            out[r["module"]] = out.get(r["module"], 0.0) + r["ms"]
        return dict(sorted(out.items(), key=lambda x: -x[1]))

    def __str__(self):
        return _table(("ms", "%", "GFLOP/s", "GB/s", "step", "what", "module"),
                      [(f"{r['ms']:.3f}", f"{100 * r['share']:.1f}", f"{r['gflops']:.1f}", f"{r['gbs']:.1f}", r["step"],
                        r["kernel"] or r["op"], r["module"]) for r in self])
