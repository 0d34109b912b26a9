"""Which promises a change breaks: those of which it lets in, or no longer lets in, a part. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from k3sfw_engine.fleet.tables_difference import JoinedChange
from k3sfw_engine.model.port_ranges import common
from k3sfw_engine.plan.promises import PartReason, PromisePart, PromiseVerdict
from k3sfw_engine.plan.reach_difference import ChangeKind

_REASONS = {
    ChangeKind.OPENED: PartReason.LET_IN,
    ChangeKind.CLOSED: PartReason.NOT_LET_IN,
}


def broken_by(change: JoinedChange, verdicts: Iterable[PromiseVerdict]) -> list[str]:
    """Return the names of the promises that are broken by packets of this change."""
    return sorted(
        verdict.promise.name
        for verdict in verdicts
        if any(_meets(change, part) for part in verdict.parts)
    )


def _meets(change: JoinedChange, part: PromisePart) -> bool:
    return (
        part.reason is _REASONS[change.kind]
        and not set(change.nodes).isdisjoint(part.nodes)
        and any(
            protocol is part.protocol
            and (ports is None or part.ports is None or common(ports, part.ports) is not None)
            for protocol, ports in change.ports
        )
        and any(
            sources.family == part.sources.family and bool(sources & part.sources)
            for sources in change.sources
        )
    )
