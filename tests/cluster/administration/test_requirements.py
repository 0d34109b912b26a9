"""A minion whose Python lacks a package: it says which, and gets it without a network."""

import importlib.metadata
import json
import os
import shutil
import site
import sys
import zipfile
from pathlib import Path

import pytest

from lab import daemons

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

NODE = "a1"
LACKING = "jeepney"
ENVIRONMENT = "/var/lib/another-python"
PYTHON = f"{ENVIRONMENT}/bin/python"


@pytest.fixture(scope="module")
def lacking(applied):
    """Give a node a copy of this Python environment, Salt included, without one package."""
    host = applied.host(NODE)
    host.run([sys.executable, "-m", "venv", "--without-pip", ENVIRONMENT])
    (packages,) = host.path(ENVIRONMENT).glob("lib/python*/site-packages")
    # Debian's Python names folders that it does not have.
    for folder in filter(Path.is_dir, map(Path, site.getsitepackages())):
        for entry in folder.iterdir():
            if not entry.name.startswith(LACKING):
                (packages / entry.name).symlink_to(entry)
    yield host
    shutil.rmtree(host.path(ENVIRONMENT))


@pytest.fixture(scope="module")
def wheels(applied):
    """Put the package on the master's file server, as a wheel made of the installed one."""
    folder = applied.lab.srv / "salt/k3s/wheels"
    folder.mkdir(parents=True)
    package = importlib.metadata.distribution(LACKING)
    name = f"{LACKING}-{package.version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for file in package.files:
            # The installer adds these; they are not part of a wheel.
            if file.suffix != ".pyc" and file.name not in ("INSTALLER", "REQUESTED"):
                wheel.write(file.locate(), str(file))
    yield
    shutil.rmtree(folder)


def salt_call(host, *words):
    done = host.run(
        [PYTHON, daemons.salt_program("salt-call"), "--out=json", *words], timeout=120, check=False
    )
    return done.stdout, done.stderr


def test_the_minion_says_which_package_is_missing_and_how_to_install_it(lacking):
    told = " ".join(salt_call(lacking, "k3sfw.role"))
    assert f"the Python package {LACKING} is missing in {PYTHON}" in told
    assert "run state.apply k3s.requirements" in told
    assert "Traceback" not in told


def test_the_missing_package_and_the_rules_come_in_the_same_run(lacking, wheels):
    returned = json.loads(salt_call(lacking, "state.apply", "k3s.firewall")[0])["local"]
    requirements, firewall = returned.values()
    assert (requirements["__id__"], requirements["result"]) == ("k3s_requirements", True)
    assert [name.split("==")[0] for name in requirements["changes"]] == [LACKING]
    assert (firewall["__id__"], firewall["result"]) == ("k3s_firewall", True)
    assert json.loads(salt_call(lacking, "k3sfw.role")[0]) == {"local": "agent"}
