"""What minions outside of the cluster are asked to send, and how far their answers are believed."""

from __future__ import annotations

from typing import Any

import pytest

from k3sfw_engine.fleet.answers import NodePromise
from k3sfw_engine.fleet.defaults import NODES_ASKED_FROM_OUTSIDE, PACKETS_FROM_OUTSIDE
from k3sfw_engine.fleet.outside_packets import (
    OutsidePacket,
    judge_outside,
    not_asked,
    outside_packets,
    silent_outsider,
)
from k3sfw_engine.model.rows import Tables
from tests.unit.samples import parsed, pillar

ETCD = {
    "from": "198.51.100.0/24",
    "to": ["s1", "s3"],
    "deny": "tcp/2379-2380",
    "accept": "tcp/443",
    "ask_from": ["jump1", "jump2"],
}


def tables_with(**tests: Any) -> Tables:
    return parsed(pillar(tests=tests))


TABLES = tables_with(etcd=ETCD, quiet={**ETCD, "ask_from": []})
PACKETS = outside_packets(TABLES, 0)["jump1"]


def answer(packet: OutsidePacket, result: str, source: str = "198.51.100.9") -> dict[str, str]:
    return {"packet": str(packet), "result": result, "source": source, "evidence": ""}


def judged(*results: str, **options: Any) -> NodePromise:
    """Each packet answered by one of the results, in turn."""
    raw = [
        answer(packet, results[index % len(results)], **options)
        for index, packet in enumerate(PACKETS)
    ]
    return judge_outside("jump1", PACKETS, raw, TABLES)["etcd"]


def as_promised() -> list[dict[str, str]]:
    return [answer(each, "open" if each.must_arrive else "rejected") for each in PACKETS]


def test_only_minions_of_ask_from_are_asked_and_only_in_families_of_the_sources():
    assert set(outside_packets(TABLES, 0)) == {"jump1", "jump2"}
    assert {str(packet) for packet in PACKETS} == {
        f"tcp/{port} {address}"
        for port in (443, 2379, 2380)
        for address in ("192.0.2.11", "192.0.2.13")
    }


def test_answers_as_promised_keep_it_by_as_many_packets():
    assert judge_outside("jump1", PACKETS, as_promised(), TABLES) == {
        "etcd": NodePromise("kept", len(PACKETS))
    }


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("open", "tcp/2379 of s1 (192.0.2.11) is open to jump1")]
    + [("nothing listens", "tcp/2379 of s1 (192.0.2.11) is open to jump1")],
)
def test_one_packet_that_gets_in_breaks_a_promise_to_deny(wrong, said):
    raw = as_promised()
    at = next(index for index, each in enumerate(raw) if each["packet"] == "tcp/2379 192.0.2.11")
    raw[at]["result"] = wrong
    found = judge_outside("jump1", PACKETS, raw, TABLES)["etcd"]
    assert (found.value, found.packets, found.parts) == ("broken", len(PACKETS) - 1, (said,))


def test_one_packet_that_is_rejected_breaks_a_promise_to_accept():
    for result in ("rejected", "silence"):
        raw = as_promised()
        at = next(index for index, each in enumerate(raw) if each["packet"] == "tcp/443 192.0.2.13")
        raw[at]["result"] = result
        found = judge_outside("jump1", PACKETS, raw, TABLES)["etcd"]
        assert found.parts == ("tcp/443 of s3 (192.0.2.13) is closed to jump1",)


def test_silence_does_not_prove_that_a_port_is_closed():
    denied = tables_with(it={**ETCD, "accept": "udp/53"})
    packets = outside_packets(denied, 0)["jump1"]
    raw = [answer(packet, "silence") for packet in packets]
    assert judge_outside("jump1", packets, raw, denied)["it"].value == "unproven"


@pytest.mark.parametrize("source", ["203.0.113.1", "", "x", None, 5, "::1"])
def test_a_packet_from_another_address_counts_for_nothing(source):
    found = judged("open", source=source)
    assert (found.value, found.packets) == ("unproven", 0)
    assert "not a source of test etcd" in found.parts[0]


@pytest.mark.parametrize(
    "raw",
    [None, "an error", {}, [], [None] * len(PACKETS), [{}] * len(PACKETS)]
    + [[{"packet": "tcp/1 192.0.2.1", "result": "open"}] * len(PACKETS)]
    + [[{"packet": str(each), "result": ["open"], "source": "198.51.100.9"} for each in PACKETS]],
    ids=str,
)
def test_an_answer_to_something_else_leaves_the_promise_unproven(raw):
    found = judge_outside("jump1", PACKETS, raw, TABLES)["etcd"]
    assert (found.value, found.packets) == ("unproven", 0)
    assert found.parts


def test_a_minion_that_is_silent_leaves_its_promises_unproven_and_is_named():
    found = not_asked(PACKETS, silent_outsider("jump1"))["etcd"]
    assert found.value == "unproven"
    assert "jump1" in found.parts[0]


def test_of_many_nodes_others_are_asked_each_time():
    nodes = {
        f"n{number}": {"role": "agent", "addresses": [f"192.0.2.{100 + number}"]}
        for number in range(100)
    }
    nodes |= pillar()["nodes"]
    test = {**ETCD, "to": "agent", "accept": "udp/53", "deny": "tcp/1-65535"}
    tables = parsed(pillar(tests={"it": test}, nodes=nodes))
    runs = [outside_packets(tables, turn)["jump1"] for turn in range(60)]
    assert all(len(packets) <= PACKETS_FROM_OUTSIDE for packets in runs)
    assert {len({each.node for each in packets}) for packets in runs} == {NODES_ASKED_FROM_OUTSIDE}
    assert len({each.node for packets in runs for each in packets}) == 102
