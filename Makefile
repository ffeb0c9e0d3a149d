# Two commands are all a newcomer needs: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ROOMS := runtime resources cli

.PHONY: help demo test kopf outside clients cover lint types check bench soak fuzz sim dev clean

help:                ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.run   ## run samples/hello: a small web service, three replicas and a Service
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/reconcile up samples/hello

test: $(VENV)/.dev   ## the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(PYTEST)

cover: $(VENV)/.dev  ## the test suite in one process, with the coverage of each module
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(PYTEST)

kopf: $(VENV)/.dev   ## kopf's own examples, all seventeen, with only their import changed
	RECONCILE_KOPF_EXAMPLES=all $(BIN)/python -m pytest -q tests/kopf

lint: $(VENV)/.dev   ## ruff, and the contracts between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev  ## mypy --strict
	$(BIN)/mypy

check: lint types test ## all of the above, as before every commit

bench: $(VENV)/.dev  ## the figures of tests/bench, as medians and ratios
	$(BIN)/python -m tests.bench

soak: $(VENV)/.dev   ## the long faults: a hundred kills of the control plane, and more
	$(BIN)/python -m pytest tests/faults --soak -q

fuzz: $(VENV)/.dev   ## REQUESTS=200000 odd requests to the API from SEED=1
	$(BIN)/python -m pytest tests/fuzz --fuzz-requests $(or $(REQUESTS),200000) --fuzz-seed $(or $(SEED),1) -q

sim: $(VENV)/.dev    ## the built-in controllers under SEEDS=200 plans of each pattern; thousands by night
	$(BIN)/python -m pytest -n 2 tests/simulation --sim-seeds $(or $(SEEDS),200) -q

outside: $(VENV)/.dev ## the own test suites of etcd clients, against ours and a real etcd; ARGS=--short takes seconds
	$(BIN)/python -m tests.outside $(ARGS)

clients: $(VENV)/.dev ## the own test suites of Kubernetes clients, and kopf's, against ours; ARGS="--short kr8s" for less
	$(BIN)/python -m tests.clients $(ARGS)

dev: $(VENV)/.dev    ## editable install with all tools, and links so that static tools see reconcile.runtime & co.

clean:               ## remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info $(addprefix reconcile/,$(ROOMS))

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "reconcile needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'

$(VENV)/.run: $(VENV)/bin/python pyproject.toml setup.py
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml setup.py
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q -e . --group dev
	@for room in $(ROOMS); do ln -sfn ../$$room reconcile/$$room; done
	@touch $@ $(VENV)/.run
