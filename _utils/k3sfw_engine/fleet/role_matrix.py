"""Role by role: which sources get in at which ports of servers and of agents, by the tables. Pure.

``role_matrix(tables)`` gives a ``RoleMatrix``. Its ``sources`` are names: ``server``, ``agent``,
``pods``, ``services``, the groups, and ``anyone else``, which is everyone without a name; a group
of everyone has no column of its own. Its ``lines`` are one for each role, protocol and range of
ports that a row names, in that order; a line has one ``Access`` for each source:

- ``open``: every address of the source gets in, at every port of the range
- ``closed``: none does
- ``part``: some addresses, or some of the ports
- ``redirected``: Kubernetes redirects the port before any rule is asked, as nodes found

``as_plain`` writes it as JSON-able data: ``{sources: [...], lines: [{to, protocol, ports, rows:
[...], access: [...]}]}``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from k3sfw_engine.model.address_set import AddressSet
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.names_of_addresses import AddressNames, ByFamily
from k3sfw_engine.model.port_ranges import common, without
from k3sfw_engine.model.rows import PortRange, Protocol, Role, Row, Tables
from k3sfw_engine.plan.reach import Reach, compute_reach

ANYONE_ELSE = "anyone else"


class Access(Enum):
    """What a source has at the ports of a line."""

    OPEN = "open"
    CLOSED = "closed"
    PART = "part"
    REDIRECTED = "redirected"


@dataclass(frozen=True)
class MatrixLine:
    """Ports of one role of nodes, with what each source has there.

    ports
        ``None`` for a protocol without ports, and for ``any``: every protocol and port.
    rows
        The names of the rows that give these ports.
    """

    role: Role
    protocol: Protocol
    ports: PortRange | None
    rows: tuple[str, ...]
    access: tuple[Access, ...]


@dataclass(frozen=True)
class RoleMatrix:
    """Every line, and the names of the sources in the order of ``access``."""

    sources: tuple[str, ...]
    lines: tuple[MatrixLine, ...]

    def as_plain(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return {
            "sources": list(self.sources),
            "lines": [
                {
                    "to": line.role.value,
                    "protocol": line.protocol.value,
                    "ports": "" if line.ports is None else str(line.ports),
                    "rows": list(line.rows),
                    "access": [each.value for each in line.access],
                }
                for line in self.lines
            ],
        }


class RedirectedPort(NamedTuple):
    """Ports of a role's nodes that Kubernetes redirects."""

    role: Role
    protocol: Protocol
    ports: PortRange


def role_matrix(tables: Tables, redirected: Collection[RedirectedPort] = ()) -> RoleMatrix:
    """Compute the matrix of a cluster, from tables that have the rows of both roles."""
    names = AddressNames(tables)
    sources = {
        name: sets
        for name, sets in names.sets.items()
        if any(sets.values()) and not all(each.is_everyone for each in sets.values())
    }
    if any(names.outsiders.values()):
        sources[ANYONE_ELSE] = names.outsiders
    reach = compute_reach(tables)
    lines = [
        MatrixLine(
            key.role,
            key.protocol,
            key.ports,
            rows,
            tuple(_access(key, sets, reach, redirected) for sets in sources.values()),
        )
        for key, rows in _lines(tables)
    ]
    return RoleMatrix(tuple(sources), tuple(lines))


class _LineKey(NamedTuple):
    role: Role
    protocol: Protocol
    ports: PortRange | None


def _lines(tables: Tables) -> Iterator[tuple[_LineKey, tuple[str, ...]]]:
    rows: dict[_LineKey, list[str]] = {}
    for role in Role:
        for row in _sorted(row for row in tables.every_row if row.destination.includes(role)):
            for ports in row.ports or (None,):
                rows.setdefault(_LineKey(role, row.protocol, ports), []).append(row.name)
    for key, names in sorted(rows.items(), key=lambda each: _order(each[0])):
        yield key, tuple(dict.fromkeys(names))


def _sorted(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.table, row.name))


def _order(key: _LineKey) -> tuple[int, int, str, PortRange]:
    """Servers first; ports in their order, then protocols without ports, and every one last."""
    role = list(Role).index(key.role)
    if key.ports is None:
        return role, 1 + (key.protocol is Protocol.ANY), key.protocol.value, PortRange(0, 0)
    return role, 0, key.protocol.value, key.ports


def _access(
    key: _LineKey, sets: ByFamily, reach: Reach, redirected: Collection[RedirectedPort]
) -> Access:
    if any(
        each.role is key.role
        and each.protocol is key.protocol
        and common(each.ports, key.ports) is not None
        for each in redirected
        if key.ports
    ):
        return Access.REDIRECTED
    found = {
        one
        for family in FAMILIES
        if sets[family] and family in key.protocol.families
        for one in _of_family(key, sets[family], reach)
    }
    return found.pop() if len(found) == 1 else Access.PART if found else Access.CLOSED


def _of_family(key: _LineKey, sources: AddressSet, reach: Reach) -> Iterator[Access]:
    """What the source has at the open ports of the line, and at those that are not open."""
    spans = reach.spans_of(key.role, sources.family, key.protocol)
    if key.ports is None:
        are_open = bool(spans)
    else:
        met = {span: common(key.ports, span.ports) for span in spans if span.ports}
        spans = tuple(span for span in spans if met.get(span))
        are_open = not without(key.ports, filter(None, met.values()))
    for span in spans:
        let_in = sources & span.sources
        yield Access.OPEN if let_in == sources else Access.PART if let_in else Access.CLOSED
    if not are_open:
        yield Access.CLOSED
