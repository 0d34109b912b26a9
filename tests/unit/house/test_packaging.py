"""
Salt loads what pip installs: the package is built, installed as a wheel and in place into an
environment of its own, and called with a real salt-call.
"""

from __future__ import annotations

import configparser
import email
import os
import re
import shutil
import site
import subprocess
import sys

import pytest
from trove_classifiers import classifiers

import k3sfw_engine
from tests.paths import ROOT
from tests.selection import exhaustive
from tests.unit.masterless import SALT_CALL, configure, salt_call

SHIPPED = ("_grains", "_modules", "_output", "_runners", "_states", "_utils", "saltext_k3sfw")
BUILT_FROM = (*SHIPPED, "LICENSE", "NOTICE", "README.md", "pyproject.toml", "setup.cfg")
# Its distribution is still called k3sfw.
OLD_RELEASE = ROOT / "tests/cluster/releases/k3sfw-0.1.0-py3-none-any.whl"
REPORT = SALT_CALL.replace("sys.exit", "sys.argv[1:] = ['--versions-report']; sys.exit")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Copy what is packaged, because a build leaves files beside the sources."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


def build(what, checkout, folder):
    code = f"from setuptools.build_meta import {what} as build; print(build({str(folder)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    return build("build_wheel", checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(checkout, tmp_path_factory):
    return build("build_sdist", checkout, tmp_path_factory.mktemp("sdist"))


def installed(arguments, folder):
    """Create a virtual environment with the package and access to the packages of this Python."""
    python = folder / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "of_this_python.pth").write_text("\n".join(site.getsitepackages()))
    install(arguments, python)
    return python


def install(arguments, python):
    pip = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", *map(str, arguments)], check=True)


def uninstall(names, python):
    pip = [sys.executable, "-m", "pip", f"--python={python}", "uninstall", "--quiet", "--yes"]
    subprocess.run([*pip, *names], check=True)


@pytest.mark.parametrize("way", ["wheel", exhaustive("editable")])
def test_salt_loads_what_pip_installed(way, checkout, wheel, tmp_path):
    arguments = [wheel] if way == "wheel" else ["--editable", checkout]
    python = installed(arguments, tmp_path / "environment")
    minion = tmp_path / "minion"
    configure(minion, grains={"k3s_role": "server"})

    functions = salt_call(minion, "sys.list_functions", "k3sfw", python=python)
    assert {"k3sfw.apply", "k3sfw.status"} <= set(functions)
    states = salt_call(minion, "sys.list_state_functions", "k3sfw", python=python)
    assert {"k3sfw.managed", "k3sfw.absent"} <= set(states)
    grains = salt_call(minion, "grains.item", "k3s_cluster", "k3s_role", python=python)
    assert grains == {"k3s_cluster": "default", "k3s_role": "server"}


@pytest.mark.parametrize("source", ["checkout", "sdist"])
def test_the_wheel_holds_every_source_file_and_nothing_else(
    source, checkout, wheel, sdist, tmp_path
):
    if source == "sdist":
        shutil.unpack_archive(sdist, tmp_path / "sdist")
        wheel = build("build_wheel", next((tmp_path / "sdist").iterdir()), tmp_path)
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    held = [path for path in (tmp_path / "wheel").rglob("*") if path.is_file()]
    sources = [path for name in SHIPPED for path in (checkout / name).rglob("*.py")]
    # Salt syncs no such files; pip installs them beside their package.
    sources += list((checkout / "_utils/k3sfw_engine/fleet/page").glob("page.*"))
    inside = sorted(path.read_bytes() for path in held if ".dist-info" not in str(path))
    assert inside == sorted(path.read_bytes() for path in sources)


def test_the_version_report_of_salt_names_the_extension(wheel, tmp_path):
    python = installed([wheel], tmp_path / "environment")
    report = [python, "-c", REPORT]
    done = subprocess.run(report, cwd=tmp_path, capture_output=True, text=True)
    _head, _heading, extensions = done.stdout.partition("Salt Extensions:")
    version = k3sfw_engine.__version__
    assert re.search(rf"^ *saltext\.k3sfw: {re.escape(version)}$", extensions, re.MULTILINE)


def masterless(python, folder):
    """The functions that a minion offers, and what it logs."""
    configure(folder)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-c", SALT_CALL, "--local", "-c", folder, "sys.list_functions", "k3sfw"]
    # Not in the checkout, in which a build may have left metadata.
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.stdout, done.stderr


def test_an_old_distribution_beside_the_new_one_is_told_with_its_fix(wheel, tmp_path):
    python = installed([OLD_RELEASE], tmp_path / "environment")
    install([wheel], python)
    functions, log = masterless(python, tmp_path / "minion")
    assert "k3sfw.check" in functions
    fix = f"Fix: {python} -m pip uninstall --yes k3sfw saltext.k3sfw, then"
    assert log.count(fix) == 1
    uninstall(["k3sfw", "saltext.k3sfw"], python)
    install([wheel], python)
    functions, log = masterless(python, tmp_path / "minion")
    assert "k3sfw.check" in functions
    assert "uninstall" not in log


def test_an_upgrade_in_the_documented_order_leaves_one_distribution(wheel, tmp_path):
    python = installed([OLD_RELEASE], tmp_path / "environment")
    uninstall(["k3sfw"], python)
    install([wheel], python)
    functions, log = masterless(python, tmp_path / "minion")
    assert "k3sfw.check" in functions
    assert "uninstall" not in log


def test_the_metadata_are_what_an_index_and_the_community_expect(wheel, sdist, tmp_path):
    check = [sys.executable, "-m", "twine", "check", "--strict", sdist, wheel]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    metadata = email.message_from_string(next(tmp_path.glob("wheel/*/METADATA")).read_text())
    assert metadata["Name"] == "saltext.k3sfw"
    assert "salt-extension" in metadata["Keywords"].split(",")
    assert "salt>=3006" in metadata.get_all("Requires-Dist")
    assert metadata.get_all("License-File") == ["LICENSE", "NOTICE"]
    assert set(metadata.get_all("Classifier")) <= classifiers


def test_the_requirements_state_installs_what_the_package_needs():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    state = (ROOT / "salt/k3s/requirements.sls").read_text()
    packages = re.search(r"^PACKAGES = \((.*)\)$", state, re.MULTILINE).group(1)
    needed = setup["options"]["install_requires"].split()
    # What renders the state is Salt.
    assert [*re.findall(r'"(\w+)"', packages), "salt>=3006"] == needed
