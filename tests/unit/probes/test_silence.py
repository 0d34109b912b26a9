"""Silence is known early only where neither lost packets nor a rate limit can be its cause."""

import math

from hypothesis import given, strategies as st

from k3sfw_engine.model.packet_question import PacketQuestion
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.probes.defaults import PACE, PATIENCE, ROUND_TRIPS, TRIES, TRY_PAUSE
from k3sfw_engine.probes.silence import Heard, NextStep, next_step

WITNESS = PacketQuestion("192.0.2.11", Protocol.TCP, 6443)
NO_ERROR = -math.inf


def heard(*, proven=0.0, slowest=0.001):
    return Heard(WITNESS, slowest, proven)


def times(count, pause=TRY_PAUSE):
    return [number * pause for number in range(count)]


def test_the_silence_of_an_address_that_answers_nowhere_takes_all_patience():
    assert {next_step(times(n), None, NO_ERROR) for n in range(1, 9)} == {NextStep.WAIT}


def test_the_last_packet_leaves_beside_one_to_a_port_that_answers():
    steps = [next_step(times(n), heard(), NO_ERROR) for n in range(1, TRIES)]
    assert steps == [NextStep.TRY] * (TRIES - 2) + [NextStep.TRY_BESIDE_WITNESS]


def test_silence_is_known_once_the_last_packet_alone_was_lost():
    left = times(TRIES)
    assert next_step(left, heard(proven=left[-1]), NO_ERROR) is NextStep.SILENT


@given(st.lists(st.floats(0, PATIENCE), min_size=1, max_size=TRIES - 1), st.floats(0, PATIENCE))
def test_no_silence_is_known_before_as_many_packets_as_patience_has(left, proven):
    assert next_step(sorted(left), heard(proven=proven), NO_ERROR) is not NextStep.SILENT


@given(st.integers(TRIES, 9), st.floats(0, 1))
def test_while_the_line_is_lost_too_nothing_is_known(count, share):
    left = times(count)
    lost_since = heard(proven=share * left[-2])
    assert next_step(left, lost_since, NO_ERROR) is NextStep.TRY_BESIDE_WITNESS


@given(st.floats(0, PACE[4], exclude_max=True))
def test_an_icmp_error_within_the_last_second_leaves_silence_to_patience(ago):
    left = times(TRIES)
    assert next_step(left, heard(proven=left[-1]), left[-1] - ago) is NextStep.WAIT


def test_the_packets_last_longer_than_a_kernel_needs_for_its_next_icmp_error():
    assert times(TRIES)[-1] > PACE[4]
    assert times(TRIES)[-1] + TRY_PAUSE < PATIENCE


@given(st.floats(0, 2), st.lists(st.floats(0, 2)))
def test_a_slow_line_is_given_its_slowest_round_trips(first, more):
    slow = heard(slowest=first)
    for took in more:
        slow.answered(1.0, 1.0 + took)
    assert slow.pause >= TRY_PAUSE
    assert slow.pause >= 0.99 * ROUND_TRIPS * max([first, *more])


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), min_size=1))
def test_what_was_proven_last_stays_proven(answers):
    line = heard()
    for left, took in answers:
        line.answered(left, left + took)
    assert line.proven == max(left for left, _took in answers)
