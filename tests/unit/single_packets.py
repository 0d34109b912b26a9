"""Single packets asked of rows one by one: slow and obvious, to judge what is fast."""

from __future__ import annotations

import netaddr

from k3sfw_engine.model.row_sources import networks_of_source
from k3sfw_engine.model.rows import Protocol, Role, Tables
from k3sfw_engine.plan.reach_difference import ChangeKind


def lets_in(tables: Tables, role: Role, source, protocol: Protocol, port: int | None) -> bool:
    """Whether a single packet gets in: asked of the rows themselves."""
    return any(
        source in network
        for row in tables.every_row
        if row.destination.includes(role)
        and row.protocol in (protocol, Protocol.ANY)
        and source.version in row.protocol.families
        and (not row.ports or any(port in ports for ports in row.ports))
        for each in row.sources
        for network in networks_of_source(each, tables)
    )


def sources_worth_asking(*both: Tables):
    """The first and the last address of each network that a table names, and those beside them."""
    found = {netaddr.IPAddress("203.0.113.7"), netaddr.IPAddress("2001:db8:ffff::7")}
    for tables in both:
        for row in tables.every_row:
            for source in row.sources:
                for network in networks_of_source(source, tables):
                    last = 2 ** (32 if network.version == 4 else 128) - 1
                    for value in (network.first - 1, network.first, network.last, network.last + 1):
                        if 0 <= value <= last:
                            found.add(netaddr.IPAddress(value, network.version))
    return sorted(found)


def kinds_of(changes, source, protocol, port) -> set[ChangeKind]:
    """What the changes say of a packet; a protocol without changes of its own is as any other."""
    named = {change.protocol for change in changes} | {Protocol.TCP, Protocol.UDP, Protocol.SCTP}
    asked = protocol if protocol in named else Protocol.ANY
    return {
        change.kind
        for change in changes
        if change.family == source.version
        and change.protocol is asked
        and (change.ports is None or port in change.ports)
        and source in change.sources
    }
