"""
Salt loads what pip installs: the package is built, installed as a wheel and in place into an
environment of its own, and called with a real salt-call.
"""

from __future__ import annotations

import configparser
import re
import shutil
import site
import subprocess
import sys

import pytest

from tests.paths import ROOT
from tests.selection import exhaustive
from tests.unit.masterless import configure, salt_call

SHIPPED = ("_grains", "_modules", "_output", "_runners", "_states", "_utils", "saltext_k3sfw")
BUILT_FROM = (*SHIPPED, "LICENSE", "README.md", "pyproject.toml", "setup.cfg")


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


def installed(arguments, folder):
    """Create a virtual environment with the package and access to the packages of this Python."""
    python = folder / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "of_this_python.pth").write_text("\n".join(site.getsitepackages()))
    pip = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", *map(str, arguments)], check=True)
    return python


@pytest.mark.parametrize("way", ["wheel", exhaustive("editable")])
def test_salt_loads_what_pip_installed(way, checkout, tmp_path):
    wheel = build("build_wheel", checkout, tmp_path)
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
def test_the_wheel_holds_every_source_file_and_nothing_else(source, checkout, tmp_path):
    built_from = checkout
    if source == "sdist":
        shutil.unpack_archive(build("build_sdist", checkout, tmp_path), tmp_path / "sdist")
        built_from = next((tmp_path / "sdist").iterdir())
    wheel = build("build_wheel", built_from, tmp_path)
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    held = [path for path in (tmp_path / "wheel").rglob("*") if path.is_file()]
    sources = [path for name in SHIPPED for path in (checkout / name).rglob("*.py")]
    # Salt syncs no such files; pip installs them beside their package.
    sources += list((checkout / "_utils/k3sfw_engine/fleet/page").glob("page.*"))
    inside = sorted(path.read_bytes() for path in held if ".dist-info" not in str(path))
    assert inside == sorted(path.read_bytes() for path in sources)


def test_the_requirements_state_installs_what_the_package_needs():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    state = (ROOT / "salt/k3s/requirements.sls").read_text()
    packages = re.search(r"^PACKAGES = \((.*)\)$", state, re.MULTILINE).group(1)
    assert re.findall(r'"(\w+)"', packages) == setup["options"]["install_requires"].split()
