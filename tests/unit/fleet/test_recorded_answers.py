"""Answers of real nodes, recorded in the lab with one cut or two: their causes and no others."""

from __future__ import annotations

import json

import pytest

from k3sfw_engine.fleet.answers import CheckedCluster, ListedMember
from k3sfw_engine.fleet.group import group
from k3sfw_engine.fleet.messages import sentence
from k3sfw_engine.fleet.read_answers import read_node
from tests.paths import ROOT

NAMES = ("a1", "a2", "s1", "s2", "s3")
RECORDED = json.loads((ROOT / "tests/unit/data/answers_of_the_lab.json").read_text())
LISTENER = "nothing listens on tcp/10250 of a2"
CAUSES = {
    "rule": ["s1 rejects tcp/6443 from all 4 who asked: its own firewall"],
    "fdb": ["s3: pods and udp/8472 to a1: frames for 02:00:00:00:00:04"],
    "one_way": ["s2 drops udp/8472 from s1"],
    "overlay_all": [
        "s2 drops udp/8472 from all 4 who asked: its packets arrive at s2, which drops",
        LISTENER,
    ],
    "exposed_and_listener": ["s1 lets tcp/2379 in from a1, a2: zone public", LISTENER],
}


@pytest.mark.parametrize("name", RECORDED)
def test_each_cut_in_the_lab_is_one_cause(name):
    found = group(
        CheckedCluster(
            cluster="default",
            at=0,
            version="",
            tables={},
            nodes={node: ListedMember("server" if node[0] == "s" else "agent") for node in NAMES},
            answers={node: read_node(raw, node, NAMES) for node, raw in RECORDED[name].items()},
        )
    )
    texts = [sentence(each).text for each in found]
    assert len(texts) == len(CAUSES[name])
    assert [text for text, start in zip(texts, CAUSES[name]) if not text.startswith(start)] == []
