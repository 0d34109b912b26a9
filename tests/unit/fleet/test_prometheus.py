"""The cluster as metrics: what is wrong is there, and the number of series is bounded."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.fleet.answers import NodePromise
from k3sfw_engine.fleet.forms.prometheus import MOST_PROBLEMS, write_cluster_metrics
from tests.paths import ROOT
from tests.simulated_fleet import Fault, simulated_fleet

_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'\w+="((?:[^"\\]|\\.)*)"')


def series(found):
    """Every sample by its metric and its labels but the cluster."""
    samples = map(_SAMPLE.fullmatch, write_cluster_metrics(found).splitlines())
    return {
        (each[1], *_LABEL.findall(each[2] or "")[1:]): float(each[3]) for each in samples if each
    }


def test_a_good_cluster_has_no_problem_and_says_how_much_it_asked():
    found = series(simulated_fleet(5))
    assert found["k3sfw_cluster_nodes", "answered"] == 5
    assert found["k3sfw_cluster_nodes", "silent"] == 0
    assert found["k3sfw_cluster_pairs", "ok"] == 20
    assert found["k3sfw_cluster_pairs", "not_asked"] == 0
    assert found["k3sfw_cluster_fewest_askers",] == 4
    assert found["k3sfw_cluster_tables",] == 1
    assert not [name for name in found if name[0] == "k3sfw_cluster_problem"]


def test_a_pair_counts_by_its_worst_answer_and_every_pair_counts_once():
    found = series(simulated_fleet(5, [Fault("rejects", "a1", "9500")]))
    assert found["k3sfw_cluster_pairs", "blocked"] == 4
    verdicts = [value for name, value in found.items() if name[0] == "k3sfw_cluster_pairs"]
    assert sum(verdicts) == 20
    assert len(verdicts) == len(Status) + 1
    (blocked,) = [
        name for name in found if name[:2] == ("k3sfw_cluster_problem", "blocked") and name[2]
    ]
    assert blocked[3:] == ("tcp", "9500")


def test_a_ring_tells_the_pairs_that_it_did_not_ask():
    found = series(simulated_fleet(30, peers=8))
    assert found["k3sfw_cluster_pairs", "not_asked"] == 30 * 29 - 30 * 8
    assert found["k3sfw_cluster_fewest_askers",] == 8


def test_a_silent_node_is_counted():
    found = series(simulated_fleet(5, [Fault("down", "a1")]))
    assert found["k3sfw_cluster_nodes", "silent"] == 1


def test_a_promise_counts_by_the_node_where_it_is_worst():
    fleet = simulated_fleet(2)
    values = {"a": ("kept", "broken"), "b": ("kept", "kept"), "c": ("unproven", "kept")}
    answers = {
        node: replace(
            answer, promises={name: NodePromise(each[at]) for name, each in values.items()}
        )
        for at, (node, answer) in enumerate(fleet.answers.items())
    }
    found = series(replace(fleet, answers=answers))
    results = [found["k3sfw_cluster_tests", name] for name in ("broken", "unproven", "kept")]
    assert results == [1, 1, 1]
    assert found["k3sfw_cluster_tests", "not_enforceable"] == 0


def test_a_broken_promise_that_is_a_warning_is_not_counted_as_broken():
    fleet = simulated_fleet(2)
    answers = {
        node: replace(answer, promises={"a": NodePromise("broken"), "b": NodePromise("broken")})
        for node, answer in fleet.answers.items()
    }
    tables = {**fleet.tables, "tests": {"a": {"severity": "warn"}, "b": {}}}
    found = series(replace(fleet, answers=answers, tables=tables))
    assert [found["k3sfw_cluster_tests", name] for name in ("broken", "warned")] == [1, 1]


def test_the_number_of_series_is_bounded_however_much_is_wrong():
    fleet = simulated_fleet(20, [Fault("rejects", "a01", "9500")])
    answer = fleet.answers["s1"]
    (some, *_others) = [
        each for node in fleet.answers.values() for each in node.parts["ports"].problems
    ]
    many = tuple(replace(some, port=str(port)) for port in range(1, 200))
    parts = {**answer.parts, "ports": replace(answer.parts["ports"], problems=many)}
    found = series(replace(fleet, answers={**fleet.answers, "s1": replace(answer, parts=parts)}))
    shown = [name for name in found if name[0] == "k3sfw_cluster_problem"]
    assert len(shown) == MOST_PROBLEMS
    assert found["k3sfw_cluster_problems_left_out",] >= 149
    assert len(found) < 100


def with_problems(fleet, node, problems):
    answer = fleet.answers[node]
    parts = {**answer.parts, "ports": replace(answer.parts["ports"], problems=tuple(problems))}
    return replace(fleet, answers={**fleet.answers, node: replace(answer, parts=parts)})


def test_an_exposed_port_is_told_however_many_other_questions_failed():
    fleet = simulated_fleet(5, [Fault("exposed", "s1", "2379"), Fault("rejects", "a1", "9500")])
    some = next(each for each in fleet.answers["s2"].parts["ports"].problems)
    many = [replace(some, port=str(port)) for port in range(1, 100) for _twice in "12"]
    found = series(with_problems(fleet, "s2", many))
    assert any(key[1] == "exposed" for key in found if key[0] == "k3sfw_cluster_problem")


def test_texts_that_end_alike_in_a_label_are_one_series():
    fleet = simulated_fleet(5, [Fault("rejects", "a1", "9500")])
    some = next(each for each in fleet.answers["s2"].parts["ports"].problems)
    texts = ["x" * 300, "x" * 301, "a\rb", "a\nb", "\ud800", "?"]
    found = with_problems(fleet, "s2", [replace(some, by=text) for text in texts])
    lines = [line.rpartition(" ") for line in write_cluster_metrics(found).splitlines()]
    ours = {name: value for name, _space, value in lines if 'by="' in name}
    assert len(ours) == sum('by="' in name for name, _space, _value in lines)
    assert list(ours.values()).count("2") == 3


@pytest.mark.skipif(shutil.which("promtool") is None, reason="prometheus is not installed")
@pytest.mark.parametrize("cluster", ["default", 'a"\\\n{}\u202e'])
def test_promtool_finds_nothing_to_say(cluster):
    fleet = simulated_fleet(5, [Fault("rejects", "a1", "9500"), Fault("down", "a2")])
    text = write_cluster_metrics(replace(fleet, cluster=cluster))
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_metric_is_documented():
    documented = set(
        re.findall(r"^\| `(k3sfw_\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.M)
    )
    written = set(re.findall(r"^# TYPE (\S+)", write_cluster_metrics(simulated_fleet(2)), re.M))
    assert written <= documented
