"""The list of nodes: what each check found there, and how much each asked and was asked. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from k3sfw_engine.checks.verdicts import Severity, Status
from k3sfw_engine.fleet.answers import PARTS, CheckedCluster, CheckedNode, CheckedPart
from k3sfw_engine.fleet.page import messages
from k3sfw_engine.fleet.page.signs import SEVERITIES, Sign
from k3sfw_engine.fleet.text.style import clean

_DIGITS_OF_DIGEST = 8


@dataclass(frozen=True)
class CheckShown:
    """What one check found on one node: its sign, and how many problems of each kind."""

    state: Sign
    counts: str


@dataclass(frozen=True)
class NodeLine:
    """One line of the list.

    silence
        Why there is no answer; empty if there is one.
    words
        What the search finds it by.
    """

    name: str
    role: str
    addresses: str
    checks: tuple[CheckShown, ...]
    silence: str
    asked: str
    asked_by: int
    oldest: str
    tables: str
    is_bad: bool
    words: str


def node_lines(cluster: CheckedCluster) -> tuple[NodeLine, ...]:
    """Return the nodes, those with problems first."""
    asked_by = Counter(peer for each in cluster.answers.values() for peer in each.asked.peers)
    names = sorted(cluster.nodes, key=lambda name: (_rank(cluster, name), name))
    return tuple(_line(cluster, name, asked_by[name]) for name in names)


def _rank(cluster: CheckedCluster, name: str) -> int:
    if name not in cluster.answers:
        return -len(Severity)
    parts = cluster.answers[name].parts.values()
    # A node with a warning is one to look at, and a notice is not a problem.
    return -max((list(Severity).index(part.status) for part in parts), default=0)


def _line(cluster: CheckedCluster, name: str, asked_by: int) -> NodeLine:
    member, answer = cluster.nodes[name], cluster.answers.get(name)
    addresses = ", ".join(map(clean, member.addresses))
    checks = tuple(_checks(answer)) if answer else ()
    silence = clean(cluster.silent.get(name, "")) or "silent"
    found = " ".join(f"{each.state.name} {each.counts}" for each in checks)
    return NodeLine(
        name=clean(name),
        role=clean(member.role),
        addresses=addresses,
        checks=checks,
        silence="" if answer else silence,
        asked=f"{len(answer.asked.peers):,}" if answer else "",
        asked_by=asked_by,
        oldest=_oldest(answer) if answer else "",
        tables=clean(answer.tables[:_DIGITS_OF_DIGEST]) if answer else "",
        is_bad=_rank(cluster, name) < 0,
        words=f"{clean(name)} {member.role} {addresses} {found or silence}".lower(),
    )


def _checks(answer: CheckedNode) -> Iterator[CheckShown]:
    for name in PARTS:
        part = answer.parts[name]
        yield CheckShown(SEVERITIES[part.status], _counts(part))


def _counts(part: CheckedPart) -> str:
    return ", ".join(
        f"{part.counts[status]:,} {status.value.replace('_', ' ')}"
        for status in Status
        if status is not Status.OK and part.counts.get(status)
    )


def _oldest(answer: CheckedNode) -> str:
    if not answer.proofs:
        return ""
    age = answer.at - min(answer.proofs.values())
    return f"{messages.duration(age)} ago" if age >= 60 else "now"
