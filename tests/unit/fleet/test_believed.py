"""The master believes of an answer nothing that its own tables or its own clock contradict."""

from __future__ import annotations

from dataclasses import replace

import netaddr
import pytest

from k3sfw_engine.fleet.answers import NodePromise
from k3sfw_engine.fleet.believed import RunTimes, believed
from k3sfw_engine.fleet.coverage import coverage, coverage_sentence
from k3sfw_engine.fleet.defaults import CLOCKS_MAY_DIFFER, OLDEST_PROOF
from k3sfw_engine.model.rows import (
    Destination,
    FlannelBackend,
    PortRange,
    Promise,
    PromisedPorts,
    Protocol,
    Row,
    Source,
    SourceKind,
    Tables,
)
from tests.simulated_fleet import NOW, ROWS, simulated_fleet

TIMES = RunTimes(NOW - 10, NOW)
ANYONE = Source(SourceKind.CIDR, (netaddr.IPNetwork("0.0.0.0/0"),))


def row(protocol, low, high):
    ports = (PortRange(low, high),) if low else ()
    return Row("cluster", "row", Protocol(protocol), ports, (ANYONE,), Destination.ANY, "")


TABLES = Tables(
    "production",
    FlannelBackend.VXLAN,
    tuple(row(protocol, int(port), int(port)) for protocol, port, *_others in ROWS),
    {},
    (),
    (),
    (),
    promises=(
        Promise("etcd_is_for_servers", (), (), deny=(PromisedPorts(Protocol.TCP, None),)),
        Promise("nfs", (), (), accept=(PromisedPorts(Protocol.UDP, PortRange(2049, 2050)),)),
    ),
)
NARROW = replace(TABLES, promises=TABLES.promises[1:])
FLEET = simulated_fleet(5)
HONEST = FLEET.answers["a1"]


def with_rows(**rows):
    cells = "o" * len(HONEST.asked.peers)
    asked = replace(HONEST.asked, rows={**HONEST.asked.rows, **dict.fromkeys(rows, cells)})
    return replace(HONEST, asked=asked)


def notices(answer):
    return answer.parts["ports"].notices


def test_an_answer_that_nothing_contradicts_is_believed_as_it_is():
    assert believed(HONEST, TABLES, TIMES) == HONEST


@pytest.mark.parametrize(
    "name", ["tcp/23", "udp/6443", "tcp/", "tcp/0-99999", "tcp/2379-2381", "icmp", "x", "x/free"]
)
def test_a_row_that_the_tables_do_not_have_is_left_off_and_told(name):
    found = believed(with_rows(**{name: ""}), NARROW, TIMES)
    assert found.asked == HONEST.asked
    assert any("1 row that the tables of the master do not have" in each for each in notices(found))


@pytest.mark.parametrize(
    "name", ["tcp/free", "udp/free", "udp/8472", "udp/51820", "any", "udp/2049", "udp/2049-2050"]
)
def test_what_nodes_ask_besides_rows_is_kept(name):
    assert name in believed(with_rows(**{name: ""}), NARROW, TIMES).asked.rows


def test_of_a_wide_row_no_more_ports_are_believed_than_a_node_asks():
    tables = replace(NARROW, rows=(*TABLES.rows, row("tcp", 30000, 32767)))
    invented = {f"tcp/{port}": "" for port in range(30000, 32767)}
    assert len(believed(with_rows(**invented), tables, TIMES).asked.rows) < 50


def test_promises_that_the_tables_do_not_have_are_left_off_and_told():
    invented = {f"p{number}": NodePromise("broken") for number in range(500)}
    found = believed(replace(HONEST, promises={**HONEST.promises, **invented}), TABLES, TIMES)
    assert found.promises == HONEST.promises
    assert any("500 promises that the tables" in each for each in notices(found))


def test_a_peer_that_was_asked_at_rows_alone_that_nothing_has_was_not_asked():
    cells = {"tcp/23": "o" * len(HONEST.asked.peers)}
    answer = replace(HONEST, asked=replace(HONEST.asked, rows=cells))
    assert believed(answer, NARROW, TIMES).asked.peers == ()


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (2**53 - 1, "its clock is 104,249,970,772 days ahead of the master's"),
        (NOW + 3600, "its clock is 60 minutes ahead of the master's"),
        (NOW - 7200, "its clock is 120 minutes behind the master's"),
    ],
)
def test_a_clock_that_is_wrong_is_told_and_its_times_are_the_masters(at, text):
    ages = {"s1": 60, "s2": 3600}
    answer = replace(HONEST, at=at, proofs={peer: at - age for peer, age in ages.items()})
    found = believed(answer, TABLES, TIMES)
    assert (found.at, found.proofs) == (NOW, {"s1": NOW - 60, "s2": NOW - 3600})
    assert any(each.startswith(text) for each in notices(found))


def test_a_clock_that_is_a_little_wrong_is_the_nodes_own():
    for at in (NOW + CLOCKS_MAY_DIFFER, NOW - CLOCKS_MAY_DIFFER - 10):
        answer = replace(HONEST, at=at, proofs={})
        assert believed(answer, TABLES, TIMES) == answer


@pytest.mark.parametrize("at", [0, 5, NOW - OLDEST_PROOF - 4, NOW + 1, 2**53 - 1])
def test_a_proof_of_a_clock_that_was_wrong_proves_nothing(at):
    fleet = simulated_fleet(30)
    answers = dict(fleet.answers)
    answers["a05"] = replace(answers["a05"], proofs={**answers["a05"].proofs, "s1": at})
    known = {name: believed(each, TABLES, TIMES) for name, each in answers.items()}
    found = coverage(replace(fleet, answers=known))
    assert "s1" not in known["a05"].proofs
    assert found.oldest == coverage(fleet).oldest
    assert "days" not in coverage_sentence(found)
