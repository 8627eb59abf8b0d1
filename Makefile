# Needs make and a Python >= 3.11; everything else is installed into .venv and .venv-openstack.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP_INSTALL = bin/python -m pip --disable-pip-version-check install
BIN = .venv/bin
OPENSTACK = keystone glance python-openstackclient waitress 'setuptools<81'

# besides, for whole clouds: make demo-openstack
OPENSTACK_FULL = nova neutron openstack-placement cinder PyMySQL

.DEFAULT_GOAL = help
.PHONY: help setup fmt check test test-openstack bench bench-scale demo up down demo-openstack openstack-up openstack-down clean

help:  ## show this
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' Makefile | expand -t 16

setup: .venv/ready .venv-openstack/ready  ## make both virtual environments

fmt: .venv/ready  ## format, and repair what the linter can
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

check: .venv/ready  ## format, lint, types, contracts between the packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if command -v luacheck >/dev/null; then luacheck --quiet lua_filters; fi

test: setup  ## every test, with real etcd, real Envoy, Keystone and Glance
	$(BIN)/pytest --numprocesses=auto

test-openstack: setup .venv-openstack/full  ## the tests with whole clouds: Nova, Neutron, Cinder, MariaDB, RabbitMQ
	$(BIN)/pytest -m whole_clouds tests/whole_clouds

bench: .venv/ready  ## every benchmark, one line of JSON for each figure
	for bench in tests/bench/bench_*.py; do $(BIN)/python $$bench; done

bench-scale: .venv/ready  ## 1,000 Envoys and 10,000 clouds: a table, in five minutes
	$(BIN)/python tests/bench/bench_fleet.py

demo: setup  ## one scoped request, through real Envoys, to real OpenStack services
	$(BIN)/scopeway demo

up: setup  ## bring up the clouds of the demo and leave them running
	$(BIN)/scopeway demo --up

down: .venv/ready  ## end what `make up` left running
	$(BIN)/scopeway demo --down

demo-openstack: setup .venv-openstack/full  ## the same with whole clouds: Nova, Neutron, MariaDB, RabbitMQ
	$(BIN)/scopeway demo --full

openstack-up: setup .venv-openstack/full  ## bring up the whole clouds and leave them running
	$(BIN)/scopeway demo --full --up

openstack-down: .venv/ready  ## end what `make openstack-up` left running
	$(BIN)/scopeway demo --full --down

clean:  ## remove what can be made again
	rm -rf .venv .venv-openstack .scopeway/openstack/saved build dist *.egg-info .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: pyproject.toml
	@$(call new_environment,.venv)
	.venv/$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

.venv-openstack/ready: pyproject.toml deploy/openstack/constraints.txt
	@$(call new_environment,.venv-openstack)
	.venv-openstack/$(PIP_INSTALL) -c deploy/openstack/constraints.txt $(OPENSTACK) --editable '.[openstack]'
	@touch $@

.venv-openstack/full: .venv-openstack/ready
	.venv-openstack/$(PIP_INSTALL) -c deploy/openstack/constraints.txt $(OPENSTACK_FULL)
	@touch $@

define new_environment
"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Scopeway needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3" >&2; exit 1; }; \
"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the module venv (Debian: apt install python3-venv)" >&2; exit 1; }; \
[ -x $(1)/bin/pip ] || { echo 'making $(1), once: about a minute'; "$(PYTHON)" -m venv $(1); }
endef
