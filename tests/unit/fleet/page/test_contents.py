"""What the page says, as data."""

from __future__ import annotations

import dataclasses

from k3sfw_engine.checks.suggested_commands import run_on, until_then
from k3sfw_engine.fleet.answers import NodePromise
from k3sfw_engine.fleet.page.contents import page_contents
from tests.page_files import SMALL_FAULTS, fleet_of, never_asked
from tests.simulated_fleet import Fault, simulated_fleet


def contents_of(cluster, previous=None):
    return page_contents(cluster, previous)[0]


def with_promise(cluster, value, **details):
    answers = {
        name: dataclasses.replace(each, promises={"etcd": NodePromise(value, **details)})
        for name, each in cluster.answers.items()
    }
    return dataclasses.replace(cluster, answers=answers)


def test_a_cluster_without_problems_says_so():
    found = contents_of(simulated_fleet(5))
    assert found["verdict"].family == "good"
    assert found["problems"] == ()


def test_each_cause_is_one_problem_and_the_worst_is_first():
    found = contents_of(fleet_of(5))
    assert len(found["problems"]) == len(SMALL_FAULTS)
    assert found["verdict"].family == "bad"
    assert found["problems"][0].fixes[0].text == "salt a2 state.apply k3s.firewall"
    assert found["problems"][0].fixes[0].is_command
    assert found["problems"][-1].state.family == "unproven"


def test_what_helps_until_a_cause_is_gone_can_be_copied_by_itself():
    cluster = simulated_fleet(5, [Fault("setting", "a1")])
    answer = cluster.answers["a1"]
    hint = until_then("give the node a route", run_on("a1", "ip route add 10.43.0.0/16 dev eth0"))
    (problem,) = answer.parts["routes"].problems
    routes = dataclasses.replace(
        answer.parts["routes"], problems=(dataclasses.replace(problem, hint=hint),)
    )
    changed = dataclasses.replace(answer, parts={**answer.parts, "routes": routes})
    cluster = dataclasses.replace(cluster, answers={**cluster.answers, "a1": changed})
    (card,) = contents_of(cluster)["problems"]
    assert [(fix.label, fix.is_command) for fix in card.fixes] == [
        ("Fix", False),
        ("Until then", True),
    ]
    assert card.fixes[1].text == run_on("a1", "ip route add 10.43.0.0/16 dev eth0")


def test_evidence_of_a_pair_leads_to_its_problem():
    cluster = fleet_of(5)
    found, data = page_contents(cluster, None)
    names = [name for name, *_rest in data["nodes"]]
    number, _text = data["notes"][f"{names.index('a1')},{names.index('a2')},udp/8472"]
    assert "8472" in found["problems"][number - 1].title


def test_a_silent_node_is_never_good_news():
    found = contents_of(simulated_fleet(5, [Fault("silent", "a2")]))
    assert found["verdict"].family == "unsure"
    assert any(fact.is_bad and "a2" in fact.text for fact in found["facts"])
    assert [line.name for line in found["node_lists"][0].nodes] == ["a2"]


def test_without_any_answer_nothing_is_claimed():
    cluster = simulated_fleet(5, [Fault("silent", name) for name in ("s1", "s2", "s3", "a1", "a2")])
    found = contents_of(cluster)
    assert found["verdict"].family == "unsure"
    assert "nothing is known" in found["headline"]


def test_a_broken_promise_is_a_failure_with_its_parts():
    cluster = with_promise(simulated_fleet(5), "broken", parts=("a1 gets in",))
    found = contents_of(cluster)
    assert found["verdict"].family == "bad"
    assert found["promises"][0].parts == ("a1 gets in",)
    assert found["kept"] == []


def test_a_kept_promise_is_folded_away():
    found = contents_of(with_promise(simulated_fleet(5), "kept", packets=3))
    assert found["promises"] == []
    assert [card.name for card in found["kept"]] == ["etcd"]


def test_older_answers_tell_what_is_new_and_what_was_fixed():
    before = simulated_fleet(5, [Fault("rejects", "a2", "8472"), Fault("setting", "a1")])
    now = simulated_fleet(5, [Fault("setting", "a1"), Fault("exposed", "s1", "2379")])
    found = contents_of(now, before)
    assert {card.title.split()[0].rstrip(":"): card.age for card in found["problems"]} == {
        "a1": "still",
        "s1": "new",
    }
    assert [part.title for part in found["since"]["parts"]] == [
        "New: 1 problem",
        "Fixed: 1 problem",
        "Still there: 1 problem",
    ]


def test_a_problem_of_a_node_that_is_silent_now_is_not_taken_for_fixed():
    before = simulated_fleet(5, [Fault("setting", "a1")])
    now = simulated_fleet(5, [Fault("silent", "a1")])
    titles = [part.title for part in contents_of(now, before)["since"]["parts"]]
    assert titles == ["Not known, as a node of them is silent now: 1 problem"]


def test_tables_that_cannot_be_read_are_told_and_not_shown_as_empty():
    cluster = simulated_fleet(5)
    for tables in ({}, {"ports": {"cluster": {"etcd": {"port": "x"}}, "manager": {}}}):
        found = contents_of(dataclasses.replace(cluster, tables=tables))
        assert found["roles"] == ()
        assert found["rows"] == ()
        assert found["roles_summary"] != contents_of(cluster)["roles_summary"]


def test_what_was_never_asked_is_counted():
    found = contents_of(never_asked(simulated_fleet(30)))
    counts = {entry.state.family: entry.count for entry in found["pair_legend"]}
    assert int(counts["never"]) == 30 * 29 - 30 * 8
