# The commands of the project. A machine needs Python 3.11 or newer and make; the rest is installed
# into .venvs/, which git ignores. `make` alone prints what there is.

PYTHON ?= $(firstword $(foreach p,python3.11 python3 python,$(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
VENVS := .venvs
UV := $(VENVS)/bootstrap/bin/uv
CORE := $(VENVS)/core/bin
PREFECT := $(VENVS)/prefect/bin
AIRFLOW := $(VENVS)/airflow/bin
ENVS := core prefect airflow

# Airflow imports 3,500 modules per process: without bytecode each start compiles them all again.
unexport PYTHONDONTWRITEBYTECODE
export UV_COMPILE_BYTECODE := 1
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: envs ## Show one store shared by Python, Prefect and Airflow
	FLOWBLOB_DEMO_PREFECT_PYTHON=$(abspath $(PREFECT)/python) \
	FLOWBLOB_DEMO_AIRFLOW_PYTHON=$(abspath $(AIRFLOW)/python) \
	$(CORE)/python examples/demo.py

.PHONY: test
test: envs ## Run every check; SESSIONS="lint core" runs some of them
	@$(CORE)/python tools/check.py $(SESSIONS)

.PHONY: lint
lint: $(VENVS)/core/.ready ## Check style, layers and spelling
	@$(CORE)/nox --session lint

.PHONY: format
format: $(VENVS)/core/.ready ## Rewrite the code as the style asks
	$(CORE)/ruff check --fix-only --quiet .
	$(CORE)/ruff format .

.PHONY: bench
bench: $(VENVS)/bench/.ready $(VENVS)/prefect/.ready ## Measure beside peers; BENCH="hit keys" runs some
	@$(VENVS)/bench/bin/python benchmarks/run.py $(BENCH)

.PHONY: docs
docs: $(VENVS)/core/.ready ## Build the documentation into site/
	@$(CORE)/nox --session docs

.PHONY: envs
envs: $(ENVS:%=$(VENVS)/%/.ready) ## Install the three environments; nothing to do when up to date

.PHONY: lock
lock: $(UV) ## Choose new versions for requirements/
	$(call compile,core) --extra all --group test --group data --group types --group server-test --group lint --group docs
	$(call compile,prefect) --extra prefect $(HOSTED)
	$(call compile,airflow) --extra airflow $(HOSTED)
	$(call resolve,benchmarks/requirements.txt) benchmarks/requirements.in

.PHONY: clean
clean: ## Remove the environments and everything that tools made
	rm -rf $(VENVS) .nox .reports .mypy_cache .ruff_cache .pytest_cache .hypothesis site dist .coverage*

# What each host's environment gets beside the host: every engine, since both hosts are tested on them.
HOSTED := --extra mongo --extra postgres --extra s3 --extra server --extra tables --group test --group data --group types
resolve = $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --output-file $(1) pyproject.toml
compile = $(call resolve,requirements/$(1).txt)

$(UV):
	@test -n "$(PYTHON)" || { echo "flowblob needs Python 3.11 or newer: none was found on PATH" >&2; exit 1; }
	$(PYTHON) -m venv $(VENVS)/bootstrap
	$(VENVS)/bootstrap/bin/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

# An environment is exactly its requirements file plus this project, editable.
define environment
@test -x $(@D)/bin/python || $(UV) venv --quiet --python $(VENVS)/bootstrap/bin/python $(@D)
$(UV) pip sync --quiet --python $(@D)/bin/python $<
$(UV) pip install --quiet --no-deps --python $(@D)/bin/python --editable .
@touch $@
endef

$(VENVS)/%/.ready: requirements/%.txt pyproject.toml | $(UV)
	$(environment)

$(VENVS)/bench/.ready: benchmarks/requirements.txt pyproject.toml | $(UV)
	$(environment)
