"""Salt itself shows the documentation of everything that it offers of k3sfw."""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import textwrap

import pytest
from salt.utils.doc import strip_rst

from tests.paths import ROOT
from tests.unit.masterless import configure, salt_call
from tests.unit.salt.salt_run import RunnerMaster


@pytest.fixture(scope="module")
def minion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("minion")
    configure(folder)
    synced = folder / "var/cache/salt/minion/extmods"
    for name in ("modules", "states", "utils"):
        shutil.copytree(ROOT / f"_{name}", synced / name)
    return folder


def written(folder):
    """The docstrings in a folder as Salt shows them, without reST's directives."""
    module = importlib.import_module(f"{folder}.k3sfw")
    texts = {
        f"k3sfw.{name}": function.__doc__
        for name, function in vars(module).items()
        if inspect.isfunction(function) and not name.startswith("_")
    }
    if folder == "_states":
        # Salt shows the module's own text beside its states.
        texts["k3sfw"] = module.__doc__
    return {name: inspect.cleandoc(text) for name, text in strip_rst(texts).items()}


@pytest.mark.parametrize(
    ("shown_by", "folder"), [("sys.doc", "_modules"), ("sys.state_doc", "_states")]
)
def test_a_minion_shows_the_documentation_of_every_function_and_state(shown_by, folder, minion):
    shown = salt_call(minion, shown_by, "k3sfw")
    assert {name: inspect.cleandoc(text) for name, text in shown.items()} == written(folder)


def test_a_master_shows_the_documentation_of_every_function(tmp_path):
    text = RunnerMaster(tmp_path).run("-d", "k3sfw", form="").text
    _head, *sections = re.split(r"^(k3sfw\.\w+):$", text, flags=re.MULTILINE)
    shown = dict(zip(sections[::2], map(textwrap.dedent, sections[1::2])))
    expected = written("_runners")
    assert shown.keys() == expected.keys()
    # After the last one Salt may log something.
    assert {
        name: shown[name].strip("\n")[: len(text)] for name, text in expected.items()
    } == expected
