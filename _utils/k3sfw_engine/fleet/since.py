"""What changed between two checks: causes that are new, fixed, or still there. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.causes import Cause


@dataclass(frozen=True)
class Since:
    """The causes of now and of before, compared.

    new, still
        Causes of now.
    fixed, unknown
        Causes of before that are not found now; of those that are unknown, a node is silent now.
    """

    new: tuple[Cause, ...]
    still: tuple[Cause, ...]
    fixed: tuple[Cause, ...]
    unknown: tuple[Cause, ...]


def since(now: Iterable[Cause], before: Iterable[Cause], cluster: CheckedCluster) -> Since:
    """Compare causes.

    cluster
        The answers of now. What a silent node does not say is not taken for fixed.
    """
    known = {_identity(cause) for cause in before}
    found = {_identity(cause): cause for cause in now}
    gone = [cause for cause in before if _identity(cause) not in found]
    unknown = [cause for cause in gone if not cluster.answers.keys() >= set(cause.nodes)]
    return Since(
        new=tuple(cause for each, cause in found.items() if each not in known),
        still=tuple(cause for each, cause in found.items() if each in known),
        fixed=tuple(cause for cause in gone if cause not in unknown),
        unknown=tuple(unknown),
    )


def _identity(cause: Cause) -> Hashable:
    """What a cause has in common from check to check: other peers ask each time."""
    return cause.kind, cause.status, cause.nodes, cause.rows
