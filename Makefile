# `make run` runs the gateway, `make test` tests it. Python packages are installed into .venv (and, for tests with real
# agents, into .venv-agents), npm packages into tests/javascript. Tests also need Chromium, PostgreSQL, nginx, Caddy,
# HAProxy, openssl, systemd, docker-compose and valgrind: as root on Debian or Ubuntu, `make test` installs missing ones
# with apt, otherwise it names them.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
NPM = tests/javascript/node_modules
SOCKET_IO = benchmarks/peers/socket_io/node_modules
# What needs the programs of others: Chromium, front ends' packages, frameworks of agents, proxies, the benchmark's peers.
OTHERS = tests/agents tests/benchmarks tests/browser tests/deploy tests/front_ends
# What breaks processes, stores and connections: it waits much, and takes a third of the time.
FAULTS = tests/faults
TESTS ?= tests $(OTHERS:%=--ignore=%) --ignore=$(FAULTS)
# Two more than there are cores: many tests wait for a lease or a limit, and leave their core idle meanwhile.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
PACKAGE ?= protocol
MUTANTS ?= 200
MUTANTS_VENV ?= .venv-mutants
AGENTS_VENV ?= .venv-agents
# Another version of Django than the pinned one, for test, in a VENV of its own: 6.0 or 6.1.
DJANGO ?=
COMPILE = $(BIN)/uv pip compile --quiet --universal --custom-compile-command "make pins" --python-version

# Otherwise hundreds of processes started by tests would compile the same modules.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help django dist run cluster test test-others test-servers coverage image-test soak properties fuzz mutants check bench client format pins translations clean

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run:  ## Start the demo agent and the gateway, and print the page to open (PORT, AGENT_PORT)
	@$(PYTHON) -m gateway_project.run_ports
	@$(MAKE) --silent --no-print-directory $(VENV)/installed
	@$(BIN)/python -m gateway_project.run

cluster: $(VENV)/installed-dev  ## Start two gateways, Valkey, a load balancer and the demo agent
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python -m scripts.cluster

test: $(VENV)/installed-dev $(if $(DJANGO),django) $(NPM)/installed $(SOCKET_IO)/installed $(if $(filter tests/agents%,$(TESTS)),$(AGENTS_VENV)/installed)  ## Install what the tests need, and run all but those of 'test-others' and 'test-servers'
	@scripts/install-browser.sh
	@scripts/install-postgresql.sh
	@scripts/install-deploy-tools.sh
	@scripts/install-valgrind.sh
	$(BIN)/python $(UNDER) -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

test-others:  ## Run the tests with the programs of others: Chromium, front ends, frameworks of agents, proxies, peers
	@$(MAKE) --no-print-directory test TESTS="$(OTHERS)"

test-servers: $(VENV)/installed-dev  ## Run the faults under every server, and the whole gateway under those that 'test' leaves out
	TEST_SERVERS=runserver,daphne,granian,uvicorn-plain $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/e2e
	TEST_SERVERS=serve,runserver,uvicorn,uvicorn-plain $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(FAULTS)

coverage: $(VENV)/installed-dev  ## Run all tests, and list the lines and branches of relay/ that they do not cover
	@$(BIN)/coverage erase
	-@$(MAKE) --no-print-directory test UNDER="-m coverage run"  # a test that times out here has still run
	-@$(MAKE) --no-print-directory test-others UNDER="-m coverage run"
	-@$(MAKE) --no-print-directory test TESTS="$(FAULTS)" UNDER="-m coverage run"
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

soak: $(VENV)/installed-dev  ## Break everything for some minutes while clients chat (SOAK_SEED, SOAK_TURNS)
	$(BIN)/python -m pytest -m soak -s tests
	@$(MAKE) --no-print-directory properties

properties: $(VENV)/installed-dev  ## Run the property tests with random cases, ten times as many as in CI
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --timeout 3600 -m hypothesis $(TESTS)

fuzz: $(VENV)/installed-dev  ## Feed random bytes to every parser of foreign input, for SECONDS (default 600), from SEED
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

mutants: $(MUTANTS_VENV)/installed  ## Break MUTANTS places in relay/PACKAGE, and list those that no test notices
	$(MUTANTS_VENV)/bin/python scripts/mutants.py $(PACKAGE) --mutants $(MUTANTS)

image-test:  ## Follow the Dockerfile's steps without Docker, and try the result
	$(PYTHON) scripts/try_image.py

check: $(VENV)/installed-dev $(NPM)/installed  ## Check format, lint, types and migrations without running anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy sdk/python/src
	MYPYPATH=tests/extending/project $(BIN)/mypy -p helpdesk
	$(NPM)/.bin/tsc -p tests/javascript
	$(NPM)/.bin/tsc -p tests/javascript/front_ends
	$(BIN)/python manage.py makemigrations --check --dry-run

bench: $(VENV)/installed-dev $(SOCKET_IO)/installed  ## Compare the gateway with its peers, and write docs/benchmarks.md
	$(BIN)/python -m benchmarks run
	$(BIN)/python -m benchmarks report

client:  ## Copy the JavaScript client's package to where Django serves it
	cp clients/javascript/*.js clients/javascript/*.d.ts relay/static/relay/

format: $(VENV)/installed-dev  ## Format the code and fix what lint can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

translations: $(VENV)/installed-dev  ## Compile the translations in relay/locale
	$(BIN)/pybabel --quiet compile --domain relay --directory relay/locale

pins: $(VENV)/installed-dev  ## Compile requirements*.txt from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(COMPILE) 3.11 --extra postgres --extra redis --extra serve pyproject.toml -o requirements.txt
	$(COMPILE) 3.11 --all-extras --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	$(COMPILE) 3.11 --extra tracing -c requirements-dev.txt pyproject.toml -o requirements-tracing.txt
	$(COMPILE) 3.11 --group mutants -c requirements-dev.txt -o requirements-mutants.txt
	$(COMPILE) 3.11 --group agents -o requirements-agents.txt
	$(COMPILE) 3.12 --group django-6.0 -o requirements-django-6.0.txt
	$(COMPILE) 3.12 --group django-6.1 -o requirements-django-6.1.txt

dist: $(VENV)/installed-dev  ## Build what a release consists of into dist: wheels, npm tarballs, checksums
	@rm -rf dist
	@$(BIN)/python -m scripts.release build dist

clean:  ## Remove the virtual environments and the tests' leftovers
	rm -rf $(VENV) $(MUTANTS_VENV) $(AGENTS_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist $(NPM) $(SOCKET_IO)

$(VENV)/installed: requirements.txt
	@$(PYTHON) -m scripts.install $(VENV) requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt
	@$(PYTHON) -m scripts.install $(VENV) requirements-dev.txt
	@touch $@ $(VENV)/installed

django: $(VENV)/installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-django-$(DJANGO).txt

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

$(SOCKET_IO)/installed: benchmarks/peers/socket_io/package.json benchmarks/peers/socket_io/package-lock.json
	@cd benchmarks/peers/socket_io && npm ci --silent
	@touch $@
