# make demo      raise the lab, apply the rules, see the packets
# make test      every promise, once
# make test-all  what is exhaustive, too; CI runs this
# make check     every linter, in seconds; .pre-commit-config.yaml runs the same targets
# make build     wheel and sdist, as an index would take them
# make changelog what the next release changes
# make bench     what it costs, beside other tools; PARTS='k3sfw script' runs a part
# make matrix    every Salt, Python, firewalld and distribution; CELLS='salt-*' runs a part
# make stop      end the lab

VENV := .venv
PYTHON := $(VENV)/bin/python
PYTEST_OPTIONS ?=
LINTERS := ruff mypy import-linter yamllint salt-lint cli-examples rstcheck workflow
CELLS ?=
PARTS ?=
RUNS ?=
# No build in the checkout itself: what it leaves there would make Salt find an installed extension.
PACKAGED := $(wildcard _[a-z]*) LICENSE NOTICE README.md pyproject.toml saltext_k3sfw setup.cfg

.PHONY: demo test test-all check collect build changelog stop bench matrix root machine $(LINTERS)

demo: root machine $(VENV)/complete
	@$(PYTHON) -m lab.demo

test: ONLY := -m 'not exhaustive'
test test-all: root machine $(LINTERS)
	# The lab's hosts may not write into the checkout, so each start of ours would compile it anew.
	$(PYTHON) -m compileall -q _utils lab tests
	# They wait for a good part of their time: five processes are work for two cores.
	$(PYTHON) -m pytest -n 5 $(ONLY) $(PYTEST_OPTIONS)

check: $(LINTERS) collect

ruff: $(VENV)/complete
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

mypy: $(VENV)/complete
	$(PYTHON) -m mypy

import-linter: $(VENV)/complete
	PYTHONPATH=_utils $(VENV)/bin/lint-imports --no-logo .importlinter

yamllint: $(VENV)/complete
	$(PYTHON) -m yamllint --strict .

# It also reads what comes on standard input.
salt-lint: $(VENV)/complete
	$(PYTHON) -m saltlint $(shell find salt pillar -name '*.sls') </dev/null

cli-examples: $(VENV)/complete
	$(PYTHON) -m pytest -q tests/unit/salt/test_docstrings.py

rstcheck: $(VENV)/complete
	$(PYTHON) -m pytest -q tests/unit/salt/test_rest_of_docstrings.py

workflow: $(VENV)/complete
	$(PYTHON) -m check_jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

collect: $(VENV)/complete
	$(PYTHON) -m pytest --collect-only -qq

build: $(VENV)/complete
	rm -rf dist
	@copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && cp -R $(PACKAGED) "$$copy" && \
	    lab/quietly.sh 'Building wheel and sdist' $(PYTHON) -m build --outdir dist "$$copy"
	$(PYTHON) -m twine check --strict dist/*

changelog: $(VENV)/complete
	@$(PYTHON) -m towncrier build --draft

bench: root machine $(VENV)/complete
	@# The patterns are for parts, not for files.
	set -f; $(PYTHON) -m bench $(if $(RUNS),--runs $(RUNS)) $(PARTS)

matrix: root machine $(VENV)/complete
	@# The patterns are for cells, not for files.
	set -f; PYTHONPATH=_utils $(PYTHON) -m tests.compatibility $(CELLS)

# Needs no virtual environment: nothing is installed to take a lab down.
stop: root
	@python3 -m lab down

# One line for a reader who is not root, in place of the first error of many.
root:
	@$(if $(filter-out 0,$(shell id -u)),$(error make $(or $(MAKECMDGOALS),demo) needs root, \
	    for network namespaces. Fix: run it as root, or with sudo))

machine:
	@./lab/machine.sh

# Only the dependencies of k3sfw stay installed: the lab's minions run this Python, and must get the
# modules from their master. Nor does what the build leaves here, which Salt would find as well.
$(VENV)/complete: setup.cfg pyproject.toml
	@lab/quietly.sh 'Installing Python packages into $(VENV)' sh -ec ' \
	    python3 -m venv $(VENV); \
	    $(PYTHON) -m pip install --disable-pip-version-check ".[test]"; \
	    $(PYTHON) -m pip uninstall --yes saltext.k3sfw; \
	    rm -rf build *.egg-info; \
	    touch $@'
