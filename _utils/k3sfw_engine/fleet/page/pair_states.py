"""What each node got from each other node, at each row: one character for each pair. Pure.

A pair that was not asked this time shows the age of its last proof, or that it was never asked. A
proof is of the pair: of one row it shows only that it was not asked now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.fleet.answers import CELLS, NOT_ASKED, CheckedCluster, CheckedNode
from k3sfw_engine.fleet.page.defaults import NODES_IN_PICTURE
from k3sfw_engine.fleet.page.signs import (
    EARLIER,
    NEVER_CODE,
    OWN_CODE,
    SILENT_CODE,
    UNASKED_CODE,
    UNTOLD_CODE,
)

_STATUSES = list(Status)
# The worst of several characters of one pair has the highest rank.
_RANKS = {code: -_STATUSES.index(cell.status) for code, cell in CELLS.items()}
_RUNS = re.compile(r"(.)\1{2,}", re.DOTALL)
WORST = ""


@dataclass(frozen=True)
class PairStates:
    """Squares of characters, as one text for each row: each node's line of all nodes.

    nodes
        In the order of lines and columns: servers first.
    rows
        By the row's name as in the answers; ``WORST`` is the worst of all rows.
    left_out
        How many nodes are not shown, as there are too many.
    """

    nodes: tuple[str, ...]
    rows: Mapping[str, str]
    left_out: int = 0


def pair_states(cluster: CheckedCluster, in_problems: Iterable[str] = ()) -> PairStates:
    """Return the state of every pair of nodes.

    in_problems
        The nodes that are shown first if there are too many for a picture.
    """
    ordered = _ordered(cluster, cluster.nodes)
    shown = ordered
    if len(ordered) > NODES_IN_PICTURE:
        wanted = [*in_problems, *sorted(cluster.silent), *ordered]
        first = dict.fromkeys(name for name in wanted if name in cluster.nodes)
        shown = _ordered(cluster, list(first)[:NODES_IN_PICTURE])
    columns = {name: at for at, name in enumerate(shown)}
    names = {row for name in shown if name in cluster.answers for row in _rows_of(cluster, name)}
    lines: dict[str, list[str]] = {row: [] for row in (WORST, *sorted(names, key=_by_port))}
    for name in shown:
        answer = cluster.answers.get(name)
        worst = _base(cluster, name, shown)
        base = _base_of_row(worst, answer, columns)
        for row in lines:
            if row != WORST:
                lines[row].append(_line(base, worst, answer, row, columns))
        lines[WORST].append("".join(worst))
    return PairStates(
        tuple(shown),
        {row: "".join(each) for row, each in lines.items()},
        len(ordered) - len(shown),
    )


def encoded(cells: str) -> str:
    """Return the characters run-length coded: ``12o3x``; none of them is a digit."""
    return _RUNS.sub(lambda run: f"{len(run[0])}{run[1]}", cells)


def _ordered(cluster: CheckedCluster, names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (cluster.nodes[name].role != "server", name))


def _rows_of(cluster: CheckedCluster, name: str) -> Iterable[str]:
    return cluster.answers[name].asked.rows


def _by_port(row: str) -> tuple[bool, int, str]:
    """Ports by their number, and what has none last."""
    port = row.partition("/")[2].partition("-")[0]
    return not port.isdecimal(), int(port) if port.isdecimal() else 0, row


def _base(cluster: CheckedCluster, own: str, shown: Sequence[str]) -> list[str]:
    """The line of a node before it asked: when each peer was last asked."""
    answer = cluster.answers.get(own)
    if answer is None:
        return [OWN_CODE if name == own else SILENT_CODE for name in shown]
    unproven = _without_proof(cluster, answer)
    codes = {name: _age_code(answer.at - at) for name, at in answer.proofs.items()}
    return [
        OWN_CODE
        if name == own
        else codes.get(name) or (SILENT_CODE if name in cluster.silent else unproven)
        for name in shown
    ]


def _base_of_row(
    base: Sequence[str], answer: CheckedNode | None, columns: Mapping[str, int]
) -> list[str]:
    """The line of a node at a row at which it asked nothing."""
    line = [UNASKED_CODE if code in EARLIER else code for code in base]
    for peer in answer.asked.peers if answer else ():
        if peer in columns:
            line[columns[peer]] = UNASKED_CODE
    return line


def _without_proof(cluster: CheckedCluster, answer: CheckedNode) -> str:
    """The state of the peers of which the node sent no time: it sends the oldest ones only."""
    known = {*answer.proofs, *answer.asked.peers}
    left_off = answer.proofs_left_off - len(set(answer.asked.peers) - answer.proofs.keys())
    if left_off <= 0 or not answer.proofs:
        return NEVER_CODE
    if left_off < len(cluster.nodes) - 1 - len(known):
        return UNTOLD_CODE
    # All of them are younger than the youngest that was sent.
    return _age_code(answer.at - max(answer.proofs.values()))


def _age_code(age: float) -> str:
    return next(code for code, (oldest, _sign) in EARLIER.items() if age <= oldest)


def _line(
    base: Sequence[str],
    worst: list[str],
    answer: CheckedNode | None,
    row: str,
    columns: Mapping[str, int],
) -> str:
    """The line of a node at one row; ``worst`` gets what is worse than what it has."""
    cells = answer.asked.rows.get(row) if answer else None
    if answer is None or cells is None:
        return "".join(base)
    line = list(base)
    for peer, code in zip(answer.asked.peers, cells):
        at = columns.get(peer)
        if at is not None and code != NOT_ASKED:
            line[at] = code
            if worst[at] not in _RANKS or _RANKS[code] > _RANKS[worst[at]]:
                worst[at] = code
    return "".join(line)
