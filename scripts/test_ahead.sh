#!/bin/bash
# Ahead-of-time output at length: test_ahead.sh JOBS. All fixtures and official cases in compiled libraries; all fixtures as programs for
# x86-64, AArch64 and RISC-V, the latter under qemu; a CPU that lacks what the code needs. Needs gcc-aarch64-linux-gnu,
# gcc-riscv64-linux-gnu (with libc6-dev-…-cross) and qemu-user, which scripts/setup.sh ci installs.
# SPDX-License-Identifier: Apache-2.0
set -u
cd "$(dirname "$0")/.."
jobs=$1
sard=build/sard
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

# Compilers that were installed after the build was configured.
for machine in aarch64 riscv64; do
  command -v "$machine-linux-gnu-gcc" >/dev/null && [ ! -f "build/libsard-start-$machine.a" ] && reconfigure=1
done
[ "${reconfigure:-}" ] && cmake build >"$tmp/log" && ninja -C build --quiet

check() { # check NAME COMMAND…: passes when the command does, and prints its last line
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$tmp/log" 2>&1; then
    passed=$((passed + 1))
    echo "ok      $name: $(tail -n 1 "$tmp/log") ($((SECONDS - start)) s)"
  else
    failed=$((failed + 1))
    echo "FAILED  $name"
    grep -v '^passed' "$tmp/log" | tail -n 20
  fi
}

cross() { # cross MACHINE FIXTURE…
  local machine=$1
  shift
  if ! command -v "$machine-linux-gnu-gcc" >/dev/null || ! command -v "qemu-$machine" >/dev/null ||
    [ ! -f "build/libsard-start-$machine.a" ]; then
    failed=$((failed + 1))
    echo "FAILED  fixtures on $machine: they cannot run without $machine-linux-gnu-gcc, qemu-$machine and build/libsard-start-$machine.a"
    echo "        (scripts/setup.sh ci installs the first two; then configure and build again)"
    return
  fi
  check "fixtures on $machine, under qemu" "$sard" test "$@" -q -j "$jobs" --timeout 300 --ahead exe \
    --target "$machine-linux-gnu" --runner "qemu-$machine -L /usr/$machine-linux-gnu"
}

# A program for x86-64-v3 says on a lesser CPU that it cannot run, and one with the lesser level runs there.
lesser_cpu() {
  "$sard" compile models/fixtures/encoder/ts17/model.onnx --exe "$tmp/v3" --cpu x86-64-v3 || return 1
  "$sard" compile models/fixtures/encoder/ts17/model.onnx --exe "$tmp/both" --cpu x86-64,x86-64-v3 || return 1
  qemu-x86_64 -cpu qemu64 "$tmp/v3" tokens=zeros:7x2 2>"$tmp/said" && return 1
  grep -q 'compiled for x86-64-v3, which this CPU (x86-64) does not have' "$tmp/said" || return 1
  qemu-x86_64 -cpu qemu64 "$tmp/both" tokens=zeros:7x2
}

check "fixtures in libraries" "$sard" test models/fixtures -q -j "$jobs" --timeout 300 --ahead so
check "fixtures as .sard files" "$sard" test models/fixtures -q -j "$jobs" --timeout 300 --ahead sard
check "fixtures as programs for x86-64" "$sard" test models/fixtures -q -j "$jobs" --timeout 300 --ahead exe --target x86_64-linux-gnu
check "official cases in libraries" env SARD_AHEAD=so python3 tests/onnx/test_official.py
cross aarch64 models/fixtures
cross riscv64 models/fixtures
check "a lesser CPU" lesser_cpu
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
