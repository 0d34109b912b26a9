"""Tables and a role in, the firewalld objects of that node out. Pure.

Every object that a later change of the tables could need is made at once, empty if need be: an
object that is new in firewalld's permanent configuration exists at runtime only after a reload, and
what is inside of an existing one changes without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Optional

import netaddr

from .addresses import FAMILIES, entry, without_contained
from .objects import (
    PREFIX,
    FirewalldObject,
    Kind,
    Objects,
    RichRule,
    Settings,
    Value,
    by_key,
    digest,
    make_object,
)
from .rows import (
    FlannelBackend,
    PortRange,
    Protocol,
    Role,
    Row,
    Source,
    SourceKind,
    Tables,
)

ZONE = "k3s"
ROWS = "k3s-rows"
PODS_TO_HOST = "k3s-pods-to-host"
PODS_TO_ANY = "k3s-pods-to-any"
NODES_TO_PODS = "k3s-nodes-to-pods"
BOUND_TO_HOST = "k3s-bound-to-host"
BOUND_TO_ANY = "k3s-bound-to-any"
RETURN_PATH = "k3s-return-path"
_BOUND = "pods that somebody else has bound to a zone,"

# Before every zone, and room on both sides for the operator's own policies.
PRIORITY = -500

# The interfaces on which pods and services of each backend really arrive.
# https://github.com/flannel-io/flannel/blob/master/Documentation/backends.md
INTERFACES: Mapping[FlannelBackend, tuple[str, ...]] = {
    FlannelBackend.VXLAN: ("cni0", "flannel.1", "flannel-v6.1"),
    FlannelBackend.WIREGUARD: ("cni0", "flannel-wg", "flannel-wg-v6"),
    FlannelBackend.HOST_GW: ("cni0",),
    FlannelBackend.NONE: (),
}

# The ipsets whose entries are nodes, by the word of the source column.
NODE_SETS: Mapping[SourceKind, str] = {
    SourceKind.SERVER: "server",
    SourceKind.AGENT: "agent",
    SourceKind.ANY: "node",
}


@dataclass(frozen=True)
class RowRule:
    """A rich rule and the row that it is for."""

    row: Row
    rule: RichRule


@dataclass(frozen=True)
class Desired:
    """The objects that one node must have, and why each rule is there."""

    objects: Objects
    rules: tuple[RowRule, ...]
    rows: tuple[Row, ...]
    pods_by_interface: bool
    pod_networks: tuple[netaddr.IPNetwork, ...] = ()


def desired(tables: Tables, role: Role) -> Desired:
    """Compute the firewalld objects of a node with this role."""
    rows = tables.rows_of(role)
    sets = _address_sets(tables)
    pods_by_interface = _pods_by_interface(tables, rows)
    rules = tuple(
        RowRule(row, rule)
        for row in rows
        if tables.pods_by_address or not (pods_by_interface and is_pod_row(row))
        for rule in _rules_of(row, tables, sets)
    )
    interfaces = INTERFACES[tables.flannel_backend] if pods_by_interface else ()
    objects = [_ipset(name, family, entries or ()) for (name, family), entries in sets.items()]
    objects.append(
        _object(
            Kind.ZONE,
            ZONE,
            "interfaces of the CNI and the overlay",
            {"interfaces": interfaces, "forward": True},
        )
    )
    objects += [
        _policy(ROWS, "rows of the port tables", "CONTINUE", "ANY", "HOST", rules),
        _policy(PODS_TO_HOST, "pods and services to this host", "ACCEPT", ZONE, "HOST"),
        _policy(PODS_TO_ANY, "pods and services to anywhere", "ACCEPT", ZONE, "ANY"),
        _policy(
            NODES_TO_PODS,
            "nodes and remote pods to pods, where no overlay carries them",
            "CONTINUE",
            "ANY",
            ZONE,
            _routed_pods(tables, rows, sets),
        ),
    ]
    bound = _pods_by_address(tables, rows, sets) if pods_by_interface else ()
    objects += [
        # firewalld makes nothing of them while they have no zone to come from.
        _policy(BOUND_TO_HOST, f"{_BOUND} to this host", "CONTINUE", "", "HOST", bound),
        _policy(BOUND_TO_ANY, f"{_BOUND} to anywhere", "CONTINUE", "", "ANY", bound),
    ]
    return Desired(by_key(objects), rules, rows, pods_by_interface, tables.pod_cidrs)


def keep_members(wanted: Desired, *observed: Objects) -> Desired:
    """Narrow no node set: what is in force now stays beside what is wanted.

    For a peer list that is known to be incomplete.
    """
    kept = dict(wanted.objects)
    for name in NODE_SETS.values():
        for family in FAMILIES:
            key = (Kind.IPSET, set_name(name, family))
            layers = [layer[key] for layer in (kept, *observed) if key in layer]
            networks = {
                netaddr.IPNetwork(text) for each in layers for text in each.items("entries")
            }
            kept[key] = kept[key].with_settings({"entries": _entries(networks)})
    return replace(wanted, objects=kept)


def around(objects: Objects, interfaces: Iterable[str], zones: Iterable[str]) -> Objects:
    """Leave what somebody else has bound where it is, and let pods in that come by his zones.

    interfaces
        Of pods, bound by him.
    zones
        Of his, by which pods come in.
    """
    zone, routed = objects[Kind.ZONE, ZONE], objects[Kind.POLICY, NODES_TO_PODS]
    kept = tuple(sorted({*zone.items("interfaces")}.difference(interfaces)))
    his = tuple(sorted(zones))
    changed = [zone.with_settings({"interfaces": kept})]
    if routed.items("rich_rules"):
        changed.append(routed.with_settings({"egress_zones": tuple(sorted((ZONE, *his)))}))
    for name in (BOUND_TO_HOST, BOUND_TO_ANY):
        changed.append(objects[Kind.POLICY, name].with_settings({"ingress_zones": his}))
    return {**objects, **{each.key: each for each in changed}}


def with_return_path(
    wanted: Desired, masters: Iterable[netaddr.IPAddress], ports: Iterable[int]
) -> Desired:
    """Add the policy that lets a Salt master's packets of a standing connection in.

    A firewall that starts on a live minion has seen none of its connections, so the master's next
    packet on an idle one is a new inbound packet to it (salt issue 49519). The ports are those of
    the master, 4505 and 4506: here, source ports.
    """
    rules = [
        RichRule(
            address.version,
            address=str(address),
            protocol=Protocol.TCP,
            port=PortRange(port, port),
            source_port=True,
        )
        for address in sorted(set(masters))
        for port in ports
    ]
    if not rules:
        return wanted
    policy = _policy_object(
        RETURN_PATH, "answers of the Salt master", "CONTINUE", "ANY", "HOST", map(str, rules)
    )
    return replace(wanted, objects={**wanted.objects, policy.key: policy})


def by_address(rule: RichRule, objects: Objects) -> tuple[str, ...]:
    """The same rule for each entry of its ipset, where a running firewalld lacks that ipset."""
    entries = objects[Kind.IPSET, rule.ipset].items("entries")
    return tuple(str(replace(rule, ipset="", address=address)) for address in entries)


def set_name(name: str, family: int) -> str:
    """The ipset of these addresses in one family."""
    return f"k3s-{name}-{family}"


def is_pod_row(row: Row) -> bool:
    """Whether the row lets pods or services in as such: every protocol, no other source."""
    return row.protocol is Protocol.ANY and all(
        source.kind in (SourceKind.PODS, SourceKind.SERVICES) for source in row.sources
    )


def _pods_by_interface(tables: Tables, rows: Iterable[Row]) -> bool:
    """Whether pods come in by the zone of their interfaces rather than by their address.

    An address can be claimed from outside, an interface of this node cannot.
    """
    return bool(INTERFACES[tables.flannel_backend]) and any(
        is_pod_row(row) and Source(SourceKind.PODS) in row.sources for row in rows
    )


# What an ipset holds, by name and family. None is everyone: firewalld refuses /0 in an ipset, so
# its rules have no source; the ipset is made nevertheless, for the day the group is narrowed.
_Sets = Mapping[tuple[str, int], Optional[tuple[str, ...]]]


def _address_sets(tables: Tables) -> _Sets:
    """The entries of every ipset; empty ones too."""
    members: dict[str, list[netaddr.IPNetwork]] = {name: [] for name in NODE_SETS.values()}
    for node in tables.nodes:
        networks = [netaddr.IPNetwork(address) for address in node.addresses]
        members[node.role.value] += networks
        members["node"] += networks
    for group, group_networks in tables.groups.items():
        members[f"group-{group}"] = list(group_networks)
    return {
        (name, family): _members(each for each in networks if each.version == family)
        for name, networks in members.items()
        for family in FAMILIES
    }


def _members(networks: Iterable[netaddr.IPNetwork]) -> tuple[str, ...] | None:
    kept = without_contained(networks)
    return None if any(network.prefixlen == 0 for network in kept) else _entries(kept)


def _entries(networks: Iterable[netaddr.IPNetwork]) -> tuple[str, ...]:
    return tuple(sorted(entry(network) for network in without_contained(networks)))


def _rules_of(row: Row, tables: Tables, sets: _Sets) -> Iterator[RichRule]:
    """One rule for every port range, family and source of the row."""
    for source in row.sources:
        for family in FAMILIES:
            for ipset, address in _matches(source, family, tables, sets):
                for port in row.ports or (None,):
                    yield RichRule(family, ipset, address, row.protocol, port)


def _matches(source: Source, family: int, tables: Tables, sets: _Sets) -> Iterator[tuple[str, str]]:
    """The ipset or the address by which a rule of this family knows the source."""
    if source.kind in NODE_SETS or source.kind is SourceKind.GROUP:
        name = NODE_SETS.get(source.kind, f"group-{source.value}")
        # An empty ipset has its rule too, so that who joins it needs no other change.
        yield ("" if sets[name, family] is None else set_name(name, family)), ""
        return
    networks = {
        SourceKind.PODS: tables.pod_cidrs,
        SourceKind.SERVICES: tables.service_cidrs,
        SourceKind.CIDR: (netaddr.IPNetwork(source.value),) if source.value else (),
    }[source.kind]
    for network in networks:
        if network.version == family:
            yield "", "" if network.prefixlen == 0 else entry(network)


def _routed_pods(tables: Tables, rows: Iterable[Row], sets: _Sets) -> tuple[RowRule, ...]:
    """What must be forwarded to pods where their packets arrive on the node's own interface.

    With host-gw, remote pods arrive with their own address and remote hosts with the node's.
    """
    if tables.flannel_backend is not FlannelBackend.HOST_GW:
        return ()
    return _pods_by_address(tables, rows, sets, (Source(SourceKind.ANY),))


def _pods_by_address(
    tables: Tables, rows: Iterable[Row], sets: _Sets, more: tuple[Source, ...] = ()
) -> tuple[RowRule, ...]:
    """Rules that let in what the rows of pods name, and more, by its address."""
    return tuple(
        RowRule(row, RichRule(family, ipset, address))
        for row in rows
        if is_pod_row(row)
        for source in (*row.sources, *more)
        for family in FAMILIES
        for ipset, address in _matches(source, family, tables, sets)
    )


def is_ipset_as_made(each: FirewalldObject) -> bool:
    """Whether it is an ipset of ours in which nothing but the entries can differ from ours."""
    name, _hyphen, family = each.name.removeprefix(f"{PREFIX}-").rpartition("-")
    if each.kind is not Kind.IPSET or family not in map(str, FAMILIES):
        return False
    return each == _ipset(name, int(family), each.items("entries"))


def _ipset(name: str, family: int, entries: tuple[str, ...]) -> FirewalldObject:
    return _object(
        Kind.IPSET,
        set_name(name, family),
        f"IPv{family} addresses of {name}",
        {
            "type": "hash:net",
            "options": (f"family={'inet' if family == 4 else 'inet6'}",),
            "entries": entries,
        },
    )


def _policy(
    name: str,
    what: str,
    target: str,
    ingress: str,
    egress: str,
    rules: Iterable[RowRule] = (),
) -> FirewalldObject:
    return _policy_object(name, what, target, ingress, egress, (str(each.rule) for each in rules))


def _policy_object(
    name: str, what: str, target: str, ingress: str, egress: str, rules: Iterable[str]
) -> FirewalldObject:
    return _object(
        Kind.POLICY,
        name,
        what,
        {
            "target": target,
            "priority": PRIORITY,
            "ingress_zones": (ingress,) if ingress else (),
            "egress_zones": (egress,),
            "rich_rules": tuple(sorted(set(rules))),
        },
    )


def _object(kind: Kind, name: str, what: str, settings: Settings) -> FirewalldObject:
    described: dict[str, Value] = {
        "short": name,
        "description": f"K3s: {what}. Kept by k3sfw from pillar ({digest(kind, name)}).",
    }
    return make_object(kind, name, {**described, **settings})
