"""The first line of a comment is the same for all nodes and runs with the same outcome."""

from __future__ import annotations

import pytest
from salt.exceptions import CommandExecutionError

from _states import k3sfw
from tests import catalogue_of_states

CHANGED = {"runtime": {"ipset k3s-node-4": {"entries": {"old": [], "new": ["192.0.2.21"]}}}}
IN_STEP = "firewalld and the kernel match the tables"


@pytest.fixture
def comment(monkeypatch):
    """The lines that a state says of an outcome of its function."""

    def run(state, function, outcome):
        def answer(**_options):
            if isinstance(outcome, Exception):
                raise outcome
            result, changes, said = outcome
            return {"result": result, "changes": changes, "comment": said}

        functions = {function: answer, "event.fire_master": lambda ret, tag: None}
        monkeypatch.setattr(k3sfw, "__salt__", functions, raising=False)
        monkeypatch.setattr(k3sfw, "__opts__", {"test": False}, raising=False)
        return state("its id")["comment"].split("\n")

    return run


CHANGING = [
    (k3sfw.managed, "k3sfw.apply"),
    (k3sfw.prepared, "k3sfw.prepare"),
    (k3sfw.absent, "k3sfw.remove"),
    (k3sfw.metrics_managed, "k3sfw.metrics"),
    (k3sfw.metrics_absent, "k3sfw.metrics"),
]
OUTCOMES = [
    (True, CHANGED, "changed runtime: ipset k3s-node-4\n192.0.2.21 is new"),
    (None, CHANGED, "would change runtime: ipset k3s-node-4"),
    (False, {"undone": CHANGED}, "192.0.2.10 does not accept a new connection"),
    (False, CHANGED, "192.0.2.10 would reach tcp/2379"),
    CommandExecutionError("pillar k3s:ports: 3 is wrong\npillar k3s:nodes: 4 is wrong"),
]


@pytest.mark.parametrize(("state", "function"), CHANGING)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_was_done_comes_first_and_what_the_function_says_below(
    comment, state, function, outcome
):
    first, *others = comment(state, function, outcome)
    assert first in catalogue_of_states.first_lines()
    said = str(outcome) if isinstance(outcome, Exception) else outcome[2]
    assert others == said.split("\n")


@pytest.mark.parametrize(("state", "function"), CHANGING)
def test_a_run_with_nothing_to_do_says_one_line_and_its_notices(comment, state, function):
    first, *others = comment(
        state, function, (True, {}, f"{IN_STEP}\na2 was not heard for 31 days")
    )
    assert first in catalogue_of_states.first_lines()
    assert others == ["a2 was not heard for 31 days"]


def test_each_outcome_of_an_apply_has_a_first_line_of_its_own(comment):
    outcomes = [*OUTCOMES, (True, {}, IN_STEP)]
    lines = [comment(k3sfw.managed, "k3sfw.apply", outcome)[0] for outcome in outcomes]
    assert len(set(lines)) == len(outcomes)
