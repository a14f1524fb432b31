#!/bin/sh
# Runs every libFuzzer target of a build folder, all at once: fuzz.sh BUILD SECONDS. Seeds are the small fixtures.
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
started=
for t in "$1"/tests/fuzz_*; do
  [ -x "$t" ] || continue
  own=$tmp/${t##*/}
  mkdir -p "$own/found"
  "$t" -max_total_time="$2" -rss_limit_mb=1024 -malloc_limit_mb=512 -timeout=5 -print_final_stats=1 \
    -artifact_prefix="$own/" "$own/found" "$tmp/seeds" >"$own/log" 2>&1 &
  started="$started $own:$!"
done
[ "$started" ] || { echo "$1 has no fuzz targets" >&2; exit 1; }
failed=0
for s in $started; do
  own=${s%:*}
  if wait "${s##*:}"; then
    echo "${own##*/}"
    grep -E 'number_of_executed_units|new_units_added' "$own/log" || true
    continue
  fi
  failed=1
  tail -n 40 "$own/log" >&2
  for a in "$own"/crash-* "$own"/timeout-* "$own"/oom-*; do
    [ -f "$a" ] && { echo "input (base64):"; base64 -w 0 "$a" | head -c 4000; echo; } >&2
  done
done
exit $failed
