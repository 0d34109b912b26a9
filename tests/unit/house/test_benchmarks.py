"""The page of benchmarks is what the runs wrote, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import record, table
from bench.cases import CASES
from bench.record import Figures, Record
from bench.tools import TOOLS

MEASURED = Figures(
    tool="tool 1.0",
    day="2026-11-29",
    version="0.3.0",
    cores=2,
    seconds=(0.2, 0.1, 0.4),
    whole=(1.2, 1.1, 1.4),
    reload=0.1,
    processes=3,
    calls=20,
    reloads=1,
    connections=4000,
    lost=2,
    tool_mebibytes=40.4,
    firewalld_mebibytes=50.6,
)
SCRIPT, OURS = TOOLS[0], TOOLS[-1]


def cells_of(tool, **figures):
    """The row of a tool in the first table, of a record with these figures by tool."""
    found = Record({key.replace("_", "-"): {CASES[0].key: each} for key, each in figures.items()})
    row, *_later = [
        line for line in table.render(found).splitlines() if line.startswith(f"| {tool.name} |")
    ]
    return [cell.strip() for cell in row.split("|")[2:-1]]


def test_the_page_is_what_the_record_says():
    assert table.PAGE.read_text() == table.render(record.read())


def test_every_figure_is_of_a_tool_and_a_case_that_exist():
    found = record.read().tools
    assert set(found) <= {tool.key for tool in TOOLS}
    assert {case for cases in found.values() for case in cases} <= {case.key for case in CASES}


def test_the_keys_of_tools_and_cases_are_unique():
    for keys in ([tool.key for tool in TOOLS], [case.key for case in CASES]):
        assert len(set(keys)) == len(keys)


def test_a_row_has_medians_spread_ratios_and_counts():
    other = replace(MEASURED, seconds=(2.0,), whole=(12.34,))
    assert cells_of(OURS, k3sfw=MEASURED, script=other) == [
        "200 ms (100 ms – 400 ms)",
        "1,200 ms (1,100 ms – 1,400 ms)",
        "2.00",
        "1.0",
        "3",
        "20",
        "1",
        "2 of 4,000",
        "40, 51",
    ]
    assert cells_of(SCRIPT, k3sfw=MEASURED, script=other)[:4] == [
        "2,000 ms",
        "12.3 s",
        "20.00",
        "10.0",
    ]


def test_what_was_not_measured_says_why_and_has_no_figures():
    reason = replace(MEASURED, seconds=(), reason="it has no | dry run")
    assert cells_of(SCRIPT, script=reason)[0] == "⬜ it has no dry run"
    assert set(cells_of(SCRIPT, script=reason)[1:]) == {""}
    assert cells_of(OURS) == ["⬜ not measured yet", *[""] * 8]


def test_without_ours_nothing_is_beside_it():
    assert cells_of(SCRIPT, script=MEASURED)[3] == ""


def test_what_was_measured_stays_where_a_tool_cannot_be_had():
    missing = replace(MEASURED, seconds=(), reason="not here")
    before = Record({"script": {"first": MEASURED}})
    assert record.with_figures(before, "script", "first", missing) == before
    assert record.with_figures(Record({}), "script", "first", missing).tools == {
        "script": {"first": missing}
    }
    newer = replace(MEASURED, day="2026-12-01")
    assert record.with_figures(before, "script", "first", newer).tools["script"]["first"] == newer


def test_a_record_is_read_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "FILE", tmp_path / "figures.json")
    assert record.read() == Record({})
    growth = record.Growth("2026-11-29", "0.3.0", 2, {"a step": {100: 1.0, 1000: 10.0}})
    written = Record({"k3sfw": {"first": MEASURED}}, growth)
    record.write(written)
    assert record.read() == written
    assert "| a step | 1.0 ms | 10.0 ms | 1.00 |" in table.render(written)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.key)
def test_a_reason_is_about_something_that_there_is(tool):
    known = {
        word for case in CASES for word in (case.key, case.key.split("_")[0], case.action.value)
    }
    assert set(tool.cannot) <= known
