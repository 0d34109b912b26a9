"""The comparison of tools measures what happened, and nothing that did not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import compare, record, table
from bench.cases import STORIES
from bench.tools import k3sfw


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Compare a tool by the first cases, which are only counted; give its figures by case."""
    monkeypatch.setattr(record, "FILE", tmp_path / "figures.json")
    monkeypatch.setattr(table, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(compare, "STORIES", (STORIES[0][:2],))

    def measure(tool):
        compare.main([tool], runs=0)
        return record.read().tools[tool.key]

    return measure


def test_a_tool_is_timed_counted_and_proven(measured):
    found = measured(k3sfw.TOOL)
    first, nothing = found["first"], found["nothing"]
    assert (first.reason, nothing.reason) == ("", "")
    assert (first.reloads, nothing.reloads) == (1, 0)
    # A status and two lists at the least, and one process: salt-call itself.
    assert first.calls > nothing.calls > 2
    assert first.processes > nothing.processes > 0
    for each in (first, nothing):
        assert 0 < min(each.seconds) < min(each.whole)
        assert each.reload > 0
        assert each.connections > each.lost
        # No Python with Salt, and no firewalld, is smaller.
        assert min(each.tool_mebibytes, each.firewalld_mebibytes) > 10
    assert found["row"].reason == "not measured yet"


def test_a_tool_that_does_not_do_what_it_says_has_no_figures(measured):
    idle = replace(k3sfw.TOOL, command=lambda _action: ["true"], own_seconds=lambda _, whole: whole)
    found = measured(idle)
    assert "ports closed: [3000]" in found["first"].reason
    assert found["nothing"].reason.startswith("First apply: ")
    assert not found["first"].seconds
