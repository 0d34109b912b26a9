"""Refuses an apply or a first start that would close a live or needed connection of this host.

It reads what ``checks/lockout`` judges: connections only if something would change, zones only if
something would be closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from k3sfw_engine.checks.lockout import messages
from k3sfw_engine.checks.lockout.allowed_by_other_rules import allows, zones_of
from k3sfw_engine.checks.lockout.contradicted_role import contradicted_role
from k3sfw_engine.checks.lockout.lockout_check import must_stay_open, never_allowed, taken_away
from k3sfw_engine.checks.lockout.refusals import refusals, refusals_of_a_first_start
from k3sfw_engine.checks.lockout.shrunken_node_list import distrust_shrunken_list
from k3sfw_engine.errors import Lockout, Problem
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.zones import read_others, read_others_of_a_first_start
from k3sfw_engine.host.dns import read_names
from k3sfw_engine.host.live_connections import read_never_close, read_ways_in
from k3sfw_engine.model.firewall_objects import Objects, ours
from k3sfw_engine.model.live_connections import HostActivity, LiveConnection
from k3sfw_engine.model.rows import NO_TABLES, Protocol, Role, Tables
from k3sfw_engine.model.rule_matches_packet import Packet
from k3sfw_engine.model.zones import OtherRules
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.desired.ipsets import keep_members
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.observed import Observed


def guard_apply(
    bus: Bus, tables: Tables, role: Role, wanted: Desired, observed: Observed, plan: Plan
) -> Plan:
    """Return the plan, with a notice for each connection that ``allow_lockout`` lets it close.

    Raises ``Lockout`` if it closes one and that setting is not set.
    """
    if not plan.steps:
        return plan
    now = ours(observed.runtime)
    if distrust_shrunken_list(tables, wanted, now).unsure:
        wanted = keep_members(wanted, now, ours(observed.permanent))
    seen = read_never_close()
    found = [
        *contradicted_role(seen, tables, role),
        *_closed_by(bus, seen, now, wanted.objects, tables),
    ]
    return replace(plan, notices=(*plan.notices, *_allowed(found, tables)))


def guard_rollback(
    bus: Bus, wanted: Objects, observed: Observed, plan: Plan, *, allow_lockout: bool
) -> Plan:
    """Judge a rollback as an apply, but without the tables: it must work with a broken pillar.

    wanted
        Our objects after the rollback.
    """
    if not plan.steps:
        return plan
    nothing_known = replace(NO_TABLES, allow_lockout=allow_lockout)
    found = list(_closed_by(bus, read_never_close(), ours(observed.runtime), wanted, nothing_known))
    return replace(plan, notices=(*plan.notices, *_allowed(found, nothing_known)))


def _closed_by(
    bus: Bus, seen: HostActivity, now: Objects, wanted: Objects, tables: Tables
) -> Iterator[Problem]:
    going = taken_away(must_stay_open(seen, tables), now, wanted, tables)
    closed, zones = _closed(going, lambda interfaces: read_others(bus, interfaces))
    names = read_names() if closed else {}
    return refusals(closed, now, wanted, tables, names, zones)


def guard_first_start(
    tables: Tables, role: Role, wanted: Desired, permanent: Objects
) -> tuple[str, ...]:
    """Return a notice for each connection that ``allow_lockout`` lets a first start close.

    permanent
        The objects in files of a firewalld that ran before: members that are kept.

    Raises ``Lockout`` if it closes one and that setting is not set.
    """
    if tables.unsure:
        wanted = keep_members(wanted, ours(permanent))
    seen = read_never_close()
    going = never_allowed(must_stay_open(seen, tables), wanted.objects, tables)
    closed, zones = _closed(going, lambda names: [read_others_of_a_first_start(names)])
    found = [
        *contradicted_role(seen, tables, role),
        *refusals_of_a_first_start(closed, tables, read_names() if closed else {}, zones),
    ]
    return _allowed(found, tables)


def _closed(
    flows: Sequence[LiveConnection], read: Callable[[Iterable[str]], Iterable[OtherRules]]
) -> tuple[list[LiveConnection], Mapping[LiveConnection, str]]:
    """The connections that no other zone or policy allows in every layer, and their zones."""
    if not flows:
        return [], {}
    ways = read_ways_in(flows)
    layers = tuple(read(sorted({name for names in ways.values() for name in names})))
    closed, zones = [], {}
    for flow in flows:
        question = Packet(flow.peer, Protocol.TCP, flow.port)
        if not all(allows(layer, question, ways[flow]) for layer in layers):
            closed.append(flow)
            zones[flow] = next(iter(zones_of(layers[0], question, ways[flow])), "")
    return closed, zones


def _allowed(found: Sequence[Problem], tables: Tables) -> tuple[str, ...]:
    if found and not tables.allow_lockout:
        raise Lockout(map(messages.or_allow, found))
    return tuple(map(messages.allowed, found))
