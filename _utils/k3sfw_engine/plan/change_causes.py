"""Why two tables let in others: rows, groups and nodes that are not as before. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from k3sfw_engine.model.addresses import Networks, entry
from k3sfw_engine.model.row_sources import is_pod_row, networks_of_source
from k3sfw_engine.model.rows import ROOT, Node, Row, Source, SourceKind, Tables
from k3sfw_engine.plan.defaults import ITEMS_IN_A_SENTENCE
from k3sfw_engine.plan.desired.pods import pods_come_by_interface


@dataclass(frozen=True, order=True)
class ChangeCause:
    """One thing that is not as before.

    path
        Where it stands in pillar.
    text
        What of it changed, in a few words.
    """

    path: str
    text: str


class ChangedTables:
    """Two tables, and what in them differs."""

    def __init__(self, old: Tables, new: Tables) -> None:
        """Prepare the comparison."""
        self.old, self.new = old, new

    @cached_property
    def rows(self) -> Mapping[str, tuple[Row | None, Row | None]]:
        """Each row of either table by its path: as it was, and as it is."""
        before, now = ({row.path: row for row in each.every_row} for each in (self.old, self.new))
        return {path: (before.get(path), now.get(path)) for path in sorted({**before, **now})}

    @cached_property
    def nodes(self) -> Mapping[str, tuple[Node | None, Node | None]]:
        """Each node of either cluster."""
        before, now = ({node.name: node for node in each.nodes} for each in (self.old, self.new))
        return {name: (before.get(name), now.get(name)) for name in sorted({**before, **now})}

    def causes(self, rows: Iterable[Row]) -> tuple[ChangeCause, ...]:
        """Why these rows let in others than before; a row that is as before has no cause."""
        return tuple(dict.fromkeys(cause for row in rows for cause in self._of_row(row.path)))

    def _of_row(self, path: str) -> Iterator[ChangeCause]:
        # A rule of a node that no row of either table explains has a path of its own.
        old, new = self.rows.get(path, (None, None))
        columns = self.changed_columns(path)
        if old is None and new is not None:
            yield ChangeCause(path, f"row {new.name} (new): source {_sources(new)}")
        elif old is not None and new is None:
            yield ChangeCause(path, f"row {old.name} (removed): source {_sources(old)}")
        elif new is not None and columns:
            changes = ", ".join(f"{name} {was} -> {now}" for name, was, now in columns)
            yield ChangeCause(path, f"row {new.name}: {changes}")
        elif new is not None:
            for source in new.sources:
                yield from self.of_source(source)

    def changed_columns(self, path: str) -> list[tuple[str, str, str]]:
        """The columns of a row that say something else than before, but for its description."""
        old, new = self.rows.get(path, (None, None))
        if old is None or new is None:
            return []
        both = {
            "protocol": (old.protocol.value, new.protocol.value),
            "port": tuple(", ".join(map(str, row.ports)) or "none" for row in (old, new)),
            "source": (_sources(old), _sources(new)),
            "destination": (old.destination.value, new.destination.value),
        }
        return [(name, was, now) for name, (was, now) in both.items() if was != now]

    def of_source(self, source: Source) -> tuple[ChangeCause, ...]:
        """Why a name in the source column stands for other addresses than before."""
        if source not in self._by_source:
            before, now = (networks_of_source(source, each) for each in (self.old, self.new))
            same = frozenset(before) == frozenset(now)
            self._by_source[source] = () if same else tuple(self._differing(source, before, now))
        return self._by_source[source]

    @cached_property
    def _by_source(self) -> dict[Source, tuple[ChangeCause, ...]]:
        return {}

    def _differing(self, source: Source, before: Networks, now: Networks) -> Iterator[ChangeCause]:
        if source.kind in (SourceKind.SERVER, SourceKind.AGENT, SourceKind.ANY):
            yield from self.of_nodes
            return
        paths = {
            SourceKind.PODS: ("pod_cidrs", "pod_cidrs"),
            SourceKind.SERVICES: ("service_cidrs", "service_cidrs"),
        }
        key, name = paths.get(source.kind, (f"groups:{source.value}", f"group {source.value}"))
        yield ChangeCause(f"{ROOT}:{key}", f"{name}: {_exchanged(before, now)}")

    @cached_property
    def of_nodes(self) -> tuple[ChangeCause, ...]:
        """The nodes that are new, gone, of another role or at other addresses."""
        return tuple(
            ChangeCause(f"{ROOT}:nodes:{name}", text)
            for name, (old, new) in self.nodes.items()
            if (text := _of_node(name, old, new))
        )

    @cached_property
    def pods(self) -> str:
        """What changed in how pods are recognised; the sets of addresses are the same."""
        old, new = (pods_are_told_by_interface(each) for each in (self.old, self.new))
        if old == new or not any(map(is_pod_row, self.new.every_row)):
            return ""
        if old:
            return (
                "pods were recognised by their interfaces and are by their addresses: a host that "
                "spoofs one is let in at every port"
            )
        return "pods were recognised by their addresses and are by their interfaces"

    @cached_property
    def changed_rows(self) -> tuple[str, ...]:
        """The paths of all rows that are new, removed or differ in any column."""
        return tuple(path for path, (old, new) in self.rows.items() if old != new)

    @cached_property
    def changed_groups(self) -> tuple[str, ...]:
        """The names of the groups that are new, removed or have other addresses."""
        both = (self.old.groups, self.new.groups)
        names = sorted({name for groups in both for name in groups})
        absent = object()
        return tuple(
            name for name in names if both[0].get(name, absent) != both[1].get(name, absent)
        )


def pods_are_told_by_interface(tables: Tables) -> bool:
    """Whether pods are recognised by their interfaces, so that an address can be spoofed in vain.

    By the rows of both roles: those of pods are for all nodes wherever they come from a pillar.
    """
    return pods_come_by_interface(tables, tables.every_row) and not tables.pods_by_address


def _sources(row: Row) -> str:
    return ", ".join(map(str, row.sources))


def _of_node(name: str, old: Node | None, new: Node | None) -> str:
    if old is None or new is None:
        return f"node {name} is {'new' if old is None else 'gone'}"
    if old.role is not new.role:
        return f"node {name}: {old.role.value} -> {new.role.value}"
    before, now = (tuple(map(str, node.addresses)) for node in (old, new))
    if sorted(before) == sorted(now):
        return ""
    return f"node {name}: {', '.join(before)} -> {', '.join(now)}"


def _exchanged(before: Networks, now: Networks) -> str:
    added = [entry(each) for each in now if each not in before]
    removed = [entry(each) for each in before if each not in now]
    parts = [
        f"{word} {_listed(each)}" for word, each in (("with", added), ("without", removed)) if each
    ]
    return ", ".join(parts)


def _listed(names: list[str]) -> str:
    left = len(names) - ITEMS_IN_A_SENTENCE
    shown = ", ".join(names[:ITEMS_IN_A_SENTENCE])
    return f"{shown} and {left} more" if left > 0 else shown
