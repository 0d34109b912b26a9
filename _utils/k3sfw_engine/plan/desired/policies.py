"""The policies that a node must have, with one rich rule for each row, family and source. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import netaddr

from k3sfw_engine.model.addresses import FAMILIES, entry
from k3sfw_engine.model.firewall_objects import FirewalldObject, Kind, Objects, our_object, set_name
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.row_sources import NODE_SETS
from k3sfw_engine.model.rows import Row, Source, SourceKind, Tables
from k3sfw_engine.plan.defaults import PRIORITY
from k3sfw_engine.plan.desired.desired_objects import RowRule
from k3sfw_engine.plan.desired.ipsets import AddressSets


def by_address(rule: RichRule, objects: Objects) -> tuple[RichRule, ...]:
    """The same rule for each entry of its ipset, where a running firewalld lacks that ipset."""
    entries = objects[Kind.IPSET, rule.ipset].items("entries")
    return tuple(replace(rule, ipset="", address=address) for address in entries)


def rules_of_row(row: Row, tables: Tables, sets: AddressSets) -> Iterator[RichRule]:
    """One rule for every port range, family and source of the row."""
    for source in row.sources:
        for family in FAMILIES:
            for ipset, address in source_matches(source, family, tables, sets):
                for port in row.ports or (None,):
                    yield RichRule(family, ipset, address, row.protocol, port)


def source_matches(
    source: Source, family: int, tables: Tables, sets: AddressSets
) -> Iterator[tuple[str, str]]:
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


def rows_policy(
    name: str,
    what: str,
    target: str,
    ingress: str,
    egress: str,
    rules: Iterable[RowRule] = (),
) -> FirewalldObject:
    return make_policy(name, what, target, ingress, egress, (each.rule for each in rules))


def make_policy(
    name: str, what: str, target: str, ingress: str, egress: str, rules: Iterable[RichRule]
) -> FirewalldObject:
    return our_object(
        Kind.POLICY,
        name,
        what,
        {
            "target": target,
            "priority": PRIORITY,
            "ingress_zones": (ingress,) if ingress else (),
            "egress_zones": (egress,),
            "rich_rules": tuple(rules),
        },
    )
