#!/bin/bash
# What CI runs behind `make test`: test_ci.sh JOBS
# SPDX-License-Identifier: Apache-2.0
set -eu
cd "$(dirname "$0")/.."
jobs=$1
steps=0
failed=0
step() {
  local name=$1 start=$SECONDS
  steps=$((steps + 1))
  shift
  echo "== $name"
  if "$@"; then echo "== $name: ok ($((SECONDS - start)) s)"; else
    echo "== $name: FAILED"
    failed=$((failed + 1))
  fi
}

# What other builds leave to `make test`: numbers that generated code computes, which sanitizers do not see into, and NVIDIA's assembler's
# word on them, and the build without its toolkit; what neither the other LLVM nor the compiler changes and the sanitized build, by the same compiler, runs.
numbers='^(kernel/(product|attention|types|nbits|winograd|math)|cuda/(attention|products|check|ptxas|grow|models|bare)|random/conv|runtime/conv|models/shapes)$'
same='^(cuda/(ahead|bare|cache|check|faults)|onnx/(bad_input|types)|(aot|api|cli|demo|frontend|hostile|scripts|support)/.*)$'

# `make test` may have done so already (.ci/run).
by_gcc() { grep -q 'COMPILER_ID "GNU"' build/CMakeFiles/*/CMakeCCompiler.cmake && grep -q '^SARD_WERROR:.*=ON$' build/CMakeCache.txt || scripts/build.sh ci-gcc "$jobs"; }

step "gcc, warnings are errors" by_gcc
step "clang, warnings are errors" scripts/build.sh ci-clang "$jobs"
step "it has LLVM 22, the others 19" grep -q "LLVM 22" build-clang/configure.log
step "tests built by clang, with LLVM 22" python3 scripts/check.py build-clang -j "$jobs" -E "$same"
step "address and undefined-behaviour sanitizers: build" scripts/build.sh asan "$jobs"
step "address and undefined-behaviour sanitizers: tests" python3 scripts/check.py build-asan -j "$jobs" -E "$numbers"
step "2000 random graphs, compiled against reference" sh -c "seq 1000 500 2500 | xargs -P $jobs -I{} build/tests/test_random_random 500 {}"
step "2000 random graphs by onnx.reference" sh -c "seq 1000 500 2500 | xargs -P $jobs -I{} python3 tests/random/test_onnx.py 500 {}"
step "fuzzing the importer: build" scripts/build.sh fuzz "$jobs"
step "fuzzing the importer for a minute" scripts/fuzz.sh build-fuzz 30
step "every case and fixture over the null CUDA driver" env SARD_CUDA_DIR=build/tests/null python3 tests/cuda/check_cuda.py
step "the compile cache, killed 50 times" env SARD_KILLS=50 SARD_CACHE=off python3 tests/cli/test_cache.py
step "ahead of time: libraries, other machines" scripts/test_ahead.sh "$jobs"
step "kernels of all models by NVIDIA's assembler" sh -c "python3 scripts/ptxas.py -j $jobs || [ \$? = 77 ]"
step "installation" scripts/test_install.sh
echo "$((steps - failed)) passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
