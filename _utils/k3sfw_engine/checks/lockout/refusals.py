"""Each critical connection that a change would cut off, with its cause and its fix. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import netaddr

from k3sfw_engine.checks.lockout import messages
from k3sfw_engine.checks.lockout.lockout_check import rules_to_host
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import FAMILIES, Networks, entry
from k3sfw_engine.model.critical_processes import CriticalService
from k3sfw_engine.model.firewall_objects import FirewalldObject, Objects, set_name
from k3sfw_engine.model.live_connections import LiveConnection
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.row_sources import NODE_SETS
from k3sfw_engine.model.rows import SourceKind, Tables
from k3sfw_engine.model.rule_matches_packet import Packet, rule_matches

_GROUP = "k3s-group-"

# The host names of addresses.
Names = Mapping[netaddr.IPAddress, str]


def refusals(
    closed: Iterable[LiveConnection],
    now: Objects,
    wanted: Objects,
    tables: Tables,
    names: Names,
    zones: Mapping[LiveConnection, str],
    pods: Networks = (),
) -> Iterator[Problem]:
    """One problem for each peer that would lose a port.

    names
        Of addresses that are not in the tables.
    zones
        The zone in which a connection arrives, if it is known.
    pods
        The pod networks as this node has them.
    """
    for each in _alike(closed):
        peer, name = _describe(each.peer, tables, names)
        packet = Packet(each.peer, each.protocol, each.port)
        removed = [
            (policy, rule) for policy, rule in rules_to_host(now) if rule_matches(rule, packet, now)
        ]
        causes = sorted({_cause(policy, rule, wanted) for policy, rule in removed})
        fixes = dict.fromkeys(_fix(rule, wanted, peer, name) for _policy, rule in removed)
        zone = zones.get(each, "") if each.service is CriticalService.SSH else ""
        yield messages.would_close(
            each.place,
            peer,
            _why_it_counts(each, tables),
            " and ".join(causes),
            " or ".join(fix for fix in fixes if fix)
            or _new_row(each, peer, tables, zone, pods, "firewall-cmd --permanent"),
        )


def refusals_of_a_first_start(
    closed: Iterable[LiveConnection],
    tables: Tables,
    names: Names,
    zones: Mapping[LiveConnection, str],
    pods: Networks = (),
) -> Iterator[Problem]:
    """The same before firewalld starts for the first time, while everything is still open."""
    for each in _alike(closed):
        peer, _name = _describe(each.peer, tables, names)
        zone = zones.get(each, "")
        opened_in = zone if each.service is CriticalService.SSH else ""
        fix = _new_row(each, peer, tables, opened_in, pods, "firewall-offline-cmd")
        why = _why_it_counts(each, tables)
        yield messages.start_would_close(each.place, peer, why, zone, fix)


def refusals_of_an_adoption(
    closed: Iterable[LiveConnection],
    tables: Tables,
    names: Names,
    zones: Mapping[LiveConnection, str],
    pods: Networks = (),
) -> Iterator[Problem]:
    """The same where a zone of the operator opens the port, and will not any more."""
    for each in _alike(closed):
        peer, _name = _describe(each.peer, tables, names)
        fix = _new_row(each, peer, tables, "", pods, "")
        why = _why_it_counts(each, tables)
        yield messages.adoption_would_close(each.place, peer, why, zones.get(each, ""), fix)


def _alike(closed: Iterable[LiveConnection]) -> Iterable[LiveConnection]:
    """One of the connections of each peer to the same port."""
    found: dict[object, LiveConnection] = {}
    for each in sorted(closed, key=lambda each: each.order):
        found.setdefault((each.place, each.service, each.peer), each)
    return found.values()


def _why_it_counts(connection: LiveConnection, tables: Tables) -> str:
    if connection.service is CriticalService.SSH and connection.local is None:
        return messages.management_group()
    if connection.service is CriticalService.OVERLAY and not _is_node(connection.peer, tables):
        return messages.pods_of_another_node()
    return messages.live_connection(connection.service.value if connection.service else "")


def _new_row(
    connection: LiveConnection,
    peer: str,
    tables: Tables,
    zone: str,
    pods: Networks,
    command: str,
) -> str:
    """The fix for a port that no row opens to the peer."""
    wrong = [each for each in pods if each not in tables.pod_cidrs]
    if any(connection.peer in each for each in wrong):
        return messages.correct_pod_networks(", ".join(map(str, pods)))
    if connection.service is CriticalService.OVERLAY and not _is_node(connection.peer, tables):
        return messages.correct_overlay_address(entry(connection.peer))
    return messages.open_the_port(connection.place, peer, zone, command)


def _is_node(peer: netaddr.IPNetwork, tables: Tables) -> bool:
    return any(peer.ip in node.addresses for node in tables.nodes)


def _describe(peer: netaddr.IPNetwork, tables: Tables, names: Names) -> tuple[str, str]:
    """The peer as a sentence names it, and its name alone if it has one."""
    for node in tables.nodes:
        if peer.size == 1 and peer.ip in node.addresses:
            return f"{peer.ip} ({node.name}, {node.role.value})", node.name
    name = names.get(peer.ip, "") if peer.size == 1 else ""
    return (f"{peer.ip} ({name})" if name else entry(peer)), name


def _cause(policy: FirewalldObject, rule: RichRule, wanted: Objects) -> str:
    if _stays(rule, wanted):
        return messages.leaves_ipset(rule.ipset, policy.name, str(rule))
    return messages.rule_removed(policy.name, str(rule))


def _stays(rule: RichRule, wanted: Objects) -> bool:
    """Whether the rule itself stays: then the peer is leaving the rule's ipset."""
    return bool(rule.ipset) and any(rule == other for _policy, other in rules_to_host(wanted))


def _fix(rule: RichRule, wanted: Objects, peer: str, name: str) -> str:
    """How to keep the peer in an ipset; empty if the rule itself is removed."""
    if not _stays(rule, wanted):
        return ""
    if rule.ipset.startswith(_GROUP):
        group = rule.ipset[len(_GROUP) :].rpartition("-")[0]
        return messages.put_back_into_group(peer, group)
    kind = next(
        (kind for kind in NODE_SETS for family in FAMILIES if _is_set(rule.ipset, kind, family)),
        SourceKind.ANY,
    )
    role = "" if kind is SourceKind.ANY else kind.value
    return messages.put_back_into_nodes(name, peer, role)


def _is_set(ipset: str, kind: SourceKind, family: int) -> bool:
    return ipset == set_name(NODE_SETS[kind], family)
