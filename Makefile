# Two commands do it all: `make demo` and `make test`. Both set up what they need; nothing but python3 is taken
# as given. RABBITMQ_HOME=<folder> uses another RabbitMQ server than the distribution's package.
# RABBITMQ_ROOT=<folder> uses the one in a root folder, as test-rabbitmq4 does.
# NOTIFY_TEST_WITHOUT_REAL_SERVERS=1 leaves out the tests that need Postfix and Dovecot (so root) or Node.js,
# NOTIFY_TEST_WITHOUT_BROWSER=1 those that look at the mails in Chromium.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
PYTHON := $(BIN)/python
UV = $(or $(wildcard $(BIN)/uv),$(shell command -v uv),$(error uv is missing: $(BIN)/pip install uv))
COMPILE = $(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --quiet

.NOTPARALLEL:
.PHONY: help setup venv servers browser demo up gallery test test-rabbitmq4 soak lint format schemas definitions lock \
	release sbom licences audit image clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## the virtual environment from the lock file, and RabbitMQ from the distribution's packages
	@sh deploy/local/bootstrap.sh

venv:
	@sh deploy/local/bootstrap.sh venv

servers: ## what the tests start or ask: Postfix, Dovecot, promtool, Node.js and packages of npm (as root)
	@sh deploy/local/bootstrap.sh servers

browser: ## what looks at the mails: Chromium
	@sh deploy/local/bootstrap.sh browser

demo: setup ## the main job: events in, mails and dead letters out, compared with what has to come
	@$(PYTHON) -m deploy.local.demo

up: setup ## the same, and it all stays until Ctrl-C
	@$(PYTHON) -m deploy.local.demo --stay

gallery: venv browser ## every mail in Chromium: contact sheets in deploy/gallery, and what is wrong with any
	@$(PYTHON) -m deploy.gallery.make

# Most tests wait for servers rather than count. Each process has servers of its own.
SIDE_BY_SIDE := -n 2 --dist loadfile

test: setup servers browser lint ## format, lint, types and all tests, against real private servers (as root)
	$(PYTHON) -m pytest $(SIDE_BY_SIDE)

test-rabbitmq4: venv servers ## the tests against RabbitMQ 4.0, in a root folder; a part: TESTS=<path> (as root)
	@sh deploy/local/rabbitmq4.sh
	env -u RABBITMQ_HOME RABBITMQ_ROOT=$(CURDIR)/.cache/rabbitmq4 $(PYTHON) -m pytest $(TESTS)

ENDURANCE := $(addprefix tests/acceptance/test_,cuts.py kills.py broker_faults.py smtp_faults.py fuzz.py looking.py \
	suspects.py workers.py)

soak: setup ## the tests of endurance, long: cuts, kills, fuzz, broker and mail server in trouble; prints the figures
	NOTIFY_TEST_SOAK=1 $(PYTHON) -m pytest $(ENDURANCE)

lint: venv ## format check, lint and types only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: venv ## format, and mend what can be mended by machine
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: venv ## JSON Schemas and asyncapi.yaml from the models
	$(PYTHON) -m contracts.schema
	$(PYTHON) -m contracts.asyncapi

definitions: venv ## RabbitMQ's definitions file from the topology
	$(PYTHON) -m contracts.definitions

lock: venv ## the lock files, anew from pyproject.toml (needs uv)
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --group dev --output-file requirements-dev.lock
	$(filter-out pyproject.toml,$(COMPILE)) --group build --output-file requirements-build.lock
	$(filter-out pyproject.toml,$(COMPILE)) --group servers --output-file requirements-servers.lock
	$(filter-out pyproject.toml,$(COMPILE)) --group audit --output-file requirements-audit.lock
	$(filter-out pyproject.toml,$(COMPILE)) --group docs --constraint requirements-dev.lock \
		--output-file requirements-docs.lock

release: venv ## dist/: sdist and wheel, tried in an empty virtual environment, and what comes with them (needs the network)
	rm -rf dist .cache/release
	$(PYTHON) -m deploy.release dist .cache/release
	$(BIN)/cyclonedx-py environment --output-reproducible \
		--output-file dist/notify-worker.cdx.json .cache/release/bin/python

sbom: release ## dist/notify-worker.cdx.json: what is installed with the worker, as CycloneDX lists it

licences: venv ## docs/licences.md: the licences of what is installed with the worker
	$(PYTHON) -m deploy.licences

audit: venv ## known vulnerabilities of all that the lock files name (needs the network)
	$(PYTHON) -m venv --clear .cache/audit
	.cache/audit/bin/pip install --quiet --require-hashes -r requirements-audit.lock
	@for lock in requirements*.lock; do echo "$$lock"; \
		.cache/audit/bin/pip-audit --strict --disable-pip --require-hashes -r "$$lock" || exit; done

image: ## the container image notify-worker (needs Docker)
	docker build --file deploy/Dockerfile --tag notify-worker \
		--build-arg VERSION=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' worker/__init__.py) \
		--build-arg REVISION=$$(git rev-parse HEAD) .

clean: ## remove what demo and checks leave behind; .venv stays
	rm -rf var .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
