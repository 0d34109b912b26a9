"""How much of the cluster was asked: pairs, nodes that are silent, the oldest proof. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k3sfw_engine.fleet.answers import CheckedCluster


@dataclass(frozen=True)
class Coverage:
    """What was asked, and what was not.

    nodes, answered
        The nodes of the tables, and those of them with a usable answer.
    pairs
        All pairs of two nodes, each direction by itself.
    asked
        The pairs that were asked now.
    earlier
        Those that were not asked now, but before.
    never
        The pairs of answering nodes that were never asked, as far as they remember.
    oldest
        The seconds since the oldest proof of a pair that was ever asked; ``None`` without any.
    silent
        The nodes without a usable answer, with the reason.
    """

    nodes: int
    answered: int
    pairs: int
    asked: int
    earlier: int
    never: int
    oldest: int | None
    silent: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "nodes": self.nodes,
            "answered": self.answered,
            "pairs": self.pairs,
            "asked": self.asked,
            "earlier": self.earlier,
            "never": self.never,
            "oldest": self.oldest,
            "silent": dict(sorted(self.silent.items())),
        }


def coverage(cluster: CheckedCluster) -> Coverage:
    """Count what the answers speak of."""
    many = len(cluster.nodes)
    asked = earlier = never = 0
    oldest: int | None = None
    for answer in cluster.answers.values():
        now = len(answer.asked.peers)
        # The proofs that were left off are the latest, and so those of now are among them.
        known = len({*answer.asked.peers, *answer.proofs})
        known = min(max(known, len(answer.proofs) + answer.proofs_left_off), many - 1)
        asked += now
        earlier += known - now
        never += many - 1 - known
        # Against the node's own clock, which may differ from the master's.
        ages = [answer.at - at for at in answer.proofs.values()]
        oldest = max([*ages, *([] if oldest is None else [oldest])], default=None)
    return Coverage(
        nodes=many,
        answered=len(cluster.answers),
        pairs=many * (many - 1),
        asked=asked,
        earlier=earlier,
        never=never,
        oldest=None if oldest is None else max(oldest, 0),
        silent=cluster.silent,
    )


def coverage_sentence(found: Coverage) -> str:
    """``Asked 2,392 of 89,700 pairs now, all within 38 minutes; 2 nodes silent: a17, s3.``"""
    if not found.pairs:
        return "There is no pair of nodes to ask."
    parts = [f"Asked {found.asked:,} of {found.pairs:,} pairs now"]
    if found.asked == found.pairs:
        parts = [f"Asked all {found.pairs:,} pairs now"]
    elif found.oldest is not None and not found.never:
        every = "all" if not found.silent else "all of the nodes that answered"
        parts.append(f"{every} within {_duration(found.oldest)}")
    else:
        if found.earlier and found.oldest is not None:
            parts.append(f"{found.earlier:,} others within {_duration(found.oldest)}")
        if found.never:
            parts.append(f"{found.never:,} never yet")
    text = ", ".join(parts)
    if not found.silent:
        return f"{text}; no node silent."
    many = len(found.silent)
    named = ", ".join(sorted(found.silent))
    return f"{text}; {many} {'node' if many == 1 else 'nodes'} silent: {named}."


def _duration(seconds: int) -> str:
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        # Two of the smaller unit say more than one of the larger.
        if seconds >= 2 * size or (size == 60):
            many = max(1, -(-seconds // size))
            return f"{many} {name}{'' if many == 1 else 's'}"
    return ""
