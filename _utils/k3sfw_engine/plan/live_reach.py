"""Who gets in by the rules that nodes have at runtime, each rule with the row that it came from.

Pure. ``reach_in_force`` judges a change on the node itself, where the ipsets of nodes do not count;
here they count, as the question is what is let in now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import netaddr

from k3sfw_engine.model.address_set import everyone, set_of_networks
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.rich_rules import RichRule, read_rule
from k3sfw_engine.model.row_sources import is_pod_row, networks_of_source
from k3sfw_engine.model.rows import Destination, Role, Row, Tables
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.reach import (
    OpenRange,
    Reach,
    ReachKey,
    ReachSpan,
    RowSources,
    spans_of_role,
)

# The table of the rows that stand for rules which no row explains.
UNEXPLAINED = "rules"


@dataclass(frozen=True)
class LiveRules:
    """What one node has at runtime.

    rules
        The rich rules of the rows' policy, as firewalld writes them.
    ipsets
        The entries by name.
    has_zone
        Whether zone k3s has interfaces, so that pods are let in whatever their address.
    """

    rules: tuple[str, ...]
    ipsets: Mapping[str, tuple[netaddr.IPNetwork, ...]]
    has_zone: bool


def live_reach(role: Role, live: LiveRules, explained_by: Sequence[Tables]) -> Reach:
    """Return who gets in at a node of this role.

    explained_by
        The tables from which the rules may have been made; the first that explain one count.
    """
    rows = {
        str(each.rule): each.row
        for tables in reversed(explained_by)
        for each in compute_desired(tables, role).rules
    }
    spans: dict[ReachKey, tuple[ReachSpan, ...]] = {}
    for family in FAMILIES:
        openings = list(_of_rules(live, family, rows))
        if live.has_zone and explained_by:
            openings += _of_pods(role, explained_by[0], family)
        spans |= spans_of_role(role, family, openings)
    return Reach((role,), spans)


def _of_rules(live: LiveRules, family: int, rows: Mapping[str, Row]) -> Iterator[OpenRange]:
    for text in live.rules:
        rule = read_rule(text)
        if not isinstance(rule, RichRule) or rule.family != family:
            continue
        if rule.destination or rule.source_port:
            continue  # It opens no port of this host.
        if rule.ipset:
            sources = set_of_networks(family, live.ipsets.get(rule.ipset, ()))
        elif rule.address:
            sources = set_of_networks(family, (netaddr.IPNetwork(rule.address),))
        else:
            sources = everyone(family)
        if sources:
            yield OpenRange(rule.port, RowSources(rows.get(text) or _unexplained(rule), sources))


def _unexplained(rule: RichRule) -> Row:
    ports = () if rule.port is None else (rule.port,)
    return Row(UNEXPLAINED, str(rule), rule.protocol, ports, (), Destination.ANY)


def _of_pods(role: Role, tables: Tables, family: int) -> Iterable[OpenRange]:
    """What arrives in zone k3s is accepted; the rows name whose packets those are."""
    for row in filter(is_pod_row, tables.rows_of(role)):
        networks = (each for one in row.sources for each in networks_of_source(one, tables))
        sources = set_of_networks(family, networks)
        if sources:
            yield OpenRange(None, RowSources(row, sources, by_interface=True))
