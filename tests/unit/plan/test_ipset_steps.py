"""Entries of an ipset change without closing what stays open."""

from __future__ import annotations

import pytest

from k3sfw_engine.plan.make_plan import make_plan
from k3sfw_engine.plan.steps import (
    ChangeEntries,
    RefillEntries,
    WritePermanent,
)
from tests.unit.drifted_hosts import (
    settled,
)
from tests.unit.firewalld_model import (
    accepted,
    packets_of,
)
from tests.unit.samples import changed, wanted


def test_entries_change_one_by_one_the_new_ones_first():
    after = changed("nodes:a2:addresses", ["192.0.2.99"])
    plan = make_plan(wanted(after), settled(wanted().objects).observed())
    assert [step for step in plan.steps if not isinstance(step, WritePermanent)] == [
        ChangeEntries("k3s-agent-4", add=("192.0.2.99",)),
        ChangeEntries("k3s-node-4", add=("192.0.2.99",)),
        ChangeEntries("k3s-node-4", remove=("192.0.2.22",)),
        ChangeEntries("k3s-agent-4", remove=("192.0.2.22",)),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["198.51.100.0/28"], ["198.51.100.0/24"]),
        (["198.51.100.0/24"], ["198.51.100.0/28"]),
        (["198.51.100.0/25"], ["198.51.100.0/24", "203.0.113.0/24"]),
        (["2001:db8:a::/48"], ["2001:db8:a:1::/64", "2001:db8:a:2::/64"]),
    ],
)
def test_overlapping_entries_are_replaced_in_one_call(before, after):
    old, new = (wanted(changed("groups:admins", members)) for members in (before, after))
    host = settled(old.objects)
    plan = make_plan(new, host.observed())
    assert RefillEntries in {type(step) for step in plan.steps}
    list(host.run(plan))
    assert host.runtime == new.objects


def test_an_unchanged_ipset_is_never_refilled():
    plan = make_plan(
        wanted(changed("groups:admins", ["198.51.100.0/24"])), settled(wanted().objects).observed()
    )
    names = {step.name for step in plan.steps if isinstance(step, (RefillEntries, ChangeEntries))}
    assert names == {"k3s-group-admins-4"}


MANY = [f"198.18.{number}.0/24" for number in range(250)]


@pytest.mark.parametrize(
    ("before", "after"),
    [(MANY, ["0.0.0.0/0", "::/0"]), (["0.0.0.0/0", "::/0"], MANY), (MANY, MANY[:10])],
    ids=["to everyone", "from everyone", "to a few"],
)
def test_a_large_group_changes_without_closing_what_stays_open(before, after):
    old, new = (wanted(changed("groups:clients", members)) for members in (before, after))
    host = settled(old.objects)
    packets = packets_of(old.objects, new.objects)
    always = accepted(old.objects, packets) & accepted(new.objects, packets)
    for step in host.run(make_plan(new, host.observed())):
        assert not always - accepted(host.runtime, packets), step
