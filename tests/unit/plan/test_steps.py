"""Every step of a plan is a sentence that an operator can read."""

from __future__ import annotations

import pytest

from k3sfw_engine.model.firewall_objects import Kind, make_object
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import PortRange, Protocol
from k3sfw_engine.plan.make_plan import make_plan, removal_plan
from k3sfw_engine.plan.steps import (
    ChangeEntries,
    RefillEntries,
    Reload,
    RemovePermanent,
    SetRuntime,
    TakeOutOfZone,
    WritePermanent,
)
from tests.unit.drifted_hosts import settled
from tests.unit.firewalld_model import Firewalld
from tests.unit.samples import changed, wanted

ROWS = (Kind.POLICY, "k3s-rows")
PUBLIC = make_object(Kind.ZONE, "public", {"ports": ("80/tcp", "81/tcp", "82/tcp")})
SSH = RichRule(4, protocol=Protocol.TCP, port=PortRange(22, 22))
WEB = RichRule(4, protocol=Protocol.TCP, port=PortRange(80, 80))
MANY = tuple(f"192.0.2.{number}" for number in range(1, 10))


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (
            ChangeEntries("k3s-server-4", add=("192.0.2.13",)),
            "at runtime: add 192.0.2.13 to ipset k3s-server-4",
        ),
        (
            ChangeEntries("k3s-server-4", remove=("192.0.2.13", "192.0.2.14")),
            "at runtime: remove 192.0.2.13, 192.0.2.14 from ipset k3s-server-4",
        ),
        (
            RefillEntries("k3s-node-4", MANY),
            "at runtime: fill ipset k3s-node-4 with 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, "
            "192.0.2.5, 192.0.2.6 and 3 more and nothing else",
        ),
        (RefillEntries("k3s-node-4", ()), "at runtime: empty ipset k3s-node-4"),
        (
            SetRuntime(ROWS, {"rich_rules": (SSH,)}, {"rich_rules": (WEB,)}),
            f"at runtime: add rule {SSH} to policy k3s-rows; remove rule {WEB} from policy "
            "k3s-rows",
        ),
        (
            SetRuntime((Kind.ZONE, "k3s"), {"masquerade": False}, {"masquerade": True}),
            "at runtime: set masquerade of zone k3s to False",
        ),
        (
            TakeOutOfZone("permanent", PUBLIC, {"ports": ("80/tcp", "81/tcp")}),
            "permanently: remove ports 80/tcp, 81/tcp from zone public",
        ),
        (RemovePermanent(ROWS), "permanently: delete policy k3s-rows"),
        (Reload("new objects"), "at runtime: reload firewalld: new objects"),
        (
            Reload("it is lost", restore_table=True),
            "at runtime: create firewalld's table in the kernel, then reload firewalld: it is lost",
        ),
    ],
)
def test_a_step_says_where_and_what_it_changes(step, sentence):
    assert str(step) == sentence


def test_writing_an_object_says_whether_it_is_new():
    rows = wanted().objects[ROWS]
    assert str(WritePermanent(rows, exists=False)) == "permanently: create policy k3s-rows"
    assert str(WritePermanent(rows, exists=True)) == "permanently: rewrite policy k3s-rows"


def test_no_step_shows_the_repr_of_its_type():
    observed = settled(wanted().objects).observed()
    plans = [
        make_plan(wanted(), Firewalld().observed()),
        make_plan(
            wanted(changed("groups:admins", ["192.0.2.0/24"])), settled(wanted().objects).observed()
        ),
        make_plan(
            wanted(changed("ports:cluster:kubelet:port", 10260)),
            settled(wanted().objects).observed(),
        ),
        removal_plan(observed),
    ]
    for plan in plans:
        assert plan.steps
        for sentence in map(str, plan.steps):
            assert sentence.startswith(("at runtime: ", "permanently: "))
            assert "(key=" not in sentence and "<Kind" not in sentence
