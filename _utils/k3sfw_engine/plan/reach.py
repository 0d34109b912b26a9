"""Who gets in where: from tables, the exact set of sources of every port of every role. Pure.

By the tables alone. Rules of k3sfw only let packets in, so what is not in the reach may still be
open by a zone or a redirection of its node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from k3sfw_engine.model.address_set import AddressSet, set_of_networks, union
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.port_ranges import EVERY_PORT
from k3sfw_engine.model.row_sources import is_pod_row, networks_of_source
from k3sfw_engine.model.rows import PortRange, Protocol, Role, Row, Source, Tables
from k3sfw_engine.plan.desired.pods import pods_come_by_interface

WITH_PORTS = tuple(protocol for protocol in Protocol if protocol.has_ports)


@dataclass(frozen=True)
class RowSources:
    """The sources of one family that one row lets in.

    by_interface
        Whether only packets on the interfaces of pods are let in: an address can be spoofed.
    """

    row: Row
    sources: AddressSet
    by_interface: bool = False


@dataclass(frozen=True)
class ReachSpan:
    """Ports that the same rows open, and who gets in there.

    ports
        ``None`` with a protocol that has none.
    parts
        What each row gives, in the order of the tables.
    """

    ports: PortRange | None
    parts: tuple[RowSources, ...]

    @cached_property
    def sources(self) -> AddressSet:
        """Everyone who gets in."""
        if len(self.parts) == 1:
            return self.parts[0].sources
        return union(self.parts[0].sources.family, (each.sources for each in self.parts))


class ReachKey(NamedTuple):
    """A destination's role, a family and a protocol; ``any`` is every protocol not named else."""

    role: Role
    family: int
    protocol: Protocol


@dataclass(frozen=True)
class Reach:
    """Who gets in where, on nodes of some roles.

    roles
        The roles of which all rows were known.
    spans
        Disjoint ports in their order; ports without any source are left out.
    """

    roles: tuple[Role, ...]
    spans: Mapping[ReachKey, tuple[ReachSpan, ...]]

    def spans_of(self, role: Role, family: int, protocol: Protocol) -> tuple[ReachSpan, ...]:
        """The spans of any protocol, be it named in a row or not."""
        key = ReachKey(role, family, protocol)
        if key not in self.spans:
            key = ReachKey(role, family, Protocol.ANY)
        return self.spans.get(key, ())

    @cached_property
    def protocols(self) -> tuple[Protocol, ...]:
        """Those with ports, those that a row names, and ``any`` for all others."""
        return tuple(dict.fromkeys(key.protocol for key in self.spans))


def compute_reach(tables: Tables, roles: Iterable[Role] = tuple(Role)) -> Reach:
    """Compute who gets in where.

    roles
        Those whose rows the tables have: a pillar lacks the rows of the other role unless they were
        asked for.
    """
    wanted = tuple(roles)
    sources = _SourceColumns(tables)
    spans: dict[ReachKey, tuple[ReachSpan, ...]] = {}
    for role in wanted:
        rows = [row for row in tables.every_row if row.destination.includes(role)]
        by_interface = pods_come_by_interface(tables, rows) and not tables.pods_by_address
        for family in FAMILIES:
            spans |= spans_of_role(role, family, _openings(rows, family, sources, by_interface))
    return Reach(wanted, spans)


class OpenRange(NamedTuple):
    """One range of a row; without ports, all that its protocol has."""

    ports: PortRange | None
    part: RowSources


def spans_of_role(
    role: Role, family: int, openings: Iterable[OpenRange]
) -> dict[ReachKey, tuple[ReachSpan, ...]]:
    """Cut the openings of one role and family into disjoint spans of each protocol."""
    openings = list(openings)
    named = sorted({each.part.row.protocol for each in openings if each.part.row.protocol.is_whole})
    return {
        ReachKey(role, family, protocol): tuple(_spans(openings, protocol))
        for protocol in (*WITH_PORTS, *named, Protocol.ANY)
        if family in protocol.families
    }


class _SourceColumns:
    """The addresses of source columns: a few distinct ones, each with the nodes of a cluster."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._single: dict[tuple[Source, int], AddressSet] = {}
        self._columns: dict[tuple[tuple[Source, ...], int], AddressSet] = {}

    def of_row(self, row: Row, family: int) -> AddressSet:
        key = (row.sources, family)
        if key not in self._columns:
            self._columns[key] = union(family, (self._one(each, family) for each in row.sources))
        return self._columns[key]

    def _one(self, source: Source, family: int) -> AddressSet:
        key = (source, family)
        if key not in self._single:
            networks = networks_of_source(source, self._tables)
            self._single[key] = set_of_networks(family, networks)
        return self._single[key]


def _openings(
    rows: Iterable[Row], family: int, sources: _SourceColumns, by_interface: bool
) -> Iterator[OpenRange]:
    for row in rows:
        if family not in row.protocol.families:
            continue
        allowed = sources.of_row(row, family)
        if allowed:
            part = RowSources(row, allowed, by_interface and is_pod_row(row))
            for ports in row.ports or (None,):
                yield OpenRange(ports, part)


def _spans(openings: Iterable[OpenRange], protocol: Protocol) -> Iterator[ReachSpan]:
    """The openings of a protocol, cut where the set of open rows changes."""
    about = [each for each in openings if each.part.row.protocol in (protocol, Protocol.ANY)]
    if not protocol.has_ports:
        if about:
            yield ReachSpan(None, tuple(each.part for each in about))
        return
    ranges = [(each.ports or EVERY_PORT, each.part) for each in about]
    cuts = sorted({cut for ports, _part in ranges for cut in (ports.low, ports.high + 1)})
    pending: ReachSpan | None = None
    for low, after in zip(cuts, cuts[1:]):
        parts = tuple(part for ports, part in ranges if ports.low <= low <= ports.high)
        if pending and pending.ports and pending.ports.high == low - 1 and pending.parts == parts:
            pending = ReachSpan(PortRange(pending.ports.low, after - 1), parts)
            continue
        if pending:
            yield pending
        pending = ReachSpan(PortRange(low, after - 1), parts) if parts else None
    if pending:
        yield pending
