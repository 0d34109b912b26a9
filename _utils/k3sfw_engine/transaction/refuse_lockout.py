"""Refuses a change that would close a live or needed connection of this host, and lists the rest.

It reads what ``checks/lockout`` judges: connections only if something would change, peers without
connections only if something would be narrowed, zones only if something would be closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import netaddr

from k3sfw_engine.checks.lockout import messages
from k3sfw_engine.checks.lockout.after_adoption import without_what_goes
from k3sfw_engine.checks.lockout.allowed_by_other_rules import allows, zones_of
from k3sfw_engine.checks.lockout.contradicted_role import contradicted_role
from k3sfw_engine.checks.lockout.listed import listed, refused_sockets
from k3sfw_engine.checks.lockout.lockout_check import (
    in_use,
    interfaces_of_pods,
    narrows,
    never_allowed,
    taken_away,
    without_rule,
)
from k3sfw_engine.checks.lockout.overlay_address import overlay_address
from k3sfw_engine.checks.lockout.refusals import (
    refusals,
    refusals_of_a_first_start,
    refusals_of_an_adoption,
)
from k3sfw_engine.checks.lockout.shrunken_node_list import distrust_shrunken_list
from k3sfw_engine.errors import Lockout, Problem
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.zones import read_others, read_others_of_a_first_start
from k3sfw_engine.host.dns import read_names
from k3sfw_engine.host.live_connections import (
    read_live_connections,
    read_live_packets,
    read_outer_interfaces,
    read_ways_in,
)
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.host.tunnels_in_use import read_overlay_peers, read_waiting_tunnels
from k3sfw_engine.model.critical_processes import CriticalService
from k3sfw_engine.model.firewall_objects import Objects, ours
from k3sfw_engine.model.live_connections import HostActivity, LiveConnection, WaitingSocket
from k3sfw_engine.model.overlay import OverlayFacts
from k3sfw_engine.model.rows import NO_TABLES, Role, Tables
from k3sfw_engine.model.rule_matches_packet import EVERYONE, Packet
from k3sfw_engine.model.zones import OtherRules
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.desired.ipsets import keep_members
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.observed import Observed

# Reads the zones and policies of others, in each layer, for these interfaces.
_ReadOthers = Callable[[Iterable[str]], Sequence[OtherRules]]


def guard_apply(
    bus: Bus, tables: Tables, role: Role, wanted: Desired, observed: Observed, plan: Plan
) -> Plan:
    """Return the plan, with a notice for each peer that it closes without being refused.

    Raises ``Lockout`` if it closes a critical one and ``allow_lockout`` is not set.
    """
    if not plan.steps:
        return plan
    now = ours(observed.runtime)
    if distrust_shrunken_list(tables, wanted, now).unsure:
        wanted = keep_members(wanted, now, ours(observed.permanent))
    seen = read_live_connections()
    found = list(contradicted_role(seen, tables, role))
    notices: tuple[str, ...] = ()
    if narrows(now, wanted.objects):
        going = _closed_by(bus, seen, now, wanted.objects, tables)
        found += going.refused
        notices = going.listed
    return replace(plan, notices=(*plan.notices, *_allowed(found, tables), *notices))


def guard_rollback(
    bus: Bus, wanted: Objects, observed: Observed, plan: Plan, *, allow_lockout: bool
) -> Plan:
    """Judge a rollback as an apply, but without the tables: it must work with a broken pillar.

    wanted
        Our objects after the rollback.
    """
    now = ours(observed.runtime)
    if not plan.steps or not narrows(now, wanted):
        return plan
    nothing_known = replace(NO_TABLES, allow_lockout=allow_lockout)
    going = _closed_by(bus, read_live_connections(), now, wanted, nothing_known)
    found = _allowed(going.refused, nothing_known)
    return replace(plan, notices=(*plan.notices, *found, *going.listed))


def guard_first_start(
    tables: Tables, role: Role, wanted: Desired, permanent: Objects
) -> tuple[str, ...]:
    """Return a notice for each peer and socket that a first start closes without being refused.

    permanent
        The objects in files of a firewalld that ran before: members that are kept.

    Raises ``Lockout`` if it closes a critical one and ``allow_lockout`` is not set.
    """
    if tables.unsure:
        wanted = keep_members(wanted, ours(permanent))
    seen = read_live_connections()
    living = _read_living(seen, tables)

    def read(interfaces: Iterable[str]) -> Sequence[OtherRules]:
        return [read_others_of_a_first_start(interfaces)]

    going = never_allowed(living.connections, wanted.objects, tables)
    closed, zones = _closed(going, wanted.objects, read)
    sockets = _closed_sockets(without_rule(living.sockets, wanted.objects), read)
    critical = [each for each in closed if each.service]
    names = read_names() if critical else {}
    found = [
        *contradicted_role(seen, tables, role),
        *overlay_address(living.overlay, tables),
        *refusals_of_a_first_start(critical, tables, names, zones, living.overlay.networks),
        *_refused_sockets(sockets, critical),
    ]
    return (*_allowed(found, tables), *_listed(closed, sockets, tables))


def guard_adoption(bus: Bus, tables: Tables, wanted: Objects, plan: Plan) -> Plan:
    """Judge what a zone of the operator opens now and will not any more, as an apply is judged.

    wanted
        Our objects, which are in force.
    """
    if not plan.steps:
        return plan
    living = _read_living(read_live_connections(), tables)

    def read(interfaces: Iterable[str]) -> Sequence[OtherRules]:
        return read_others(bus, interfaces)

    def read_after(interfaces: Iterable[str]) -> Sequence[OtherRules]:
        return without_what_goes(read(interfaces), plan.steps)

    going = never_allowed(living.connections, wanted, tables)
    before = set(_closed(going, wanted, read)[0])
    closed, zones = _closed([each for each in going if each not in before], wanted, read_after)
    without = without_rule(living.sockets, wanted)
    closed_before = set(_closed_sockets(without, read))
    sockets = [each for each in _closed_sockets(without, read_after) if each not in closed_before]
    critical = [each for each in closed if each.service]
    names = read_names() if critical else {}
    found = [
        *overlay_address(living.overlay, tables),
        *refusals_of_an_adoption(critical, tables, names, zones, living.overlay.networks),
        *_refused_sockets(sockets, critical),
    ]
    notices = (*_allowed(found, tables), *_listed(closed, sockets, tables))
    return replace(plan, notices=(*plan.notices, *notices))


@dataclass(frozen=True)
class _Going:
    """What a change closes: what it is refused for, and what is only listed."""

    refused: tuple[Problem, ...]
    listed: tuple[str, ...]


def _closed_by(
    bus: Bus, seen: HostActivity, now: Objects, wanted: Objects, tables: Tables
) -> _Going:
    living = _read_living(seen, tables)

    def read(interfaces: Iterable[str]) -> Sequence[OtherRules]:
        return read_others(bus, interfaces)

    going = taken_away(living.connections, now, wanted, tables)
    closed, zones = _closed(going, wanted, read)
    closed_before = set(without_rule(living.sockets, now))
    without = (each for each in without_rule(living.sockets, wanted) if each not in closed_before)
    sockets = _closed_sockets(tuple(without), read)
    critical = [each for each in closed if each.service]
    names = read_names() if critical else {}
    networks = living.overlay.networks
    refused = refusals(critical, now, wanted, tables, names, zones, networks)
    return _Going(
        (*refused, *_refused_sockets(sockets, critical)), _listed(closed, sockets, tables)
    )


# -- what lives here ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Living:
    """Everything that packets of peers come for, with the peers where they are known."""

    connections: tuple[LiveConnection, ...]
    sockets: tuple[WaitingSocket, ...]
    overlay: OverlayFacts


def _read_living(seen: HostActivity, tables: Tables) -> _Living:
    overlay = read_overlay()
    tunnels = read_waiting_tunnels(overlay, _needed_addresses(seen, tables))
    of_tunnels = {(each.protocol, each.port) for each in tunnels}
    # The kernel's socket of a tunnel has no process.
    waiting = (each for each in seen.waiting if (each.protocol, each.port) not in of_tunnels)
    sockets = (*waiting, *tunnels)
    packets = (*read_live_packets(sockets), *read_overlay_peers(overlay))
    known = replace(seen, connections=(*seen.connections, *packets))
    listed_sockets = tuple(each for each in sockets if not each.by_chance)
    return _Living(in_use(known, tables), listed_sockets, overlay)


def _needed_addresses(seen: HostActivity, tables: Tables) -> Iterator[netaddr.IPAddress]:
    """The addresses without which the node, its minion or its operator is lost."""
    for node in tables.nodes:
        yield from node.addresses
    yield from seen.salt_masters
    for each in seen.connections:
        if each.service is CriticalService.SSH:
            yield each.peer.ip


# -- what others allow ----------------------------------------------------------------------------


def _closed(
    flows: Sequence[LiveConnection], wanted: Objects, read: _ReadOthers
) -> tuple[list[LiveConnection], Mapping[LiveConnection, str]]:
    """The connections that neither a zone nor a policy allows in every layer, and their zones."""
    if not flows:
        return [], {}
    ways = read_ways_in(flows)
    layers = tuple(read(sorted({name for names in ways.values() for name in names})))
    of_pods = interfaces_of_pods(wanted)
    closed, zones = [], {}
    for flow in flows:
        if ways[flow] and ways[flow] <= of_pods:
            continue
        question = Packet(flow.peer, flow.protocol, flow.port)
        if not all(allows(layer, question, ways[flow]) for layer in layers):
            closed.append(flow)
            zones[flow] = next(iter(zones_of(layers[0], question, ways[flow])), "")
    return closed, zones


def _closed_sockets(sockets: Sequence[WaitingSocket], read: _ReadOthers) -> list[WaitingSocket]:
    """The sockets that no interface's zone or policy opens in every layer."""
    if not sockets:
        return []
    interfaces = sorted(read_outer_interfaces())
    layers = tuple(read(interfaces))

    def is_open(each: WaitingSocket) -> bool:
        question = Packet(EVERYONE[4], each.protocol, each.port)
        return any(
            all(allows(layer, question, {interface}) for layer in layers)
            for interface in interfaces
        )

    return [each for each in sockets if not is_open(each)]


def _refused_sockets(
    sockets: Iterable[WaitingSocket], closed: Iterable[LiveConnection]
) -> Iterator[Problem]:
    """The critical sockets whose peers are not named already."""
    named = {each.place for each in closed}
    return refused_sockets(each for each in sockets if each.service and each.place not in named)


def _listed(
    closed: Iterable[LiveConnection], sockets: Iterable[WaitingSocket], tables: Tables
) -> tuple[str, ...]:
    closed = tuple(closed)
    peers = [each for each in closed if not each.service]
    named = {each.place for each in closed}
    waiting = [each for each in sockets if not each.service and each.place not in named]
    return tuple(map(str, listed(peers, waiting, tables)))


def _allowed(found: Sequence[Problem], tables: Tables) -> tuple[str, ...]:
    if found and not tables.allow_lockout:
        raise Lockout(map(messages.or_allow, found))
    return tuple(map(messages.allowed, found))
