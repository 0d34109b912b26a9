"""What an apply would close that must never be closed. Pure.

Our objects only ever let in, so an apply closes a flow by taking away all that lets it in. A first
start of firewalld closes whatever nothing lets in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set as AbstractSet
from dataclasses import replace

import netaddr

from k3sfw_engine.model.firewall_objects import PODS_TO_HOST, ZONE, FirewalldObject, Kind, Objects
from k3sfw_engine.model.live_connections import CriticalService, HostActivity, LiveConnection
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import Protocol, Tables
from k3sfw_engine.model.rule_matches_packet import EVERYONE, is_about, sources_of

MGMT = "mgmt"


# -- what must stay open --------------------------------------------------------------------------


def must_stay_open(seen: HostActivity, tables: Tables) -> tuple[LiveConnection, ...]:
    """The live flows, and the way of the operator's group mgmt to ssh.

    Pods call the API server, too. They come in by the zone of their interfaces, and are no member.
    """
    members = (
        flow
        for flow in seen.flows
        if flow.service not in (CriticalService.ETCD, CriticalService.API)
        or not any(flow.peer in network for network in tables.pod_cidrs)
    )
    management = (
        LiveConnection(port, CriticalService.SSH, network)
        for port in sorted(seen.ssh_ports)
        for network in tables.groups.get(MGMT, ())
    )
    return (*members, *management)


def taken_away(
    flows: Iterable[LiveConnection], now: Objects, wanted: Objects, tables: Tables
) -> tuple[LiveConnection, ...]:
    """The flows, or parts of them, that our objects let in now and would not any more."""
    return tuple(
        _parts(flows, lambda port, family: _let_in(now, port, family, tables), wanted, tables)
    )


def never_let_in(
    flows: Iterable[LiveConnection], wanted: Objects, tables: Tables
) -> tuple[LiveConnection, ...]:
    """The flows, or parts of them, that our objects would not let in."""
    return tuple(_parts(flows, lambda _port, family: {EVERYONE[family]}, wanted, tables))


_NetworkSet = AbstractSet[netaddr.IPNetwork]


def _parts(
    flows: Iterable[LiveConnection],
    before: Callable[[int, int], _NetworkSet],
    wanted: Objects,
    tables: Tables,
) -> Iterator[LiveConnection]:
    """What of each flow is let in before and not afterwards."""
    lost: dict[tuple[int, int], netaddr.IPSet] = {}
    for flow in flows:
        at = (flow.port, flow.peer.version)
        if at not in lost:
            lost[at] = _difference(before(*at), _let_in(wanted, *at, tables))
        # A Salt master has a flow of each minion, and a large set to compare it with.
        if flow.peer.size == 1:
            if flow.peer.ip in lost[at]:
                yield flow
        else:
            for network in (netaddr.IPSet([flow.peer]) & lost[at]).iter_cidrs():
                yield replace(flow, peer=network)


def _difference(before: _NetworkSet, after: _NetworkSet) -> netaddr.IPSet:
    gone = before - after
    return netaddr.IPSet(gone) - netaddr.IPSet(after) if gone else netaddr.IPSet()


def _let_in(objects: Objects, port: int, family: int, tables: Tables) -> _NetworkSet:
    """Everybody whom our objects let in at a TCP port of this host."""
    networks = {
        network
        for _policy, rule in rules_to_host(objects)
        if rule.family == family and is_about(rule, Protocol.TCP, port)
        for network in sources_of(rule, objects)
    }
    if _pods_come_in(objects):
        networks.update(each for each in tables.pod_cidrs if each.version == family)
    return networks


def rules_to_host(objects: Objects) -> Iterator[tuple[FirewalldObject, RichRule]]:
    """The rules about packets to this host, each with its policy."""
    for each in objects.values():
        if each.kind is Kind.POLICY and "HOST" in each.items("egress_zones"):
            for rule in each.rules:
                # Any other form was added by hand; what such a rule does is not ours to keep.
                if isinstance(rule, RichRule):
                    yield each, rule


def _pods_come_in(objects: Objects) -> bool:
    zone = objects.get((Kind.ZONE, ZONE))
    has_interfaces = zone is not None and bool(zone.items("interfaces"))
    return has_interfaces and (Kind.POLICY, PODS_TO_HOST) in objects
