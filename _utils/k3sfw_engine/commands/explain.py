"""The command explain: which row decides about a packet to this node. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import netaddr

from k3sfw_engine.model.firewall_objects import PODS_TO_HOST, ROWS, ZONE, Kind
from k3sfw_engine.model.row_sources import is_pod_row, networks_of_source
from k3sfw_engine.model.rows import Protocol, Row, Tables
from k3sfw_engine.model.rule_matches_packet import Packet, rule_matches
from k3sfw_engine.plan.desired.desired_objects import Desired


@dataclass(frozen=True)
class Explanation:
    """What the source is, the rows that accept its packet, and how they do."""

    names: tuple[str, ...]
    accepted_by: tuple[str, ...]
    rows: tuple[Row, ...]


def explain(question: Packet, tables: Tables, wanted: Desired) -> Explanation:
    """Find the rows of this node that accept the packet; without any, its zone decides."""
    by_rule = [
        (each.row, f"policy {ROWS}: {each.rule}")
        for each in wanted.rules
        if _row_asks(each.row, question) and rule_matches(each.rule, question, wanted.objects)
    ]
    by_interface = [
        (row, f"policy {PODS_TO_HOST}: {how}")
        for row in wanted.rows
        if wanted.pods_by_interface and is_pod_row(row) and _from_pods(row, question, tables)
        for how in [_by_interface(wanted)]
    ]
    found = by_rule + by_interface
    return Explanation(
        names=tuple(_names(question.source, tables)),
        accepted_by=tuple(sorted({how for _row, how in found})),
        rows=tuple(dict.fromkeys(row for row, _how in found)),
    )


def _row_asks(row: Row, question: Packet) -> bool:
    if row.protocol is Protocol.ANY:
        return True
    return row.protocol is question.protocol and any(
        question.port is not None and question.port in ports for ports in row.ports
    )


def _from_pods(row: Row, question: Packet, tables: Tables) -> bool:
    return any(
        question.source in network
        for source in row.sources
        for network in networks_of_source(source, tables)
    )


def _by_interface(wanted: Desired) -> str:
    interfaces = ", ".join(wanted.objects[Kind.ZONE, ZONE].items("interfaces"))
    return f"everything that arrives in zone {ZONE} ({interfaces}), on no other interface"


def _names(source: netaddr.IPAddress | netaddr.IPNetwork, tables: Tables) -> Iterator[str]:
    for node in tables.nodes:
        if source in node.addresses:
            yield f"node {node.name} ({node.role.value})"
    named = (("pods", tables.pod_cidrs), ("services", tables.service_cidrs), *tables.groups.items())
    for name, networks in named:
        if any(source in network for network in networks):
            yield name if name in ("pods", "services") else f"group {name}"
