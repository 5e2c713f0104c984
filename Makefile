# Everything that is done with this project, one word each. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first of these that runs: a command can be there and still not work (a version manager's stand-in).
PYTHON ?= $(firstword $(foreach command,python3.11 python3.12 python3,\
	$(if $(shell $(command) -c 'print(1)' 2>/dev/null),$(command))) python3.11)
VENV ?= .venv
ARGS ?=
JOBS ?= 2
# How tests run in several processes; what stays together is said in tests/conftest.py.
BESIDE := --numprocesses=$(JOBS) --dist=loadscope --no-loadscope-reorder
INSTALLED := $(VENV)/.installed
BENCH := $(VENV)/.installed-bench
AUDIT := $(VENV)/.installed-audit
# Of nannyml only the data sets in its wheel are used: it is fetched, never installed (docs/dependencies.md).
DRIFT_DATA := $(VENV)/data/nannyml-0.13.1-py3-none-any.whl
# Hundreds of processes are started by the tests: none of them should compile our modules anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-slow test-thorough test-long test-nodes conformance fuzz bench bench-scale proof-flips proof-rollouts proof-rollback proof-access proof-listing proof-verdicts proof-shadow proof-soak helm-check proof-drift metrics-files check audit clean

help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(INSTALLED) ## start everything with a real model and show it working (ARGS=--once stops after the table; --drift: a shift, and what comes of it)
	@$(VENV)/bin/sluice demo $(ARGS)

test: $(INSTALLED) ## the whole test suite (ARGS=… goes to pytest)
	@$(VENV)/bin/pytest $(BESIDE) $(ARGS)

test-slow: $(INSTALLED) $(DRIFT_DATA) ## the tests that take minutes: faults under load, rollouts that decide, drift that is found
	@$(VENV)/bin/pytest -m "slow and not alone" --hypothesis-profile=thorough $(BESIDE) $(ARGS) || test $$? = 5 # none of those
	@$(VENV)/bin/pytest -m alone $(ARGS) || test $$? = 5

test-thorough: $(INSTALLED) ## properties on all of their examples; `make test` draws fewer
	@$(VENV)/bin/pytest -m "hypothesis and not slow and not alone" --hypothesis-profile=thorough $(BESIDE) $(ARGS)

test-long: $(INSTALLED) ## small runs of the proofs that do not fit into a change's time: verdicts in simulation, the soak
	@$(VENV)/bin/pytest -m long $(ARGS)

test-nodes: $(INSTALLED) ## the chart's own containers on six Ray nodes of this machine, some of which are lost (takes root; beyond CI's time)
	@$(VENV)/bin/pytest -m nodes $(ARGS)

conformance: $(INSTALLED) ## the protocol's vectors against Triton alone and the gateway, answers side by side (ARGS=… goes to pytest)
	@$(VENV)/bin/python -m tests.conformance $(ARGS)

fuzz: $(INSTALLED) ## a hundred thousand byte streams against the HTTP front (FUZZ_CASES=… for another number)
	@FUZZ_CASES=$${FUZZ_CASES:-100000} $(VENV)/bin/pytest tests/serving/gateway/test_fuzz.py $(ARGS)

bench: $(BENCH) ## the gateway beside Triton alone, Envoy and the obvious Serve graph (ARGS=--quick: fewer rounds; --access: keys; --totals: what is told; --samples: what drift's samples cost; --grpc: gRPC)
	@$(VENV)/bin/python -m loadtests.compare $(ARGS)

bench-scale: $(BENCH) ## what more gateway workers, models and servers cost, beside one of each (ARGS=--quick: two minutes; ARGS=--record: docs/scale.md)
	@$(VENV)/bin/python -m loadtests.scale $(ARGS)

proof-flips: $(INSTALLED) ## a hundred versions replaced under 500 requests/s, every answer judged (ARGS="--flips 10": quick)
	@$(VENV)/bin/python -m loadtests.flips $(ARGS)

proof-rollouts: $(INSTALLED) ## rollouts moved under load: propagation, rollback, flip, a million answers judged
	@$(VENV)/bin/python -m loadtests.rollouts $(ARGS)

proof-rollback: $(INSTALLED) ## versions that turn bad under load, and rollouts left alone with them (ARGS=--quick; ARGS="--only hangs": one scenario)
	@$(VENV)/bin/python -m loadtests.rollback $(ARGS)

proof-access: $(INSTALLED) ## keys taken back and signing keys renewed on three gateways under load (ARGS="--keys 5": quick)
	@$(VENV)/bin/python -m loadtests.access $(ARGS)

proof-listing: $(INSTALLED) ## how long it takes to list ten thousand versions
	@$(VENV)/bin/python -m tests.serving.control.listing

proof-verdicts: $(INSTALLED) ## false rollbacks and times to detect in simulation, beside other systems' rules (ARGS=--quick: minutes)
	@$(VENV)/bin/python -m tests.router.verdicts.proof $(ARGS)

proof-shadow: $(INSTALLED) ## what copies find, in simulation and on real servers, and what they cost clients (ARGS=--quick; ARGS="--only noise": one proof)
	@$(VENV)/bin/python -m loadtests.shadow $(ARGS)

proof-soak: $(INSTALLED) ## ten minutes at 70 % of the capacity with a rollout going back and forth: nothing fails, nothing grows (ARGS="--minutes 2")
	@$(VENV)/bin/python -m loadtests.soak $(ARGS)

helm-check: $(INSTALLED) ## the Helm chart: lint, render, schemas, golden files, agreement with the code (ARGS=… goes to pytest)
	@$(VENV)/bin/pytest -m helm tests/helm $(ARGS)

proof-drift: $(INSTALLED) $(DRIFT_DATA) ## drift on real and simulated data, beside alibi-detect and other tests (ARGS=--quick: minutes)
	@$(VENV)/bin/python -m tests.drift.proof --data $(DRIFT_DATA) $(ARGS)

metrics-files: $(INSTALLED) ## write the table of metrics, the alert rules and the dashboards anew, from serving/metrics
	@$(VENV)/bin/python -m scripts.make_metrics_files

check: $(INSTALLED) ## lint, formatting, types and the walls between the rooms
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

audit: $(AUDIT) ## known vulnerabilities, a bill of materials and licences of what is installed (ARGS=--report for CI)
	@$(VENV)/bin/python -m scripts.audit $(ARGS)

clean: ## remove the virtual environment and all caches (not .sluice, which belongs to `sluice up`)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Only redone when what is installed has changed.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || { \
		echo "Sluice needs Python 3.11 or 3.12, and '$(PYTHON)' is none: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): about 3.5 GB, some minutes the first time."
	@$(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[alibi,dev,mlflow,parquet,tracing]'
	@touch $@

$(BENCH): $(INSTALLED)
	@$(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

$(DRIFT_DATA): $(INSTALLED)
	@$(VENV)/bin/python -m pip download --quiet --quiet --disable-pip-version-check --no-deps --dest $(@D) nannyml==0.13.1
	@touch $@

$(AUDIT): $(INSTALLED)
	@$(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[audit]'
	@touch $@
