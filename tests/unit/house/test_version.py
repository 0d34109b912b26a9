"""The version stands in the engine; every other place that has to repeat it says the same."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import yaml

import k3sfw_engine

ROOT = Path(__file__).parents[3]
# Salt loads these one by one, so each may be older or newer than the engine.
LOADED_ALONE = sorted(
    path
    for folder in ("_beacons", "_modules", "_output", "_runners", "_states")
    for path in (ROOT / folder).glob("*.py")
    if re.search(r"^\s*(from|import) k3sfw_engine\b", path.read_text(), re.MULTILINE)
)


@pytest.mark.parametrize("path", LOADED_ALONE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_that_imports_the_engine_has_its_version_and_refuses_another(path, monkeypatch):
    module = importlib.import_module(f"{path.parent.name}.{path.stem}")
    assert module.__version__ == k3sfw_engine.__version__
    assert module.__virtual__() == module.__virtualname__
    monkeypatch.setattr(k3sfw_engine, "__version__", "0")
    loads, reason = module.__virtual__()
    assert loads is False
    assert module.__version__ in reason and "saltutil.sync_all" in reason


def test_the_formula_has_the_version_of_the_engine():
    formula = yaml.safe_load((ROOT / "FORMULA").read_text())
    assert formula["version"] == k3sfw_engine.__version__


def test_the_example_of_a_pillar_is_the_site_file():
    assert (ROOT / "pillar.example").readlink() == Path("pillar/k3s/site.sls.example")
