#!/bin/bash
# What a machine with a GPU and nothing to build with needs for `make test-cuda` and bench/gpu, in one file below 64 MiB:
# build-cuda/kit.tar.xz has the wheel, the official cases, the fixtures, the scripts. There: tar xf kit.tar.xz && kit/run.sh
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."
work=build-cuda kit=build-cuda/kit most=$((64 << 20))
rm -rf "$work"
mkdir -p "$kit/tests" "$kit/models" "$kit/python" "$work/wheel"
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip wheel -q . --no-deps -w "$work/wheel"
(cd "$kit/python" && python3 -m zipfile -e ../../wheel/sard-*.whl . && chmod +x sard/sard)
mkdir -p "$kit/tests/cli" && cp tests/cli/onnx_writer.py "$kit/tests/cli/"
cp -r tests/cuda tests/onnx "$kit/tests/"
cp -r models/fixtures "$kit/models/"
cp -r bench "$kit/"
cp -r "$(PYTHONPATH=tests/onnx python3 -c 'import wheel; print(wheel.cases())')" "$kit/cases"
find "$kit" -name __pycache__ -prune -exec rm -rf {} +
cat >"$kit/run.sh" <<'END'
#!/bin/bash
# run.sh [products] [official] [fixtures] [sanitizer]: tests/cuda/check_cuda.py; run.sh bench …: bench/gpu/compare.py. python3 has
# numpy and onnx, for bench torch, transformers, torchvision and onnxscript too, and onnxruntime for its int4 row.
cd "$(dirname "$0")"
export SARD_BUILD=$PWD/python/sard SARD_CASES=$PWD/cases PYTHONPATH=$PWD/python
[ "${1:-}" != bench ] || { shift; exec python3 bench/gpu/compare.py "$@"; }
exec python3 tests/cuda/check_cuda.py "$@"
END
chmod +x "$kit/run.sh"
tar -C "$work" -cJf "$work/kit.tar.xz" kit
size=$(stat -c %s "$work/kit.tar.xz")
echo "$work/kit.tar.xz: $((size >> 20)) MiB, $(find "$kit/cases" -name model.onnx | wc -l) official cases"
[ "$size" -le "$most" ] || { echo "more than $((most >> 20)) MiB"; exit 1; }
