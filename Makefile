# Two targets matter: `make accept` judges the VMs, `make test` judges the instrument.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
JOBS ?= 2
ARGS ?=

BIN := .venv/bin
READY := .venv/.ready
# Suites named in ARGS replace all of them. Long tests differ in length, so a worker that
# has nothing left takes over what another has not begun.
SUITES := $(if $(findstring suites,$(ARGS)),,suites)
JUDGE := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.PHONY: help accept accept-full controls test lint format docs schema lock packages \
    test-packages clean

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12
	@echo
	@echo "ARGS goes to pytest: make accept ARGS='suites/boot -x'"

accept: packages $(READY) ## judge the VMs; installs missing packages first
	$(JUDGE) $(SUITES) $(ARGS)
ifeq ($(ARGS),)
	@echo "Now fault injection: the suites must detect one fault for each required criterion"
	$(BIN)/harness controls --fast --jobs $(JOBS) --into reports/latest
	@echo "Judging the report again by its recorded facts"
	$(BIN)/harness judge reports/latest
endif

accept-full: packages $(READY) ## the same with the tests that take minutes each
	$(JUDGE) --thorough $(SUITES) $(ARGS)

controls: packages $(READY) ## run the suites against every fault: each must be caught
	$(BIN)/harness controls --jobs $(JOBS) $(ARGS)

test: test-packages lint ## check and test the instrument: no VM, under 3 minutes
	$(BIN)/python -m pytest -n $(JOBS) tests $(ARGS)

lint: $(READY) ## format, lint, types and layers
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache >.venv/layers.txt || { cat .venv/layers.txt; exit 1; }

format: $(READY) ## lay the code out
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(READY) ## renew the generated parts of the docs, and results.schema.json
	$(BIN)/python -m tests.gates.generated

schema: $(READY) ## renew the JSON Schema of fleet.toml
	$(BIN)/harness spec schema >.venv/fleet.schema.json
	mv .venv/fleet.schema.json harness/fleet/fleet.schema.json

lock: ## renew requirements.lock from pyproject.toml
	.ci/lock $(PYTHON)

packages:
	@.ci/packages

test-packages:
	@.ci/packages --tests

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "This needs Python 3.11 or later with venv: make PYTHON=python3.12 …, or" \
	      "run .ci/packages to install it"; exit 2; }
	@echo "Making .venv from requirements.lock"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps \
	    --requirement requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps \
	    --no-build-isolation --editable .
	@touch $@

clean: ## remove .venv and the tools' caches; `harness clean` removes images
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find . -name __pycache__ -prune -exec rm -rf {} +
