"""The addresses that the rows allow at a port, to compare with what a zone opens. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import netaddr

from k3sfw_engine.checks.zone_openings import Opening
from k3sfw_engine.model.addresses import FAMILIES, Networks
from k3sfw_engine.model.port_ranges import common, without
from k3sfw_engine.model.row_sources import is_pod_row, networks_of_source
from k3sfw_engine.model.rows import PortRange, Protocol, Row, Tables


@dataclass(frozen=True)
class Excess:
    """A row that names fewer than an opening lets in: at which ports, and in which families."""

    opening: Opening
    row: Row
    ports: PortRange
    families: tuple[int, ...]


# -- what the tables give -------------------------------------------------------------------------


@dataclass(frozen=True)
class AllowedByRows:
    """Rows, whether pods come in by their interfaces alone, and the families that count."""

    tables: Tables
    rows: tuple[Row, ...]
    pods_by_interface: bool
    families: tuple[int, ...] = FAMILIES

    def rows_at(self, protocol: Protocol, port: int) -> tuple[Row, ...]:
        """The rows that name this port."""
        return tuple(
            row
            for row in self.rows
            if row.protocol is protocol and any(port in span for span in row.ports)
        )

    def to(self, rows: Iterable[Row], family: int) -> Networks:
        """Who these rows, and those that are for every port, let in by address."""
        for_all = (
            row
            for row in self.rows
            if row.protocol is Protocol.ANY and not (self.pods_by_interface and is_pod_row(row))
        )
        return tuple(
            network
            for row in (*rows, *for_all)
            for source in row.sources
            for network in networks_of_source(source, self.tables)
            if network.version == family
        )

    def is_for_everybody(self, protocol: Protocol, port: int, family: int) -> bool:
        """Whether the rows let everybody in there."""
        return any(
            network.prefixlen == 0 for network in self.to(self.rows_at(protocol, port), family)
        )

    def wider(self, opening: Opening, sources: Networks | None) -> Iterator[Excess]:
        """The rows of the ports that the opening has, where these sources are more than theirs.

        sources
            Who meets the opening, ``None`` for everybody.
        """
        for row in self.rows:
            if row.protocol is not opening.protocol:
                continue
            for span in row.ports:
                ports = common(span, opening.ports)
                families = tuple(
                    family
                    for family in opening.families
                    if ports
                    and family in self.families
                    and self._is_wider(opening.protocol, ports.low, family, sources)
                )
                if ports and families:
                    yield Excess(opening, row, ports, families)

    def _is_wider(
        self, protocol: Protocol, port: int, family: int, sources: Networks | None
    ) -> bool:
        given = self.to(self.rows_at(protocol, port), family)
        if any(network.prefixlen == 0 for network in given):
            return False
        if sources is None:
            return True
        # One look-up for each: an ipset may have thousands of entries, and a cluster of nodes.
        inside = netaddr.IPSet(given)
        return any(source not in inside for source in sources if source.version == family)


def left_over(opened: Iterable[Opening], wider: Iterable[Excess]) -> tuple[str, ...]:
    """What stays open of an element when the ports of these rows are taken out of it."""
    taken = tuple(wider)
    return tuple(
        f"{span}/{each.protocol.value}"
        for each in opened
        for span in without(
            each.ports, (w.ports for w in taken if w.opening.protocol is each.protocol)
        )
    )
