#!/usr/bin/env python3
"""dump_versions.py - every version of every operator that an onnx package defines, one a line.

    python3 tests/frontend/dump_versions.py > tests/frontend/onnx_versions.txt     needs onnx

    DOMAIN NAME VERSION least..most inputs least..most outputs attributes        `deprecated` may stand behind the version

An attribute is name! (required), name? (optional) or name=default. SPDX-License-Identifier: Apache-2.0
"""
import onnx.defs
import onnx.helper

MOST = 2147483647


def span(least, most):
    return "%d..%s" % (least, "" if most == MOST else most)


def attribute(name, a):
    if a.required:
        return name + "!"
    if not a.default_value.name:
        return name + "?"
    v = onnx.helper.get_attribute_value(a.default_value)
    text = "%.9g" % v if isinstance(v, float) else v.decode() if isinstance(v, bytes) else str(v).replace(" ", "")
    return "%s=%s" % (name, text)


def main():
    print("# onnx_versions.txt - written by dump_versions.py from onnx %s\n# SPDX-License-Identifier: Apache-2.0" % onnx.__version__)
    for s in sorted(onnx.defs.get_all_schemas_with_history(), key=lambda s: (s.domain, s.name, s.since_version)):
        head = [s.domain or "ai.onnx", s.name, str(s.since_version)]
        body = ["deprecated"] * s.deprecated + [span(s.min_input, s.max_input), span(s.min_output, s.max_output)] + [
            attribute(k, a) for k, a in sorted(s.attributes.items())]
        print(" ".join(head + body))


if __name__ == "__main__":
    main()
