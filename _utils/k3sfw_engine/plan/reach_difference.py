"""The difference of two reaches: what is newly let in, and what is no longer. Exact, and pure.

Addresses are sets of ranges, so two clusters of a thousand nodes are compared in one pass over
their ports, and no packet is asked one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from k3sfw_engine.model.address_set import AddressSet
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.port_ranges import EVERY_PORT
from k3sfw_engine.model.rows import PortRange, Protocol, Role, Row
from k3sfw_engine.plan.reach import Reach, ReachSpan


class ChangeKind(str, Enum):
    """What becomes of packets."""

    OPENED = "opened"
    CLOSED = "closed"


@dataclass(frozen=True)
class ReachChange:
    """Packets of one family that are newly let in, or no longer.

    ports
        ``None`` with a protocol that has none.
    rows
        The rows that let them in: the new ones, or those of before.
    to_everyone
        Whether every address gets in there now.
    """

    kind: ChangeKind
    family: int
    protocol: Protocol
    ports: PortRange | None
    sources: AddressSet
    rows: tuple[Row, ...]
    to_everyone: bool = False


class RoleReach(NamedTuple):
    """Who gets in at nodes of one role."""

    reach: Reach
    role: Role


def reach_changes(old: RoleReach, new: RoleReach) -> tuple[ReachChange, ...]:
    """Return every difference for the nodes that had the old reach and have the new one."""
    compared = _Compared()
    protocols = dict.fromkeys((*old.reach.protocols, *new.reach.protocols))
    return tuple(
        change
        for family in FAMILIES
        for protocol in protocols
        if family in protocol.families
        for change in _joined(
            compared.changes(family, protocol, segment)
            for segment in _segments(
                old.reach.spans_of(old.role, family, protocol),
                new.reach.spans_of(new.role, family, protocol),
            )
        )
    )


class _Segment(NamedTuple):
    """Ports for which one span of each reach holds, or none."""

    ports: PortRange | None
    old: ReachSpan | None
    new: ReachSpan | None


def _segments(old: tuple[ReachSpan, ...], new: tuple[ReachSpan, ...]) -> Iterator[_Segment]:
    """The ports cut where either side changes; without ports there is one segment."""
    if any(span.ports is None for span in (*old, *new)):
        yield _Segment(None, *(next(iter(spans), None) for spans in (old, new)))
        return
    cuts = sorted({cut for span in (*old, *new) for cut in _ends(span)})
    left_old, left_new = list(reversed(old)), list(reversed(new))
    for low, after in zip(cuts, cuts[1:]):
        ports = PortRange(low, after - 1)
        found = _Segment(ports, _at(left_old, low), _at(left_new, low))
        if found.old or found.new:
            yield found


def _ends(span: ReachSpan) -> tuple[int, int]:
    ports = span.ports or EVERY_PORT
    return ports.low, ports.high + 1


def _at(left: list[ReachSpan], port: int) -> ReachSpan | None:
    """The span with this port; those that end before it are dropped."""
    while left and _ends(left[-1])[1] <= port:
        left.pop()
    return left[-1] if left and _ends(left[-1])[0] <= port else None


class _Compared:
    """Compares sets of sources; the few distinct pairs are compared once."""

    def __init__(self) -> None:
        self._known: dict[tuple[AddressSet, AddressSet], tuple[AddressSet, AddressSet]] = {}

    def changes(self, family: int, protocol: Protocol, segment: _Segment) -> list[ReachChange]:
        no_source = AddressSet(family)
        before = segment.old.sources if segment.old else no_source
        now = segment.new.sources if segment.new else no_source
        if before == now:
            return []
        opened, closed = self._difference(before, now)
        found = (
            (ChangeKind.OPENED, opened, segment.new),
            (ChangeKind.CLOSED, closed, segment.old),
        )
        return [
            ReachChange(
                kind,
                family,
                protocol,
                segment.ports,
                sources,
                tuple(part.row for part in span.parts if part.sources & sources),
                now.is_everyone,
            )
            for kind, sources, span in found
            if sources and span
        ]

    def _difference(self, before: AddressSet, now: AddressSet) -> tuple[AddressSet, AddressSet]:
        if (before, now) not in self._known:
            self._known[before, now] = (now - before, before - now)
        return self._known[before, now]


def _joined(segments: Iterable[list[ReachChange]]) -> Iterator[ReachChange]:
    """The same changes, adjacent ports of which the same is true as one."""
    pending: dict[ChangeKind, ReachChange] = {}
    for changes in segments:
        for change in changes:
            last = pending.get(change.kind)
            if last and _continues(last, change) and last.ports and change.ports:
                ports = PortRange(last.ports.low, change.ports.high)
                pending[change.kind] = replace(last, ports=ports)
                continue
            if last:
                yield last
            pending[change.kind] = change
    yield from pending.values()


def _continues(last: ReachChange, change: ReachChange) -> bool:
    return (
        last.ports is not None
        and change.ports is not None
        and last.ports.high + 1 == change.ports.low
        and replace(last, ports=None) == replace(change, ports=None)
    )
