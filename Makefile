# make demo   raise the lab, apply the rules, see the packets
# make test   everything that CI runs
# make stop   end the lab

VENV := .venv
PYTHON := $(VENV)/bin/python
PYTEST_OPTIONS ?=

.PHONY: demo test check stop bench machine

demo: machine $(VENV)/complete
	$(PYTHON) -m lab.demo

test: machine check
	# The lab's hosts may not write into the checkout, so each start of ours would compile it anew.
	$(PYTHON) -m compileall -q _utils lab tests
	# They wait for a good part of their time: three processes are work for two cores.
	$(PYTHON) -m pytest -n 3 $(PYTEST_OPTIONS)

check: $(VENV)/complete
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest --collect-only -qq

bench: machine $(VENV)/complete
	$(PYTHON) -m bench

stop: $(VENV)/complete
	$(PYTHON) -m lab down

machine:
	./lab/machine.sh

$(VENV)/complete: setup.cfg pyproject.toml
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check '.[test]'
	# What it needs stays, it goes: the lab's minions run this Python, and shall have the modules
	# from their master.
	$(PYTHON) -m pip uninstall --quiet --yes k3sfw
	touch $@
