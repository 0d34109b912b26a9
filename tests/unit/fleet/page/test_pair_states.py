"""One character for each pair: what was asked now, how old a proof is, and what was never asked."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.fleet.page import defaults
from k3sfw_engine.fleet.page.pair_states import WORST, encoded, pair_states
from k3sfw_engine.fleet.page.signs import PAIR_SIGNS
from tests.page_files import never_asked
from tests.simulated_fleet import Fault, simulated_fleet


def decoded(text):
    return re.sub(r"(\d+)(\D)", lambda run: run[2] * int(run[1]), text)


def state(states, row, source, to):
    size = len(states.nodes)
    code = states.rows[row][states.nodes.index(source) * size + states.nodes.index(to)]
    return PAIR_SIGNS[code]


def test_the_worst_row_of_a_pair_is_the_state_of_the_pair():
    states = pair_states(simulated_fleet(5, [Fault("rejects", "a2", "8472")]))
    assert state(states, "udp/8472", "a1", "a2").says == "blocked, and must be open"
    assert state(states, "tcp/10250", "a1", "a2").says == "open, as it must be"
    assert state(states, "tcp/2379", "a1", "s1").says == "closed, as it must be"
    assert state(states, WORST, "a1", "a2").family == "blocked"
    assert state(states, WORST, "a2", "a1").family == "ok"


def test_what_was_not_asked_now_shows_the_age_of_its_proof_or_that_there_is_none():
    fleet = simulated_fleet(30, [Fault("silent", "a07")])
    first = min(fleet.answers)
    peers = [name for name in fleet.nodes if name != first]
    earlier = next(name for name in peers if name not in fleet.answers[first].asked.peers)
    assert state(pair_states(fleet), WORST, first, earlier).family == "earlier1"
    assert state(pair_states(never_asked(fleet)), WORST, first, earlier).family == "never"
    assert state(pair_states(fleet), WORST, "a07", "a08").family == "silent"
    assert state(pair_states(fleet), WORST, "a08", "a08").family == "self"


def test_a_row_never_shows_a_packet_that_was_not_sent_at_it():
    states = pair_states(simulated_fleet(5))
    assert state(states, "tcp/2379", "s1", "a1").family == "unasked"  # no server asks an agent
    assert state(states, WORST, "s1", "a1").family == "ok"
    large = pair_states(simulated_fleet(30))
    for row, cells in large.rows.items():
        families = {PAIR_SIGNS[code].family for code in cells}
        assert any(each.startswith("earlier") for each in families) is (row == WORST), row
    never = pair_states(never_asked(simulated_fleet(30)))
    assert "never" in {PAIR_SIGNS[code].family for code in never.rows["udp/8472"]}


def test_proofs_that_were_not_sent_are_not_taken_for_missing_ones():
    fleet = simulated_fleet(30)
    answer = fleet.answers["a10"]
    oldest = sorted(answer.proofs, key=lambda name: (answer.proofs[name], name))[:5]

    def family(to, left_off):
        fewer = dataclasses.replace(
            answer,
            proofs={name: answer.proofs[name] for name in oldest},
            proofs_left_off=left_off,
        )
        changed = dataclasses.replace(fleet, answers={**fleet.answers, "a10": fewer})
        return state(pair_states(changed), WORST, "a10", to).family

    asked = len(set(answer.asked.peers) - set(oldest))
    other = next(
        name for name in answer.proofs if name not in oldest and name not in answer.asked.peers
    )
    assert family(other, 0) == "never"
    assert family(other, asked) == "never"
    assert family(other, asked + 1) == "untold"
    assert family(other, 29 - 5) == "earlier1"


def test_servers_come_first():
    assert pair_states(simulated_fleet(6)).nodes == ("s1", "s2", "s3", "a1", "a2", "a3")


def test_of_too_many_nodes_those_with_problems_and_the_silent_ones_are_shown(monkeypatch):
    monkeypatch.setattr("k3sfw_engine.fleet.page.pair_states.NODES_IN_PICTURE", 10)
    fleet = simulated_fleet(40, [Fault("silent", "a31")])
    states = pair_states(fleet, ["a36", "s2"])
    assert {"a36", "s2", "a31"} <= set(states.nodes)
    assert (len(states.nodes), states.left_out) == (10, 30)
    assert all(len(cells) == 100 for cells in states.rows.values())


@given(st.text(alphabet="".join(PAIR_SIGNS), max_size=200))
def test_run_length_coding_loses_nothing(cells):
    assert decoded(encoded(cells)) == cells


def test_no_character_of_a_pair_is_a_digit():
    assert not any(code.isdigit() for code in PAIR_SIGNS)


@pytest.mark.parametrize("nodes", [0, 1])
def test_a_cluster_without_pairs_has_no_picture(nodes):
    assert len(pair_states(simulated_fleet(nodes)).nodes) == nodes


def test_the_figures_leave_room_for_a_whole_cluster():
    assert defaults.NODES_IN_TABLE < 300 <= defaults.NODES_IN_PICTURE
