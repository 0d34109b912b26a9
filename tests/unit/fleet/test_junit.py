"""Test results for a CI, as two other programs read them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from k3sfw_engine.checks.verdicts import Severity, Status
from k3sfw_engine.fleet.answers import CheckedPart, NodeProblem, NodePromise
from k3sfw_engine.fleet.defaults import MOST_CASES
from k3sfw_engine.fleet.forms.junit import junit
from tests.simulated_fleet import Fault, simulated_fleet

FAULTS = [
    Fault("rejects", "s1", "6443"),
    Fault("exposed", "s2", "2379"),
    Fault("no_listener", "a1", "9500"),
    Fault("silent", "a2"),
    Fault("setting", "s3"),
]


def read(cluster):
    """``{suite: {case: (kind of result, message)}}`` as junitparser reads it."""
    found = {}
    for suite in JUnitXml.fromstring(junit(cluster)):
        cases = found[suite.name] = {}
        for case in suite:
            (result,) = case.result or (None,)
            cases[case.name] = (type(result), result.message) if result is not None else None
    return found


def test_a_suite_is_a_row_between_two_roles_and_a_case_is_an_asked_node():
    suites = read(simulated_fleet(5, FAULTS))
    api = suites["tcp/6443: server -> server must be open"]
    assert set(api) == {"s1", "s2", "s3"}
    assert api["s2"] is api["s3"] is None
    kind, message = api["s1"]
    assert kind is Failure
    assert message.startswith("asked by s2, s3: rejected by s1 itself")
    assert "Fix: salt s1 state.apply k3s.firewall" in message


def test_what_must_be_closed_is_a_suite_of_its_own():
    etcd = read(simulated_fleet(5, FAULTS))["tcp/2379: agent -> server must be closed"]
    assert (etcd["s1"], etcd["s2"][0]) == (None, Failure)


def test_a_warning_is_skipped_with_its_reason_and_a_silent_minion_is_an_error():
    suites = read(simulated_fleet(5, FAULTS))
    kind, message = suites["tcp/9500: server -> agent must be open"]["a1"]
    assert (kind, message.startswith("no_listener: ")) == (Skipped, True)
    assert suites["Infrastructure"]["a2"] == (Error, "it did not answer within 60 seconds")
    assert suites["Infrastructure"]["a1"] is None


def test_routes_zones_and_the_rows_in_force_are_suites():
    suites = read(simulated_fleet(5, FAULTS))
    assert suites["Routes"]["s3"][0] is Failure
    assert suites["Rows in force"]["s1"][0] is Failure
    assert set(suites["Zones"].values()) == {None}


@pytest.mark.parametrize(
    ("value", "kind"),
    [("broken", Failure), ("unproven", Skipped), ("not enforceable", Skipped), ("kept", None)],
)
def test_a_promise_is_a_case(value, kind):
    cluster = simulated_fleet(5)
    answers = {
        name: replace(each, promises={"etcd": NodePromise(value, 1, ("a1 reaches s1",))})
        for name, each in cluster.answers.items()
    }
    found = read(replace(cluster, answers=answers))["Promises"]["etcd"]
    assert (found and found[0]) is kind


def test_a_broken_promise_that_is_a_warning_fails_no_build():
    cluster = simulated_fleet(5)
    answers = {
        name: replace(each, promises={"etcd": NodePromise("broken", 1, ("a1 reaches s1",))})
        for name, each in cluster.answers.items()
    }
    tables = {**cluster.tables, "tests": {"etcd": {"severity": "warn"}}}
    found = read(replace(cluster, answers=answers, tables=tables))["Promises"]["etcd"]
    assert found[0] is Skipped


def with_ports(cluster, node, status, *problems):
    answer = cluster.answers[node]
    parts = {**answer.parts, "ports": CheckedPart(status, "1 of 2 checks ok", {}, problems)}
    if problems:
        parts["ports"] = replace(parts["ports"], counts={problems[0].status: 1})
    else:
        parts["ports"] = replace(parts["ports"], counts={Status.OK: 1}, left_off=1)
    return replace(cluster, answers={**cluster.answers, node: replace(answer, parts=parts)})


def test_a_pair_that_could_not_be_asked_anything_is_an_error():
    problem = NodeProblem("s1", "a1", "all rows", Status.ERROR, "no common address family")
    cluster = with_ports(simulated_fleet(5), "s1", Severity.UNKNOWN, problem)
    kind, message = read(cluster)["Rows in force"]["s1"]
    assert (kind, "no common address family" in message) == (Error, True)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(Severity.FAIL, Failure), (Severity.UNKNOWN, Error), (Severity.WARN, Skipped)],
)
def test_what_a_node_counted_and_did_not_send_is_in_the_results(status, kind):
    found = read(with_ports(simulated_fleet(5), "s1", status))["Rows in force"]["s1"]
    assert found[0] is kind


def test_the_counts_are_those_of_the_cases():
    root = ElementTree.fromstring(junit(simulated_fleet(5, FAULTS)))
    for suite in root:
        cases = suite.findall("testcase")
        results = [each[0].tag for each in cases if len(each)]
        assert int(suite.get("tests")) == len(cases) > 0
        assert int(suite.get("failures")) == results.count("failure")
        assert int(suite.get("errors")) == results.count("error")
        assert int(suite.get("skipped")) == results.count("skipped")
        assert suite.get("timestamp") == "2026-05-28T20:26:40"
    for count in ("tests", "failures", "errors", "skipped"):
        assert int(root.get(count)) == sum(int(suite.get(count)) for suite in root)


def test_a_large_cluster_has_a_case_for_each_row_and_names_the_nodes_in_it():
    cluster = simulated_fleet(900, [Fault("rejects", "a100", "9500"), *FAULTS[:2]], servers=9)
    suites = read(cluster)
    (case,) = suites["tcp/9500: agent -> agent must be open"].items()
    assert case[0].endswith(" nodes")
    assert case[1][0] is Failure
    assert case[1][1].startswith("a100: blocked: asked by ")
    rows = {name: cases for name, cases in suites.items() if " must be " in name}
    assert sum(map(len, rows.values())) == len(rows) <= MOST_CASES


HOSTILE = "]]></failure><script>alert(1)</script>\x00\x1b[2J\ufffe & \"'"


def hostile_cluster():
    cluster = simulated_fleet(5, FAULTS)
    problem = NodeProblem("a1", "s1", HOSTILE, Status.BLOCKED, HOSTILE, port=HOSTILE, hint=HOSTILE)
    old = cluster.answers["a1"].parts["routes"]
    parts = {
        **cluster.answers["a1"].parts,
        "routes": CheckedPart(old.status, HOSTILE, problems=(problem,), notices=(HOSTILE,)),
    }
    answers = {**cluster.answers, "a1": replace(cluster.answers["a1"], parts=parts)}
    return replace(cluster, answers=answers, cluster=HOSTILE, silent={"a2": HOSTILE})


def test_hostile_text_stays_text():
    suites = read(hostile_cluster())
    kind, message = suites["Infrastructure"]["a2"]
    assert kind is Error
    assert "</failure><script>alert(1)</script>" in message
    assert "\x1b" not in message
    tags = {each.tag for each in ElementTree.fromstring(junit(hostile_cluster())).iter()}
    assert tags == {"testsuites", "testsuite", "testcase", "failure", "error", "skipped"}


def test_another_program_makes_its_page_of_it(tmp_path):
    source, page = tmp_path / "k3sfw.xml", tmp_path / "page.html"
    source.write_bytes(junit(hostile_cluster()))
    command = [sys.executable, "-m", "junit2htmlreport", str(source), str(page)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "tcp/6443: server -&gt; server must be open" in text
    assert "<script>alert(1)</script>" not in text
