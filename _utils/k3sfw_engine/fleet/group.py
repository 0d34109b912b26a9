"""Groups the problems of all nodes by cause, so that one failure is never reported as many. Pure.

First who is cut off; then what names its culprit; then what only says that nothing came back, if
nothing of the former explains it. Within each the group that explains most comes first.
"""

from __future__ import annotations

import heapq
import shlex
from collections import defaultdict
from collections.abc import (
    Callable,
    Collection,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from k3sfw_engine.checks.verdicts import Severity, Status
from k3sfw_engine.fleet.answers import FREE, CheckedCluster
from k3sfw_engine.fleet.blame import SYMPTOMS, UNREACHABLE, BlamedProblem, blamed_problems
from k3sfw_engine.fleet.causes import Cause, CauseKind
from k3sfw_engine.fleet.reachable_pairs import (
    asking_nodes,
    halves,
    isolated_nodes,
    nodes_in_overlay,
    nodes_without_egress,
    reachable_pairs,
)
from k3sfw_engine.fleet.reasons import Reason
from k3sfw_engine.model.port_ranges import parse_span

_Thing = TypeVar("_Thing")
_NODE = "\0"  # stands for the node in a hint that is the same on many of them


@dataclass(frozen=True)
class _CauseGroup:
    """Observations with one cause."""

    kind: CauseKind
    nodes: tuple[str, ...]
    found: tuple[BlamedProblem, ...]


def group(cluster: CheckedCluster) -> tuple[Cause, ...]:
    """Return the causes of all problems, the worst first, and among equals what explains most."""
    pairs = reachable_pairs(cluster)
    sides = halves(cluster, pairs)
    isolated = isolated_nodes(cluster, pairs, sides)
    muted = nodes_without_egress(pairs, isolated, sides)
    cut_off = {
        **dict.fromkeys(muted, CauseKind.EGRESS),
        **{
            name: CauseKind.ISOLATED if name in cluster.silent else CauseKind.PEERLESS
            for name in isolated
        },
    }
    groups, left = _cut_off(tuple(blamed_problems(cluster)), cut_off)
    between, left = _between_halves(left, sides)
    groups += between
    definite = [each for each in left if each.culprit]
    known = _of_one_overlay(_definite_groups(_units(definite)))
    known, unexplained = _explained([each for each in left if not each.culprit], known, cluster)
    groups += [*known, *_symptom_groups(unexplained, nodes_in_overlay(cluster))]
    causes = _with_askers(cluster, map(_cause, groups))
    return tuple(sorted(causes, key=_importance))


def _importance(cause: Cause) -> tuple[object, ...]:
    severity = -list(Severity).index(cause.severity)
    return severity, -cause.questions, list(Status).index(cause.status), cause.nodes, cause.rows


# -- who is cut off -------------------------------------------------------------------------------


def _cut_off(
    found: Sequence[BlamedProblem], cut_off: Mapping[str, CauseKind]
) -> tuple[list[_CauseGroup], list[BlamedProblem]]:
    """One group for all nodes that are cut off in the same way, and what they do not explain.

    Many that go down together have one switch, or one source of power.
    """
    nodes: dict[CauseKind, set[str]] = defaultdict(set)
    explained: dict[CauseKind, list[BlamedProblem]] = defaultdict(list)
    left = []
    for each in found:
        # The asked node first: two that are cut off say nothing of each other.
        ends = [name for name in (each.to, each.source) if _is_cut_off(name, each, cut_off)]
        if ends:
            kind = cut_off[ends[0]]
            nodes[kind].add(ends[0])
            explained[kind].append(each)
        else:
            left.append(each)
    groups = [
        _CauseGroup(kind, tuple(sorted(nodes[kind])), tuple(each))
        for kind, each in explained.items()
    ]
    return groups, left


def _is_cut_off(name: str, each: BlamedProblem, cut_off: Mapping[str, CauseKind]) -> bool:
    """Whether this node, being cut off, explains the problem."""
    if each.status not in UNREACHABLE or name not in cut_off:
        return False
    # Peers reach a node that reaches none, but for the answers to come back through its overlay.
    reached = cut_off[name] is CauseKind.EGRESS and name == each.to
    return not reached or each.is_overlay


def _between_halves(
    found: Sequence[BlamedProblem], parts: Sequence[frozenset[str]]
) -> tuple[list[_CauseGroup], list[BlamedProblem]]:
    """One group for each part of the cluster, but the largest, that is cut off from others."""
    explained: dict[int, list[BlamedProblem]] = defaultdict(list)
    left = []
    for each in found:
        at = [index for index, part in enumerate(parts) if part & each.pair]
        if len(at) > 1 and each.status in UNREACHABLE:
            explained[at[0]].append(each)
        else:
            left.append(each)
    return [
        _CauseGroup(CauseKind.SPLIT, tuple(sorted(parts[at])), tuple(each))
        for at, each in explained.items()
    ], left


# -- what names its culprit -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Unit:
    """What is said of one row of one culprit, with the best hint of those who say it."""

    culprit: str
    status: Status
    row: str
    found: tuple[BlamedProblem, ...]

    @property
    def fix(self) -> str:
        """The best hint, without the name of the node."""
        if self.status is Status.NO_LISTENER:
            return ""  # the node and its peers advise alike, in other words
        return _template(_best(self.found).problem.hint, self.culprit)


def _units(found: Iterable[BlamedProblem]) -> list[_Unit]:
    by_row: dict[tuple[str, Status, str], list[BlamedProblem]] = defaultdict(list)
    for each in found:
        by_row[each.culprit, each.status, each.row].append(each)
    ranges = [key for key in by_row if _has_range(key[2])]
    for key in [key for key in by_row if ranges and not any(map(_is_command, by_row[key]))]:
        # What peers found open or closed is what the node itself says of more ports at once.
        same = (each for each in ranges if each[:2] == key[:2] and _covers(each[2], key[2]))
        wider = next(same, None)
        if wider:
            by_row[wider] += by_row.pop(key)
    return [_Unit(*key, tuple(found)) for key, found in by_row.items()]


def _has_range(row: str) -> bool:
    return "-" in row.partition("/")[2]


def _covers(row: str, other: str) -> bool:
    """Whether a row with a range of ports has the port of the other."""
    protocol, _slash, ports = row.partition("/")
    other_protocol, _slash, port = other.partition("/")
    if row == other or protocol != other_protocol:
        return False
    try:
        return port == FREE or int(port) in parse_span(ports)
    except ValueError:
        return False


def _definite_groups(units: Sequence[_Unit]) -> list[_CauseGroup]:
    rows: dict[tuple[str, Status, str], set[str]] = defaultdict(set)
    for unit in units:
        rows[unit.culprit, unit.status, unit.fix].add(unit.row)

    def keys(unit: _Unit) -> Iterator[Hashable]:
        alike = unit.status, unit.fix
        yield "rows", *alike, frozenset(rows[unit.culprit, unit.status, unit.fix])
        yield "node", *alike, unit.culprit
        yield "row", *alike, unit.row

    return [
        _CauseGroup(
            CauseKind.NODE,
            tuple(sorted({unit.culprit for unit in chosen})),
            tuple(each for unit in chosen for each in unit.found),
        )
        for _key, chosen in _cover(units, keys, lambda unit: len(unit.found))
    ]


def _of_one_overlay(groups: Iterable[_CauseGroup]) -> list[_CauseGroup]:
    """Join what is said of the overlay of one node, if it is about the same peers."""
    joined: list[_CauseGroup] = []
    overlays: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for each in groups:
        if not all(found.is_overlay for found in each.found):
            joined.append(each)
            continue
        pairs = {found.pair for found in each.found}
        for at in overlays[each.nodes]:
            if pairs & {found.pair for found in joined[at].found}:
                joined[at] = replace(joined[at], found=(*joined[at].found, *each.found))
                break
        else:
            overlays[each.nodes].append(len(joined))
            joined.append(each)
    return joined


# -- what only says that nothing came back --------------------------------------------------------


def _explained(
    symptoms: Iterable[BlamedProblem], groups: Sequence[_CauseGroup], cluster: CheckedCluster
) -> tuple[list[_CauseGroup], list[BlamedProblem]]:
    """Add each symptom to the group that explains it; the others are returned."""
    by_node: dict[str, list[int]] = defaultdict(list)
    for at, each in enumerate(groups):
        for name in each.nodes:
            by_node[name].append(at)
    reasons = [Reason(each.nodes, each.found, cluster) for each in groups]
    added: dict[int, list[BlamedProblem]] = defaultdict(list)
    left = []
    for symptom in symptoms:
        able = [
            at
            for name in sorted(symptom.pair)
            for at in by_node[name]
            if reasons[at].explains(symptom)
        ]
        if able:
            added[max(able, key=lambda at: (len(groups[at].found), -at))].append(symptom)
        else:
            left.append(symptom)
    return [replace(each, found=(*each.found, *added[at])) for at, each in enumerate(groups)], left


def _symptom_groups(
    found: Sequence[BlamedProblem], in_overlay: Collection[str]
) -> list[_CauseGroup]:
    """Group silence that nothing explains.

    in_overlay
        The nodes with which something passed through the overlay.
    """
    ends: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for each in found:
        channel = "overlay" if each.is_overlay else each.row
        ends["to", each.to, channel].add(each.source)
        ends["from", each.source, channel].add(each.to)
        if each.is_overlay:
            ends["overlay", each.source, ""].add(each.to)
            ends["overlay", each.to, ""].add(each.source)

    def keys(each: BlamedProblem) -> Iterator[Hashable]:
        channel = "overlay" if each.is_overlay else each.row
        if each.is_overlay:
            for name in sorted(each.pair):
                if len(ends["overlay", name, ""]) > 1:
                    kind = CauseKind.TUNNELS if name in in_overlay else CauseKind.OVERLAY
                    yield kind, name
        if len(ends["to", each.to, channel]) > 1:
            yield CauseKind.TARGET, each.to
        if len(ends["from", each.source, channel]) > 1:
            yield CauseKind.SOURCE, each.source
        yield CauseKind.PAIR, *sorted(each.pair)

    groups = []
    for key, chosen in _cover(found, keys, lambda _each: 1):
        kind, *names = key if isinstance(key, tuple) else (key,)
        groups.append(_CauseGroup(kind, tuple(names), tuple(chosen)))
    return groups


# -- the group that explains most -----------------------------------------------------------------


def _cover(
    things: Iterable[_Thing],
    keys: Callable[[_Thing], Iterable[Hashable]],
    weight: Callable[[_Thing], int],
) -> Iterator[tuple[Hashable, list[_Thing]]]:
    """Greedy set cover: the key that stands for most things first, and each thing once.

    Among equals the key that was named first wins, so callers name the most telling one first.
    """
    members: dict[Hashable, list[int]] = {}
    every = list(things)
    keys_of: list[list[Hashable]] = []
    for at, thing in enumerate(every):
        keys_of.append(list(keys(thing)))
        for key in keys_of[at]:
            members.setdefault(key, []).append(at)
    weights = [weight(thing) for thing in every]
    sums = {key: sum(weights[at] for at in found) for key, found in members.items()}
    places = {key: place for place, key in enumerate(members)}
    waiting = [(-total, places[key], key) for key, total in sums.items()]
    heapq.heapify(waiting)
    taken = [False] * len(every)
    while waiting:
        total, place, key = heapq.heappop(waiting)
        if sums[key] < -total:  # what it stood for was taken meanwhile
            if sums[key]:
                heapq.heappush(waiting, (-sums[key], place, key))
            continue
        chosen = [at for at in members[key] if not taken[at]]
        for at in chosen:
            taken[at] = True
            for other in keys_of[at]:
                sums[other] -= weights[at]
        yield key, [every[at] for at in chosen]


# -- a group in words of data ---------------------------------------------------------------------


def _cause(each: _CauseGroup) -> Cause:
    named = [found for found in each.found if found.culprit] or list(each.found)
    best = _best(named if each.kind is CauseKind.NODE else each.found, each.kind)
    with_peer = [found for found in named if found.source]
    targets = {found.to for found in with_peer}
    if each.kind is CauseKind.SPLIT:
        targets = {name for found in with_peer for name in found.pair}.difference(each.nodes)
    rejections = [found for found in with_peer if found.status is Status.BLOCKED]
    return Cause(
        kind=each.kind,
        severity=max((found.status.severity for found in each.found), key=list(Severity).index),
        status=best.status,
        nodes=each.nodes,
        rows=tuple(sorted({found.row for found in named})),
        sources=tuple(sorted({found.source for found in with_peer})),
        targets=tuple(sorted(targets)),
        is_rejected=any(found.reporter == found.source for found in rejections),
        evidence=best.problem.evidence,
        hint=_hint(each, best),
        hint_by=tuple(sorted(_suggested_by(each.found, best))),
        questions=len(each.found),
        asked=frozenset(found.asked for found in each.found),
    )


def _best(found: Sequence[BlamedProblem], kind: CauseKind = CauseKind.NODE) -> BlamedProblem:
    """What tells most: a command that fixes it, from the node that it is about."""

    def rank(each: BlamedProblem) -> tuple[bool, ...]:
        hint = each.problem.hint
        fixes = bool(hint) and not hint.startswith("see ")
        # The minion of a host that is down carries out no command.
        command = _is_command(each) and kind is not CauseKind.ISOLATED
        return command, fixes, each.reporter == each.culprit, each.status not in SYMPTOMS

    return max(found, key=rank)


def _is_command(each: BlamedProblem) -> bool:
    return each.problem.hint.startswith("salt ")


def _hint(each: _CauseGroup, best: BlamedProblem) -> str:
    """The best hint, for all nodes of the group if it is the same on each."""
    if len(each.nodes) == 1 or not _is_command(best):
        return best.problem.hint
    template = _template(best.problem.hint, best.culprit)
    start = f"salt {_NODE} "
    if not template.startswith(start) or _NODE in template[len(start) :]:
        return best.problem.hint
    return f"salt -L {shlex.quote(','.join(each.nodes))} {template[len(start) :]}"


def _suggested_by(found: Iterable[BlamedProblem], best: BlamedProblem) -> set[str]:
    """The nodes that wrote the best hint, each with its own name in it."""
    template = _template(best.problem.hint, best.culprit)
    alike = (each for each in found if _template(each.problem.hint, each.culprit) == template)
    return {each.reporter for each in alike}


@lru_cache(maxsize=4096)
def _template(hint: str, node: str) -> str:
    """A hint without the name of its node, to see that it is the same on others."""
    return f" {hint} ".replace(f" {shlex.quote(node)} ", f" {_NODE} ")[1:-1]


def _with_askers(cluster: CheckedCluster, causes: Iterable[Cause]) -> list[Cause]:
    """Add how many nodes asked the same of these nodes."""
    found = list(causes)
    asked = asking_nodes(
        cluster, ((row, node) for each in found for row in each.rows for node in each.nodes)
    )
    return [
        replace(
            each,
            askers=len(
                frozenset().union(
                    *(asked.get((row, node), ()) for row in each.rows for node in each.nodes)
                )
            ),
        )
        for each in found
    ]
