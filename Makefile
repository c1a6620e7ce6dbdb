# Two targets matter: `make accept` judges the VMs, `make test` judges the instrument.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
JOBS ?= 2
ARGS ?=
# What `make accept` judges: every suite, or those that this names.
SUITES ?= suites
REPORTS ?= reports

BIN := .venv/bin
READY := .venv/.ready
# Long tests differ in length, so a worker that has nothing left takes over what another
# has not begun. A run that judges nothing is never green.
JUDGE := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --must-judge \
    --report-dir $(REPORTS)
# A part of the suites is not worth fault injection, nor is it the report of a whole run.
WHOLE := $(if $(strip $(ARGS)),,$(filter suites,$(strip $(SUITES))))

.PHONY: help accept accept-full controls test lint format docs schema lock packages \
    test-packages unjudged clean

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12
	@echo
	@echo "ARGS goes to pytest, SUITES are what it judges:"
	@echo "    make accept SUITES='suites/boot suites/store' ARGS=-x"
	@echo "\`harness verdict\` ends with the exit status that make hides."

accept: unjudged packages $(READY) ## judge the VMs; installs missing packages first
	$(JUDGE) $(SUITES) $(ARGS)
ifneq ($(WHOLE),)
	@echo "Now fault injection: the suites must detect one fault for each required criterion"
	$(BIN)/harness controls --fast --jobs $(JOBS) --report-dir $(REPORTS) \
	    --into $(REPORTS)/latest
	@echo "Judging the report again by its recorded facts"
	$(BIN)/harness judge $(REPORTS)/latest
endif

# Whatever fails from here on, the verdict of an earlier run is not that of this one.
unjudged:
	@rm -f $(REPORTS)/verdict.txt
	@$(if $(filter -V% --version,$(ARGS)),echo "ARGS=$(ARGS) judges nothing" >&2; exit 2,:)

accept-full: unjudged packages $(READY) ## the same with the tests that take minutes each
	$(JUDGE) --thorough $(SUITES) $(ARGS)

controls: unjudged packages $(READY) ## run the suites against every fault: each must be caught
	$(BIN)/harness controls --jobs $(JOBS) --report-dir $(REPORTS) $(ARGS)

test: test-packages lint ## check and test the instrument: no VM, under 5 minutes
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
