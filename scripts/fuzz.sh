#!/bin/sh
# Runs every libFuzzer target of a build folder: fuzz.sh BUILD SECONDS. Seeds are the small fixtures.
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/seeds"
n=0
for f in $(find models/fixtures -name model.onnx -size -64k | sort); do
  n=$((n + 1))
  cp "$f" "$tmp/seeds/$n.onnx"
done
for t in "$1"/tests/fuzz_*; do
  [ -x "$t" ] || continue
  mkdir -p "$tmp/found"
  if ! "$t" -max_total_time="$2" -rss_limit_mb=1024 -malloc_limit_mb=512 -timeout=5 -print_final_stats=1 \
    -artifact_prefix="$tmp/" "$tmp/found" "$tmp/seeds" >"$tmp/log" 2>&1; then
    tail -n 40 "$tmp/log" >&2
    for a in "$tmp"/crash-* "$tmp"/timeout-* "$tmp"/oom-*; do
      [ -f "$a" ] && { echo "input (base64):"; base64 -w 0 "$a" | head -c 4000; echo; } >&2
    done
    exit 1
  fi
  grep -E 'number_of_executed_units|new_units_added' "$tmp/log" || true
done
