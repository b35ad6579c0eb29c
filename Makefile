# Everything runs in .venv, which is made when first needed: Python 3.11+ is all that a machine must have.
# uv installs where it is found, else pip (make setup UV= takes pip). UV_ARGS goes to uv, PIP_ARGS to pip.

PYTHON ?= python3
VENV ?= .venv
UV ?= $(shell command -v uv)
UV_ARGS ?=
PIP_ARGS ?=
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
DOCS_STAMP := $(VENV)/.installed-docs

ifneq ($(UV),)
# The build of torch for the processors of this machine, where the index of such builds answers and has the tested version.
TORCH_ARGS ?= $$(grep '^torch==' constraints.txt | UV_HTTP_RETRIES=0 $(UV) pip compile --quiet --no-deps \
	--python $(BIN)/python --torch-backend=auto - >/dev/null 2>&1 && echo --torch-backend=auto)
NEW = $(UV) venv --quiet --seed --allow-existing --python $(PYTHON) $(VENV)
INSTALL = $(UV) pip install --python $(BIN)/python --constraint constraints.txt $(TORCH_ARGS) $(UV_ARGS)
else
NEW = $(PYTHON) -m venv $(VENV)
# Python compiles a file when it is first imported: most are never.
INSTALL = $(BIN)/python -m pip install --no-compile --constraint constraints.txt $(PIP_ARGS)
endif

.DEFAULT_GOAL := help
.PHONY: help setup train test check format hooks docs clean

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv and install the tested versions of what the commands need

$(STAMP): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	$(NEW)
	$(INSTALL) --editable .
	@# Store the bytecode of what the commands import, also where PYTHONDONTWRITEBYTECODE would compile it at each start.
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c 'import seq2seq.cli.train, seq2seq.cli.hydra_app, wandb, torch._dynamo'
	@touch $@

$(DEV_STAMP): $(STAMP)
	$(INSTALL) --editable '.[dev]'
	@touch $@

train: $(STAMP) ## train the embedded default; options: make train ARGS="attention=local seed=2"
	$(BIN)/python train.py $(ARGS)

test: $(DEV_STAMP) ## run the tests; the long ones: make test ARGS="-m slow"
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal $(ARGS)

check: $(DEV_STAMP) ## lint, format, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_STAMP) ## put the code into the form that check wants
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: $(DEV_STAMP) ## let git check each commit (.pre-commit-config.yaml)
	$(BIN)/pre-commit install

$(DOCS_STAMP): $(STAMP)
	$(INSTALL) --editable '.[docs]'
	@touch $@

docs: $(DOCS_STAMP) ## build the documentation as a site in site/; warnings and broken links are errors
	$(BIN)/python scripts/config_reference.py --check
	$(BIN)/python scripts/metrics_page.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean: ## remove .venv and caches; runs and data stay
	rm -rf $(VENV) build site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
