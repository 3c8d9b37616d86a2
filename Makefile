# Needs Python 3.11 or later, pip and make; everything else goes into a virtual environment.
#
#   make demo     install gigafcn, write a demonstration slide, map it, score the map
#   make test     install the developers' set, run the tests
#   make check    format, lint, types, direction of imports
#
# VENV=path uses (or makes) that environment; PYTHON=python3.12 makes it with another Python.

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.gigafcn-installed
DEV_STAMP := $(VENV)/.gigafcn-installed-dev

.PHONY: demo test check format clean

demo: $(RUN_STAMP)
	$(BIN)/gigafcn demo

test: $(DEV_STAMP)
	$(BIN)/python -m pytest -q -n auto --dist worksteal

check: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache gigafcn-demo

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps are newer than what they were installed from, so a second call installs nothing.
$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(RUN_STAMP) $@
