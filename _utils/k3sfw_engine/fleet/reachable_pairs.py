"""Between which nodes anything passes, by the cells of all answers, and who is cut off. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.fleet.answers import CELLS, NOT_ASKED, CheckedCluster
from k3sfw_engine.fleet.blame import CAME_BACK, UNREACHABLE

_CAME_BACK = frozenset(letter for letter, cell in CELLS.items() if cell.status in CAME_BACK)
_UNREACHABLE = frozenset(letter for letter, cell in CELLS.items() if cell.status in UNREACHABLE)
_KEPT_IN = frozenset(letter for letter, cell in CELLS.items() if cell.status is Status.LOCAL_BLOCK)


@dataclass(frozen=True)
class ReachablePairs:
    """Which nodes got something back from which, and which got nothing at all.

    A pair is in neither if the asking node itself kept packets in: that says nothing of the peer.

    reached, failed
        The peers of each asking node.
    reached_by, failed_by
        The asking nodes of each peer.
    """

    reached: Mapping[str, frozenset[str]]
    failed: Mapping[str, frozenset[str]]
    reached_by: Mapping[str, frozenset[str]]
    failed_by: Mapping[str, frozenset[str]]


def reachable_pairs(cluster: CheckedCluster) -> ReachablePairs:
    """Read the cells of every answer."""
    reached: list[tuple[str, str]] = []
    failed: list[tuple[str, str]] = []
    for name, answer in cluster.answers.items():
        for peer, column in zip(answer.asked.peers, zip(*answer.asked.rows.values())):
            cells = set(column)
            if cells & _CAME_BACK:
                reached.append((name, peer))
            elif cells & _UNREACHABLE and not cells & _KEPT_IN:
                failed.append((name, peer))
    return ReachablePairs(
        _by_first(reached),
        _by_first(failed),
        _by_first((peer, name) for name, peer in reached),
        _by_first((peer, name) for name, peer in failed),
    )


def isolated_nodes(cluster: CheckedCluster, pairs: ReachablePairs) -> frozenset[str]:
    """The nodes with which nothing passes in any direction, although it was tried.

    A node that answers the master is cut off only if it fails with two others that are not.
    """
    silent = frozenset(
        name
        for name in cluster.silent
        if name in pairs.failed_by and not pairs.reached_by.get(name)
    )
    found = set(silent)
    for name in cluster.answers:
        failed = _at(pairs.failed, name) | _at(pairs.failed_by, name)
        reached = _at(pairs.reached, name) | _at(pairs.reached_by, name)
        if not reached and len(failed - silent) > 1:
            found.add(name)
    return frozenset(found)


def halves(pairs: ReachablePairs, isolated: frozenset[str]) -> tuple[frozenset[str], ...]:
    """The parts of a cluster between which nothing passes, though it was tried, the smallest first.

    Within each something passes; a part is two nodes or more.
    """
    part_of: dict[str, frozenset[str]] = {}
    for name in pairs.reached:
        if name in part_of:
            continue
        found, waiting = {name}, [name]
        while waiting:
            at = waiting.pop()
            new = (_at(pairs.reached, at) | _at(pairs.reached_by, at)) - found
            found |= new
            waiting += new
        part_of.update(dict.fromkeys(found, frozenset(found)))
    tried = {
        part_of[node]
        for name, failed in pairs.failed.items()
        for peer in failed - isolated
        if part_of.get(name, part_of.get(peer)) != part_of.get(peer)
        for node in (name, peer)
        if node in part_of
    }
    return tuple(sorted(tried, key=lambda part: (len(part), sorted(part))))


def nodes_without_egress(
    pairs: ReachablePairs, isolated: frozenset[str], parts: Iterable[frozenset[str]]
) -> frozenset[str]:
    """The nodes that reach none of several peers in their part, while others reach them."""
    part_of = {name: part for part in parts for name in part}
    found = set()
    for name, failed in pairs.failed.items():
        near = failed - isolated
        if name in part_of:
            near &= part_of[name]
        cut = len(near) > 1 and not _at(pairs.reached, name)
        if cut and name not in isolated and _at(pairs.reached_by, name):
            found.add(name)
    return frozenset(found)


def asking_nodes(
    cluster: CheckedCluster, wanted: Iterable[tuple[str, str]]
) -> Mapping[tuple[str, str], frozenset[str]]:
    """Who asked each of these nodes at each of these rows: ``{(row, node): names}``."""
    rows: dict[str, set[str]] = defaultdict(set)
    for row, node in wanted:
        rows[row].add(node)
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, answer in cluster.answers.items():
        for row, cells in answer.asked.rows.items():
            if row in rows:
                for peer, cell in zip(answer.asked.peers, cells):
                    if peer in rows[row] and cell != NOT_ASKED:
                        found[row, peer].add(name)
    return {key: frozenset(names) for key, names in found.items()}


def _by_first(pairs: Iterable[tuple[str, str]]) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for first, second in pairs:
        found[first].add(second)
    return {first: frozenset(seconds) for first, seconds in found.items()}


def _at(by_name: Mapping[str, frozenset[str]], name: str) -> frozenset[str]:
    return by_name.get(name, frozenset())
