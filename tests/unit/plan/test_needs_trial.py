"""A trial start of firewalld is made for a reload, and for much that is new."""

import pytest

from k3sfw_engine.model.difference import WHOLE, Difference
from k3sfw_engine.model.firewall_objects import Kind, make_object
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.needs_trial import needs_trial
from k3sfw_engine.plan.steps import Reload

MANY = tuple(f"192.0.2.{number}" for number in range(50))
IPSET = (Kind.IPSET, "k3s-a-4")
FULL = make_object(*IPSET, {"entries": MANY})


def entries(missing=(), extra=(), layer="permanent"):
    return Difference(layer, IPSET, "entries", missing, extra)


@pytest.mark.parametrize(
    ("steps", "differences", "expected"),
    [
        ([], [], False),
        ([Reload("new objects")], [], True),
        # Few, many, and many that go.
        ([], [entries(MANY[:49])], False),
        ([], [entries(MANY)], True),
        ([], [entries(extra=MANY)], False),
        # An object that is new or goes as a whole.
        ([], [Difference("permanent", IPSET, WHOLE, missing=FULL)], True),
        ([], [Difference("permanent", IPSET, WHOLE, extra=FULL)], False),
        # The sum over objects; a text is not a list of its letters.
        (
            [],
            [
                entries(MANY[:25]),
                Difference("permanent", (Kind.ZONE, "k3s"), "interfaces", MANY[25:], ()),
            ],
            True,
        ),
        ([], [Difference("permanent", (Kind.ZONE, "k3s"), "target", "b" * 99, "a")], False),
        # What runtime alone has lost is known to load.
        ([], [entries(MANY, layer="runtime")], False),
    ],
)
def test_a_trial_is_needed_for_a_reload_or_for_much_that_is_new(steps, differences, expected):
    assert needs_trial(Plan(tuple(steps), tuple(differences))) is expected
