"""The rules in force let in exactly what the tables they were made from let in."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.firewall_objects import ROWS, Kind, Objects
from k3sfw_engine.model.rows import PortRange, Protocol, Role, Tables
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.reach import Reach, compute_reach
from k3sfw_engine.plan.reach_in_force import reach_in_force
from tests.unit.samples import changed, parsed, pillars, wanted


def sources(reach: Reach, role: Role, protocol: Protocol) -> dict[object, object]:
    """Who gets in at each port, adjacent ports with the same sources as one."""
    found: dict[object, object] = {}
    for family in FAMILIES:
        last = None
        for span in reach.spans_of(role, family, protocol):
            if (
                last
                and span.ports
                and last[0].high + 1 == span.ports.low
                and last[1] == span.sources
            ):
                del found[family, last[0]]
                last = (PortRange(last[0].low, span.ports.high), span.sources)
            else:
                last = (span.ports, span.sources)
            found[family, last[0]] = last[1]
    return found


def in_force(role: Role, objects: Objects, today: Tables) -> Reach:
    reach = reach_in_force(role, objects, compute_desired(today, role).objects, today)
    assert reach is not None
    return reach


@given(pillars(), st.sampled_from(Role))
def test_rules_that_were_just_made_let_in_what_the_tables_do(tree, role):
    tables = parsed(tree, role.value)
    by_tables = compute_reach(tables, (role,))
    found = in_force(role, compute_desired(tables, role).objects, tables)
    for protocol in by_tables.protocols:
        assert sources(found, role, protocol) == sources(by_tables, role, protocol)


def test_a_node_that_joins_later_counts_as_if_it_had_been_there():
    role = Role.SERVER
    before, now = parsed(), parsed(changed("nodes:a3", {"role": "agent", "addresses": "192.0.2.9"}))
    found = in_force(role, compute_desired(before, role).objects, now)
    now_reach = compute_reach(now, (role,))
    assert sources(found, role, Protocol.TCP) == sources(now_reach, role, Protocol.TCP)


def test_a_group_that_is_widened_later_counts_as_it_was():
    role = Role.SERVER
    row = {"protocol": "tcp", "port": 7000, "source": "admins"}
    before = parsed(changed("ports:manager:x", row))
    tree = changed("ports:manager:x", row)
    tree["groups"]["admins"] = ["198.51.100.0/24"]
    found = in_force(role, compute_desired(before, role).objects, parsed(tree))
    before_reach = compute_reach(before, (role,))
    assert sources(found, role, Protocol.TCP) == sources(before_reach, role, Protocol.TCP)


@pytest.mark.parametrize("lost", [{}, "rules"])
def test_without_any_rule_of_ours_nothing_is_known(lost):
    objects: Objects = {}
    if lost:
        policy = wanted().objects[Kind.POLICY, ROWS]
        objects = {policy.key: policy.with_settings({"rich_rules": ()})}
    assert reach_in_force(Role.SERVER, objects, wanted().objects, parsed()) is None
