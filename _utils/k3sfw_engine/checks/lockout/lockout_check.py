"""The live connections and waiting sockets that a change would close. Pure.

Our objects only ever allow, so an apply closes a connection only by removing what allows it. The
first start of firewalld closes whatever is not allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set as AbstractSet
from dataclasses import replace
from functools import partial

import netaddr

from k3sfw_engine.checks.lockout.messages import MGMT
from k3sfw_engine.model.critical_processes import CriticalService
from k3sfw_engine.model.firewall_objects import PODS_TO_HOST, ZONE, FirewalldObject, Kind, Objects
from k3sfw_engine.model.live_connections import HostActivity, LiveConnection, WaitingSocket
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import Protocol, Tables
from k3sfw_engine.model.rule_matches_packet import EVERYONE, is_about, sources_of

# What pods may use without any row: ssh and Salt serve operators, and are kept for pods as well.
_FOR_ANYONE = (CriticalService.SSH, CriticalService.MASTER)


def in_use(seen: HostActivity, tables: Tables) -> tuple[LiveConnection, ...]:
    """The live connections, and ssh access for the operator's group mgmt.

    Those of pods are left out: the zone of their interfaces allows them. A kubelet is critical to
    nodes; others that ask it, such as a Prometheus outside the cluster, are listed only.
    """
    nodes = {address for node in tables.nodes for address in node.addresses}
    live = (
        replace(each, service=None)
        if each.service is CriticalService.KUBELET and each.peer.ip not in nodes
        else each
        for each in seen.connections
        if each.service in _FOR_ANYONE
        or not any(each.peer in network for network in tables.pod_cidrs)
    )
    management = (
        LiveConnection(port, CriticalService.SSH, network)
        for port in sorted(seen.ssh_ports)
        for network in tables.groups.get(MGMT, ())
    )
    return (*live, *management)


def narrows(now: Objects, wanted: Objects) -> bool:
    """Whether anything that our objects allow now could be closed by the change."""
    lost = {rule for _policy, rule in rules_to_host(now)}.difference(
        rule for _policy, rule in rules_to_host(wanted)
    )
    return bool(lost) or any(
        set(each.listed(setting)).difference(after.listed(setting) if after else ())
        for key, each in now.items()
        for after in [wanted.get(key)]
        for setting in ("entries", "interfaces")
        if setting in each.settings
    )


def taken_away(
    connections: Iterable[LiveConnection], now: Objects, wanted: Objects, tables: Tables
) -> tuple[LiveConnection, ...]:
    """The connections, or parts of them, that our objects allow now and would no longer allow."""
    return tuple(_parts(connections, partial(_allowed, now, tables), wanted, tables))


def never_allowed(
    connections: Iterable[LiveConnection], wanted: Objects, tables: Tables
) -> tuple[LiveConnection, ...]:
    """The connections, or parts of them, that our objects would not allow."""
    return tuple(_parts(connections, lambda *place: {EVERYONE[place[-1]]}, wanted, tables))


def without_rule(sockets: Iterable[WaitingSocket], objects: Objects) -> tuple[WaitingSocket, ...]:
    """The sockets about which our objects have no rule: no peer is allowed to reach them."""
    rules = [rule for _policy, rule in rules_to_host(objects)]
    return tuple(
        each
        for each in sockets
        if not any(
            rule.protocol is each.protocol and is_about(rule, each.protocol, each.port)
            for rule in rules
        )
    )


_NetworkSet = AbstractSet[netaddr.IPNetwork]


def _parts(
    connections: Iterable[LiveConnection],
    before: Callable[[Protocol, int | None, int], _NetworkSet],
    wanted: Objects,
    tables: Tables,
) -> Iterator[LiveConnection]:
    """The part of each connection that is allowed before the change and not after it."""
    lost: dict[tuple[Protocol, int | None, int], netaddr.IPSet] = {}
    for each in connections:
        at = (each.protocol, each.port, each.peer.version)
        if at not in lost:
            lost[at] = _difference(before(*at), _allowed(wanted, tables, *at))
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


def _allowed(
    objects: Objects, tables: Tables, protocol: Protocol, port: int | None, family: int
) -> _NetworkSet:
    """Every network that our objects allow at a port of this host, or with a protocol."""
    networks = {
        network
        for _policy, rule in rules_to_host(objects)
        if rule.family == family and is_about(rule, protocol, port)
        for network in sources_of(rule, objects)
    }
    if interfaces_of_pods(objects):
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


def interfaces_of_pods(objects: Objects) -> frozenset[str]:
    """The interfaces by which pods reach the host, whatever their addresses."""
    zone = objects.get((Kind.ZONE, ZONE))
    if zone is None or (Kind.POLICY, PODS_TO_HOST) not in objects:
        return frozenset()
    return frozenset(zone.items("interfaces"))
