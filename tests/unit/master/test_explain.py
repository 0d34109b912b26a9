"""Who is asked what by the master's explain, and which questions are refused."""

from __future__ import annotations

import pytest

from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.errors import EngineError
from k3sfw_engine.fleet.text.render import render
from k3sfw_engine.fleet.text.style import Style
from k3sfw_engine.master.explain import PacketToNode, explain, parse_question
from tests.unit.samples import parsed

FOUND = ClusterTables(parsed(), "base", "s1")
STEP = {"at": "zone", "fate": "rejected", "why": "zone public: it is rejected by target default"}
WALK = {"verdict": "not in the tables", "source": ["node a1"], "decision": STEP, "walk": [STEP]}


def asked(*, walk=WALK, checks=(), silent=(), **question):
    """The answer, and every question to a minion."""
    questions = []

    def ask(names, function, options):
        questions.append((*names, function, dict(options)))
        answer = walk if function == "k3sfw.explain" else {"checks": list(checks)}
        return [(name, answer) for name in names if name not in silent]

    given = {"source": "a1", "to": "s1", "protocol": "tcp", "port": "2379", **question}
    return explain(FOUND, PacketToNode(**given), ask), questions


def check(**changed):
    row = {"from": "a1", "to": "s1", "address": "192.0.2.11", "expect": "closed", "status": "ok"}
    return {**row, "evidence": "rejected by s1 itself", "by": "", "hint": "", **changed}


def test_the_node_is_asked_about_the_address_of_the_source():
    answer, questions = asked()
    options = {"source": "192.0.2.21", "protocol": "tcp", "port": "2379"}
    assert questions == [("s1", "k3sfw.explain", options)]
    assert answer.retcode == 0
    assert answer.data["from"] == {"name": "a1", "address": "192.0.2.21"}
    assert answer.data["decision"]["fate"] == "rejected"


@pytest.mark.parametrize(
    ("source", "to", "pair"),
    [
        ("a1", "2001:db8::11", ("2001:db8::21", "2001:db8::11")),
        ("2001:db8::21", "s1", ("2001:db8::21", "2001:db8::11")),
        ("203.0.113.9", "s1", ("203.0.113.9", "192.0.2.11")),
        ("192.0.2.21", "192.0.2.11", ("192.0.2.21", "192.0.2.11")),
    ],
)
def test_both_ends_are_nodes_or_addresses_of_one_family(source, to, pair):
    answer, _questions = asked(source=source, to=to)
    assert (answer.data["from"]["address"], answer.data["to"]["address"]) == pair
    assert answer.data["to"]["name"] == "s1"


def test_the_packet_is_sent_by_the_source_and_shown_beside():
    answer, questions = asked(is_sent=True, checks=[check()])
    assert questions[1] == (
        "a1",
        "k3sfw.check_ports",
        {"from": "a1", "to": "s1", "port": "tcp/2379", "full": True},
    )
    assert len(answer.data["packets"]) == 1
    assert answer.data["contradictions"] == []


def test_a_packet_that_contradicts_is_named():
    answer, _questions = asked(is_sent=True, checks=[check(status="exposed")])
    assert len(answer.data["contradictions"]) == 1


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ({"to": "nowhere"}, "to='nowhere' is not a node"),
        ({"to": "203.0.113.9"}, "to='203.0.113.9' is not a node"),
        ({"source": "nowhere"}, "from='nowhere' is not a node .* nor an address"),
        ({"source": "203.0.113.9", "to": "2001:db8::11"}, "different families"),
        ({"source": "203.0.113.9", "is_sent": True}, "no packet can be sent"),
        ({"silent": ["s1"]}, "s1 did not answer"),
        ({"silent": ["a1"], "is_sent": True}, "a1 did not answer"),
        ({"walk": "Minion did not return"}, "s1 did not explain"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_reason(question, sentence):
    with pytest.raises(EngineError, match=sentence):
        asked(**question)


def test_the_view_fits_a_terminal_and_cannot_control_it():
    hostile = {**STEP, "why": "\033[2J" + "words " * 50}
    answer, _questions = asked(
        walk={**WALK, "walk": [hostile], "source": ["\033]0;x\a"]},
        is_sent=True,
        checks=[check(status="exposed", hint="salt a1 test.ping")],
    )
    text = render(answer.data, Style())
    assert "\033" not in text and "\a" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "Contradiction:" in text
    assert "    Fix: salt a1 test.ping" in text.splitlines()
    assert "\033[31mrejected\033[0m" in render(answer.data, Style(color=True))


def test_what_nodes_explain_has_the_same_view():
    text = render({"s1": WALK}, Style())
    assert text.splitlines()[0] == "s1:"
    assert "zone: rejected" in text


@pytest.mark.parametrize(
    ("port", "protocol", "number"),
    [
        (2379, "tcp", "2379"),
        ("2379", "tcp", "2379"),
        ("udp/8472", "udp", "8472"),
        ("vrrp", "vrrp", ""),
    ],
)
def test_a_port_is_read_as_an_operator_types_it(port, protocol, number):
    question = parse_question("a1", "s1", port, True)
    assert (question.protocol, question.port, question.is_sent) == (protocol, number, True)


@pytest.mark.parametrize("port", ["2379-2380", "tcp", "0", "etcd", "", None, "tcp/x"])
def test_what_is_not_one_packet_is_refused(port):
    with pytest.raises(EngineError, match="port="):
        parse_question("a1", "s1", port, False)


def test_a_packet_without_a_sender_is_refused():
    with pytest.raises(EngineError, match="from="):
        parse_question("", "s1", 2379, False)


def test_what_comes_behind_the_deciding_step_is_marked():
    row = {"at": "rows", "fate": "allowed", "why": "allowed by k3s:ports:cluster:etcd"}
    text = render({"s1": {**WALK, "decision": row, "walk": [row, STEP]}}, Style())
    lines = text.splitlines()
    assert lines[2] == "  1. rows: allowed; allowed by k3s:ports:cluster:etcd"
    assert lines[3].startswith("  2. zone: not reached, else rejected; ")
    assert lines[-1] == "  = The packet is allowed, by step 1 (rows)."
