"""The port tables, the groups and the roles by the tables, as the page shows them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from k3sfw_engine.fleet.page.signs import ACCESS, Sign
from k3sfw_engine.fleet.role_matrix import RoleMatrix
from k3sfw_engine.fleet.text.style import clean
from k3sfw_engine.model.rows import Protocol, Role, Row, Tables


@dataclass(frozen=True)
class TableLine:
    """One row of the port tables."""

    name: str
    table: str
    ports: str
    sources: str
    destination: str
    description: str
    words: str


@dataclass(frozen=True)
class GroupLine:
    """One group, and its networks."""

    name: str
    networks: str
    words: str


@dataclass(frozen=True)
class ReachedRole:
    """What may reach the nodes of one role: a column for each port, a line for each source."""

    name: str
    columns: tuple[PortColumn, ...]
    lines: tuple[SourceLine, ...]


@dataclass(frozen=True)
class PortColumn:
    """A port, and the rows that give it."""

    port: str
    name: str


@dataclass(frozen=True)
class SourceLine:
    """A source, and what it has at each port."""

    name: str
    cells: tuple[Sign, ...]


def table_lines(tables: Tables) -> tuple[TableLine, ...]:
    """Return the rows in the order of their tables and names."""
    rows = sorted(tables.every_row, key=lambda row: (row.table, row.name))
    return tuple(_line(row) for row in dict.fromkeys(rows))


def _line(row: Row) -> TableLine:
    ports = ", ".join(map(str, row.ports))
    protocol = "all protocols" if row.protocol is Protocol.ANY else row.protocol.value
    written = f"{protocol}/{ports}" if ports else protocol
    sources = ", ".join(clean(each) for each in row.sources)
    texts = (row.name, row.table, written, sources, row.destination.value, row.description)
    return TableLine(
        clean(row.name),
        clean(row.table),
        written,
        sources,
        row.destination.value,
        clean(row.description),
        clean(" ".join(texts)).lower(),
    )


def group_lines(tables: Tables) -> tuple[GroupLine, ...]:
    """Return the groups in the order of their names."""
    lines = []
    for name, networks in sorted(tables.groups.items()):
        text = ", ".join(map(str, networks)) or "no network"
        lines.append(GroupLine(clean(name), text, clean(f"{name} {text}").lower()))
    return tuple(lines)


def reached_roles(matrix: RoleMatrix) -> tuple[ReachedRole, ...]:
    """Return the role matrix, a table for each role that is reached."""
    return tuple(
        ReachedRole(f"{role.value}s", tuple(_columns(matrix, role)), tuple(_sources(matrix, role)))
        for role in Role
        if any(line.role is role for line in matrix.lines)
    )


def _columns(matrix: RoleMatrix, role: Role) -> Iterator[PortColumn]:
    for line in matrix.lines:
        if line.role is role:
            name = "all" if line.protocol is Protocol.ANY else line.protocol.value
            port = f"{name}/{line.ports}" if line.ports else name
            yield PortColumn(port, clean(", ".join(line.rows)))


def _sources(matrix: RoleMatrix, role: Role) -> Iterator[SourceLine]:
    for at, source in enumerate(matrix.sources):
        cells = (ACCESS[line.access[at].value] for line in matrix.lines if line.role is role)
        yield SourceLine(clean(source), tuple(cells))


def row_titles(tables: Tables | None, rows: Mapping[str, object]) -> dict[str, str]:
    """Return how each row of the answers (``tcp/6443``) is called: with the names of its rows."""
    names: dict[str, list[str]] = {}
    for row in sorted(tables.every_row, key=lambda row: row.name) if tables else ():
        for ports in row.ports or (None,):
            key = f"{row.protocol.value}/{ports}" if ports else row.protocol.value
            if row.name not in names.setdefault(key, []):
                names[key].append(row.name)
    return {key: clean(" ".join([key, *_joined(names.get(key, []))])) for key in rows}


def _joined(names: list[str]) -> list[str]:
    return [", ".join(names)] if names else []
