"""Which parts of promises a change breaks, and which were broken before it. Pure.

Only what a change breaks is a reason to refuse it. What was broken before stays so without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from k3sfw_engine.model.address_set import AddressSet
from k3sfw_engine.model.port_ranges import common, without
from k3sfw_engine.model.rows import PortRange, Tables
from k3sfw_engine.plan.promises import (
    PromisePart,
    PromiseValue,
    PromiseVerdict,
    judge_promises,
)
from k3sfw_engine.plan.reach import Reach


def broken_by_change(tables: Tables, before: Reach, after: Reach) -> tuple[PromiseVerdict, ...]:
    """Return the promises of these tables that a change breaks, with the parts that it breaks.

    before, after
        Who got in before the change, and who gets in after it.
    """
    return newly_broken(
        judge_promises(tables, before, apart=after.protocols),
        judge_promises(tables, after, apart=before.protocols),
    )


def newly_broken(
    before: Iterable[PromiseVerdict], after: Iterable[PromiseVerdict]
) -> tuple[PromiseVerdict, ...]:
    """Return the promises that are broken now in a part in which they were not, with these parts.

    before, after
        The same promises, judged by the rules before a change and after it, each protocol that
        one of both names apart.
    """
    known: Mapping[str, PromiseVerdict] = {each.promise.name: each for each in before}
    found = []
    for verdict in after:
        old = known.get(verdict.promise.name)
        parts = tuple(
            left
            for part in _broken(verdict)
            for left in _without(part, _broken(old) if old else ())
        )
        if parts:
            found.append(replace(verdict, parts=parts))
    return tuple(found)


def _broken(verdict: PromiseVerdict) -> tuple[PromisePart, ...]:
    return tuple(part for part in verdict.parts if part.value is PromiseValue.BROKEN)


def _without(part: PromisePart, old: Iterable[PromisePart]) -> list[PromisePart]:
    """The packets of a part that are in none of the old ones."""
    pieces = [part]
    for each in old:
        same = (each.reason, each.role, each.protocol, each.sources.family)
        if same == (part.reason, part.role, part.protocol, part.sources.family):
            pieces = [left for piece in pieces for left in _cut(piece, each.ports, each.sources)]
    return pieces


def _cut(piece: PromisePart, ports: PortRange | None, sources: AddressSet) -> Iterator[PromisePart]:
    met = None if piece.ports is None or ports is None else common(piece.ports, ports)
    if piece.ports is not None and ports is not None:
        if met is None:
            yield piece
            return
        for left in without(piece.ports, (met,)):
            yield replace(piece, ports=left)
    remaining = piece.sources - sources
    if remaining:
        whole = piece.all_sources and remaining == piece.sources
        yield replace(piece, ports=met, sources=remaining, all_sources=whole)
