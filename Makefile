# Sard's commands. CMake does the work (CMakePresets.json); this file gives it short names.
# SPDX-License-Identifier: Apache-2.0
.DELETE_ON_ERROR:
.PHONY: all demo bench test test-ci test-cuda test-long test-python asan fmt bless install clean setup setup-ci
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local

all: setup
	@scripts/build.sh release $(JOBS)

demo: all
	@demo/run.sh build

# FMA peak and memory bandwidth of this machine, then products and attention as shares of them.
bench: all
	@cmake --build build --target bench
	@build/bench

# Everything that must hold for a change to land, in minutes.
test: all
	@python3 scripts/check.py build -j $(JOBS)

# The rest of what CI runs: clang with warnings as errors and with sanitizers, fuzzing, the other LLVM, other machines, installation.
test-ci: setup-ci all
	@scripts/test_ci.sh $(JOBS)

# On a machine with an NVIDIA GPU: a list of products and convolutions, every official case and every fixture on it, some under
# compute-sanitizer. Without one it says so and fails; SARD_CUDA_DIR=build/tests/null tries it over the null driver, as test-ci does. docs/benchmarks-gpu.md has more.
test-cuda: all
	@SARD_BUILD=$(CURDIR)/build python3 tests/cuda/check_cuda.py

# By hand: what takes long. 20000 random graphs, compiled against reference and by onnx.reference (about half an hour of one core),
# and a thousand kills at random moments while the compile cache is written.
test-long: all
	@seq 1 500 19501 | xargs -P $(JOBS) -I{} build/tests/test_random_random 500 {}
	@python3 tests/random/test_onnx.py 20000 1
	@SARD_BUILD=$(CURDIR)/build SARD_KILLS=1000 SARD_CACHE=off python3 tests/cli/test_cache.py

# The Python package in a fresh virtual environment, and programs written for onnxruntime over it (brings PyTorch, 4 GB).
test-python: setup
	@scripts/test_python.sh

asan: setup-ci
	@scripts/build.sh asan $(JOBS)
	@python3 scripts/check.py build-asan -j $(JOBS)

fmt: setup-ci
	@git ls-files '*.c' '*.h' | xargs clang-format -i

# Rewrites the golden texts of the tests from what the code does now; review the diff.
bless: all
	@SARD_BLESS=1 ctest --test-dir build --output-on-failure -R '^(ir|cli|onnx)/'
	@git --no-pager diff --stat -- tests

install: all
	@cmake --install build --prefix "$(PREFIX)"

setup:
	@scripts/setup.sh build

setup-ci:
	@scripts/setup.sh ci

clean:
	rm -rf build build-*
