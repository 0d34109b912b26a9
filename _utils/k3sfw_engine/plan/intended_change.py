"""Whether a change is the one that was meant: before, all of it, and nothing else. Pure.

The three questions of a reviewer: was it open before; is all of it open now; does anything else
change?
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from k3sfw_engine.model.address_set import AddressSet
from k3sfw_engine.model.port_ranges import common, without
from k3sfw_engine.model.rows import PortRange, Protocol
from k3sfw_engine.plan.reach_difference import ChangeKind, ReachChange, RoleReach


@dataclass(frozen=True)
class IntendedChange:
    """Packets that are meant to be let in.

    nodes
        The destinations.
    sources
        By family.
    """

    nodes: frozenset[str]
    sources: Mapping[int, AddressSet]
    protocols: tuple[Protocol, ...]
    ports: PortRange | None


class Covered(str, Enum):
    """How much of the packets that are meant gets in."""

    ALL = "all"
    PART = "part"
    NONE = "none"


def covered(reaches: Iterable[RoleReach], intended: IntendedChange) -> Covered:
    """Tell how much of the packets gets in at the nodes with these reaches."""
    parts = {part for reach in reaches for part in _parts(reach, intended)}
    if parts == {True}:
        return Covered.ALL
    return Covered.PART if True in parts else Covered.NONE


def _parts(at: RoleReach, intended: IntendedChange) -> Iterator[bool]:
    """For each piece of the meant packets that is alike, whether it gets in."""
    for protocol in intended.protocols:
        for family, sources in intended.sources.items():
            if not sources or family not in protocol.families:
                continue
            spans = at.reach.spans_of(at.role, family, protocol)
            if intended.ports is not None:
                met = {span: common(intended.ports, span.ports) for span in spans if span.ports}
                spans = tuple(span for span in spans if met.get(span))
                if without(intended.ports, filter(None, met.values())):
                    yield False
            elif not spans:
                yield False
            for span in spans:
                if sources & span.sources:
                    yield True
                if sources - span.sources:
                    yield False


def besides(changes: Iterable[ReachChange], intended: IntendedChange) -> Iterator[ReachChange]:
    """Return what changes besides the packets that are meant to be let in."""
    for change in changes:
        meant = intended.sources.get(change.family, AddressSet(change.family))
        if change.kind is ChangeKind.CLOSED or change.protocol not in intended.protocols:
            yield change
            continue
        met = change.ports and intended.ports and common(change.ports, intended.ports)
        if change.ports and not met:
            yield change
            continue
        if change.ports and met:
            for ports in without(change.ports, [met]):
                yield replace(change, ports=ports)
        if change.sources - meant:
            yield replace(change, ports=met or None, sources=change.sources - meant)
