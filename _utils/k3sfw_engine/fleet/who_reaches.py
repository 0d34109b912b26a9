"""Who reaches a port of a node, and what a source reaches: both sides of the same rows. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from k3sfw_engine.fleet.asked_of_tables import AskedPorts
from k3sfw_engine.fleet.tables_difference import bounded, name_nodes, port_texts
from k3sfw_engine.model.address_set import AddressSet, set_of_networks
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.names_of_addresses import AddressNames, range_texts
from k3sfw_engine.model.port_ranges import common
from k3sfw_engine.model.row_sources import is_pod_row, networks_of_source
from k3sfw_engine.model.rows import Node, PortRange, Protocol, Role, Row, Tables
from k3sfw_engine.plan.change_causes import pods_are_told_by_interface
from k3sfw_engine.plan.reach import Reach, RowSources, compute_reach

_Lines = Mapping[str, str]


def who_reaches(
    tables: Tables, nodes: Iterable[Node], asked: AskedPorts, lines: _Lines
) -> list[dict[str, Any]]:
    """Return who gets in at these ports, row by row: ``{to, ports, from, networks, row, …}``.

    lines
        Where rows stand in the files of the pillar.
    """
    wanted = tuple(nodes)
    names = AddressNames(tables)
    reach = compute_reach(tables, tuple(dict.fromkeys(node.role for node in wanted)))
    found: defaultdict[Row, _RowOpening] = defaultdict(_RowOpening.empty)
    for role in reach.roles:
        for opening in _openings(reach, role, asked):
            known = found[opening.part.row]
            known.ports.setdefault((opening.protocol, opening.ports))
            known.sources.setdefault(opening.part.sources.family, opening.part)
            known.roles.setdefault(role)
    return [
        {
            "to": bounded(
                name_nodes([node.name for node in wanted if node.role in each.roles], tables)
            ),
            "ports": port_texts(each.ports),
            "from": bounded(names.name(each.sets, row.protocol.families)),
            "networks": bounded([text for one in each.sets.values() for text in range_texts(one)]),
            "by_interface": any(part.by_interface for part in each.sources.values()),
            **_about_row(row, lines),
        }
        for row, each in found.items()
    ]


def reaches(
    tables: Tables, sources: Mapping[int, AddressSet], lines: _Lines
) -> list[dict[str, Any]]:
    """Return what these sources reach, row by row, and who else reaches it by the same row."""
    names = AddressNames(tables)
    found = []
    for row in tables.every_row:
        members = [node for node in tables.nodes if row.destination.includes(node.role)]
        let_in = {
            family: sources.get(family, AddressSet(family)) & _sources_of(row, family, tables)
            for family in FAMILIES
        }
        if not members or not any(let_in.values()):
            continue
        families = [family for family in row.protocol.families if sources.get(family)]
        by_interface = is_pod_row(row) and pods_are_told_by_interface(tables)
        found.append(
            {
                "to": bounded(name_nodes([node.name for node in members], tables)),
                "ports": port_texts((row.protocol, each) for each in row.ports or (None,)),
                "from": bounded(names.name(let_in, families)),
                "part": any(let_in[family] != sources[family] for family in families),
                "by_interface": by_interface,
                **_about_row(row, lines),
            }
        )
    return found


class _PortOpenedByRow(NamedTuple):
    protocol: Protocol
    ports: PortRange | None
    part: RowSources


class _RowOpening(NamedTuple):
    """What one row gives of what was asked; dictionaries keep the order."""

    ports: dict[tuple[Protocol, PortRange | None], None]
    sources: dict[int, RowSources]
    roles: dict[Role, None]

    @classmethod
    def empty(cls) -> _RowOpening:
        return cls({}, {}, {})

    @property
    def sets(self) -> dict[int, AddressSet]:
        return {family: part.sources for family, part in self.sources.items()}


def _openings(reach: Reach, role: Role, asked: AskedPorts) -> Iterator[_PortOpenedByRow]:
    for protocol in asked.protocols:
        for family in protocol.families:
            for span in reach.spans_of(role, family, protocol):
                ports = asked.ports and span.ports and common(asked.ports, span.ports)
                if asked.ports and not ports:
                    continue
                for part in span.parts:
                    yield _PortOpenedByRow(protocol, ports, part)


def _sources_of(row: Row, family: int, tables: Tables) -> AddressSet:
    if family not in row.protocol.families:
        return AddressSet(family)
    named = (networks_of_source(source, tables) for source in row.sources)
    return set_of_networks(family, (network for networks in named for network in networks))


def _about_row(row: Row, lines: _Lines) -> dict[str, Any]:
    return {
        "row": row.name,
        "path": row.path,
        "source": [str(source) for source in row.sources],
        "description": row.description,
        "line": lines.get(row.path, ""),
    }
