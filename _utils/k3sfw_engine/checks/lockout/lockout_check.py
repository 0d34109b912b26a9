"""The live connections that a change would close and that must stay open. Pure.

Our objects only ever allow, so an apply closes a connection only by removing what allows it. The
first start of firewalld closes whatever is not allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set as AbstractSet
from dataclasses import replace

import netaddr

from k3sfw_engine.checks.lockout.messages import MGMT
from k3sfw_engine.model.critical_processes import CriticalService
from k3sfw_engine.model.firewall_objects import PODS_TO_HOST, ZONE, FirewalldObject, Kind, Objects
from k3sfw_engine.model.live_connections import HostActivity, LiveConnection
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import Protocol, Tables
from k3sfw_engine.model.rule_matches_packet import EVERYONE, is_about, sources_of


def must_stay_open(seen: HostActivity, tables: Tables) -> tuple[LiveConnection, ...]:
    """The live connections, and ssh access for the operator's group mgmt.

    Connections of pods to etcd and the API server are left out: the zone of their interfaces
    allows them.
    """
    live = (
        each
        for each in seen.connections
        if each.service not in (CriticalService.ETCD, CriticalService.API)
        or not any(each.peer in network for network in tables.pod_cidrs)
    )
    management = (
        LiveConnection(port, CriticalService.SSH, network)
        for port in sorted(seen.ssh_ports)
        for network in tables.groups.get(MGMT, ())
    )
    return (*live, *management)


def taken_away(
    connections: Iterable[LiveConnection], now: Objects, wanted: Objects, tables: Tables
) -> tuple[LiveConnection, ...]:
    """The connections, or parts of them, that our objects allow now and would no longer allow."""
    return tuple(
        _parts(
            connections, lambda port, family: _allowed(now, port, family, tables), wanted, tables
        )
    )


def never_allowed(
    connections: Iterable[LiveConnection], wanted: Objects, tables: Tables
) -> tuple[LiveConnection, ...]:
    """The connections, or parts of them, that our objects would not allow."""
    return tuple(_parts(connections, lambda _port, family: {EVERYONE[family]}, wanted, tables))


_NetworkSet = AbstractSet[netaddr.IPNetwork]


def _parts(
    connections: Iterable[LiveConnection],
    before: Callable[[int, int], _NetworkSet],
    wanted: Objects,
    tables: Tables,
) -> Iterator[LiveConnection]:
    """The part of each connection that is allowed before the change and not after it."""
    lost: dict[tuple[int, int], netaddr.IPSet] = {}
    for each in connections:
        at = (each.port, each.peer.version)
        if at not in lost:
            lost[at] = _difference(before(*at), _allowed(wanted, *at, tables))
        # A Salt master has a connection from each minion, and the set is large.
        if each.peer.size == 1:
            if each.peer.ip in lost[at]:
                yield each
        else:
            for network in (netaddr.IPSet([each.peer]) & lost[at]).iter_cidrs():
                yield replace(each, peer=network)


def _difference(before: _NetworkSet, after: _NetworkSet) -> netaddr.IPSet:
    gone = before - after
    return netaddr.IPSet(gone) - netaddr.IPSet(after) if gone else netaddr.IPSet()


def _allowed(objects: Objects, port: int, family: int, tables: Tables) -> _NetworkSet:
    """Every network that our objects allow at a TCP port of this host."""
    networks = {
        network
        for _policy, rule in rules_to_host(objects)
        if rule.family == family and is_about(rule, Protocol.TCP, port)
        for network in sources_of(rule, objects)
    }
    if _pods_are_allowed(objects):
        networks.update(each for each in tables.pod_cidrs if each.version == family)
    return networks


def rules_to_host(objects: Objects) -> Iterator[tuple[FirewalldObject, RichRule]]:
    """The rules about packets to this host, each with its policy."""
    for each in objects.values():
        if each.kind is Kind.POLICY and "HOST" in each.items("egress_zones"):
            for rule in each.rules:
                # Any other form was added by another program, and an apply removes it.
                if isinstance(rule, RichRule):
                    yield each, rule


def _pods_are_allowed(objects: Objects) -> bool:
    zone = objects.get((Kind.ZONE, ZONE))
    has_interfaces = zone is not None and bool(zone.items("interfaces"))
    return has_interfaces and (Kind.POLICY, PODS_TO_HOST) in objects
