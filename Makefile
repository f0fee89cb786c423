# Needs Python 3.10 or newer and a package index. It installs and writes only in this folder, except for the builds of
# the stack, which go to ~/.cache/otel-llm. PYTHON=/path/to/python3 selects the interpreter.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-stack test-browser stack programs lint changelog dist bench bench-parsers bench-proxy bench-stack bench-view clean

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python3.10 python)
UV := $(shell command -v uv 2>/dev/null)

IN_PARALLEL := --numprocesses auto --maxprocesses 4 --dist worksteal
# Whose tests share what a module starts, in the order of their names.
IN_FILES := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

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
# The home folder is not writable, so uv has no place for a cache.
export UV_NO_CACHE := 1
endif
endif

# The JavaScript of the page of otel-llm view runs as it is; only the check of its types needs Node.js.
ifneq ($(and $(shell command -v node 2>/dev/null),$(shell command -v npm 2>/dev/null)),)
PAGE_TOOLS := node_modules/.made
CHECK_PAGE = node_modules/.bin/tsc --project jsconfig.json
else
CHECK_PAGE = @echo "Skipped the types of the page's JavaScript: node and npm are not on the PATH."
endif

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile

demo: $(VENV)/.demo ## show healthy and broken tool calls in this terminal
	@$(BIN)/otel-llm demo

test: lint ## run everything that continuous integration checks
	$(BIN)/python -m pytest $(IN_PARALLEL)
	$(BIN)/nox --tags quick -- --quick
	@echo "Only make test-all runs the whole suite with other versions of Python and of the OpenAI SDK, and the frameworks."

test-all: test ## run the same with every supported version, and the frameworks; takes about an hour
	OTEL_LLM_THOROUGH=1 $(BIN)/python -m pytest $(IN_PARALLEL) -m hypothesis
	$(BIN)/nox

test-stack: $(VENV)/.test-stack ## test the pipeline on the real programs; needs Go, Java, Maven, Node.js and Prometheus
	$(BIN)/python -m pytest $(IN_FILES) tests/pipeline

test-browser: $(VENV)/.test-browser ## test the page of otel-llm view in a real browser; needs Chromium
	$(BIN)/python -m pytest $(IN_PARALLEL) tests/browser

stack: $(VENV)/.stack ## start the collector, Jaeger and Prometheus on this machine; needs Go and Prometheus
	@$(BIN)/python -m stack

programs: $(VENV)/.made ## build and download the programs of test-stack, which it does itself where they are missing
	@$(BIN)/python -m stack.prepare

lint: $(VENV)/.test $(PAGE_TOOLS) ## check style and types only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(CHECK_PAGE)

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

bench-stack: $(VENV)/.test-stack ## measure the throughput of the pipeline and the size of spans; needs the same as test-stack
	$(BIN)/python -m benchmarks.pipeline

bench-view: $(VENV)/.test-stack ## measure what the local view costs and how fast it answers
	$(BIN)/python -m benchmarks.view

bench-proxy: $(VENV)/.bench ## measure the proxy beside nginx and LiteLLM's, where these are installed
	$(BIN)/python -m benchmarks.proxy

bench: $(VENV)/.bench ## measure what the instrumentation costs, compared with others
	$(BIN)/python -m benchmarks

bench-parsers: $(VENV)/.bench-parsers ## compare the calls found in text with those of other parsers
	$(BIN)/python -m benchmarks.parsers

clean: ## remove everything that the other targets created in this folder
	rm -rf $(VENV) node_modules .nox build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Try each interpreter by running it: a shim on the PATH may exist and still fail.
$(VENV)/.made:
	@found=; for candidate in $(CANDIDATES); do \
	  if "$$candidate" -c 'import sys, $(WANTED_MODULES); sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; \
	  then found="$$candidate"; break; fi; done; \
	if [ -z "$$found" ]; then \
	  echo "Found no working Python 3.10 or newer with its venv module among: $(CANDIDATES)." \
	    "Install one (on Debian: apt-get install python3 python3-venv) or choose one: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	echo "Creating $(VENV) with $$("$$found" --version 2>&1)."; rm -rf $(VENV); $(MAKE_VENV)
	@touch $@

$(VENV)/.demo: WHAT := --editable '.[demo]'
$(VENV)/.test: WHAT := --editable '.[cli,demo]' --group test --group lint
$(VENV)/.test-stack: WHAT := --editable '.[cli,demo]' --group test --group stack --group grafana
$(VENV)/.test-browser: WHAT := --editable '.[cli,demo]' --group browser
$(VENV)/.stack: WHAT := --group stack
$(VENV)/.dist: WHAT := --group release
$(VENV)/.bench: WHAT := --editable '.[demo]' --group bench
$(VENV)/.bench-parsers: WHAT := --editable '.[demo]' --group parsers
# What is compared, and wants an older OpenAI SDK or cannot be had everywhere. What is missing is left out.
$(VENV)/.bench: PEERS := abstractcore
$(VENV)/.bench-parsers: PEERS := agent-tool-parser llm-router-utils

$(VENV)/.demo $(VENV)/.test $(VENV)/.test-stack $(VENV)/.test-browser $(VENV)/.stack $(VENV)/.dist $(VENV)/.bench $(VENV)/.bench-parsers: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing the dependencies of 'make $(subst .,,$(notdir $@))'."
	@$(INSTALL) $(WHAT)
	@for peer in $(PEERS); do $(INSTALL) --no-deps $$peer || echo "Could not install $$peer."; done
	@touch $@

node_modules/.made: package.json .npmrc
	@echo "Installing TypeScript."
	@npm install --loglevel=error
	@touch $@
