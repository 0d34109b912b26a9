"""A minion whose Python is too old for k3sfw says so, wherever an operator asks.

``K3SFW_OLD_SALT`` is an environment of Salt with such a Python. Otherwise the files that Salt loads
ask for a Python that does not exist yet, and the real salt-call runs them under this one.
"""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.unit.masterless import configure, salt_call

OLD = os.environ.get("K3SFW_OLD_SALT")
PYTHON = Path(OLD, "bin/python") if OLD else Path(sys.executable)
LOWEST = "(3, 9)" if OLD else "(99, 0)"
# What an old Python has to read before anything can tell that it is too old.
READ_BY_ALL = (
    "_grains/k3s.py",
    "_modules/k3sfw.py",
    "_output/k3sfw.py",
    "_runners/k3sfw.py",
    "_states/k3sfw.py",
    "salt/k3s/requirements.sls",
)
ASKING = [path for path in READ_BY_ALL if path != "_output/k3sfw.py"]


@pytest.fixture(scope="module")
def minion(tmp_path_factory):
    """A masterless K3s node, with the whole of the checkout."""
    folder = tmp_path_factory.mktemp("old")
    # Without the links, which Salts of that age do not follow.
    shutil.copytree(ROOT / "salt", folder / "salt")
    for path in ASKING:
        file = folder / "salt" / path.removeprefix("salt/")
        text = re.sub(r"(LOWEST_PYTHON = )\(3, 9\)", rf"\g<1>{LOWEST}", file.read_text())
        assert f"LOWEST_PYTHON = {LOWEST}" in text, path
        file.write_text(text)
    roots = {"base": [str(folder / "salt")]}
    configure(folder, file_roots=roots, grains={"k3s_role": "agent"}, user="root")
    return folder


@pytest.fixture(scope="module")
def synced(minion):
    assert "grains.k3s" in salt_call(minion, "saltutil.sync_all", python=PYTHON)["grains"]
    return minion


@pytest.fixture(scope="module")
def version():
    code = "import platform; print(platform.python_version())"
    return subprocess.run([PYTHON, "-c", code], capture_output=True, text=True).stdout.strip()


def assert_says_so(told, version):
    lowest = LOWEST.strip("()").replace(", ", ".")
    assert f"needs Python {lowest} or newer" in told, told
    assert f"{PYTHON}" in told and f"is Python {version}" in told
    assert "Traceback" not in told


def ask(minion, *words):
    """All that salt-call writes, whatever it exits with."""
    code = "import sys; from salt.scripts import salt_call; sys.exit(salt_call())"
    command = [PYTHON, "-c", code, "--local", "-c", minion, "--out=json", "-l", "error", *words]
    done = subprocess.run(command, cwd=minion, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_its_grains_say_so(synced, version):
    doubts = salt_call(synced, "grains.get", "k3s_doubts", python=PYTHON)
    assert len(doubts) == 1
    assert_says_so(doubts[0], version)
    assert salt_call(synced, "grains.get", "k3s_node_ips", python=PYTHON) == ""


def test_its_module_says_so(synced, version):
    assert_says_so(ask(synced, "k3sfw.role"), version)


def test_its_states_say_so(synced, version):
    assert_says_so(ask(synced, "state.apply", "k3s.remove", "test=True"), version)


def test_the_requirements_say_so_and_install_nothing(synced, version):
    told = ask(synced, "state.apply", "k3s.requirements", "test=True")
    assert_says_so(told, version)
    assert "pip_|-" not in told


@pytest.mark.parametrize("path", READ_BY_ALL)
def test_an_old_python_can_read_the_file(path):
    tree = ast.parse((ROOT / path).read_text(), feature_version=(3, 6))
    imported = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    # Both came with 3.7.
    assert not {"__future__", "dataclasses"} & {node.module for node in imported}


@pytest.mark.parametrize("path", ASKING)
def test_the_figure_is_that_of_the_package(path):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lowest = setup["options"]["python_requires"].removeprefix(">=").split(".")
    assert f"LOWEST_PYTHON = ({', '.join(lowest)})" in (ROOT / path).read_text()
