# `make demo` and `make test` work on a fresh checkout: they make .venv first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
METADATA := setup.py clsgan/_version.py

.PHONY: demo test lint types imports wheel all-checks clean

demo: $(VENV)/installed
	$(BIN)/clsgan train digits

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -q

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy --strict clsgan

imports: $(VENV)/installed-dev
	$(BIN)/lint-imports

wheel: $(VENV)/installed
	rm -rf build dist
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

all-checks: lint types imports test

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/installed: $(METADATA)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install -e '.[dev]'
	touch $@
