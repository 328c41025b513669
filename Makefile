# Two commands do all the set-up: `make run` and `make test`. Both work in .venv, made on demand.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OUT    := out/quickstart

.PHONY: run test slow lint types check bench clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

$(VENV)/.extras: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev,ray,search]'
	@touch $@

## Install, then run and draw the quickstart.
run: $(VENV)/.installed
	@$(BIN)/hermes run examples/quickstart.hms --out $(OUT) --force
	@$(BIN)/hermes draw examples/quickstart.hms --view hardware  -o $(OUT)/hardware.svg
	@$(BIN)/hermes draw examples/quickstart.hms --view placement -o $(OUT)/placement.svg
	@$(BIN)/hermes draw examples/quickstart.hms --view pipeline  -o $(OUT)/pipeline.svg
	@echo "Results and drawings: $(OUT)/"

## Everything that runs in under eight minutes on two cores.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 -m 'not slow'

## What only CI runs: wheels, clean environments, a cluster.
slow: $(VENV)/.extras
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

check: lint types test

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
