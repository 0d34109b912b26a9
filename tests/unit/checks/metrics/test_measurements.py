"""What is remembered from check to check, and that a broken memory is never believed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.checks.metrics.measurements import CheckedTables, CheckRun, oldest_proof
from k3sfw_engine.checks.metrics.saved_form import read_saved_form, write_saved_form
from k3sfw_engine.checks.verdicts import Status
from tests.unit.checks.metrics.node_metrics import IN_STEP, PORTS, TABLES, measured

FAILED = CheckRun("ports", began=2000.0, took=0.1)


def test_a_check_that_could_not_check_leaves_what_was_found_before():
    run = measured(PORTS, FAILED).run_of("ports")
    assert (run.at, run.succeeded_at, run.took) == (2000.0, 1000.0, 0.1)
    assert run.counts[Status.BLOCKED] == 2


def test_a_success_replaces_what_was_found_before():
    run = measured(PORTS, replace(PORTS, began=3000.0, counts={Status.OK: 8})).run_of("ports")
    assert (run.succeeded_at, run.counts) == (3000.0, {Status.OK: 8})


def test_a_check_changes_nothing_of_another():
    known = measured(PORTS, CheckRun("routes", 1500.0, 1.0, {Status.NO_ROUTE: 1}))
    assert known.run_of("ports").counts[Status.BLOCKED] == 2
    assert (known.digest, known.in_step) == ("abc", IN_STEP)
    assert known.run_of("zones").at == 0.0


def test_a_peer_that_was_never_asked_is_as_old_as_its_place_in_the_tables():
    known = measured(PORTS)
    assert oldest_proof(known, {}) == 1000.0
    assert oldest_proof(known, {"s1": 5000.0}) == 1000.0
    assert oldest_proof(known, {"s1": 5000.0, "s2": 4000.0}) == 4000.0


def test_a_peer_that_joins_later_does_not_age_the_oldest_proof():
    grown = CheckedTables("abc", ("s1", "s2", "s3"))
    known = measured(PORTS, replace(PORTS, began=9000.0, tables=grown))
    assert oldest_proof(known, {"s1": 9000.0, "s2": 8500.0}) == 8500.0


def test_a_peer_that_left_is_forgotten():
    shrunken = CheckedTables("abc", ("s2",))
    known = measured(PORTS, replace(PORTS, began=9000.0, tables=shrunken))
    assert oldest_proof(known, {"s1": 10.0, "s2": 8000.0}) == 8000.0
    assert "s1" not in known.known_since


def test_a_node_without_peers_has_no_oldest_proof():
    assert oldest_proof(measured(replace(PORTS, tables=CheckedTables("abc"))), {}) is None


def test_what_is_remembered_is_read_back_as_it_was():
    known = measured(PORTS, FAILED, CheckRun("zones", 1.0, 2.0, {Status.OK: 1}))
    assert read_saved_form(write_saved_form(known)) == known


WHOLE = json.loads(write_saved_form(measured(PORTS)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 1}',
        "[" * 100_000,
        json.dumps({**WHOLE, "format": 2}),
        json.dumps({**WHOLE, "runs": []}),
        json.dumps({**WHOLE, "runs": {"ports": {}}}),
        json.dumps({**WHOLE, "folder": 5}),
        json.dumps({**WHOLE, "interval": "often"}),
        json.dumps({**WHOLE, "interval": True}),
        json.dumps({**WHOLE, "known_since": {"s1": float("nan")}}),
        json.dumps({**WHOLE, "known_since": {"s1": float("inf")}}),
        json.dumps({**WHOLE, "in_step": {"runtime": "yes"}}),
        json.dumps({**WHOLE, "tests": {"kept": None}}),
        json.dumps({**WHOLE, "runs": {"ports": {**WHOLE["runs"]["ports"], "counts": {"odd": 1}}}}),
    ],
)
def test_a_file_that_is_not_as_written_is_refused(text):
    with pytest.raises(ValueError):
        read_saved_form(text)


@given(st.integers(0, len(write_saved_form(measured(PORTS))) - 1))
def test_a_truncated_file_is_refused(length):
    with pytest.raises(ValueError):
        read_saved_form(write_saved_form(measured(PORTS))[:length])


def test_the_tables_of_a_check_are_remembered_until_the_next_that_could_read_them():
    assert measured(PORTS, FAILED).digest == TABLES.digest
