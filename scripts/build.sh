#!/bin/sh
# Configures (once) and builds a CMake preset: build.sh PRESET JOBS. SARD_WERROR=ON in the environment: warnings are errors.
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."
case $1 in release) dir=build ;; ci-*) dir=build-${1#ci-} ;; *) dir=build-$1 ;; esac
if [ ! -f "$dir/build.ninja" ]; then
  cmake --preset "$1" ${SARD_WERROR:+-DSARD_WERROR=ON} >"$dir.log" 2>&1 || { cat "$dir.log" >&2; exit 1; }
  mv "$dir.log" "$dir/configure.log"
fi
quiet=--quiet
[ -t 1 ] && quiet= # a terminal sees the progress
exec ninja -C "$dir" -j "$2" $quiet
