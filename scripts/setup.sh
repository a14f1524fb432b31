#!/bin/sh
# Installs what a build needs (argument `build`), or that and what CI (`ci`) or `make test-python` (`clients`) needs, on Debian.
# As root it installs; otherwise it prints the one line to run and stops. Does nothing, quickly, when everything is there.
# SPDX-License-Identifier: Apache-2.0
set -eu

build="cmake ninja-build pkg-config gcc g++ libc6-dev protobuf-c-compiler libprotobuf-c-dev libjansson-dev libutf8proc-dev
  libzip-dev libcmocka-dev python3-pip python3-dev llvm-19-dev libpcre2-dev libturbojpeg0-dev libpng-dev libwebp-dev libtiff-dev
  libopenjp2-7-dev"
ci="clang libclang-rt-14-dev clang-format llvm-22-dev qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-riscv64-linux-gnu
  libc6-dev-riscv64-cross"

clients="espeak-ng"

want=$build
case ${1:-build} in ci) want="$build $ci" ;; clients) want="$build $clients" ;; esac

missing=
for p in $want; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $p"
done
# A compiler or pip that is there without its package is as good, and so are headers of Python's.
have() { missing=$(printf '%s' "$missing" | sed "s/ $1\( \|\$\)/\1/"); }
for pair in gcc:cc g++:c++ cmake:cmake clang:clang python3-pip:pip3; do
  command -v "${pair##*:}" >/dev/null 2>&1 && have "${pair%%:*}"
done
python3 -c 'import os, sysconfig; os.stat(sysconfig.get_paths()["include"] + "/Python.h")' 2>/dev/null && have python3-dev
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
