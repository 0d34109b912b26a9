"""Answers of nodes as data: written and read back the same, and nothing hostile gets through."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.fleet.answers import (
    CELLS,
    LETTERS,
    NOT_ASKED,
    PARTS,
    AskedPeers,
    Cell,
    asked_peers,
)
from k3sfw_engine.fleet.defaults import LONGEST_TEXT, NOTICES_SENT, PROBLEMS_SENT
from k3sfw_engine.fleet.read_answers import UnusableAnswers, read_node, read_saved
from tests.simulated_fleet import FREE, Fault, simulated_fleet

FLEET = simulated_fleet(5, [Fault("rejects", "s1", "6443"), Fault("silent", "a2")])
KNOWN = frozenset(FLEET.nodes)


def plain(node="a1"):
    """What a node sends, as a copy that a test may change."""
    return copy.deepcopy(FLEET.answers[node].as_dict())


def faults_of(raw):
    with pytest.raises(UnusableAnswers) as raised:
        read_node(raw, "a1", KNOWN)
    return raised.value.sentences


def test_every_status_and_both_signs_have_a_letter_of_their_own():
    assert {(cell.status, cell.is_open) for cell in CELLS.values()} == {
        (status, is_open) for status in Status for is_open in (True, False)
    }
    assert len(LETTERS) == len(CELLS)
    assert NOT_ASKED not in CELLS


def test_an_answer_is_read_back_as_it_was_written():
    for name, answer in FLEET.answers.items():
        assert read_node(json.loads(json.dumps(answer.as_dict())), name, KNOWN) == answer


def test_a_saved_cluster_is_read_back_as_it_was_written():
    assert read_saved(json.dumps(FLEET.as_dict())) == FLEET


def test_a_cell_is_the_worst_of_all_addresses_of_a_peer():
    def check(status, port="6443", expect="open"):
        return Check("a1", "s1", "API", status, "", "", "tcp", port, expect)

    asked = asked_peers(
        [check(Status.OK), check(Status.BLOCKED), check(Status.OK, "2379", "closed")],
        "a1",
        ["s1", "s2"],
        FREE,
    )
    assert asked.peers == ("s1", "s2")
    assert asked.rows == {"tcp/2379": "c.", "tcp/6443": "b."}
    assert CELLS["b"] == Cell(Status.BLOCKED, is_open=True)


def test_the_port_that_no_row_names_is_one_row_of_cells():
    assert {row for each in FLEET.answers.values() for row in each.asked.rows} >= {"tcp/free"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), []),
        ((), None),
        (("format",), 2),
        (("at",), "now"),
        (("at",), -1),
        (("at",), 2**60),
        (("took",), float("nan")),
        (("took",), True),
        (("role",), ["server"]),
        (("ports",), None),
        (("ports", "status"), "GOOD"),
        (("ports", "status"), ["OK"]),
        (("ports", "counts"), {"fine": 1}),
        (("ports", "problems"), {}),
        (("ports", "problems"), [["blocked"]]),
        (("ports", "notices"), "all is well"),
        (("ports", "left_off"), -1),
        (("asked", "peers"), "s1"),
        (("asked", "rows"), {"tcp/1": "oooooooooooo"}),
        (("asked", "rows"), {"tcp/1": 5}),
        (("asked", "rows"), {f"tcp/{port}": "" for port in range(3000)}),
        (("proofs",), {"s1": "today"}),
        (("promises",), {"etcd": {"value": "held"}}),
        (("promises",), {7: {}}),
    ],
)
def test_what_is_no_answer_is_refused(path, value):
    raw = plain()
    if not path:
        raw = value
    else:
        *way, last = path
        place = raw
        for key in way:
            place = place[key]
        place[last] = value
    assert faults_of(raw)


def test_all_faults_are_told_at_once():
    raw = plain()
    raw["at"], raw["ports"]["status"], raw["zones"] = "x", "y", 5
    told = " ".join(faults_of(raw))
    assert "at: 'x'" in told and "ports:status: 'y'" in told and "zones: 5" in told


def test_a_huge_answer_is_cut_and_what_is_cut_is_counted():
    raw = plain()
    row = {**plain("s2")["ports"]["problems"][0], "evidence": "x" * 10**6}
    raw["ports"]["problems"] = [row] * 5000
    raw["ports"]["notices"] = ["y" * 10**6] * 5000
    part = read_node(raw, "a1", KNOWN).parts["ports"]
    assert len(part.problems) == PROBLEMS_SENT
    assert part.left_off == 5000 - PROBLEMS_SENT
    assert {len(each.evidence) for each in part.problems} == {LONGEST_TEXT}
    assert len(part.notices) == NOTICES_SENT


def test_a_node_speaks_of_no_node_that_the_tables_do_not_list_and_for_no_other():
    raw = plain()
    raw["node"] = "s1"
    raw["asked"] = {"peers": ["s1", "evil", "s1", "a1", "s2"], "rows": {"tcp/1": "obcib"}}
    raw["proofs"] = {"s1": 5, "evil": 6, "a1": 7}
    answer = read_node(raw, "a1", KNOWN)
    assert answer.node == "a1"
    assert answer.asked.peers == ("s1", "s2")
    assert answer.asked.rows == {"tcp/1": "ob"}
    assert answer.proofs == {"s1": 5}


def test_a_peer_without_a_cell_was_not_asked():
    raw = plain()
    raw["asked"] = {"peers": ["s1", "s2", "s3"], "rows": {"tcp/1": "..o", "tcp/2": "o.."}}
    asked = read_node(raw, "a1", KNOWN).asked
    assert asked == AskedPeers(("s1", "s3"), {"tcp/1": ".o", "tcp/2": "o."})
    raw["asked"] = {"peers": ["s1", "s2", "s3"], "rows": {}}
    assert read_node(raw, "a1", KNOWN).asked.peers == ()


def test_no_more_proofs_are_left_off_than_there_are_peers():
    raw = plain()
    raw["proofs"], raw["proofs_left_off"] = {"s1": 5}, 2**53 - 1
    assert read_node(raw, "a1", KNOWN).proofs_left_off == 3


def test_a_clock_that_was_set_back_meanwhile_makes_no_node_silent():
    raw = plain()
    raw["took"] = -0.4
    assert read_node(raw, "a1", KNOWN).took == 0


def test_a_broken_answer_in_a_saved_file_makes_its_node_silent_and_no_other():
    raw = FLEET.as_dict()
    raw["answers"]["s2"]["ports"] = "all is well"
    raw["answers"]["stranger"] = raw["answers"]["s1"]
    found = read_saved(json.dumps(raw))
    assert set(found.answers) == {"a1", "s1", "s3"}
    assert set(found.silent) == {"a2", "s2"}
    assert "ports: 'all is well' is not a map" in found.silent["s2"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 2}', "[" * 100_000, '{"format": 1, "nodes": []}']
)
def test_a_file_that_is_not_saved_answers_is_refused_in_a_sentence(text):
    with pytest.raises(UnusableAnswers) as raised:
        read_saved(text)
    assert raised.value.sentences


def test_half_characters_can_be_written_again():
    raw = plain()
    raw["ports"]["notices"] = ["\ud800"]
    read_node(raw, "a1", KNOWN).parts["ports"].notices[0].encode()


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*PARTS, "format", "at", "peers", "rows"]), inner)
    ),
    max_leaves=20,
)


@given(
    st.dictionaries(
        st.sampled_from(["format", "at", "took", "role", *PARTS, "asked", "proofs", "promises"]),
        _ANYTHING,
    )
)
def test_whatever_a_minion_sends_is_read_or_refused(changes):
    try:
        answer = read_node({**plain(), **changes}, "a1", KNOWN)
    except UnusableAnswers:
        return
    json.dumps(answer.as_dict())
