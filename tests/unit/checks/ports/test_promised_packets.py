"""Which packets of a promise a node sends, and what the answers make of it."""

from __future__ import annotations

from typing import Any

import pytest

from k3sfw_engine.checks.ports.defaults import PROMISED_PACKETS_TO_A_PEER
from k3sfw_engine.checks.ports.port_check import ProbeContext
from k3sfw_engine.checks.ports.promised_packets import (
    PromisedAnswer,
    PromisedQuestion,
    judge_on_node,
    judge_packets,
    packets_beside,
    promised_questions,
)
from k3sfw_engine.checks.ports.questions_to_peers import (
    EVERYTHING,
    Expect,
    Filter,
    PeerQuestion,
    questions,
)
from k3sfw_engine.checks.report import PromiseHere
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.nat import Redirection
from k3sfw_engine.model.packet_question import Answer, IcmpError, ProbeResult
from k3sfw_engine.model.rows import Node, PortRange, Protocol, Tables
from tests.unit.samples import changed, parsed, pillar

ETCD = {
    "from": "anyone",
    "except": ["server", "pods", "services"],
    "to": "server",
    "deny": "tcp/2379-2380",
}
OPEN = Answer(ProbeResult.OPEN, "connected")
SILENT = Answer(ProbeResult.SILENCE, "nothing came back")


def rejected(by: str) -> Answer:
    return Answer(ProbeResult.REJECTED, "rejected", icmp=IcmpError(4, 3, 13, by))


def tables_with(tree: Any = None, role: str = "agent", **tests: Any) -> Tables:
    """The tables of a node that has the rows of both roles."""
    whole = {**(tree or pillar()), "tests": tests, "peer_ports": {}}
    return parsed(whole, role)


def node(tables: Tables, name: str) -> Node:
    return next(each for each in tables.nodes if each.name == name)


def asked(tables: Tables, own: str, to: str, only: Filter = EVERYTHING, turn: int = 0) -> Any:
    return promised_questions(tables, node(tables, own), [node(tables, to)], only, turn, {})


def packets(tables: Tables, own: str, to: str, **options: Any) -> set[tuple[str, str, int, str]]:
    return {
        (
            each.question.address,
            each.question.question.protocol.value,
            each.question.question.port,
            each.question.expect.value,
        )
        for each in asked(tables, own, to, **options)
    }


def test_an_agent_sends_the_packets_that_must_not_reach_etcd():
    tables = tables_with(etcd=ETCD)
    assert packets(tables, "a1", "s1") == {
        (address, "tcp", port, "closed")
        for address in ("192.0.2.11", "2001:db8::11")
        for port in (2379, 2380)
    }


@pytest.mark.parametrize(("own", "to"), [("s2", "s1"), ("a1", "a2"), ("s1", "a1")])
def test_nodes_that_are_excepted_or_not_meant_send_none(own, to):
    tables = tables_with(etcd=ETCD, role="server" if own[0] == "s" else "agent")
    assert packets(tables, own, to) == set()


def test_what_must_be_accepted_is_asked_as_open_and_long_ranges_at_their_ends():
    test = {"from": "agent", "to": "s3", "accept": ["udp/53", "tcp/8000-9000"]}
    assert packets(tables_with(it=test), "a1", "s3") == {
        ("192.0.2.13", "udp", 53, "open"),
        ("192.0.2.13", "tcp", 8000, "open"),
        ("192.0.2.13", "tcp", 9000, "open"),
    }


def test_protocols_without_ports_are_not_asked():
    tables = tables_with(it={"from": "any", "to": "any", "deny": ["vrrp", "sctp/80", "any"]})
    assert packets(tables, "a1", "s3") == set()


def test_only_ports_that_the_operator_names_are_asked():
    only = Filter(ports=PortRange(2380, 2380))
    assert {
        port
        for _at, _protocol, port, _expect in packets(tables_with(etcd=ETCD), "a1", "s3", only=only)
    } == {2380}


def test_a_peer_gets_few_packets_in_one_run_and_others_in_the_next():
    test = {"from": "agent", "to": "s3", "deny": [f"tcp/{port}" for port in range(7000, 7020)]}
    tables = tables_with(it=test)
    runs = [packets(tables, "a1", "s3", turn=turn) for turn in range(10)]
    assert {len(run) for run in runs} == {PROMISED_PACKETS_TO_A_PEER}
    assert len(set().union(*runs)) == 20


def test_a_packet_that_a_row_asks_is_sent_once():
    tables = tables_with(etcd=ETCD, more={**ETCD, "deny": ["tcp/2379", "tcp/23"]})
    own, peer = node(tables, "a1"), node(tables, "s3")
    of_rows = questions(tables, own, [peer], None, EVERYTHING, 0)
    etcd = {each.question.port for each in of_rows if each.question.port in (2379, 2380)}
    beside = packets_beside(asked(tables, "a1", "s3"), of_rows)
    assert {each.question.port for each in beside} == {2379, 2380, 23} - etcd


# -- answers --------------------------------------------------------------------------------------


def answered(
    tables: Tables, answer: Answer, *, told: bool = False, alive: bool = True
) -> list[PromisedAnswer]:
    """Every packet of a1 to s3, answered in the same way."""
    promised: tuple[PromisedQuestion, ...] = asked(tables, "a1", "s3")
    context = ProbeContext(node(tables, "a1"), alive={"s3"} if alive else ())
    sent = [(each.question, answer) for each in promised]
    checks = [(each.question, a_check(each.question)) for each in promised] if told else []
    return list(judge_packets(promised, sent, checks, context))


def a_check(question: PeerQuestion) -> Check:
    return Check("a1", question.peer.name, "etcd", Status.EXPOSED, "connected")


def judged(
    tables: Tables, answers: list[PromisedAnswer], own: str = "a1", redirected: Any = ()
) -> tuple[PromiseHere, tuple[Check, ...]]:
    (here,), checks = judge_on_node(tables, node(tables, own), answers, redirected)
    return here, checks


def test_a_promise_whose_packets_are_rejected_is_kept_by_as_many_packets():
    tables = tables_with(etcd=ETCD)
    here, checks = judged(tables, answered(tables, rejected("192.0.2.13")))
    assert (here.value.value, here.packets, here.summary) == ("kept", 2, "kept (2 packets)")
    assert checks == ()


def test_a_promise_that_no_packet_asked_is_kept_by_the_tables():
    tables = tables_with(etcd=ETCD)
    assert judged(tables, [])[0].summary == "kept by the tables, not asked"
    assert judged(tables, answered(tables, SILENT, alive=False))[0].summary == (
        "kept by the tables, not asked"
    )


def test_a_packet_that_gets_in_breaks_a_promise_that_the_tables_keep():
    tables = tables_with(etcd=ETCD)
    here, checks = judged(tables, answered(tables, OPEN))
    assert here.value.value == "broken"
    assert here.summary.startswith("broken: tcp/2379 of s3, tcp/2380 of s3 answered a1 as open")
    assert {(check.status, check.to, check.port) for check in checks} == {
        (Status.EXPOSED, "s3", "2379"),
        (Status.EXPOSED, "s3", "2380"),
    }


def test_what_the_check_of_a_row_reports_is_not_reported_again():
    tables = tables_with(etcd=ETCD)
    here, checks = judged(tables, answered(tables, OPEN, told=True))
    assert here.value.value == "broken"
    assert checks == ()


def test_a_promise_of_severity_warn_is_a_warning():
    tables = tables_with(etcd={**ETCD, "severity": "warn"})
    here, checks = judged(tables, answered(tables, OPEN))
    assert here.value.value == "broken"
    assert {check.status for check in checks} == {Status.CONFLICT}


def test_a_packet_that_does_not_arrive_breaks_a_promise_to_accept():
    tables = tables_with(it={"from": "agent", "to": "s3", "accept": "tcp/6443"})
    assert judged(tables, answered(tables, OPEN))[0].summary == "kept (1 packet)"
    closed = Answer(ProbeResult.NOTHING_LISTENS, "RST came back")
    assert judged(tables, answered(tables, closed))[0].summary == "kept (1 packet)"
    here, checks = judged(tables, answered(tables, rejected("192.0.2.13")))
    assert here.value.value == "broken"
    assert [(check.status, check.to) for check in checks] == [(Status.BLOCKED, "s3")]


# -- by the tables --------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "role", "to"), [("s1", "server", ["s1"]), ("a1", "agent", [])])
def test_a_promise_that_the_tables_break_is_reported_by_its_destinations(own, role, to):
    tables = tables_with(changed("ports:cluster:etcd:source", "any"), role, etcd=ETCD)
    here, checks = judged(tables, [], own)
    assert here.summary.startswith("broken: test etcd: 192.0.2.21 (a1), 192.0.2.22 (a2)")
    assert [check.to for check in checks] == to
    assert {check.status for check in checks} <= {Status.EXPOSED}


def test_a_port_that_this_node_redirects_is_not_enforceable():
    tables = tables_with(it={"from": "admins", "to": "agent", "deny": "tcp/80"})
    redirected = [Redirection(Protocol.TCP, PortRange(80, 80), 4, "a LoadBalancer")]
    here, checks = judged(tables, [], redirected=redirected)
    assert here.value.value == "not enforceable"
    assert [(check.status, check.to) for check in checks] == [(Status.CONFLICT, "a1")]


def test_without_the_rows_of_the_other_role_a_promise_about_it_is_unproven():
    tables = parsed({**pillar(), "tests": {"etcd": ETCD}}, "agent")
    here, checks = judged(tables, [])
    assert here.value.value == "unproven"
    assert checks == ()


def test_a_question_of_a_promise_has_the_name_of_the_promise():
    tables = tables_with(etcd=ETCD)
    assert {each.question.description for each in asked(tables, "a1", "s3")} == {"test etcd"}
    assert {each.question.expect for each in asked(tables, "a1", "s3")} == {Expect.CLOSED}


# -- by the operator's zones ----------------------------------------------------------------------

SSH = {"from": "admins", "to": "any", "accept": "tcp/22", "opened_by": "zones"}


@pytest.mark.parametrize(
    ("opened", "summary"),
    [(True, "kept by a zone, not asked"), (False, "unproven: test ssh: admins may reach tcp/22")],
)
def test_a_node_says_of_itself_whether_its_zones_keep_a_promise(opened, summary):
    tables = tables_with(ssh=SSH)
    asked_of: list[Any] = []

    def opens(part):
        asked_of.append(part)
        return opened

    (here,), checks = judge_on_node(tables, node(tables, "a1"), [], (), opens)
    assert here.summary.startswith(summary)
    assert checks == ()
    assert {part.role.value for part in asked_of} == {"agent"}


def test_zones_are_not_asked_about_a_promise_that_rows_keep():
    row = {"protocol": "tcp", "port": 22, "source": "admins"}
    tables = tables_with(changed("ports:manager:ssh", row), ssh=SSH)

    def opens(part):
        raise AssertionError(part)

    (here,), _checks = judge_on_node(tables, node(tables, "a1"), [], (), opens)
    assert here.summary == "kept by the tables, not asked"


def test_an_optional_promise_about_nothing_is_not_listed():
    mgmt = {"from": "mgmt", "to": "any", "accept": "tcp/22", "expect": "optional"}
    tables = tables_with(mgmt=mgmt)
    assert judge_on_node(tables, node(tables, "a1"), []) == ((), ())


def test_a_promise_to_deny_is_unproven_where_a_zone_of_the_node_opens_its_port():
    tables = tables_with(etcd=ETCD)

    def judged_at(name: str) -> PromiseHere:
        (here,), checks = judge_on_node(
            tables,
            node(tables, name),
            [],
            openings_for=lambda ports, _from: [f"zone public ({ports})"],
        )
        assert checks == ()
        return here

    opened = judged_at("s1")
    assert opened.value.value == "unproven"
    assert opened.problems[0].text == (
        "tcp/2379-2380 of s1 may be reached by zone public (tcp/2379-2380); no row lets it in"
    )
    # The zones of an agent say nothing of the servers.
    assert judged_at("a1").value.value == "kept"
