"""The page of compatibility is what the runs wrote, and nothing else."""

from __future__ import annotations

from tests.compatibility import catalogue, record, table
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
