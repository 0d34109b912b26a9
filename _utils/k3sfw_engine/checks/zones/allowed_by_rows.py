"""The sources that the rows allow at a port, to compare with what a zone opens. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import netaddr

from k3sfw_engine.checks.zone_openings import Opening
from k3sfw_engine.model.addresses import FAMILIES, Networks
from k3sfw_engine.model.port_ranges import EVERY_PORT, common, without
from k3sfw_engine.model.row_sources import is_pod_row, networks_of_source
from k3sfw_engine.model.rows import PortRange, Protocol, Row, Tables


@dataclass(frozen=True)
class Excess:
    """An opening that allows more sources than a row: at which ports, in which families."""

    opening: Opening
    row: Row
    ports: PortRange
    families: tuple[int, ...]


@dataclass(frozen=True)
class AllowedByRows:
    """The rows in question, whether pods are recognised by interface, and the families in use."""

    tables: Tables
    rows: tuple[Row, ...]
    pods_by_interface: bool
    families: tuple[int, ...] = FAMILIES

    def rows_at(self, protocol: Protocol, port: int) -> tuple[Row, ...]:
        """The rows that name this port, or this protocol that has none."""
        return tuple(
            row
            for row in self.rows
            if row.protocol is protocol
            and (not row.ports or any(port in span for span in row.ports))
        )

    def networks(self, rows: Iterable[Row], family: int) -> Networks:
        """The networks that these rows, and the rows for every port, allow by address."""
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

    def is_for_everyone(self, protocol: Protocol, port: int, family: int) -> bool:
        """Whether the rows allow everyone there."""
        return any(
            network.prefixlen == 0
            for network in self.networks(self.rows_at(protocol, port), family)
        )

    def wider(self, opening: Opening, sources: Networks | None) -> Iterator[Excess]:
        """The rows at the opening's ports that allow fewer sources than these.

        sources
            The sources that can reach the opening; ``None`` for everyone.
        """
        for row in self.rows:
            # firewalld's zones accept ICMP from everyone, so a row of it never closes anything.
            if not opening.is_of(row.protocol) or row.protocol in _ICMP:
                continue
            for span in row.ports or (EVERY_PORT,):
                ports = common(span, opening.ports)
                families = tuple(
                    family
                    for family in opening.families
                    if ports
                    and family in self.families
                    and family in row.protocol.families
                    and self._is_wider(row.protocol, ports.low, family, sources)
                )
                if ports and families:
                    yield Excess(opening, row, ports, families)

    def _is_wider(
        self, protocol: Protocol, port: int, family: int, sources: Networks | None
    ) -> bool:
        allowed = self.networks(self.rows_at(protocol, port), family)
        if any(network.prefixlen == 0 for network in allowed):
            return False
        if sources is None:
            return True
        # A set, because an ipset may have thousands of entries, and a cluster as many nodes.
        inside = netaddr.IPSet(allowed)
        return any(source not in inside for source in sources if source.version == family)


_ICMP = (Protocol.ICMP, Protocol.IPV6_ICMP)


def left_over(opened: Iterable[Opening], wider: Iterable[Excess]) -> Iterator[tuple[str, str]]:
    """What an element opens besides these rows, as setting and value: ``port``, ``22/tcp``."""
    removed = tuple(wider)
    for each in opened:
        taken = [w.ports for w in removed if w.opening.protocol is each.protocol]
        if each.protocol.is_whole and not taken:
            yield "protocol", str(each.protocol.number)
        elif each.protocol.has_ports:
            for span in without(each.ports, taken):
                yield "port", f"{span}/{each.protocol.value}"
