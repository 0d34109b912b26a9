"""What problems that name their culprit also explain: silence that is another side of one fault.

Silence that a fault does not cause is a fault of its own, and stays one. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.blame import CAME_BACK, TUNNELS, BlamedProblem
from k3sfw_engine.fleet.reachable_pairs import came_back


class Reason:
    """What a group of problems of these nodes explains besides."""

    def __init__(
        self, nodes: Collection[str], found: Iterable[BlamedProblem], cluster: CheckedCluster
    ) -> None:
        self._nodes = nodes
        self._cluster = cluster
        self._own: set[str] = set()
        self._directed: set[tuple[str, str, str]] = set()
        self._undirected: set[tuple[str, frozenset[str]]] = set()
        self._overlay: set[frozenset[str]] = set()
        self._kept_in: set[tuple[str, str]] = set()
        for each in found:
            if not each.pair:
                self._own.add(each.row)
            elif each.status in CAME_BACK and not each.is_overlay:
                self._directed.add((each.row, each.source, each.to))
            else:
                self._undirected.add((each.row, each.pair))
            if each.is_overlay:
                self._overlay.add(each.pair)
            if each.status is Status.LOCAL_BLOCK:
                self._kept_in.add((each.source, each.to))

    def explains(self, symptom: BlamedProblem) -> bool:
        """Whether these may be two sides of one fault."""
        return (
            self._is_answer_kept_in(symptom)
            # A packet that a firewall refuses says nothing of those that the node itself sends.
            or (symptom.row, symptom.source, symptom.to) in self._directed
            or (symptom.row, symptom.pair) in self._undirected
            or self._is_own_row(symptom)
            or (symptom.is_overlay and symptom.pair in self._overlay)
        )

    def _is_answer_kept_in(self, symptom: BlamedProblem) -> bool:
        """Whether the asked node keeps its packets to the asking one in, and so all its answers."""
        return (symptom.to, symptom.source) in self._kept_in and not came_back(
            self._cluster, symptom.source, symptom.to, symptom.problem.protocol
        )

    def _is_own_row(self, symptom: BlamedProblem) -> bool:
        """Whether one of the nodes says of the row itself that it is not in force."""
        if symptom.is_overlay:
            # An echo needs the tunnel of both nodes.
            return bool(self._own & TUNNELS) and not symptom.pair.isdisjoint(self._nodes)
        return symptom.row in self._own and symptom.to in self._nodes
