# `make run` to try it, `make test` to test it. Python's packages go into .venv (and, for tests with real agents, into
# .venv-agents), npm's into tests/javascript. `make test` needs Chromium, PostgreSQL, nginx, Caddy, HAProxy, openssl and
# systemd, too: as root on Debian and Ubuntu it installs by apt what is missing of them, else it says so.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
NPM = tests/javascript/node_modules
TESTS ?= tests
# Two more than there are cores: many tests wait for a lease or a limit, and leave their core to others meanwhile.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
PACKAGE ?= protocol
MUTANTS ?= 200
MUTANTS_VENV ?= .venv-mutants
AGENTS_VENV ?= .venv-agents

# Hundreds of processes that tests start would compile the same modules.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run cluster test test-servers coverage image-test soak properties fuzz mutants check bench format pins translations clean

help:  ## Show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run:  ## Start the demo agent and the gateway, and say which page to open (PORT, AGENT_PORT)
	@$(PYTHON) -m scripts.run_ports
	@$(MAKE) --silent --no-print-directory $(VENV)/installed
	@$(BIN)/python -m scripts.run

cluster: $(VENV)/installed-dev  ## Start two gateways, Valkey, a balancer and the demo agent
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python -m scripts.cluster

test: $(VENV)/installed-dev $(NPM)/installed $(if $(filter tests tests/agents%,$(TESTS)),$(AGENTS_VENV)/installed)  ## Install what the tests need and run them all
	@scripts/install-browser.sh
	@scripts/install-postgresql.sh
	@scripts/install-deploy-tools.sh
	$(BIN)/python $(UNDER) -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

test-servers: $(VENV)/installed-dev  ## Run the suites of the whole gateway under the servers that test leaves out
	TEST_SERVERS=runserver,daphne,granian $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/e2e
	TEST_SERVERS=runserver,uvicorn $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/faults

coverage: $(VENV)/installed-dev  ## Run all tests, and tell which lines and branches of relay/ they leave out
	@$(BIN)/coverage erase
	-@$(MAKE) --no-print-directory test UNDER="-m coverage run"  # a test whose time runs out here still ran
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

soak: $(VENV)/installed-dev  ## Break everything for some minutes while people talk (SOAK_SEED, SOAK_TURNS)
	$(BIN)/python -m pytest -m soak -s tests
	@$(MAKE) --no-print-directory properties

properties: $(VENV)/installed-dev  ## Let the property tests look for new cases: at random, ten times as long as in CI
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --timeout 3600 -m hypothesis $(TESTS)

fuzz: $(VENV)/installed-dev  ## Feed random bytes to whatever reads foreign ones, for SECONDS (by default 600), from SEED
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

mutants: $(MUTANTS_VENV)/installed  ## Break MUTANTS places of relay/PACKAGE, and list those that no test notices
	$(MUTANTS_VENV)/bin/python scripts/mutants.py $(PACKAGE) --mutants $(MUTANTS)

image-test:  ## Take the Dockerfile's steps without Docker, and use what comes out
	$(PYTHON) scripts/try_image.py

check: $(VENV)/installed-dev $(NPM)/installed  ## Check format, lint, types and migrations without running anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy sdk/python/src
	$(NPM)/.bin/tsc -p tests/javascript
	$(NPM)/.bin/tsc -p tests/javascript/front_ends
	$(BIN)/python manage.py makemigrations --check --dry-run

bench: $(VENV)/installed-dev  ## Measure the gateway beside its peers, and write docs/benchmarks.md
	$(BIN)/python manage.py migrate --verbosity 0
	$(BIN)/python -m benchmarks run
	$(BIN)/python -m benchmarks report

format: $(VENV)/installed-dev  ## Format the code and fix what lint can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

translations: $(VENV)/installed-dev  ## Compile the translations in relay/locale
	$(BIN)/pybabel --quiet compile --domain relay --directory relay/locale

pins: $(VENV)/installed-dev  ## Compile requirements*.txt from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make pins" \
		pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make pins" \
		--group dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make pins" \
		--group tracing -c requirements-dev.txt -o requirements-tracing.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make pins" \
		--group mutants -c requirements-dev.txt -o requirements-mutants.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make pins" \
		--group agents -o requirements-agents.txt

clean:  ## Remove .venv and what tests leave
	rm -rf $(VENV) $(MUTANTS_VENV) $(AGENTS_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis $(NPM)

$(VENV)/installed: requirements.txt
	@$(PYTHON) -m scripts.install $(VENV) requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt
	@$(PYTHON) -m scripts.install $(VENV) requirements-dev.txt
	@touch $@ $(VENV)/installed

$(MUTANTS_VENV)/installed: requirements-dev.txt requirements-mutants.txt
	$(PYTHON) -m venv $(MUTANTS_VENV)
	$(MUTANTS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r requirements-dev.txt -r requirements-mutants.txt
	@touch $@

# By uv: pip takes minutes for as many packages.
$(AGENTS_VENV)/installed: requirements-agents.txt
	@echo "Installing the agent frameworks of tests/agents into $(AGENTS_VENV)."
	@$(PYTHON) -m venv --clear $(AGENTS_VENV)
	@$(AGENTS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(AGENTS_VENV)/bin/uv pip install --quiet --python $(AGENTS_VENV)/bin/python -r requirements-agents.txt
	@touch $@

$(NPM)/installed: tests/javascript/package.json tests/javascript/package-lock.json
	@command -v npm >/dev/null || \
		{ echo "Types and front ends are tested with npm's packages: install Node.js 20.11 or newer, with npm."; exit 1; }
	@cd tests/javascript && npm ci --silent
	@touch $@
