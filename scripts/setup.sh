#!/bin/sh
# Installs what a build needs (argument `build`), or building and CI need (`ci`), on Debian. As root it installs; otherwise it
# prints the one line to run and stops. Does nothing, quickly, when everything is there.
# SPDX-License-Identifier: Apache-2.0
set -eu

build="cmake ninja-build pkg-config gcc g++ libc6-dev protobuf-c-compiler libprotobuf-c-dev libjansson-dev libutf8proc-dev
  libzip-dev libcmocka-dev python3-pip llvm-19-dev libpcre2-dev libturbojpeg0-dev libpng-dev libwebp-dev libtiff-dev
  libopenjp2-7-dev"
ci="clang libclang-rt-14-dev clang-format llvm-22-dev"

want=$build
[ "${1:-build}" = ci ] && want="$build $ci"

missing=
for p in $want; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $p"
done
# A compiler or pip that is there without its package is as good.
for pair in gcc:cc g++:c++ cmake:cmake clang:clang python3-pip:pip3; do
  p=${pair%%:*}
  if command -v "${pair##*:}" >/dev/null 2>&1; then
    missing=$(printf '%s' "$missing" | sed "s/ $p\( \|\$\)/\1/")
  fi
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" != 0 ]; then
  echo "Sard needs some packages. Run this, then try again:" >&2
  echo "  sudo apt-get install -y --no-install-recommends$missing" >&2
  exit 1
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update -q && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "apt-get failed; the packages above are needed" >&2
  exit 1
fi
