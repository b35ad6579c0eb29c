# Everything runs in .venv, which is made when first needed: Python 3.11+ is all that a machine must have.

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs

.DEFAULT_GOAL := help
.PHONY: help setup train test check format hooks docs clean

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv and install the tested versions (PIP_ARGS goes to pip)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt $(PIP_ARGS) --editable '.[dev]'
	@touch $@

train: $(STAMP) ## train the embedded default; options: make train ARGS="attention=local seed=2"
	$(BIN)/python train.py $(ARGS)

test: $(STAMP) ## run the tests; the long ones: make test ARGS="-m slow"
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal $(ARGS)

check: $(STAMP) ## lint, format, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## put the code into the form that check wants
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: $(STAMP) ## let git check each commit (.pre-commit-config.yaml)
	$(BIN)/pre-commit install

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --constraint constraints.txt $(PIP_ARGS) --editable '.[docs]'
	@touch $@

docs: $(DOCS_STAMP) ## build the documentation as a site in site/; warnings and broken links are errors
	$(BIN)/python scripts/config_reference.py --check
	$(BIN)/python scripts/metrics_page.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean: ## remove .venv and caches; runs and data stay
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
