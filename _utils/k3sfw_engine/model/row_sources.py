"""Which networks and ipsets the source column of a row names. Nothing else knows this. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import netaddr

from k3sfw_engine.model.addresses import Networks
from k3sfw_engine.model.rows import Protocol, Role, Row, Source, SourceKind, Tables

# The ipsets of nodes, by the keyword of the source column.
NODE_SETS: Mapping[SourceKind, str] = {
    SourceKind.SERVER: "server",
    SourceKind.AGENT: "agent",
    SourceKind.ANY: "node",
}


def is_pod_row(row: Row) -> bool:
    """Whether the row is for pods or services as such: every protocol, and no other source."""
    return row.protocol is Protocol.ANY and all(
        source.kind in (SourceKind.PODS, SourceKind.SERVICES) for source in row.sources
    )


def networks_of_source(source: Source, tables: Tables) -> Networks:
    """The networks that an entry of the source column stands for."""
    if source.kind in NODE_SETS:
        return tuple(
            netaddr.IPNetwork(address)
            for node in tables.nodes
            if source.kind is SourceKind.ANY or node.role is Role(source.kind.value)
            for address in node.addresses
        )
    if source.kind is SourceKind.GROUP:
        return tuple(tables.groups.get(source.value, ()))
    if source.kind is SourceKind.PODS:
        return tables.pod_cidrs
    if source.kind is SourceKind.SERVICES:
        return tables.service_cidrs
    return (netaddr.IPNetwork(source.value),)
