"""What ``sys.doc`` shows is valid reStructuredText, and says since when a function is there."""

from __future__ import annotations

import importlib
import inspect
import re
import zipfile

import pytest
from packaging.version import Version
from rstcheck_core.checker import check_source
from rstcheck_core.types import construct_ignore_dict

import k3sfw_engine
from tests.paths import ROOT

MODULES = sorted(
    f"{folder.name}.{path.stem}"
    for folder in ROOT.glob("_[a-z]*")
    for path in folder.glob("[a-z]*.py")
)
FIRST_RELEASE = ROOT / "tests/cluster/releases/k3sfw-0.1.0-py3-none-any.whl"
# Sphinx knows them, and Salt's own docstrings use them.
OF_SPHINX = construct_ignore_dict(roles=["py:func"], directives=["versionadded", "versionchanged"])


def docstrings(name):
    """The docstring of a module and of each function that Salt offers from it."""
    module = importlib.import_module(name)
    functions = {
        each: inspect.getdoc(function) or ""
        for each, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not each.startswith("_")
    }
    return {"": inspect.getdoc(module) or "", **functions}


DOCSTRINGS = {name: docstrings(name) for name in MODULES}
OFFERED = {
    (name, function)
    for name in MODULES
    for function in DOCSTRINGS[name]
    if function and name.startswith(("_modules.", "_runners.", "_states."))
}


def functions_of_the_first_release():
    with zipfile.ZipFile(FIRST_RELEASE) as wheel:
        return {
            (f"_{folder}.k3sfw", function)
            for folder in ("modules", "states")
            for function in re.findall(
                r"^def ([a-z]\w*)", wheel.read(f"saltext_k3sfw/{folder}/k3sfw.py").decode(), re.M
            )
        }


@pytest.mark.parametrize("name", MODULES)
def test_every_docstring_is_valid_restructuredtext(name):
    assert DOCSTRINGS[name][""]
    found = {
        function: list(check_source(f"{text}\n", ignores=OF_SPHINX))
        for function, text in DOCSTRINGS[name].items()
    }
    assert {function: faults for function, faults in found.items() if faults} == {}


def test_a_function_says_since_when_it_is_there():
    stated = {
        (name, function): re.findall(
            r"^\.\. versionadded:: (.+)$", DOCSTRINGS[name][function], re.M
        )
        for name, function in OFFERED
    }
    first = functions_of_the_first_release()
    assert {key for key, versions in stated.items() if not versions} == first
    coming = Version(k3sfw_engine.__version__)
    for versions in stated.values():
        assert all(Version(version) <= Version(coming.base_version) for version in versions)


@pytest.mark.parametrize(
    "text", ["``unclosed\n", "Title\n===\n", ".. code-block:: yaml\n\n    a: [\n"]
)
def test_what_is_broken_is_found(text):
    assert list(check_source(text))
