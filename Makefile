# `make run` to try it, `make test` to test it. Everything goes into .venv; nothing else is installed by these but
# what the browser tests need (Chromium), and that only if it is missing.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
TESTS ?= tests

.PHONY: help run test check bench format pins clean

help:  ## Show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: $(VENV)/installed  ## Start the demo agent and the gateway, and say which page to open
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python scripts/run.py

test: $(VENV)/installed-dev  ## Install what the tests need and run them all
	@scripts/install-browser.sh
	$(BIN)/python -m pytest $(TESTS)

check: $(VENV)/installed-dev  ## Look at format, lint, types and migrations without running anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python manage.py makemigrations --check --dry-run

bench: $(VENV)/installed-dev  ## Measure the gateway beside its peers, and write docs/benchmarks.md
	$(BIN)/python -m benchmarks run
	$(BIN)/python -m benchmarks report

format: $(VENV)/installed-dev  ## Format the code and mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pins: $(VENV)/installed-dev  ## Compile requirements*.txt from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make pins" \
		pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make pins" \
		--group dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean:  ## Remove .venv and what tests leave
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/installed: requirements.txt | $(VENV)/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt | $(VENV)/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/installed

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "This needs Python 3.11 or newer; say which with: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@
