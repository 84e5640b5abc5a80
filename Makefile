# Entry points of the repository. `make` alone explains them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
COLLECTIONS := .ansible/collections/ansible_collections
PYTHON ?= $(shell tests/tools/find-python)

ENVIRONMENT_INPUTS := requirements-dev.txt requirements-collections.txt requirements.yml .python-version
ENVIRONMENT_STAMP := $(VENV)/.complete-$(shell cat $(ENVIRONMENT_INPUTS) 2>/dev/null | sha256sum | cut -c1-16)
CACHE := $(or $(PLATFORM_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/audioprothese-platform)
AZCOLLECTION := $(CACHE)/azcollection-$(shell cat requirements-azcollection.txt .python-version 2>/dev/null | sha256sum | cut -c1-16)

STARTED := $(shell date +%s)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export ANSIBLE_HOME ?= $(CURDIR)/.ansible/home
unexport PYTHONPATH

.PHONY: help
help: ## Show these lines
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: venv ## Build everything in the lab, from nothing to OpenMRS, and say what was built
	@DEMO_STARTED=$(STARTED) python tests/tools/demo.py

.PHONY: test
test: venv ## Run every part of the tests (PARTS="unit lab" for some); prints the counts
	@python tests/tools/run_tests.py $(PARTS)

.PHONY: soak
soak: venv ## Run the tests that take too long for every change
	@$(BIN)/python -m pytest -m soak tests

.PHONY: lint
lint: venv ## Run every static check
	@tests/tools/lint

.PHONY: bench
bench: venv ## Measure our modules beside their peers (CORPUS=… adds the recorded exchanges)
	@python -m tests.benchmarks $(if $(CORPUS),--corpus '$(CORPUS)')

.PHONY: pin-images
pin-images: venv ## Write the digests of the platform's images into their table (on a machine that reaches the registries)
	@python tests/tools/pin_images.py

.PHONY: dashboards
dashboards: venv ## Write the dashboards of Grafana anew from their sources
	@python -m roles.grafana.dashboards

.PHONY: lab
lab: venv ## Start the lab (simulated Azure, real Kubernetes API) and wait until it is healthy
	@tests/lab/lab up

.PHONY: lab-status
lab-status: venv ## Show the health, the addresses and the request counts of the lab
	@tests/lab/lab status

.PHONY: lab-down
lab-down: venv ## Stop the lab; no process, mount or port stays
	@tests/lab/lab down

.PHONY: clean
clean: ## Stop the lab, remove the environment and everything generated (caches outside the clone stay)
	@if [ -x $(BIN)/python ] && [ -x tests/lab/lab ]; then tests/lab/lab down; fi
	@rm -rf $(VENV) .ansible .lab .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.tar.gz
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environment ------------------------------------------------------------------------------------------------

.PHONY: venv
venv: $(ENVIRONMENT_STAMP) $(COLLECTIONS)/audioprothese/platform
	@:

# Compiled at once: a module never writes bytecode, so each start of one would compile all that it imports again.
$(ENVIRONMENT_STAMP): $(ENVIRONMENT_INPUTS)
	@[ -n "$(PYTHON)" ] # what is missing was said above
	@echo "Preparing $(VENV) (Python $$($(PYTHON) -c 'import platform; print(platform.python_version())'))"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@[ -x $(BIN)/uv ] || awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements-dev.txt > $(VENV)/uv.txt
	@[ -x $(BIN)/uv ] || $(BIN)/python -m pip install --quiet --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.txt
	@$(BIN)/python tests/tools/collections_from_wheel.py requirements-collections.txt $(COLLECTIONS)
	@rm -f $(VENV)/.complete-*
	@touch $@

# Ansible finds the working tree under its collection name.
$(COLLECTIONS)/audioprothese/platform:
	@mkdir -p $(dir $@)
	@ln -sfn ../../../.. $@

# The Python packages of the unmodified azure.azcollection, for the peer tests only: old pinned clients, hence apart.
# Compiling them takes a minute, so clones share it.
.PHONY: venv-azcollection
venv-azcollection: $(AZCOLLECTION)/.complete
	@echo $(AZCOLLECTION)

$(AZCOLLECTION)/.complete: | $(ENVIRONMENT_STAMP)
	@echo "Preparing $(AZCOLLECTION)" >&2
	@$(BIN)/python -m venv --clear --without-pip $(AZCOLLECTION)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(AZCOLLECTION)/bin/python --require-hashes \
		-r requirements-azcollection.txt
	@touch $@

UV_COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --universal --no-header --no-emit-index-url \
	--no-emit-find-links --python-version

.PHONY: requirements
requirements: # Compile the hashed requirements of the development environment anew
	@$(UV_COMPILE) 3.12 requirements-dev.in -o requirements-dev.txt
	@$(UV_COMPILE) 3.12 requirements-azcollection.in -o requirements-azcollection.txt
	@$(UV_COMPILE) 3.12 --no-deps requirements-collections.in -o requirements-collections.txt
	@$(UV_COMPILE) 3.11 images/mariadb-backup/requirements.in -o images/mariadb-backup/requirements.txt
