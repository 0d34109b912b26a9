"""Who gets in by the rules that are in force, whatever tables they were made from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from k3sfw_engine.model.address_set import set_of_networks
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.firewall_objects import ROWS, ZONE, Kind, Objects, set_name
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.row_sources import NODE_SETS, is_pod_row, networks_of_source
from k3sfw_engine.model.rows import Destination, Role, Row, Tables
from k3sfw_engine.model.rule_matches_packet import sources_of
from k3sfw_engine.plan.reach import (
    OpenRange,
    Reach,
    ReachKey,
    ReachSpan,
    RowSources,
    spans_of_role,
)


def reach_in_force(role: Role, objects: Objects, today: Objects, tables: Tables) -> Reach | None:
    """Return who gets in by our rules, as if the nodes had been those of today; None without any.

    objects
        Our objects as they are in force.
    today
        Our objects as the tables want them: their ipsets of nodes count. That a node joins or
        leaves is not a change of the tables.
    """
    policy = objects.get((Kind.POLICY, ROWS))
    if policy is None or not policy.rules:
        return None
    of_nodes = {
        (Kind.IPSET, set_name(name, family)) for name in NODE_SETS.values() for family in FAMILIES
    }
    known = {**objects, **{key: each for key, each in today.items() if key in of_nodes}}
    spans: dict[ReachKey, tuple[ReachSpan, ...]] = {}
    for family in FAMILIES:
        openings = [
            *_of_rules(policy.rules, family, known),
            *_of_pods(role, objects, family, tables),
        ]
        spans |= spans_of_role(role, family, openings)
    return Reach((role,), spans)


def _of_rules(rules: Iterable[object], family: int, objects: Objects) -> Iterator[OpenRange]:
    for rule in rules:
        if not isinstance(rule, RichRule) or rule.family != family:
            continue
        if rule.destination or rule.source_port:
            continue  # It opens no port of this host.
        sources = set_of_networks(family, sources_of(rule, objects))
        if sources:
            yield OpenRange(rule.port, RowSources(_row(str(rule), rule), sources))


def _of_pods(role: Role, objects: Objects, family: int, tables: Tables) -> Iterator[OpenRange]:
    """What arrives in zone k3s is accepted whatever its address; the rows of today name pods'."""
    zone = objects.get((Kind.ZONE, ZONE))
    if zone is None or not zone.items("interfaces"):
        return
    for row in filter(is_pod_row, tables.rows_of(role)):
        networks = (each for one in row.sources for each in networks_of_source(one, tables))
        sources = set_of_networks(family, networks)
        if sources:
            yield OpenRange(None, RowSources(row, sources, by_interface=True))


def _row(name: str, rule: RichRule) -> Row:
    """Return a row that stands for a rule: which one it was made from is not known."""
    ports = () if rule.port is None else (rule.port,)
    return Row("rules", name, rule.protocol, ports, (), Destination.ANY)
