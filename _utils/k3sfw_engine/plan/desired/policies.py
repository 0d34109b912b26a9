"""The policies that a node must have, with one rich rule for each row, family and source. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from k3sfw_engine.model.addresses import entry
from k3sfw_engine.model.firewall_objects import FirewalldObject, Kind, Objects, our_object, set_name
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.row_sources import NODE_SETS, networks_of_source
from k3sfw_engine.model.rows import Row, Source, SourceKind, Tables
from k3sfw_engine.plan.defaults import PRIORITY
from k3sfw_engine.plan.desired.desired_objects import RowRule
from k3sfw_engine.plan.desired.ipsets import AddressSets


def by_address(rule: RichRule, objects: Objects) -> tuple[RichRule, ...]:
    """Return the rule for each entry of its ipset, for a firewalld that lacks the ipset so far."""
    entries = objects[Kind.IPSET, rule.ipset].items("entries")
    return tuple(replace(rule, ipset="", address=address) for address in entries)


def rules_of_row(row: Row, tables: Tables, sets: AddressSets) -> Iterator[RichRule]:
    """Return one rule for every port range, family and source of the row."""
    for source in row.sources:
        for family in row.protocol.families:
            for ipset, address in source_matches(source, family, tables, sets):
                for port in row.ports or (None,):
                    yield RichRule(family, ipset, address, row.protocol, port)


def source_matches(
    source: Source, family: int, tables: Tables, sets: AddressSets
) -> Iterator[tuple[str, str]]:
    """Return the ipset or the address that a rule of this family has for the source."""
    if source.kind in NODE_SETS or source.kind is SourceKind.GROUP:
        name = NODE_SETS.get(source.kind, f"group-{source.value}")
        # An empty ipset has its rule too, so that a first entry needs no other change.
        yield ("" if sets[name, family] is None else set_name(name, family)), ""
        return
    for network in networks_of_source(source, tables):
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
    """Return a policy of ours with the rules of rows."""
    return make_policy(name, what, target, ingress, egress, (each.rule for each in rules))


def make_policy(
    name: str, what: str, target: str, ingress: str, egress: str, rules: Iterable[RichRule]
) -> FirewalldObject:
    """Return a policy of ours."""
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
