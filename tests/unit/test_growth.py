"""What a node and the master compute grows no faster than the cluster: counted, not timed."""

from __future__ import annotations

import pytest

from bench.fleet import STEPS
from bench.work import Name, grown_beyond, work_of

SMALL, LARGE = 100, 1000
# Proportional growth is the ratio of the sizes; sorting, and what only large clusters meet, is a
# little more.
MOST = 1.3 * LARGE / SMALL


def grown(make):
    return grown_beyond(work_of(make(SMALL)), work_of(make(LARGE)), MOST)


@pytest.mark.parametrize("step", STEPS)
def test_no_step_grows_faster_than_the_cluster(step):
    assert grown(STEPS[step]) == {}


# -- the helper itself: what must not pass --------------------------------------------------------


def every_pair(names):
    return [(one, other) for one in names for other in names]


def looked_for_in_a_list(names):
    return [name for name in names if name not in names[:-1]]


def a_set_made_for_each(names):
    return [name for name in names if name not in set(names)]


def once_each(names):
    known = set(names)
    return [name for name in names if name not in known]


def of_names(function):
    def make(nodes):
        names = [Name(f"n{number}") for number in range(nodes)]
        return lambda: function(names)

    return make


@pytest.mark.parametrize("function", [every_pair, looked_for_in_a_list, a_set_made_for_each])
def test_a_quadratic_function_is_found(function):
    assert grown(of_names(function))["all"] > MOST


def test_a_quadratic_function_is_found_by_its_name_inside_of_much_other_work():
    def step(names):
        for _turn in range(50):
            once_each(names)
        every_pair(names[: len(names) // 5])

    (name,) = grown(of_names(step))
    assert name.startswith("test_growth.py:")


def test_a_proportional_function_passes():
    assert grown(of_names(once_each)) == {}


def test_the_same_work_gives_the_same_count():
    assert work_of(of_names(every_pair)(SMALL)) == work_of(of_names(every_pair)(SMALL))
