"""The metrics of a node: none is ever missing, and promtool finds nothing to say about them."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from k3sfw_engine.checks.metrics import definitions
from k3sfw_engine.checks.metrics.node_families import node_families
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.exposition import Metric, write_exposition
from tests.paths import ROOT
from tests.unit.checks.metrics.node_metrics import NODE, PORTS, measured, series

# A node's share of a monitoring system; https://prometheus.io/docs/practices/instrumentation
MOST_SERIES = 100


def test_a_node_has_the_same_series_before_its_first_check_and_after_it():
    # Only the digest of the tables is a label that a check learns.
    before, after = (
        {name for name in series(known) if name[0] != "k3sfw_tables_info"}
        for known in (measured(), measured(PORTS))
    )
    assert before == after


def test_every_metric_that_is_declared_is_written_and_has_a_help():
    declared = {each for each in vars(definitions).values() if isinstance(each, Metric)}
    assert {metric for metric, _samples in node_families(measured(), NODE)} == declared
    assert all(each.help.endswith(".") for each in declared)


def test_the_number_of_series_does_not_grow_with_the_cluster():
    peers = tuple(f"n{number}" for number in range(1000))
    tables = replace(PORTS.tables, peers=peers)
    many = series(measured(replace(PORTS, tables=tables)))
    assert len(many) == len(series(measured(PORTS))) <= MOST_SERIES


def test_what_a_check_found_is_told_with_zeros():
    found = series(measured(PORTS))
    assert found["k3sfw_check_problems", "ports", "blocked"] == 2
    assert found["k3sfw_check_problems", "ports", "exposed"] == 0
    assert found["k3sfw_check_problems", "zones", "blocked"] == 0
    assert ("k3sfw_check_problems", "ports", "ok") not in found
    assert found["k3sfw_check_questions", "ports", "yes"] == 7
    assert found["k3sfw_check_questions", "ports", "no"] == 1
    assert found["k3sfw_tests", "broken"] == 1
    assert found["k3sfw_tests", "unproven"] == 0
    assert found["k3sfw_check_duration_seconds", "ports"] == 1.5


def test_a_layer_that_is_not_known_is_neither_in_step_nor_out_of_it():
    found = series(measured(PORTS))
    assert (found["k3sfw_in_step", "runtime"], found["k3sfw_in_step", "permanent"]) == (1, 0)
    assert math.isnan(found["k3sfw_in_step", "kernel"])
    assert math.isnan(series(measured())["k3sfw_in_step", "runtime"])


def test_a_journal_that_cannot_be_read_is_not_a_node_that_never_changed():
    found = series(measured(), replace(NODE, last_changes=None))
    assert math.isnan(found["k3sfw_last_change_timestamp_seconds", "kept"])
    assert series(measured())["k3sfw_last_change_timestamp_seconds", "kept"] == 0


def test_only_peers_that_the_last_check_asked_count_as_asked():
    node = replace(NODE, proofs={"s1": 1000.5, "s2": 900.0, "gone": 1000.5})
    found = series(measured(PORTS), node)
    assert (found["k3sfw_peers",], found["k3sfw_peers_asked",]) == (2, 1)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="prometheus is not installed")
@pytest.mark.parametrize("known", [measured(), measured(PORTS)])
@pytest.mark.parametrize("name", ["a1", 'a"1\\\n\u202e{}', ""])
def test_promtool_finds_nothing_to_say(known, name):
    text = write_exposition(node_families(known, replace(NODE, name=name, proofs={"s1": 1001.5})))
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_status_has_a_series():
    statuses = {name[2] for name in series(measured()) if name[0] == "k3sfw_check_problems"}
    assert statuses == {status.value for status in Status} - {"ok"}


def test_every_metric_and_its_labels_are_documented():
    listed = re.findall(
        r"^\| `(k3sfw_\w+)` \| (.*?) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE
    )
    documented = {name: re.findall(r"`(\w+)`", labels) for name, labels in listed}
    for metric, samples in node_families(measured(), NODE):
        assert documented[metric.name] == list(samples[0].labels), metric.name
