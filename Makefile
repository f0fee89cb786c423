# Needs Python 3.10 or newer and a package index; everything that it installs or writes stays in this folder.
# PYTHON=/path/to/python3 chooses the interpreter.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-stack test-browser stack lint changelog dist bench bench-stack bench-view clean

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python3.10 python)
UV := $(shell command -v uv 2>/dev/null)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
ifeq ($(UV),)
WANTED_MODULES := venv, ensurepip
MAKE_VENV = "$$found" -m venv $(VENV) && $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
else
WANTED_MODULES := venv
MAKE_VENV = uv venv --quiet --no-project --python "$$(command -v "$$found")" $(VENV)
INSTALL := uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
ifeq ($(shell test -w "$$HOME" && echo yes),)
# There is nowhere to keep one.
export UV_NO_CACHE := 1
endif
endif

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile

demo: $(VENV)/.demo ## watch tool calls, good ones and broken ones, on this terminal
	@$(BIN)/otel-llm demo

test: lint ## everything that continuous integration checks
	$(BIN)/python -m pytest
	$(BIN)/nox --tags quick -- --quick
	@echo "Left for make test-all: the whole suite with other versions of Python and of the SDK, and the frameworks."

test-all: test ## the same with every supported version, and the frameworks: an hour or so
	$(BIN)/nox

test-stack: $(VENV)/.test-stack ## the pipeline behind an application, on real programs; needs Go, Java, Maven and Prometheus
	$(BIN)/python -m pytest tests/pipeline

test-browser: $(VENV)/.test-browser ## the page of otel-llm view, in a real browser; needs Chromium
	$(BIN)/python -m pytest tests/browser

stack: $(VENV)/.stack ## start the collector, Jaeger and Prometheus here; needs Go and Prometheus
	@$(BIN)/python -m stack

lint: $(VENV)/.test ## style and types only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

changelog: $(VENV)/.test ## check that this branch has a change-log fragment, and show the next section (BASE=origin/main)
	$(BIN)/towncrier check --compare-with $(or $(BASE),origin/main)
	$(BIN)/towncrier build --draft --version Unreleased

dist: $(VENV)/.dist ## build what a release consists of, check it, and list what it installs (SBOM)
	rm -rf dist build/installed
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m venv --without-pip build/installed
	$(BIN)/python -m pip --python build/installed/bin/python install --quiet --constraint constraints.txt \
	  "$$(echo dist/*.whl)[cli,otlp,timeline,view]"
	@# It takes the version from the project's metadata, where a dynamic one is missing.
	sed "s/^dynamic = .*/version = \"$$(basename dist/*.tar.gz .tar.gz | sed 's/.*-//')\"/" pyproject.toml > build/pyproject.toml
	$(BIN)/cyclonedx-py environment --pyproject build/pyproject.toml --mc-type library --output-reproducible \
	  --output-file build/otel-llm.cdx.json build/installed/bin/python

bench-stack: $(VENV)/.test-stack ## how many spans the pipeline takes, and how large they are; needs what test-stack needs
	$(BIN)/python -m benchmarks.pipeline

bench-view: $(VENV)/.test-stack ## what the local view costs, and how fast it answers
	$(BIN)/python -m benchmarks.view

bench: $(VENV)/.bench ## what the instrumentation costs, beside its peers
	$(BIN)/python -m benchmarks

clean: ## remove all that the others made
	rm -rf $(VENV) .nox build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An interpreter is tried by running it: on a PATH there may be shims that only fail.
$(VENV)/.made:
	@found=; for candidate in $(CANDIDATES); do \
	  if "$$candidate" -c 'import sys, $(WANTED_MODULES); sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; \
	  then found="$$candidate"; break; fi; done; \
	if [ -z "$$found" ]; then \
	  echo "No working Python 3.10 or newer, with its venv module, among: $(CANDIDATES)." \
	    "Install one (on Debian: apt-get install python3 python3-venv) or name one: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$found" --version 2>&1)."; rm -rf $(VENV); $(MAKE_VENV)
	@touch $@

$(VENV)/.demo: WHAT := --editable '.[demo]'
$(VENV)/.test: WHAT := --editable '.[cli,demo]' --group test --group lint
$(VENV)/.test-stack: WHAT := --editable '.[cli,demo]' --group test --group stack --group grafana
$(VENV)/.test-browser: WHAT := --editable '.[cli,demo]' --group browser
$(VENV)/.stack: WHAT := --group stack
$(VENV)/.dist: WHAT := --group release
$(VENV)/.bench: WHAT := --editable '.[demo]' --group bench

$(VENV)/.demo $(VENV)/.test $(VENV)/.test-stack $(VENV)/.test-browser $(VENV)/.stack $(VENV)/.dist $(VENV)/.bench: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing what 'make $(subst .,,$(notdir $@))' needs."
	@$(INSTALL) $(WHAT)
	@$(if $(findstring bench,$@),$(INSTALL) --no-deps abstractcore)
	@touch $@
