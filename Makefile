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

.PHONY: compat-quick help setup run test test-fast test-quick test-parallel test-live test-stack test-load chaos chaos-quick chaos-writes soak benchmark benchmark-quick bench bench-setup profile cache-stats build rebuild pull-models compose-up compose-down compose-ps compose-logs lint format types check docs lock clean compat

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv ready (silent when it is)
	@scripts/setup.sh

run: setup ## answer the example files with the simulator
	@$(PY) -m app.cli.main run $(FILES) $(ARGS)

test: setup ## run the test suite (test-stack, compat and chaos-quick are the rest of it)
	@$(PY) -m pytest $(ARGS)

test-fast: setup ## run the tests that need no server
	@$(PY) -m pytest -m "not slow and not integration and not e2e and not live" $(ARGS)

test-quick: setup ## run the tests of what decides (under 20 seconds)
	@$(PY) -m pytest -n 2 -m "fast and not stack" tests/unit $(ARGS)

test-parallel: setup ## run the suite in one process a core
	@$(PY) -m pytest -n auto $(ARGS)

test-live: setup ## call every provider whose key is set, once and cheaply; each call is paid
	@$(PY) -m pytest -n 0 -m "compat and live" tests/compat/test_live.py $(ARGS)

test-stack: setup ## run the tests that start servers, workers and stacks as users do, or wait for limits and leases (a minute)
	@$(PY) -m pytest -n 2 -m stack tests/stack tests/integration $(ARGS)

test-load: setup ## hold the engine to its laws under load (many minutes)
	@$(PY) -m pytest -n 0 -s -m load tests/load $(ARGS)

compat: setup ## let other people's clients and test suites judge the API, and follow every page (four minutes)
	@$(PY) -m pytest -n 2 -q -m "compat and not live" tests/compat $(ARGS)

compat-quick: setup ## the same without the how-to pages, the image's layers and profiles (two and a half minutes)
	@$(PY) -m pytest -n 2 -q -m "compat and not live and not slow" tests/compat $(ARGS)

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

benchmark-quick: setup ## measure this engine beside others, in under two minutes
	@$(PY) -m app.cli.main bench --quick $(ARGS)

profile: setup ## say where the time of an item goes (ARGS="--cpu")
	@$(PY) -m app.cli.main profile $(ARGS)

cache-stats: setup ## say what the cache of the running stack saves
	@$(PY) -m app.cli.main cache stats $(ARGS)

build: setup ## make the docker image (ARGS="--target all")
	@$(PY) -m app.cli.main build $(ARGS)

rebuild: setup ## make it with the newest base image
	@$(PY) -m app.cli.main rebuild $(ARGS)

pull-models: setup ## fetch into Ollama what routes prefer
	@$(PY) -m app.cli.main pull-models $(ARGS)

# Everything in containers: docs/docker.md.
compose-up: ## start all of it by docker compose, and wait until it is healthy
	@docker compose up --build --detach --wait $(ARGS)

compose-down: ## stop it; its data stays
	@docker compose down $(ARGS)

compose-ps: ## list its containers
	@docker compose ps $(ARGS)

compose-logs: ## follow its logs
	@docker compose logs --follow --tail 100 $(ARGS)

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

# Without `audio`: nothing imports it yet, and it would be half a gigabyte in everybody's .venv.
EXTRAS := fast embedded tables dev

# No address of a package index may enter a lock: everybody installs from the index they trust.
lock: ## resolve the dependencies anew (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv; name it by UV=/path/to/uv" >&2; exit 1; }
	@$(UV) $(COMPILE) $(ARGS) $(EXTRAS:%=--extra %) -o requirements.lock >/dev/null
	@$(UV) $(COMPILE) --extra fast -c requirements.lock -o deploy/requirements-image.lock >/dev/null
	@$(UV) $(COMPILE) --extra fast --extra audio -c deploy/requirements-image.lock -o deploy/requirements-audio.lock >/dev/null
	@$(UV) $(subst pyproject.toml,bench/requirements.in,$(COMPILE)) $(ARGS) -o bench/requirements.lock >/dev/null
	@! grep -n '://' requirements.lock deploy/requirements-*.lock bench/requirements.lock

clean: ## remove .venv, .venv-bench and caches; data in .batchwright stays
	@rm -rf .venv .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
