"""A minion with a copy that pip installed and one that Salt synced: of one version, or refused."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

import k3sfw_engine
from tests.compatibility.next_version import NEXT, next_version
from tests.paths import ROOT
from tests.unit.masterless import SALT_CALL, configure

pytestmark = pytest.mark.exhaustive

OURS = k3sfw_engine.__version__
OLD = "0.1.0"
OLD_RELEASE = ROOT / f"tests/cluster/releases/k3sfw-{OLD}-py3-none-any.whl"
BUILT_FROM = ("_grains", "_modules", "_output", "_runners", "_states", "_utils", "saltext_k3sfw")
SYNCED = ("grains", "modules", "states", "utils")


@pytest.fixture(scope="module")
def pythons(tmp_path_factory):
    """An environment for each version that pip installed, with Salt and all that it needs."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("LICENSE", "NOTICE", "README.md", "pyproject.toml", "setup.cfg"):
        shutil.copy(ROOT / name, checkout / name)
    copy_tree(checkout, BUILT_FROM)
    return {
        version: environment(tmp_path_factory.mktemp("python"), source)
        for version, source in ((OURS, checkout), (OLD, OLD_RELEASE))
    }


def copy_tree(target, names):
    ignored = shutil.ignore_patterns("__pycache__")
    for name in names:
        shutil.copytree(ROOT / name, target / name, ignore=ignored)


def environment(folder, source):
    python = folder / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "of_this_python.pth").write_text("\n".join(site.getsitepackages()))
    pip = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", str(source)], check=True)
    return python


@pytest.fixture
def minion(tmp_path):
    """A masterless minion with the files of this version, synced."""
    folder = tmp_path / "minion"
    configure(folder, grains={"k3s_role": "server"})
    tree = tmp_path / "tree"
    copy_tree(tree, [f"_{name}" for name in SYNCED])
    return folder, tree


def sync(minion):
    """Put the files where Salt puts them."""
    folder, tree = minion
    synced = folder / "var/cache/salt/minion/extmods"
    for name in SYNCED:
        shutil.copytree(tree / f"_{name}", synced / name)


def said(minion, python, *arguments):
    """All that salt-call says, and whether it was content."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-c", SALT_CALL, "--local", "-c", minion[0], "--out=json"]
    done = subprocess.run(
        [*command, "--retcode-passthrough", *arguments],
        cwd=minion[0],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr, done.returncode == 0


def assert_refused(minion, python, *versions):
    """The module says which copies there are and what to do, and the state does not run."""
    text, content = said(minion, python, "k3sfw.role")
    assert not content
    for part in (*versions, "run saltutil.sync_all", "remove the copy that is not wanted"):
        assert part in text, text
    text, content = said(minion, python, "state.high", '{"rules": {"k3sfw": ["managed"]}}')
    assert not content
    # Salt finds no state then, and so changes nothing.
    assert "'k3sfw.managed' was not found" in text


def test_two_copies_of_one_version_are_one(minion, pythons):
    sync(minion)
    # The engine answers, and asks for its pillar.
    assert "pillar k3s: there is no such key" in said(minion, pythons[OURS], "k3sfw.role")[0]


def test_a_synced_copy_beside_an_older_one_of_pip_is_refused(minion, pythons):
    sync(minion)
    assert_refused(minion, pythons[OLD], OURS, OLD)


def test_a_newer_synced_copy_beside_one_of_pip_is_refused(minion, pythons):
    next_version(minion[1])
    sync(minion)
    assert_refused(minion, pythons[OURS], OURS, NEXT)


def test_a_module_alone_beside_another_version_of_pip_is_refused(minion, pythons):
    """As ``saltutil.sync_modules`` leaves it."""
    next_version(minion[1])
    shutil.rmtree(minion[1] / "_utils")
    Path(minion[1] / "_utils").mkdir()
    sync(minion)
    assert_refused(minion, pythons[OURS], OURS, NEXT)
