# The commands of a working day; `make help` lists them. Every one sets up what is missing first.
#   make run FILES="mine.jsonl" ARGS="--workers 2"     make test ARGS="-k cache"     make PYTHON=python3.12 run

SHELL := /bin/bash
.DEFAULT_GOAL := help

FILES ?= examples/*.jsonl
ARGS ?=
PY := .venv/bin/python
UV ?= uv
COMPILE := pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links --quiet
export PYTHON
# The stack and its tests are many short processes: without bytecode each of them would compile everything anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup run test test-fast test-stack test-load chaos chaos-quick chaos-writes soak benchmark bench bench-setup lint format types check docs lock clean compat

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv ready (silent when it is)
	@scripts/setup.sh

run: setup ## answer the example files with the simulator
	@$(PY) -m app.cli.main run $(FILES) $(ARGS)

test: setup ## run the test suite (test-stack, compat and chaos-quick are the rest of it)
	@$(PY) -m pytest $(ARGS)

test-fast: setup ## run the tests that need no server
	@$(PY) -m pytest -m "not slow and not integration and not e2e and not live" $(ARGS)

test-stack: setup ## run the tests that start servers, workers and stacks as users do (half a minute)
	@$(PY) -m pytest -n 2 -m stack tests/stack $(ARGS)

test-load: setup ## hold the engine to its laws under load (many minutes)
	@$(PY) -m pytest -n 0 -s -m load tests/load $(ARGS)

compat: setup ## let other people's clients and test suites judge the API (two minutes)
	@$(PY) -m pytest -n 0 -q -m compat tests/compat $(ARGS)

chaos: setup ## break the real stack in every way of the list (under 15 minutes; ARGS="--chaos-seed 8 -k kill")
	@$(PY) -m pytest -n 0 -m "chaos and not writes" tests/chaos tests/integration/queue $(ARGS)

chaos-writes: setup ## let a process die between every two writes of everything it does (minutes)
	@$(PY) -m pytest -n 0 -m writes tests/chaos $(ARGS)

chaos-quick: setup ## the short form of it (under 3 minutes)
	@$(PY) -m pytest -n 0 -q -m "chaos and quick" tests/chaos --chaos-items 200 $(ARGS)

soak: setup ## 1,000,000 items with a kill -9 every 20 s (ARGS="--soak-items 5000000")
	@$(PY) -m pytest -n 0 -m "chaos and soak" tests/chaos --soak-items 1000000 --soak-every 20 $(ARGS)

benchmark: setup ## time what an adapter costs an item
	@$(PY) -m pytest -n 0 -m benchmark tests/benchmarks --benchmark-enable --benchmark-columns=min,median,max,rounds $(ARGS)

bench: setup ## measure this engine beside others (ARGS="--quick": under two minutes)
	@$(PY) -m app.cli.main bench $(ARGS)

bench-setup: setup ## install those others into .venv-bench
	@scripts/bench-setup.sh

lint: setup ## check style and format
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

format: setup ## put code into the house format
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

types: setup ## check types (mypy, strict)
	@$(PY) -m mypy

check: lint types test ## everything that must hold before a change goes in

docs: setup ## write .env.example, docs/cli.md, docs/reference and the table of docs/providers.md
	@$(PY) -m config.describe > .env.example
	@$(PY) -m app.cli.reference > docs/cli.md
	@$(PY) -m app.reference docs/reference
	@$(PY) -m app.reference --dashboard > deploy/grafana/dashboards/batchwright.json
	@$(PY) -m pytest -q -m ability --write-abilities=docs/providers.md tests/contract/providers tests/unit/providers

# No address of a package index may enter a lock: everybody installs from the index they trust.
lock: ## resolve the dependencies anew (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv; name it by UV=/path/to/uv" >&2; exit 1; }
	@$(UV) $(COMPILE) $(ARGS) --all-extras -o requirements.lock >/dev/null
	@$(UV) $(COMPILE) --extra fast -c requirements.lock -o deploy/requirements-image.lock >/dev/null
	@$(UV) $(subst pyproject.toml,bench/requirements.in,$(COMPILE)) $(ARGS) -o bench/requirements.lock >/dev/null
	@! grep -n '://' requirements.lock deploy/requirements-image.lock bench/requirements.lock

clean: ## remove .venv, .venv-bench and caches; data in .batchwright stays
	@rm -rf .venv .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
