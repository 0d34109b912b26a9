"""The difference of two tables as data: who is newly let in, and who no longer. Pure.

Changes that have a cause, sources, ports or nodes in common are put together, so that a line says
what a reviewer would say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Optional

import netaddr

from k3sfw_engine.fleet.defaults import NAMES_OF_A_CHANGE
from k3sfw_engine.model.address_set import AddressSet
from k3sfw_engine.model.names_of_addresses import EVERY_NODE, AddressNames
from k3sfw_engine.model.port_ranges import EVERY_PORT, without
from k3sfw_engine.model.rows import (
    ROOT,
    Node,
    PortRange,
    PromisedPorts,
    Protocol,
    Role,
    Row,
    Tables,
)
from k3sfw_engine.plan.change_causes import ChangeCause, ChangedTables
from k3sfw_engine.plan.intended_change import IntendedChange, besides
from k3sfw_engine.plan.live_reach import UNEXPLAINED
from k3sfw_engine.plan.reach import WITH_PORTS, compute_reach
from k3sfw_engine.plan.reach_difference import ChangeKind, ReachChange, RoleReach, reach_changes

# The source port of example packets: the first of those that are chosen by a client's kernel.
_CLIENT_PORT = 40000
# A range of so many addresses may be a network, whose first address no host has.
_SMALLEST_NETWORK = 4
# Python 3.9 knows no PortRange | None where it is evaluated.
_PortsOf = tuple[Protocol, Optional[PortRange]]


@dataclass(frozen=True)
class JoinedChange:
    """What is newly let in, or no longer, for the same reasons.

    nodes
        The destinations.
    sources
        By family.
    to_everyone
        Whether every address gets in there now.
    """

    kind: ChangeKind
    nodes: tuple[str, ...]
    ports: tuple[_PortsOf, ...]
    sources: tuple[AddressSet, ...]
    causes: tuple[ChangeCause, ...]
    rows: tuple[Row, ...]
    to_everyone: bool


class ComparedNodes(NamedTuple):
    """Nodes for which the same holds: who got in before, and who gets in now."""

    nodes: tuple[str, ...]
    old: RoleReach
    new: RoleReach


class TablesDifference:
    """Two tables of one cluster, compared."""

    def __init__(
        self, old: Tables, new: Tables, compared: Sequence[ComparedNodes] | None = None
    ) -> None:
        """Prepare the comparison.

        compared
            What is compared for which nodes, where that is not what both tables say.
        """
        self.tables = ChangedTables(old, new)
        self._given = compared

    @cached_property
    def changes(self) -> tuple[JoinedChange, ...]:
        """Everything that differs: what opens first, and of that what opens to everyone."""
        return _joined(self._pieces())

    def besides(self, intended: IntendedChange) -> tuple[JoinedChange, ...]:
        """What differs besides the packets that are meant to be let in."""
        return _joined(
            _Piece(nodes, change, piece.causes)
            for piece in self._pieces()
            for nodes, is_meant in _split(piece.nodes, intended.nodes)
            for change in (besides([piece.change], intended) if is_meant else [piece.change])
        )

    def _pieces(self) -> Iterator[_Piece]:
        for nodes, old, new in self.compared:
            was_role, role = old.role, new.role
            changes = reach_changes(old, new)
            other_role = [
                cause
                for cause in self.tables.of_nodes
                if was_role is not role and _is_of(cause, nodes)
            ]
            for change in changes:
                causes = (*other_role, *self.tables.causes(change.rows))
                yield _Piece(tuple(nodes), change, causes)

    @cached_property
    def compared(self) -> tuple[ComparedNodes, ...]:
        """What is compared, for which nodes."""
        return tuple(self._by_tables() if self._given is None else self._given)

    def _by_tables(self) -> Iterator[ComparedNodes]:
        reaches = [compute_reach(each) for each in (self.tables.old, self.tables.new)]
        groups: defaultdict[tuple[Role, Role], list[str]] = defaultdict(list)
        for name, (was, now) in self.tables.nodes.items():
            if was is not None and now is not None:
                groups[was.role, now.role].append(name)
        for roles, nodes in groups.items():
            yield ComparedNodes(tuple(nodes), *map(RoleReach, reaches, roles))

    @cached_property
    def joined_nodes(self) -> tuple[str, ...]:
        """The nodes that are new: as destinations they have no before."""
        return tuple(name for name, (old, _new) in self.tables.nodes.items() if old is None)

    @cached_property
    def left_nodes(self) -> tuple[str, ...]:
        """The nodes that are gone."""
        return tuple(name for name, (_old, new) in self.tables.nodes.items() if new is None)

    @cached_property
    def without_effect(self) -> tuple[ChangeCause, ...]:
        """What is not as before and lets in exactly the same."""
        effective = {cause.path for change in self.changes for cause in change.causes}
        found = [ChangeCause(path, self._idle(path)) for path in self.tables.changed_rows]
        found += [
            ChangeCause(f"{ROOT}:groups:{name}", f"group {name}")
            for name in self.tables.changed_groups
            if name not in self._groups_of(effective)
        ]
        return tuple(cause for cause in found if cause.path not in effective)

    def _groups_of(self, paths: Iterable[str]) -> set[str]:
        """The groups that these rows name now or named before."""
        rows = (row for path in paths for row in self.tables.rows.get(path, ()) if row)
        return {source.value for row in rows for source in row.sources}

    def _idle(self, path: str) -> str:
        old, new = self.tables.rows[path]
        if new is None and old is not None:
            return f"row {old.name} (removed, {self._why_idle(old)})"
        if old is None and new is not None:
            return f"row {new.name} (new, {self._why_idle(new)})"
        columns = [name for name, _was, _now in self.tables.changed_columns(path)]
        name = new.name if new else ""
        return f"row {name} ({', '.join(columns) or 'description'})"

    def _why_idle(self, row: Row) -> str:
        if any(row.destination.includes(each.new.role) for each in self.compared):
            return "others let in the same"
        return f"no node with the role {row.destination.value} is compared"

    @cached_property
    def same_rows(self) -> tuple[int, int]:
        """How many rows let in the same as before, and how many there are."""
        named = {row.path for change in self.changes for row in change.rows}
        return len(self.tables.rows) - len(named & self.tables.rows.keys()), len(self.tables.rows)

    def as_plain(self) -> dict[str, Any]:
        """Return JSON-able data: what the text, Markdown and the page show."""
        same, of_all = self.same_rows
        return {
            **self.write(self.changes),
            "without_effect": [
                {"path": cause.path, "text": cause.text} for cause in self.without_effect
            ],
            "pods": self.tables.pods,
            "same_rows": same,
            "rows": of_all,
            "joined_nodes": list(self.joined_nodes),
            "left_nodes": list(self.left_nodes),
        }

    def write(self, changes: Iterable[JoinedChange]) -> dict[str, list[dict[str, Any]]]:
        """Return ``{opened: [...], closed: [...]}``."""
        writer = _Writer(self.tables)
        by_kind: dict[str, list[dict[str, Any]]] = {kind.value: [] for kind in ChangeKind}
        for change in changes:
            by_kind[change.kind.value].append(writer.change(change))
        return by_kind


class _Piece(NamedTuple):
    nodes: tuple[str, ...]
    change: ReachChange
    causes: tuple[ChangeCause, ...]


def _is_of(cause: ChangeCause, nodes: Iterable[str]) -> bool:
    return cause.path.rpartition(":")[2] in nodes


def _split(nodes: Iterable[str], meant: Collection[str]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The nodes that are meant, and those that are not."""
    for is_meant in (True, False):
        found = tuple(name for name in nodes if (name in meant) is is_meant)
        if found:
            yield found, is_meant


def _joined(pieces: Iterable[_Piece]) -> tuple[JoinedChange, ...]:
    return tuple(sorted(_with_nodes_joined(_with_ports_joined(pieces)), key=_order))


def _with_ports_joined(pieces: Iterable[_Piece]) -> Iterator[JoinedChange]:
    """First the families of the same ports are put together, then ports of the same sources."""
    by_ports: defaultdict[object, list[_Piece]] = defaultdict(list)
    for piece in pieces:
        each = piece.change
        by_ports[piece.nodes, each.kind, each.protocol, each.ports, piece.causes].append(piece)
    by_sources: defaultdict[object, list[list[_Piece]]] = defaultdict(list)
    for families in by_ports.values():
        first = families[0]
        sources = _by_family(piece.change for piece in families)
        wide = any(piece.change.to_everyone for piece in families)
        rows = () if first.causes else first.change.rows
        key = (first.nodes, first.change.kind, sources, first.causes, rows, wide)
        by_sources[key].append(families)
    for several in by_sources.values():
        first = several[0][0]
        pieces = [piece for families in several for piece in families]
        yield JoinedChange(
            first.change.kind,
            first.nodes,
            tuple((each[0].change.protocol, each[0].change.ports) for each in several),
            _by_family(piece.change for piece in several[0]),
            first.causes,
            tuple(dict.fromkeys(row for piece in pieces for row in piece.change.rows)),
            any(piece.change.to_everyone for piece in pieces),
        )


def _by_family(changes: Iterable[ReachChange]) -> tuple[AddressSet, ...]:
    return tuple(change.sources for change in changes)


def _with_nodes_joined(changes: Iterable[JoinedChange]) -> Iterator[JoinedChange]:
    groups: defaultdict[object, list[JoinedChange]] = defaultdict(list)
    for each in changes:
        key = (each.kind, each.ports, each.sources, each.causes, each.to_everyone)
        groups[key].append(each)
    for several in groups.values():
        first = several[0]
        nodes = tuple(sorted({name for each in several for name in each.nodes}))
        rows = tuple(dict.fromkeys(row for each in several for row in each.rows))
        yield JoinedChange(
            first.kind, nodes, first.ports, first.sources, first.causes, rows, first.to_everyone
        )


def _order(change: JoinedChange) -> tuple[bool, bool, list[str], tuple[str, ...]]:
    return (
        change.kind is ChangeKind.CLOSED,
        not change.to_everyone,
        [f"{protocol.value}/{ports}" for protocol, ports in change.ports],
        change.nodes,
    )


class _Writer:
    """Writes changes as data, with the names of the tables in which the sources are known."""

    def __init__(self, tables: ChangedTables) -> None:
        self._tables = tables
        old, new = tables.old, tables.new
        # A group that only the other side has is a name that the reader knows, too.
        self._names = {
            ChangeKind.OPENED: AddressNames(replace(new, groups={**old.groups, **new.groups})),
            ChangeKind.CLOSED: AddressNames(replace(old, groups={**new.groups, **old.groups})),
        }

    def change(self, change: JoinedChange) -> dict[str, Any]:
        names = self._names[change.kind].name({each.family: each for each in change.sources})
        return {
            "from": bounded(names),
            "to": bounded(name_nodes(change.nodes, self._tables.new)),
            "ports": port_texts(change.ports),
            "causes": [
                {"path": cause.path, "text": cause.text}
                for cause in (change.causes or map(_because_of, change.rows))
            ],
            "everyone": change.to_everyone and change.kind is ChangeKind.OPENED,
            "example": self._example(change),
        }

    def _example(self, change: JoinedChange) -> str:
        """One packet that shows it, with a destination of the same family where there is one."""
        protocol, ports = change.ports[0]
        nodes = {node.name: node for node in self._tables.new.nodes}
        for sources in sorted(change.sources, key=lambda each: each.family):
            source = example_address(sources)
            found = [_address(nodes.get(name), sources.family) for name in change.nodes]
            # A node's packet to itself shows little.
            others = [each for each in found if each and each != source] or list(
                filter(None, found)
            )
            if others:
                return _packet(source, others[0], protocol, ports)
        return ""


def example_address(sources: AddressSet) -> str:
    """Return an address of the set that looks like a host: none of its network, if possible."""
    usual = netaddr.IPAddress("203.0.113.7" if sources.family == 4 else "2001:db8::7")
    if usual in sources:
        return str(usual)
    first, last = sources.ranges[0]
    is_network = last - first + 1 >= _SMALLEST_NETWORK
    return str(netaddr.IPAddress(first + is_network, usual.version))


def _packet(source: str, target: str, protocol: Protocol, ports: PortRange | None) -> str:
    if ports is None:
        return f"{source} -> {target}, {protocol.value}"
    form = "[{}]:{}" if ":" in source else "{}:{}"
    ends = (form.format(source, _CLIENT_PORT), form.format(target, ports.low))
    return f"{ends[0]} -> {ends[1]}, {protocol.value}"


def _because_of(row: Row) -> ChangeCause:
    """The row itself, where nothing in it changed; or a rule of a node that no row explains."""
    if row.table == UNEXPLAINED:
        return ChangeCause("", f"no row explains: {row.name}")
    return ChangeCause(row.path, f"row {row.name}")


def _address(node: Node | None, family: int) -> str:
    addresses = node.addresses if node else ()
    return next((str(each) for each in addresses if each.version == family), "")


def name_nodes(nodes: Sequence[str], tables: Tables) -> tuple[str, ...]:
    """Name nodes by their roles where all nodes of a role are there, else one by one."""
    left = set(nodes)
    names = []
    everyone = {node.name for node in tables.nodes}
    if everyone and everyone <= left and len({node.role for node in tables.nodes}) > 1:
        return (EVERY_NODE, *sorted(left - everyone))
    for role in Role:
        members = {node.name for node in tables.nodes if node.role is role}
        if members and members <= left:
            names.append(role.value)
            left -= members
    return (*names, *sorted(left))


def port_texts(ports: Iterable[_PortsOf]) -> list[str]:
    """Write ports as ``tcp/2379-2380``; of every protocol, what is left out is shorter."""
    listed = list(ports)
    texts = [str(PromisedPorts(*each)) for each in listed]
    if (Protocol.ANY, None) not in listed:
        return texts
    left_out = [
        str(PromisedPorts(protocol, span))
        for protocol in WITH_PORTS
        for span in without(
            EVERY_PORT, [span for each, span in listed if each is protocol and span is not None]
        )
    ]
    if len(left_out) >= len(texts):
        return texts
    return [f"any except {', '.join(left_out)}" if left_out else "any"]


def bounded(names: Sequence[str], most: int = NAMES_OF_A_CHANGE) -> list[str]:
    """Return at most so many names; the last one tells how many are left."""
    if len(names) <= most:
        return list(names)
    return [*names[: most - 1], f"{len(names) - most + 1} more"]
