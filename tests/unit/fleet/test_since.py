"""Two checks compared: what was not asked again is never taken for fixed."""

from __future__ import annotations

import dataclasses

from k3sfw_engine.fleet.group import group
from k3sfw_engine.fleet.since import since
from tests.simulated_fleet import Fault, simulated_fleet

# a03 and a08 are five places apart in the ring.
NO_ENTRY = Fault("no_entry", "a03", peer="a08")


def compared(now, before):
    found = since(group(now), group(before), now)
    return {
        field.name: sorted({name for cause in getattr(found, field.name) for name in cause.nodes})
        for field in dataclasses.fields(found)
        if getattr(found, field.name)
    }


def test_a_problem_of_a_pair_that_was_not_asked_again_is_not_fixed():
    before = simulated_fleet(30, [NO_ENTRY], peers=8)
    assert compared(simulated_fleet(30, [NO_ENTRY], peers=3), before).keys() == {"unasked"}
    assert compared(simulated_fleet(30, [], peers=3), before).keys() == {"unasked"}
    assert compared(simulated_fleet(30, [], peers=8), before).keys() == {"fixed"}


def test_a_problem_that_only_some_asked_again_is_not_fixed():
    before = simulated_fleet(30, [Fault("rejects", "a08", "10250")], peers=8)
    assert compared(simulated_fleet(30, peers=3), before) == {"unasked": ["a08"]}
    assert compared(simulated_fleet(30, peers=8), before) == {"fixed": ["a08"]}


def test_a_row_that_was_not_asked_again_is_not_fixed():
    before = simulated_fleet(5, [Fault("rejects", "a2", "8472")])
    now = simulated_fleet(5)
    answers = {
        name: dataclasses.replace(
            each,
            asked=dataclasses.replace(
                each.asked,
                rows={row: cells for row, cells in each.asked.rows.items() if row != "udp/8472"},
            ),
        )
        for name, each in now.answers.items()
    }
    without = dataclasses.replace(now, answers=answers)
    assert compared(without, before) == {"unasked": ["a2"]}
    assert compared(now, before) == {"fixed": ["a2"]}


def test_a_problem_that_others_found_before_is_still_there():
    before = simulated_fleet(30, [Fault("rejects", "a08", "10250")], peers=8)
    now = simulated_fleet(30, [Fault("rejects", "a08", "10250")], peers=3)
    assert compared(now, before) == {"still": ["a08"]}


def test_a_problem_that_has_spread_to_another_node_is_new():
    one = simulated_fleet(5, [Fault("setting", "a1")])
    two = simulated_fleet(5, [Fault("setting", "a1"), Fault("setting", "a2")])
    assert compared(two, one) == {"new": ["a1", "a2"]}
    assert compared(one, two) == {"still": ["a1"]}


def test_what_a_node_found_by_itself_is_fixed_only_if_it_could_check():
    before = simulated_fleet(5, [Fault("setting", "a1")])
    now = simulated_fleet(5)
    assert compared(now, before) == {"fixed": ["a1"]}
    answer = now.answers["a1"]
    routes = dataclasses.replace(answer.parts["routes"], left_off=1)
    fewer = dataclasses.replace(answer, parts={**answer.parts, "routes": routes})
    cut = dataclasses.replace(now, answers={**now.answers, "a1": fewer})
    assert compared(cut, before) == {"unasked": ["a1"]}


def test_a_node_that_is_reached_again_is_fixed_and_one_that_is_silent_is_not_known():
    before = simulated_fleet(30, [Fault("down", "a08")])
    assert compared(simulated_fleet(30, peers=3), before) == {"fixed": ["a08"]}
    assert compared(simulated_fleet(30, [Fault("silent", "a08")]), before) == {"unknown": ["a08"]}
