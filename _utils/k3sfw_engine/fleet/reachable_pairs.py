"""Between which nodes anything passes, by the cells of all answers, and who is cut off. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.fleet.answers import CELLS, NOT_ASKED, CheckedCluster
from k3sfw_engine.fleet.blame import CAME_BACK, TUNNELS, UNREACHABLE

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


def isolated_nodes(
    cluster: CheckedCluster, pairs: ReachablePairs, sides: Iterable[frozenset[str]]
) -> frozenset[str]:
    """The nodes with which nothing passes in any direction, although it was tried.

    A node that answers the master is cut off only if it fails with two others that are not. That a
    silent node is, says a node that reaches others, or that tried no node that is not silent.
    """
    silent = cluster.silent.keys()
    found = {
        name
        for name in silent
        if not pairs.reached_by.get(name)
        and any(
            _at(pairs.reached, asker) or _at(pairs.failed, asker) <= silent
            for asker in _at(pairs.failed_by, name)
        )
    }
    for name in cluster.answers:
        failed = _at(pairs.failed, name) | _at(pairs.failed_by, name)
        if not _reached_either_way(pairs, name) and len(failed - silent) > 1:
            found.add(name)
    return frozenset(found.difference(*sides))


def halves(cluster: CheckedCluster, pairs: ReachablePairs) -> tuple[frozenset[str], ...]:
    """The parts of a cluster between which nothing passes, though it was tried, the smallest first.

    Within each something passes; a part is two nodes or more. What was only not asked of each other
    is one part, and so is a single node that fails with one part alone.
    """
    parts = _connected(pairs)
    conflicts = _conflicts(pairs, parts, cluster.silent.keys())
    large = {part for part in conflicts if len(part) > 1}
    large = {part for part in large if conflicts[part] & large}
    sides: list[set[frozenset[str]]] = []
    for part in _in_waves(large, conflicts):
        side = next((each for each in sides if not conflicts[part] & each), None)
        if side is None:
            sides.append({part})
        else:
            side.add(part)
    for part in sorted(conflicts.keys() - large, key=sorted):
        able = [each for each in sides if not conflicts[part] & each]
        if len(able) == 1 and len(sides) > 1:
            able[0].add(part)
    found = (frozenset().union(*each) for each in sides)
    return tuple(sorted(found, key=lambda side: (len(side), sorted(side))))


def _connected(pairs: ReachablePairs) -> Mapping[str, frozenset[str]]:
    """The nodes with which each node is connected, over others as well."""
    part_of: dict[str, frozenset[str]] = {}
    for name in (*pairs.reached, *pairs.failed, *pairs.failed_by):
        if name in part_of:
            continue
        found, waiting = {name}, [name]
        while waiting:
            new = _reached_either_way(pairs, waiting.pop()) - found
            found |= new
            waiting += new
        part_of.update(dict.fromkeys(found, frozenset(found)))
    return part_of


def _conflicts(
    pairs: ReachablePairs, part_of: Mapping[str, frozenset[str]], silent: Collection[str]
) -> dict[frozenset[str], set[frozenset[str]]]:
    """The parts that fail with each part. Mere silence of a silent node proves nothing."""
    found: dict[frozenset[str], set[frozenset[str]]] = defaultdict(set)
    for name, failed in pairs.failed.items():
        for peer in failed:
            one, other = part_of[name], part_of[peer]
            if one != other and not (peer in silent and len(other) == 1):
                found[one].add(other)
                found[other].add(one)
    return found


def _in_waves(
    parts: Collection[frozenset[str]], conflicts: Mapping[frozenset[str], Set[frozenset[str]]]
) -> Iterator[frozenset[str]]:
    """Each part after one that it fails with: two halves are then never taken for more."""
    left = set(parts)
    for first in sorted(parts, key=lambda part: (-len(part), sorted(part))):
        waiting = [first]
        for part in waiting:
            if part in left:
                left.remove(part)
                yield part
                waiting += sorted(conflicts[part] & left, key=sorted)


def nodes_without_egress(
    pairs: ReachablePairs, isolated: frozenset[str], sides: Iterable[frozenset[str]]
) -> frozenset[str]:
    """The nodes that reach none of several peers on their side, while others reach them.

    Others also reach one of these peers: else it is not this node alone that does not.
    """
    side_of = {name: side for side in sides for name in side}
    found = set()
    for name, failed in pairs.failed.items():
        if name in isolated or _at(pairs.reached, name) or not _at(pairs.reached_by, name):
            continue
        near = failed - isolated
        if name in side_of:
            near &= side_of[name]
        if len(near) > 1 and any(map(pairs.reached_by.get, near)):
            found.add(name)
    return frozenset(found)


def _reached_either_way(pairs: ReachablePairs, name: str) -> frozenset[str]:
    return _at(pairs.reached, name) | _at(pairs.reached_by, name)


def nodes_in_overlay(cluster: CheckedCluster) -> frozenset[str]:
    """The nodes with which something passed through the overlay, in any direction."""
    found: set[str] = set()
    for name, answer in cluster.answers.items():
        for row in TUNNELS & answer.asked.rows.keys():
            cells = zip(answer.asked.peers, answer.asked.rows[row])
            passed = [peer for peer, cell in cells if cell in _CAME_BACK]
            found.update(passed, [name] * bool(passed))
    return frozenset(found)


def came_back(cluster: CheckedCluster, name: str, peer: str, protocol: str = "") -> bool:
    """Whether a node got anything back from a peer, by this protocol if one is named."""
    answer = cluster.answers.get(name)
    if answer is None or peer not in answer.asked.peers:
        return False
    at = answer.asked.peers.index(peer)
    return any(
        cells[at] in _CAME_BACK
        for row, cells in answer.asked.rows.items()
        if not protocol or row.partition("/")[0] == protocol
    )


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
