# Everything a newcomer types. Python 3.11 or newer and make are all that must be on the machine.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
DIR ?= tests/situations

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-reset check test test-whole test-parts situations convergence mutate prove bench lock schemas test-compose clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Create the virtual environment from the lock file

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what requirements.lock names (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## Start everything on this machine and follow one webhook to its row (ARGS=--once: then stop)
	@$(BIN)/intoaec demo $(ARGS)

demo-reset: setup ## Forget what the demo has kept
	@$(BIN)/intoaec demo --reset

check: setup ## Lint, types, import rules and the quick unit tests: under a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest tests/unit -m "not prove and not slow" $(ARGS)

test: setup ## The test suite with a real broker, database and simulator: at most 12 minutes
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory --jobs=2 test-whole test-parts

# The two halves of the suite run side by side, each with a broker and a database of its own; their dots mix.
test-whole: setup
	$(BIN)/python -m pytest tests/unit tests/acceptance -m "not prove" $(ARGS)$(if $(ARGS), || [ $$? -eq 5 ])

test-parts: setup
	$(BIN)/python -m pytest tests/conformance tests/integration -m "not prove" $(ARGS)$(if $(ARGS), || [ $$? -eq 5 ])

situations: setup ## Play accounting situations as data through the rules (DIR=folder: yours; docs/situations.md)
	$(BIN)/python -m tests.situation "$(DIR)"

mutate: setup ## Make every pure rule wrong in one place and see whether a test notices (ARGS="payments placement")
	$(BIN)/python -m tests.mutation $(ARGS)

convergence: setup ## Live whole lives in a storm and compare the read tables with the truth (ARGS="--seed 7")
	$(BIN)/python -m tests.convergence $(ARGS)

prove: setup ## The long proofs: three brokers, many kills, full counts (ARGS="-k name" runs one)
	$(BIN)/python -m pytest -m prove $(ARGS)

test-compose: setup ## Bring docker-compose.yml up for real and test it (needs a Docker engine, or root to start one)
	$(BIN)/python -m tests.compose.bring_up $(ARGS)

bench: setup ## The benchmarks: a table of ratios measured in one run
	$(BIN)/python -m benchmarks $(ARGS)

schemas: setup ## Write the contracts of new message versions
	$(BIN)/python -m schemas.codec

lock: setup ## Resolve the dependencies again and write the lock file
	$(BIN)/uv pip compile pyproject.toml --all-extras --generate-hashes --universal --python-version 3.11 \
		--no-emit-index-url --quiet --output-file requirements.lock --custom-compile-command "make lock"

clean: ## Remove the virtual environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
