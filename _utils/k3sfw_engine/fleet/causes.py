"""A cause: what is wrong, at which nodes, and everything that it explains. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from k3sfw_engine.checks.verdicts import Severity, Status


class CauseKind(str, Enum):
    """What kind of thing is at fault."""

    ISOLATED = "isolated"  # nothing reaches the node, and it is silent
    PEERLESS = "peerless"  # nothing passes between the node and its peers, and the master hears it
    SPLIT = "split"  # nothing passes between two halves of the cluster
    EGRESS = "egress"  # the node reaches no peer that it asked, and peers reach it
    NODE = "node"  # something on the nodes themselves
    TARGET = "target"  # the node does not answer, and nothing says why
    SOURCE = "source"  # the node gets no answer from many, and nothing says why
    OVERLAY = "overlay"  # nothing passes through the overlay of the node
    TUNNELS = "tunnels"  # nothing passes through the overlay between the node and some others
    PAIR = "pair"  # nothing passes between two nodes


class AskedOfNode(NamedTuple):
    """One question that a node asked.

    reporter, part
        The node, and which of its checks.
    peer
        Which node it asked, or is asked by; empty for what it finds by itself.
    row
        ``tcp/6443``, or the description of what is not about a port.
    has_cell
        Whether its answer has a cell of this question.
    """

    reporter: str
    part: str
    peer: str
    row: str
    has_cell: bool


@dataclass(frozen=True)
class Cause:
    """One cause, and what it explains.

    nodes
        Where it is; for a pair both, sorted, and for a split the smaller half.
    rows
        ``tcp/6443``, or the descriptions of what is not about a port.
    sources, targets
        The nodes between which packets were asked for.
    askers
        How many nodes asked these nodes at these rows; ``sources`` are those that found the cause.
    is_rejected
        Whether peers got a rejection, and did not wait in vain.
    evidence, hint
        What was observed, and what fixes it or where to look, as the nodes wrote it.
    hint_by
        The nodes that wrote it.
    questions
        How many questions it explains.
    asked
        These questions, to see later whether they were asked again.
    """

    kind: CauseKind
    severity: Severity
    status: Status
    nodes: tuple[str, ...]
    rows: tuple[str, ...]
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    askers: int = 0
    is_rejected: bool = False
    evidence: str = ""
    hint: str = ""
    hint_by: tuple[str, ...] = ()
    questions: int = 0
    asked: frozenset[AskedOfNode] = frozenset()

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "kind": self.kind.value,
            "severity": self.severity.value,
            "status": self.status.value,
            "nodes": list(self.nodes),
            "rows": list(self.rows),
            "sources": list(self.sources),
            "targets": list(self.targets),
            "askers": self.askers,
            "evidence": self.evidence,
            "hint": self.hint,
            "hint_by": list(self.hint_by),
            "questions": self.questions,
        }
