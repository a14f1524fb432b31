#!/bin/sh
# Installs into a scratch prefix, then builds and runs the example through pkg-config and through the CMake package.
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."
root=$PWD
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cmake --install build --prefix "$tmp/usr" >/dev/null
lib=$(dirname "$(find "$tmp/usr" -name 'libsard.so' | head -n 1)")
model=models/fixtures/encoder/ts17/model.onnx

PKG_CONFIG_PATH=$lib/pkgconfig
export PKG_CONFIG_PATH LD_LIBRARY_PATH="$lib"
cc -std=c17 -Wall -Wextra -Werror "$root/examples/embed.c" $(pkg-config --cflags --libs sard) -o "$tmp/by-pkg-config"
"$tmp/by-pkg-config" "$model" >"$tmp/one"

mkdir "$tmp/src"
cp examples/embed.c "$tmp/src"
cat >"$tmp/src/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(example C)
find_package(sard REQUIRED)
add_executable(embed embed.c)
target_link_libraries(embed PRIVATE sard::sard)
END
cmake -S "$tmp/src" -B "$tmp/build" -G Ninja -DCMAKE_PREFIX_PATH="$tmp/usr" >/dev/null
ninja -C "$tmp/build" --quiet
"$tmp/build/embed" "$model" >"$tmp/two"
cmp "$tmp/one" "$tmp/two"
"$tmp/usr/bin/sard" inspect "$model" >/dev/null
"$tmp/usr/bin/sard" run "$model" --input tokens=random:7x2:0..9 --output "$tmp/outputs.npz" >/dev/null
# What is loaded on need lies beside the library.
for built in build/libsard-*.so; do
  [ -f "$lib/${built##*/}" ] || { echo "${built##*/} is not installed" >&2; exit 1; }
done
# Nothing but the public API is visible.
if nm -D --defined-only "$lib/libsard.so" | awk '{print $3}' | grep -v '^sard_'; then
  echo "symbols above are visible but not part of the API" >&2
  exit 1
fi
