"""The page of compatibility is what the runs wrote, and nothing else."""

from __future__ import annotations

import pytest

from tests.compatibility import catalogue, record, run, table
from tests.compatibility.cell import Cell, Prepared
from tests.compatibility.record import Outcome

CELL = Cell("salt", "x", "the walk", ("tests",), lambda _: Prepared(), salt="3006")


def shown(**outcome):
    values = {"versions": {}, "what": "the walk", "day": "2026-11-29", "version": "1.0", **outcome}
    (row,) = [
        line
        for line in table.render([CELL], {CELL.key: Outcome(**values)}).splitlines()
        if line.startswith("| `salt-x`")
    ]
    return row


def test_the_page_is_what_the_record_says():
    assert table.PAGE.read_text() == table.render(catalogue.cells(), record.read())


def test_every_outcome_is_of_a_cell_that_exists_and_every_key_is_of_one_cell():
    keys = [cell.key for cell in catalogue.cells()]
    assert len(set(keys)) == len(keys)
    assert set(record.read()) <= set(keys)


def test_a_cell_is_green_only_if_something_ran_and_all_of_it_passed():
    assert "✅ 3 passed" in shown(passed=3)
    assert "❌ 1 of 4 failed" in shown(passed=3, failed=1)
    assert "⬜ no Python 3.99 here" in shown(not_run="no Python 3.99 here")
    assert "⬜ nothing ran" in shown(skipped=5)
    assert "⬜ not run yet" in table.render([CELL], {})
    for outcome in ({"failed": 1}, {"skipped": 1}, {"passed": 1, "not_run": "x"}):
        assert "✅" not in shown(**outcome)


def test_versions_are_those_that_were_found():
    assert "| 3006.30 |" in shown(passed=1, versions={"salt": "3006.30"})
    assert "| 3006 |" in shown(not_run="nothing here")


def test_what_ran_is_told_in_the_words_of_that_day():
    assert "| the part |" in shown(passed=1, what="the part")


@pytest.mark.parametrize("code", [2, 3, 4, 5, -9])
def test_a_pytest_that_did_not_come_to_an_end_is_a_failure(code, tmp_path):
    report = tmp_path / "report.xml"
    assert run.counted(report, code)["failed"] == 1
    report.write_text(
        '<testsuites><testsuite><testcase name="a" classname="b"/></testsuite></testsuites>'
    )
    counted = run.counted(report, code)
    assert (counted["passed"], counted["failed"]) == (1, 1)
    assert run.counted(report, 0)["failed"] == 0


def test_what_was_measured_stays_where_it_cannot_be_run_again():
    values = {"versions": {}, "what": "the walk", "day": "2026-11-29", "version": "1.0"}
    measured, missing = Outcome(**values, passed=3), Outcome(**values, not_run="not here")
    assert record.with_outcome({"a": measured}, "a", missing) == {"a": measured}
    assert record.with_outcome({"a": missing}, "a", measured) == {"a": measured}
    assert record.with_outcome({}, "a", missing) == {"a": missing}


def test_a_cell_whose_preparation_breaks_fails_and_stops_no_other(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "KEPT", tmp_path)
    outcome = run.prove(Cell("salt", "x", "the walk", (), lambda _: {}["nothing"]))
    assert (outcome.failed, outcome.holds) == (1, False)
