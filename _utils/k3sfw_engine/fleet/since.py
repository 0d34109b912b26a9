"""What changed between two checks: causes that are new, fixed, or still there. Pure.

Each check asks other peers, so what is not found now may only not have been asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from k3sfw_engine.checks.verdicts import Severity
from k3sfw_engine.fleet.answers import CELLS, NOT_ASKED, CheckedCluster
from k3sfw_engine.fleet.blame import CAME_BACK, UNREACHABLE
from k3sfw_engine.fleet.causes import AskedOfNode, Cause, CauseKind

_CUT_OFF = (CauseKind.ISOLATED, CauseKind.PEERLESS)


@dataclass(frozen=True)
class Since:
    """The causes of now and of before, compared.

    new, still
        Causes of now.
    fixed, unknown, unasked
        Causes of before that are not found now: all of it was asked again, a node of it is silent
        now, or not all of it was asked.
    """

    new: tuple[Cause, ...]
    still: tuple[Cause, ...]
    fixed: tuple[Cause, ...]
    unknown: tuple[Cause, ...]
    unasked: tuple[Cause, ...]


def since(now: Iterable[Cause], before: Iterable[Cause], cluster: CheckedCluster) -> Since:
    """Compare causes.

    cluster
        The answers of now. What was not asked again, or of a silent node, is not taken for fixed.
    """
    found, known = tuple(now), tuple(before)
    new = [each for each, alike in _alike(found, known) if not _is_known(each, alike)]
    gone = [each for each, alike in _alike(known, found) if not alike]
    unknown = [each for each in gone if not cluster.answers.keys() >= set(each.nodes)]
    asked = _AskedNow(cluster)
    fixed = [each for each in gone if each not in unknown and asked.has_all_of(each)]
    return Since(
        new=tuple(new),
        still=tuple(each for each in found if each not in new),
        fixed=tuple(fixed),
        unknown=tuple(unknown),
        unasked=tuple(each for each in gone if each not in unknown and each not in fixed),
    )


# -- the same cause in two checks -----------------------------------------------------------------


def _alike(some: Iterable[Cause], others: Iterable[Cause]) -> Iterable[tuple[Cause, list[Cause]]]:
    """Each of some causes with those of the others that overlap with it."""
    by_place: dict[tuple[str, str, str], list[Cause]] = defaultdict(list)
    for each in others:
        for place in _places(each):
            by_place[place].append(each)
    for each in some:
        yield each, [other for place in _places(each) for other in by_place[place]]


def _places(cause: Cause) -> Iterable[tuple[str, str, str]]:
    """Where a cause is: what it shares with itself when other peers ask."""
    # How a packet came to nothing depends on who sent it and for how long it waited.
    answer = "" if cause.status in UNREACHABLE else cause.status.value
    return [(answer, node, row) for node in cause.nodes for row in cause.rows]


def _is_known(cause: Cause, alike: Iterable[Cause]) -> bool:
    """Whether a cause was there before; what has spread to other nodes is new."""
    known = {name for each in alike for name in each.nodes}
    return bool(known) and (cause.kind is not CauseKind.NODE or known >= set(cause.nodes))


# -- what was asked again -------------------------------------------------------------------------


class _AskedNow:
    """What the answers of now speak of."""

    def __init__(self, cluster: CheckedCluster) -> None:
        self._answers = cluster.answers
        self._peers: Mapping[str, Mapping[str, int]] = {
            name: {peer: at for at, peer in enumerate(answer.asked.peers)}
            for name, answer in cluster.answers.items()
        }
        self._reached = {
            peer
            for answer in cluster.answers.values()
            for cells in answer.asked.rows.values()
            for peer, letter in zip(answer.asked.peers, cells)
            if letter != NOT_ASKED and CELLS[letter].status in CAME_BACK
        }

    def has_all_of(self, cause: Cause) -> bool:
        """Whether each question of the cause was asked again."""
        if cause.kind in _CUT_OFF:
            return self._reached >= set(cause.nodes)
        return all(map(self._has, cause.asked))

    def _has(self, asked: AskedOfNode) -> bool:
        answer = self._answers.get(asked.reporter)
        if answer is None:
            return False
        at = self._peers[asked.reporter].get(asked.peer)
        if asked.has_cell:
            cells = answer.asked.rows.get(asked.row, "")
            return at is not None and cells[at : at + 1] not in ("", NOT_ASKED)
        part = answer.parts[asked.part]
        was_impossible = part.status is Severity.UNKNOWN and not part.counts
        # What a node left off may be what is looked for.
        return not (was_impossible or part.left_off or (asked.peer and at is None))
