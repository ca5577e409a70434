# Two commands matter: `make demo` (set everything up and watch it work) and `make test` (everything).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo check unit test model mutants stack chaos bench docs lock clean

help:            ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

setup: $(READY)  ## make the virtual environment from the locked packages

$(READY): requirements/dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("cdc-sync needs Python 3.11 or newer: make PYTHON=python3.11 …" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)   ## watch it work, with nothing else installed (ONCE=1 checks itself and ends)
	@$(BIN)/cdc-sync demo $(if $(filter-out 0,$(ONCE)),--once)

check: $(READY)  ## everything that runs nothing: style, types, import contracts, generated reference
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy cdc_sync tests tools bench
	$(BIN)/lint-imports
	$(BIN)/python -m cdc_sync.reference --check

unit: $(READY)   ## the quick tests: no Kafka, no PostgreSQL, no network but loopback
	$(BIN)/python -m pytest -ra --ignore=tests/e2e

test: check      ## everything, also end to end with the real Kafka, Debezium and PostgreSQL
	$(BIN)/python -m pytest -ra --durations=10

model: $(READY)  ## the core in simulated worlds: SEEDS=100000 of them, or the story of one, SEED=4711
	$(BIN)/python -m tests.model $(if $(SEED),--seed $(SEED),$(if $(SEEDS),--seeds $(SEEDS)))

mutants: $(READY) ## bugs put into a copy of the package, and the tests that notice each (half an hour)
	$(BIN)/python -m tools.mutants

stack: $(READY)  ## the real Kafka, Connect with Debezium, and PostgreSQL, until Ctrl-C
	$(BIN)/python -m tools.stack up

chaos: $(READY)  ## a campaign of faults against replicas (SEED=17 MINUTES=30; a random seed, 5 minutes)
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) --minutes $(or $(MINUTES),5)

bench: $(READY)  ## the daemon beside a bare loop and beside Typesense's raw import, five runs each
	$(BIN)/python -m bench
	$(BIN)/python -m bench.dispatch
	$(BIN)/python -m bench.webhooks
	$(BIN)/python -m bench.fan_out

docs: $(READY)   ## write what is generated: docs/configuration.md, docs/metrics.md, schemas/
	$(BIN)/python -m cdc_sync.reference

lock: $(READY)   ## write the lock files anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements/runtime.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --all-extras --group dev -o requirements/dev.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -c requirements/dev.lock pyproject.toml --all-extras -o requirements/dispatcher.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -c requirements/dev.lock --group pyproject.toml:build -o requirements/build.lock

clean:           ## remove the virtual environment and what the tools left
	rm -rf $(VENV) .stack .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
