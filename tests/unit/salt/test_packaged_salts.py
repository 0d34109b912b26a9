"""
``k3s.requirements`` in Salts as they are packaged: a onedir of the Salt Project, before and after
an upgrade of its Python, and SUSE's bundle. All are laid out around the Python of the tests,
without one of the packages.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.salt_packaging import look_in, make_onedir, packages
from tests.unit.masterless import configure, salt_call

LACKING = "jeepney"
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def python(tmp_path):
    """An environment with the packages of this Python, Salt included, but for one."""
    root = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    for folder in filter(Path.is_dir, map(Path, site.getsitepackages())):
        for entry in folder.iterdir():
            if not entry.name.startswith(LACKING):
                (packages(root) / entry.name).symlink_to(entry)
    return root / "bin/python"


@pytest.fixture
def minion(tmp_path):
    """A masterless minion whose site keeps a wheel of the package."""
    states = tmp_path / "states/k3s"
    (states / "wheels").mkdir(parents=True)
    shutil.copy(ROOT / "salt/k3s/requirements.sls", states)
    write_wheel(states / "wheels")
    folder = tmp_path / "minion"
    roots = {"base": [str(states.parent)]}
    configure(folder, file_roots=roots, module_dirs=[str(ROOT)], user="root")
    return folder


def write_wheel(folder):
    """Make a wheel of the installed package."""
    package = importlib.metadata.distribution(LACKING)
    name = f"{LACKING}-{package.version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for file in package.files:
            # The installer adds these; they are not part of a wheel.
            if file.suffix != ".pyc" and file.name not in ("INSTALLER", "REQUESTED"):
                wheel.write(file.locate(), str(file))


def run(minion, python):
    """What k3s.requirements returns."""
    (state,) = salt_call(minion, "state.apply", "k3s.requirements", python=python).values()
    return state


def assert_installed_in(folder, minion, python):
    """It comes there, is found there, and does not come again."""
    state = run(minion, python)
    assert state["result"] is True, state
    assert [name.split("==")[0] for name in state["changes"]] == [LACKING]
    assert (folder / LACKING).is_dir()
    assert (run(minion, python)["result"], run(minion, python)["changes"]) == (True, {})
    assert "k3sfw.apply" in salt_call(minion, "sys.list_functions", "k3sfw", python=python)


def test_a_onedir_gets_it_into_the_folder_of_its_python(python, minion):
    root = python.parents[1]
    make_onedir(root, root)
    assert_installed_in(root / f"extras-{OWN}", minion, python)


def test_a_onedir_whose_python_is_another_after_an_upgrade_gets_it_again(python, minion):
    root = python.parents[1]
    make_onedir(root, root)
    # Salt 3006 came with 3.10 and 3.11, 3008 comes with 3.14: each has a folder of its own.
    before = root / "extras-3.6" / LACKING
    before.mkdir(parents=True)
    (before / "__init__.py").touch()
    assert_installed_in(root / f"extras-{OWN}", minion, python)
    assert before.is_dir()


def test_suses_bundle_gets_it_where_updates_leave_it(python, minion, tmp_path, monkeypatch):
    target = tmp_path / "local"
    target.mkdir()
    monkeypatch.setenv("VENV_PIP_TARGET", str(target))
    look_in(python.parents[1], str(target))
    assert_installed_in(target, minion, python)


def test_a_bundle_that_does_not_look_there_says_so(python, minion, tmp_path, monkeypatch):
    target = tmp_path / "elsewhere"
    monkeypatch.setenv("VENV_PIP_TARGET", str(target))
    run(minion, python)
    told = str(salt_call(minion, "state.show_sls", "k3s.requirements", python=python))
    assert "fail_without_changes" in told
    assert f"They are in {target} (VENV_PIP_TARGET)" in told
