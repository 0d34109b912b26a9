"""The figures of a host are those of its last changes that show them."""

from __future__ import annotations

import pytest

from k3sfw_engine.model.firewall_objects import ROWS, Kind
from k3sfw_engine.plan.steps import ChangeEntries, Reload, SetRuntime
from k3sfw_engine.transaction import reload_for_rules
from k3sfw_engine.transaction.reload_for_rules import Pace, note_pace, read_pace

TWO_RULES = SetRuntime((Kind.POLICY, ROWS), {"rich_rules": ("a", "b")}, {"rich_rules": ()})
ENTRY = ChangeEntries("k3s-node-4", add=("192.0.2.1",))


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(reload_for_rules, "FILE", tmp_path / "pace.json")
    return tmp_path / "pace.json"


def test_a_host_without_figures_has_those_of_a_slow_one():
    assert read_pace() == Pace()


def test_each_kind_of_change_updates_its_own_figure():
    note_pace([Reload("new objects")], 0.25)
    note_pace([TWO_RULES], 0.5)
    assert read_pace() == Pace(reload=0.25, rule=0.25)


def test_entries_show_nothing_about_rules():
    note_pace([ENTRY], 9.0)
    note_pace([ENTRY, TWO_RULES], 9.0)
    note_pace([], 9.0)
    assert read_pace() == Pace()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"reload": 1}', '{"reload": "x", "rule": 1}'])
def test_figures_that_cannot_be_read_are_measured_again(file, content):
    file.write_text(content)
    assert read_pace() == Pace()
    note_pace([Reload("new objects")], 0.25)
    assert read_pace().reload == 0.25


def test_a_file_that_cannot_be_written_ends_no_change(tmp_path, monkeypatch):
    monkeypatch.setattr(reload_for_rules, "FILE", tmp_path / "missing" / "pace.json")
    note_pace([Reload("new objects")], 0.25)
    assert read_pace() == Pace()
