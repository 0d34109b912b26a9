"""What Salt's processes import for k3sfw, and no more: packages of others, and costly parts of
Python."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.paths import ROOT

# What Salt itself has loaded by the time that it loads the file.
OF_A_MINION, OF_A_MASTER, OF_THE_COMMAND = "salt.minion", "salt.runner", "salt.cli.salt"


def added(file, *after):
    """The modules that the file adds to a process which has these."""
    code = f"""
import importlib, json, runpy, sys
sys.path.insert(0, "_utils")
for name in {after!r}:
    importlib.import_module(name)
before = set(sys.modules)
assert runpy.run_path({file!r}).get("_FAILURE") is None
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def packages(modules):
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("file", "after", "expected"),
    [
        ("_grains/k3s.py", OF_A_MINION, set()),
        ("_states/k3sfw.py", OF_A_MINION, set()),
        ("_modules/k3sfw.py", OF_A_MINION, {"k3sfw_engine", "netaddr", "jeepney"}),
        ("_runners/k3sfw.py", OF_A_MASTER, {"k3sfw_engine", "netaddr"}),
        ("_output/k3sfw.py", OF_THE_COMMAND, {"k3sfw_engine", "netaddr"}),
    ],
)
def test_salt_loads_only_these_packages_for_a_file(file, after, expected):
    assert packages(added(file, after)) == expected


def test_the_grain_needs_nothing_but_yaml_and_no_costly_part_of_python():
    modules = added("_grains/k3s.py", "yaml")
    assert packages(modules) == set()
    costly = {"asyncio", "concurrent", "email", "http", "multiprocessing", "ssl", "subprocess"}
    assert {name.partition(".")[0] for name in modules} & costly == set()


def test_the_outputter_takes_nothing_of_the_engine_that_touches_a_host():
    above = {"commands", "firewalld", "healing", "host", "master", "probes", "transaction"}
    parts = {name.split(".")[1] for name in added("_output/k3sfw.py") if "k3sfw_engine." in name}
    assert parts & above == set()
