# One command each: `make demo` shows what adwright does, `make test` is the whole check.
# Needs Python 3.11 or newer; everything else is installed into .venv by pip, from whatever
# package index your pip is configured for.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The processes of one test run share the machine; more threads in each only slow it down.
TEST_ENV := OMP_NUM_THREADS=1
# What one process has compiled, the next one need not: also where the machine says otherwise.
export PYTHONDONTWRITEBYTECODE :=
WORKERS ?= 2
# Scripts only: what begins with an underscore or lies in common/ and peers/ serves them.
BENCHMARKS := $(filter-out benchmarks/common/% benchmarks/peers/% %/kit.py,$(wildcard benchmarks/*/[a-z]*.py))

.DEFAULT_GOAL := help
.PHONY: help demo test quick browser lint docs bench lock sbom install-locked clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "make bench-NAME   run the benchmark NAME, in whichever folder of benchmarks/ it lies"

demo: $(VENV)/.installed ## install, then run the main job: the life of ads, with all that it needs
	$(BIN)/adwright demo

test: $(VENV)/.installed-dev ## the whole check: lint, types, imports, dependencies, docs, tests
	@$(MAKE) --no-print-directory -j 2 lint docs
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q

quick: $(VENV)/.installed-dev ## in minutes: style, floors and the quick tests; says what it leaves out
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q --quick

browser: ## the distribution's Chromium, in which pages are tested; asks apt-get, as root
	@command -v chromium || command -v chromium-browser || \
	  { test "$$(id -u)" = 0 || { echo "install Chromium as root: sudo make browser"; exit 1; }; \
	    command -v apt-get > /dev/null || \
	      { echo "there is no apt-get: install Chromium as this system does it"; exit 1; }; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	      apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core > /dev/null && \
	    command -v chromium; }

lint: $(VENV)/.installed-dev ## style, types, floors and declared dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry src

docs: $(VENV)/.installed-dev ## build docs/_build, a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build

bench: ## list the benchmarks with their rough duration
	@for file in $(BENCHMARKS); do \
	  awk -v name="$$(basename "$$file" .py)" '/^r?"""/ {gsub(/"""/, ""); sub(/^r/, ""); \
	    printf "make bench-%-20s %s\n", name, $$0; exit}' "$$file"; \
	done

bench-%: $(VENV)/.installed-dev
	@test -n "$(filter %/$*.py,$(BENCHMARKS))" || \
	  { echo "there is no benchmark $*: make bench lists them"; exit 1; }
	$(BIN)/python -m $(subst /,.,$(basename $(filter %/$*.py,$(BENCHMARKS))))

lock: $(VENV)/.installed-dev ## pin what development needs, by hash, in requirements/*.lock
	$(BIN)/python -m pip install --disable-pip-version-check -q uv
	$(BIN)/python requirements/lock.py

sbom: $(VENV)/.installed-dev ## a bill of materials (CycloneDX) of what is installed: sbom.json
	$(BIN)/python docs/_vendored.py --sbom sbom.json

# For builds of torch from an index of one's own: make install-locked TORCH=torch==2.13.0, whose hash
# is then not looked at.
TORCH ?= -r requirements/torch.lock -r requirements/dev.lock --require-hashes
install-locked: ## a fresh .venv of the very files that requirements/*.lock name
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q $(TORCH)
	$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $(VENV)/.made $(VENV)/.installed $(VENV)/.installed-dev

clean: ## remove everything that make made
	rm -rf $(VENV) docs/_build build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# What a process imports is compiled on all cores, where pip would compile on one of them, also the
# tests of packages. Not at all would be wrong: where warnings are errors, those of a compiler are.
COMPILE := $(BIN)/python -m compileall -q -j 0 -x '/tests/' $(VENV)/lib >$(VENV)/compiled.log 2>&1 || true

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "adwright needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "this Python cannot make a virtual environment: install its venv package"; exit 1; }
	@touch $@

# A stamp is newer than pyproject.toml only after an installation that went through.
$(VENV)/.installed: pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-compile -e '.[lm,audit,service]'
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-compile -e '.[dev]'
	@$(COMPILE)
	@touch $(VENV)/.installed $@
