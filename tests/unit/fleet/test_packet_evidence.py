"""The way of a packet and the packet, side by side: contradictions are named, lies are bounded."""

from __future__ import annotations

import pytest

from k3sfw_engine.errors import EngineError
from k3sfw_engine.fleet.defaults import LONGEST_TEXT, MOST_STEPS
from k3sfw_engine.fleet.packet_evidence import contradictions, read_packets, read_walk

STEP = {"at": "rows", "fate": "allowed", "why": "allowed by k3s:ports:cluster:etcd"}
WALK = {"verdict": "open", "source": ["node a1 (agent)"], "decision": STEP, "walk": [STEP]}


def check(**changed):
    row = {"from": "a1", "to": "s1", "address": "192.0.2.11", "status": "ok", "expect": "open"}
    return {**row, "by": "", "evidence": "connected", "hint": "", **changed}


def packets(*checks):
    return read_packets({"checks": checks}, "a1", "s1", "192.0.2.11")


def said(fate, *checks):
    step = {**STEP, "fate": fate}
    walk = read_walk({**WALK, "decision": step}, "s1")
    return [each.text for each in contradictions(walk, packets(*checks), "s1")]


@pytest.mark.parametrize(
    ("fate", "changed"),
    [
        ("allowed", {}),
        ("allowed", {"status": "no_listener"}),
        ("allowed", {"status": "exposed", "expect": "closed"}),
        ("rejected", {"expect": "closed"}),
        ("dropped", {"status": "blocked"}),
        # Neither says anything about the rules of the other node.
        ("allowed", {"status": "host_down"}),
        ("rejected", {"status": "no_answer"}),
        ("allowed", {"status": "local_block"}),
        ("redirected", {"status": "blocked"}),
        ("not known", {"status": "blocked"}),
    ],
)
def test_a_packet_that_goes_the_told_way_is_not_a_contradiction(fate, changed):
    assert said(fate, check(**changed)) == []


@pytest.mark.parametrize(
    ("fate", "changed", "word"),
    [
        ("allowed", {"status": "blocked"}, "holds it up"),
        ("allowed", {"expect": "closed"}, "holds it up"),
        ("allowed", {"status": "no_answer"}, "holds it up"),
        ("rejected", {}, "lets it in"),
        ("dropped", {"status": "exposed", "expect": "closed"}, "lets it in"),
        ("rejected", {"status": "no_listener"}, "lets it in"),
    ],
)
def test_a_packet_that_goes_another_way_is_named(fate, changed, word):
    (sentence,) = said(fate, check(**changed))
    assert word in sentence


def test_only_the_packets_of_the_question_count():
    others = [{"from": "s1"}, {"to": "s2"}, {"address": "192.0.2.12"}]
    assert len(packets(check(), *(check(**other) for other in others), "no map", None)) == 1


@pytest.mark.parametrize("raw", [None, True, [], {}, "Minion did not return", {"walk": 5}])
def test_an_answer_that_is_not_a_walk_is_refused(raw):
    with pytest.raises(EngineError, match="s1 did not explain"):
        read_walk(raw, "s1")


@pytest.mark.parametrize("raw", [None, "error", {}, {"checks": "x"}, {"problems": ["bad tables"]}])
def test_an_answer_that_is_not_a_check_is_refused(raw):
    with pytest.raises(EngineError, match="a1 sent no packet"):
        read_packets(raw, "a1", "s1", "192.0.2.11")


def test_a_hostile_answer_is_bounded():
    long = {**STEP, "why": "x" * 100_000}
    walk = read_walk({**WALK, "walk": [long, 5, None, *[STEP] * 1000], "source": "a1"}, "s1")
    assert len(walk.steps) == MOST_STEPS
    assert len(walk.steps[0].why) == LONGEST_TEXT
    assert walk.steps[1].why == "" and walk.source == ()
