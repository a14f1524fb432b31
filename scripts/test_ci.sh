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

# What the sanitized build leaves to `make test`: numbers that generated code computes, which sanitizers do not see into, and NVIDIA's
# assembler's word on them, and the build without its toolkit.
numbers='^(kernel/(attention|integer|kernel|math|nbits|product|types|winograd)|cuda/(attention|bare|check|grow|kernels|models|products|ptxas)|random/conv|runtime/(conv|gradient)|models/shapes)$'
# What another LLVM may change: the code that it generates, and nothing of what is around it. Half of the random graphs below are its.
generated='^(cuda|kernel|models|onnx|op|random|runtime)/'
same='^(cuda/(ahead|bare|cache|check|faults|models|ptxas)|models/shapes|onnx/(bad_input|types)|random/(conv|onnx|random))$'

# `make test` may have done so already (.ci/run).
by_gcc() { grep -q 'COMPILER_ID "GNU"' build/CMakeFiles/*/CMakeCCompiler.cmake && grep -q '^SARD_WERROR:.*=ON$' build/CMakeCache.txt || scripts/build.sh ci-gcc "$jobs"; }
# The code generator alone differs: it is loaded at run time.
by_llvm_22() {
  cmake -DSARD_OTHER_LLVM=llvm-config-22 build >build/other.log && ninja -C build -j "$jobs" --quiet sard_codegen_other &&
    ldd build/other/libsard-codegen.so | grep -o 'libLLVM[^ ]*22[^ ]* => [^ ]*'
}
random_graphs() { # random_graphs FIRST: a thousand
  seq "$1" 250 $(($1 + 750)) | xargs -P "$jobs" -I{} build/tests/test_random_random 250 {}
}

step "gcc, warnings are errors" by_gcc
step "clang, warnings are errors; address and undefined-behaviour sanitizers: build" scripts/build.sh asan "$jobs"
step "address and undefined-behaviour sanitizers: tests" python3 scripts/check.py build-asan -j "$jobs" -E "$numbers"
step "fuzzing the importer and the passes" scripts/fuzz.sh build-asan 30
step "LLVM 22: build" by_llvm_22
step "tests of generated code, with LLVM 22" env SARD_CODEGEN_DIR="$PWD/build/other" python3 scripts/check.py build -j "$jobs" -R "$generated" -E "$same"
step "1000 random graphs, compiled against reference" random_graphs 1000
SARD_CODEGEN_DIR=$PWD/build/other step "1000 more, with LLVM 22" random_graphs 2000
step "2000 random graphs by onnx.reference" sh -c "seq 1000 500 2500 | xargs -P $jobs -I{} python3 tests/random/test_onnx.py 500 {}"
step "every case and fixture over the null CUDA driver" env SARD_CUDA_DIR=build/tests/null python3 tests/cuda/check_cuda.py
step "the compile cache, killed 50 times" env SARD_KILLS=50 SARD_CACHE=off python3 tests/cli/test_cache.py
step "ahead of time: libraries, other machines" scripts/test_ahead.sh "$jobs"
step "kernels of all models by NVIDIA's assembler" sh -c "python3 scripts/ptxas.py --turns -j $jobs || [ \$? = 77 ]"
step "installation" scripts/test_install.sh
echo "$((steps - failed)) passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
