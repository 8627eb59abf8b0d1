# Needs make and a Python >= 3.11; everything else is installed into .venv and .venv-openstack.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP_INSTALL = bin/python -m pip --disable-pip-version-check install
BIN = .venv/bin
PINS = deploy/requirements
DEMO = PYTHONPATH=tests/support $(BIN)/python -m demo
FUZZERS = scope manifest files requests lua front peer answers dispatch collect links
FUZZ_SECONDS = 300
# the files are complete; pip alone would look for extras that are pinned without them
PINNED = --only-binary :all: --require-hashes --no-deps -r $(PINS)
# two of OpenStack's have no wheels: the setuptools that is pinned and installed before builds them, and nothing else
BUILT = --no-build-isolation --no-binary simplegeneric,ovs
THIS = --no-deps --no-build-isolation --editable .
COMPILE = .venv-tools/bin/uv pip compile --quiet --universal --python-version 3.11 --upgrade \
	--generate-hashes --no-emit-index-url --no-emit-package scopeway-xds --custom-compile-command 'make pins'

# requirements of requirements, for what a control plane never does: pbr builds packages, rich colours source and Markdown
NOT_IN_IMAGE = $(addprefix --no-emit-package ,setuptools pygments markdown-it-py mdurl)

.DEFAULT_GOAL = help
.PHONY: help setup fmt check crds reference test test-envoy test-openstack test-kubernetes test-image test-pythons dist image bench \
	bench-scale bench-kubernetes fuzz demo up down demo-openstack openstack-up openstack-down pins sbom clean

help:  ## show this
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' Makefile | expand -t 18

setup: .venv/ready .venv-openstack/ready  ## make both virtual environments

fmt: .venv/ready  ## format, and repair what the linter can
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

check: .venv/ready  ## format, lint, types, contracts between the packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typing
	$(BIN)/lint-imports
	@if command -v luacheck >/dev/null; then luacheck --quiet lua_filters; fi

crds: .venv/ready  ## write deploy/crds and deploy/admission anew, from the model of clouds
	$(BIN)/python -m scopeway.control_plane.custom_resources deploy

reference: .venv/ready  ## write docs/xds/reference.md anew, from the docstrings
	$(BIN)/python docs/xds/make_reference.py

test: setup  ## every test, with real etcd, real Envoy, Keystone and Glance
	$(BIN)/pytest --numprocesses=auto

test-openstack: setup .venv-openstack/full  ## the tests with whole clouds: Nova, Neutron, Cinder, MariaDB, RabbitMQ
	$(BIN)/pytest -m whole_clouds tests/whole_clouds

test-envoy: .venv/ready .venv-envoy/ready  ## the tests with Envoy, with the oldest that is supported
	SCOPEWAY_TEST_ENVOY=.venv-envoy/bin/envoy $(BIN)/pytest --numprocesses=auto -m "envoy and not kubernetes"

test-kubernetes: .venv/ready .venv-kubernetes/ready  ## the tests with a real Kubernetes API server, built once by Go
	tests/support/kubernetes_programs/build_programs && tests/support/kubernetes_programs/fetch_crds
	$(BIN)/pytest --numprocesses=auto -m kubernetes tests/kubernetes

test-image: .venv/ready .venv-dist/ready  ## build the image twice, and run it: needs root on Debian
	tests/support/debian_base/make_base >/dev/null
	$(BIN)/pytest -m image -v -s --durations=0 --durations-min=0.5 tests/image

test-pythons:  ## the unit tests of xds, scope and clouds, with every supported Python that is found
	.ci/pythons

dist: .venv/ready .venv-dist/ready  ## build both distributions in dist/, and try them in empty environments
	.ci/distributions

image: .venv-dist/ready  ## build the image of the control plane, with podman, docker or buildah (docs/image.md)
	deploy/image/build_image

fuzz: .venv/ready .venv-tools/atheris  ## FUZZERS (all) led by coverage, for FUZZ_SECONDS (300) each
	for reader in $(FUZZERS); do \
		PYTHONPATH=tests/support:.venv-tools/atheris $(BIN)/python -m fuzzing $$reader $(FUZZ_SECONDS) || exit 1; \
	done

bench: .venv/ready  ## every benchmark, one line of JSON for each figure
	for bench in $(filter-out %/bench_kubernetes.py,$(wildcard tests/bench/bench_*.py)); do $(BIN)/python $$bench; done

bench-scale: .venv/ready  ## 1,000 Envoys and 10,000 clouds: a table, in five minutes
	$(BIN)/python tests/bench/bench_fleet.py

bench-kubernetes: .venv/ready .venv-kubernetes/ready  ## a control plane of a real API server with 10,000 clouds, in ten minutes
	tests/support/kubernetes_programs/build_programs
	$(BIN)/python tests/bench/bench_kubernetes.py

demo: setup  ## one scoped request, through real Envoys, to real OpenStack services
	$(DEMO)

up: setup  ## bring up the clouds of the demo and leave them running
	$(DEMO) --up

down: .venv/ready  ## end what `make up` left running
	$(DEMO) --down

demo-openstack: setup .venv-openstack/full  ## the same with whole clouds: Nova, Neutron, MariaDB, RabbitMQ
	$(DEMO) --full

openstack-up: setup .venv-openstack/full  ## bring up the whole clouds and leave them running
	$(DEMO) --full --up

openstack-down: .venv/ready  ## end what `make openstack-up` left running
	$(DEMO) --full --down

# uv asks the index that pip is configured for; none is written down
pins: .venv-tools/ready  ## pin every dependency anew, with hashes, as pyproject.toml and the constraints allow
	export UV_INDEX_URL="$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)"; \
	[ -n "$$UV_INDEX_URL" ] || unset UV_INDEX_URL; \
	$(COMPILE) pyproject.toml --extra dev -o $(PINS)/dev.txt && \
	$(COMPILE) $(PINS)/build.in -o $(PINS)/build.txt && \
	$(COMPILE) $(PINS)/dist.in -o $(PINS)/dist.txt && \
	$(COMPILE) $(PINS)/openstack.in pyproject.toml --extra openstack \
		-c deploy/openstack/constraints.txt -o $(PINS)/openstack.txt && \
	$(COMPILE) $(PINS)/openstack.in $(PINS)/openstack-full.in pyproject.toml --extra openstack \
		-c deploy/openstack/constraints.txt -o $(PINS)/openstack-full.txt && \
	$(COMPILE) $(PINS)/envoy-oldest.in -o $(PINS)/envoy-oldest.txt && \
	$(COMPILE) $(PINS)/kubernetes.in -o $(PINS)/kubernetes.txt && \
	$(COMPILE) pyproject.toml --extra kubernetes -c $(PINS)/dev.txt $(NOT_IN_IMAGE) -o $(PINS)/serve.txt && \
	$(COMPILE) $(PINS)/image.in -o $(PINS)/image.txt

sbom: .venv/ready .venv-tools/ready  ## what is installed in .venv, as CycloneDX in build/sbom.json
	mkdir -p build
	.venv-tools/bin/cyclonedx-py environment .venv/bin/python --pyproject pyproject.toml \
		--output-reproducible --output-file build/sbom.json

clean:  ## remove what can be made again
	rm -rf .venv .venv-dist .venv-envoy .venv-kubernetes .venv-openstack .venv-py3.* .venv-tools .scopeway/openstack/saved .scopeway/openstack/logs build dist *.egg-info .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: pyproject.toml $(PINS)/dev.txt
	@$(call new_environment,.venv)
	.venv/$(PIP_INSTALL) $(PINNED)/dev.txt
	.venv/$(PIP_INSTALL) $(THIS)
	@touch $@

.venv-openstack/ready: pyproject.toml $(PINS)/build.txt $(PINS)/openstack.txt
	@$(call new_environment,.venv-openstack)
	.venv-openstack/$(PIP_INSTALL) $(PINNED)/build.txt
	.venv-openstack/$(PIP_INSTALL) $(PINNED)/openstack.txt $(BUILT)
	.venv-openstack/$(PIP_INSTALL) $(THIS)
	@touch $@

.venv-openstack/full: .venv-openstack/ready $(PINS)/openstack-full.txt
	.venv-openstack/$(PIP_INSTALL) $(PINNED)/openstack-full.txt $(BUILT)
	@touch $@

.venv-envoy/ready: $(PINS)/envoy-oldest.txt
	@$(call new_environment,.venv-envoy)
	.venv-envoy/$(PIP_INSTALL) $(PINNED)/envoy-oldest.txt
	@touch $@

.venv-kubernetes/ready: $(PINS)/kubernetes.txt
	@$(call new_environment,.venv-kubernetes)
	.venv-kubernetes/$(PIP_INSTALL) $(PINNED)/kubernetes.txt
	@touch $@

# one environment for each Python: make .venv-py3.13/ready PYTHON=python3.13
.venv-py%/ready: pyproject.toml $(PINS)/dev.txt
	@$(call new_environment,$(@D))
	$(@D)/$(PIP_INSTALL) $(PINNED)/dev.txt
	$(@D)/$(PIP_INSTALL) $(THIS)
	@touch $@

.venv-dist/ready: $(PINS)/dist.txt
	@$(call new_environment,.venv-dist)
	.venv-dist/$(PIP_INSTALL) $(PINNED)/dist.txt
	@touch $@

.venv-tools/ready:
	@$(call new_environment,.venv-tools)
	.venv-tools/$(PIP_INSTALL) 'uv>=0.5,<1' 'cyclonedx-bom>=5,<8'
	@touch $@

# apart from all else: it has wheels for some Pythons only, and nobody but `make fuzz` needs it
.venv-tools/atheris: .venv/ready
	.venv/$(PIP_INSTALL) --no-deps --upgrade --target $@ 'atheris>=3,<4'
	@touch $@

define new_environment
"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Scopeway needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3" >&2; exit 1; }; \
"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the module venv (Debian: apt install python3-venv)" >&2; exit 1; }; \
[ -x $(1)/bin/pip ] || { echo 'making $(1), once: some minutes'; "$(PYTHON)" -m venv $(1); }
endef
