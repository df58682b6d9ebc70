# make demo · make test · make lint · make bench, for C: make c-test · make sanitize · make aarch64, for CUDA: make
# test-cuda (in the simulator, or on a GPU with SIMULATOR=0) · make cuda-kernels (compiles them, without a GPU)
# Needs Python 3.11 or newer, make and a C compiler; everything else comes from PyPI into .venv.
# PYTHON=python3.13 chooses the interpreter, ARGS="-k lstm" goes on to pytest, ISA="v3" limits `make test` to those.

PYTHON ?= python3
VENV ?= .venv
PEERS_VENV ?= .venv-peers
ARGS ?=
ISA ?= all
SIMULATOR ?= 1

python = $(abspath $(VENV))/bin/python
peers_python = $(abspath $(PEERS_VENV))/bin/python
pip_install = -m pip --disable-pip-version-check install --quiet
# The editable install is repeated when what it builds has changed, not when a .py file has.
build_inputs = pyproject.toml CMakeLists.txt $(wildcard cmake/*) csrc/cffi_build.py \
               $(wildcard csrc/*.c csrc/*.h csrc/include/*.h csrc/kernels/*)
c_sources = $(wildcard csrc/*.c csrc/*.h csrc/include/*.h csrc/kernels/* tests/c/*.c tests/c/*.h benchmarks/*.c)

.PHONY: help demo test lint format bench bench-full test-peers test-cuda cuda-kernels c-test sanitize aarch64 wheel clean
.DELETE_ON_ERROR:

help:
	@sed -n '1,4s/^# //p' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed
	$(python) examples/sunspots.py

test: $(VENV)/.test
	PYTHON=$(python) ISA="$(ISA)" .ci/test-each-isa $(ARGS)

# Beside PyTorch, ONNX Runtime, OpenVINO, JAX and Keras, so in their environment.
bench: $(PEERS_VENV)/.installed
	$(peers_python) benchmarks/report.py $(ARGS)

bench-full: $(PEERS_VENV)/.installed
	$(peers_python) benchmarks/report.py --full $(ARGS)

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/clang-format --dry-run --Werror $(c_sources)

format: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i $(c_sources)

test-peers: $(PEERS_VENV)/.installed
	$(peers_python) -m pytest tests/peers $(ARGS)

test-cuda: $(VENV)/.test
	NUMBA_ENABLE_CUDASIM=$(SIMULATOR) $(python) -m pytest -m cuda $(ARGS)

cuda-kernels: $(VENV)/.cuda
	$(python) tools/cuda_kernels.py $(ARGS)

c-test: $(VENV)/.cmake
	PATH="$(abspath $(VENV))/bin:$$PATH" .ci/c-test build/c

sanitize: $(VENV)/.cmake
	PATH="$(abspath $(VENV))/bin:$$PATH" .ci/c-test build/c-address -DFUSEDLSTM_SANITIZE=address,undefined
	PATH="$(abspath $(VENV))/bin:$$PATH" .ci/c-test build/c-thread -DFUSEDLSTM_SANITIZE=thread

aarch64: $(VENV)/.cmake
	PATH="$(abspath $(VENV))/bin:$$PATH" .ci/c-test build/c-aarch64 --toolchain cmake/toolchain-aarch64.cmake

wheel: $(VENV)/.dev
	rm -rf dist
	$(python) -m build --outdir dist .
	$(VENV)/bin/abi3audit --strict --verbose dist/*.whl

clean:
	rm -rf build dist $(VENV) $(PEERS_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

# What is missing is said before anything is made.
$(VENV)/.created:
	@PYTHON="$(PYTHON)" .ci/check-tools
	@echo "Making $(VENV)"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created $(build_inputs)
	@echo "Building and installing fusedlstm into $(VENV)"
	@$(python) $(pip_install) --editable '.[plot]'
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	@$(python) $(pip_install) --editable '.[test]'
	@touch $@

$(VENV)/.cuda: $(VENV)/.test
	@$(python) $(pip_install) --editable '.[cuda]'
	@touch $@

$(VENV)/.cmake: $(VENV)/.created
	@$(python) $(pip_install) 'cmake>=3.26' ninja
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	@$(python) $(pip_install) --editable '.[dev]'
	@touch $@

$(PEERS_VENV)/.created:
	@PYTHON="$(PYTHON)" .ci/check-tools
	@"$(PYTHON)" -m venv --clear $(PEERS_VENV)
	@touch $@

$(PEERS_VENV)/.peers: $(PEERS_VENV)/.created
	@echo "Installing PyTorch and Keras on JAX into $(PEERS_VENV)"
	@$(peers_python) $(pip_install) torch==2.13.0 keras==3.15.1 jax
	@touch $@

$(PEERS_VENV)/.installed: $(PEERS_VENV)/.peers $(build_inputs)
	@$(peers_python) $(pip_install) --editable '.[test,bench]'
	@touch $@
