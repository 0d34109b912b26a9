"""The whole cluster in one answer: its verdict, the causes, the promises, and how much was asked.

Pure. Every form of ``k3sfw.check`` on the master (text, page, JUnit, metrics) starts from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from k3sfw_engine.checks.report import RETCODES, join_some
from k3sfw_engine.checks.verdicts import Severity
from k3sfw_engine.errors import Problem
from k3sfw_engine.fleet.answers import PARTS, PROMISE_VALUES, CheckedCluster, CheckedPart
from k3sfw_engine.fleet.causes import Cause
from k3sfw_engine.fleet.coverage import Coverage, coverage, coverage_sentence
from k3sfw_engine.fleet.group import group
from k3sfw_engine.fleet.messages import other_version, sentence


@dataclass(frozen=True)
class ClusterPromise:
    """A promise by the answers of all nodes: the worst value, all packets, and what broke it."""

    name: str
    value: str
    severity: Severity
    packets: int
    parts: tuple[str, ...]
    nodes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "name": self.name,
            "value": self.value,
            "severity": self.severity.value,
            "packets": self.packets,
            "parts": list(self.parts),
            "nodes": list(self.nodes),
        }


@dataclass(frozen=True)
class SharedNotice:
    """What several nodes report in the same words; ``part`` names a check that was not possible."""

    text: str
    nodes: tuple[str, ...]
    part: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"text": self.text, "nodes": list(self.nodes), "part": self.part}


@dataclass(frozen=True)
class Overview:
    """The verdict on a cluster.

    unchecked
        Checks that nodes could not carry out, and why.
    left_off
        The problems that nodes counted and did not send.
    """

    status: Severity
    causes: tuple[Cause, ...]
    coverage: Coverage
    promises: tuple[ClusterPromise, ...]
    differing: tuple[Problem, ...]
    unchecked: tuple[SharedNotice, ...]
    notices: tuple[SharedNotice, ...]
    left_off: int

    @property
    def retcode(self) -> int:
        """The exit code of salt-run."""
        return RETCODES[self.status]

    @property
    def headline(self) -> str:
        """How many things are wrong, in one sentence."""
        found = [each.severity for each in self.causes]
        parts = [
            _count(found.count(Severity.FAIL), "problem"),
            _count(found.count(Severity.UNKNOWN), "open question"),
            _count(found.count(Severity.WARN), "warning"),
        ]
        for value in ("broken", "not enforceable"):
            many = sum(each.value == value for each in self.promises)
            if many:
                parts.append(f"{many} of {_count(len(self.promises), 'promise')} {value}")
        if self.differing:
            parts.append("nodes were told different tables")
        if self.unchecked:
            parts.append(_count(len(self.unchecked), "check") + " not possible")
        wrong = ", ".join(part for part in parts if part) or self.without_problem
        nodes = f"{self.coverage.answered} of {_count(self.coverage.nodes, 'node')} answered"
        return f"{nodes}: {wrong}."

    @property
    def without_problem(self) -> str:
        """What is said where no problem was found: how far that goes, if it is not far."""
        found = self.coverage
        if not found.answered:
            return "nothing is known"
        if self.status not in (Severity.OK, Severity.UNKNOWN):
            return "checks found more than their nodes sent"
        if found.silent:
            return "no problem found there"
        if self.status is Severity.UNKNOWN:
            return "checks are open, and their nodes do not say why"
        if found.pairs and not found.asked:
            return "no problem found, and no packet was sent"
        return "nothing is wrong"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, with the sentence of each cause."""
        return {
            "status": self.status.value,
            "headline": self.headline,
            "causes": [{**each.as_dict(), **_told(each)} for each in self.causes],
            "coverage": {**self.coverage.as_dict(), "sentence": coverage_sentence(self.coverage)},
            "promises": [each.as_dict() for each in self.promises],
            "differing": [_as_parts(each) for each in self.differing],
            "unchecked": [each.as_dict() for each in self.unchecked],
            "notices": [each.as_dict() for each in self.notices],
            "left_off": self.left_off,
        }


def overview(cluster: CheckedCluster) -> Overview:
    """Judge the answers of all nodes.

    A node that is silent leaves the cluster UNKNOWN at best: what it would have said is not known.
    What was found to be wrong stays FAIL.
    """
    causes, promises = group(cluster), cluster_promises(cluster)
    differing = tuple(_differing(cluster))
    found = {each.severity for each in causes}
    found |= {part.status for each in cluster.answers.values() for part in each.parts.values()}
    found |= {each.severity for each in promises}
    if differing:
        found.add(Severity.WARN)
    if cluster.silent or not cluster.answers:
        found.add(Severity.UNKNOWN)
    parts = [part for each in cluster.answers.values() for part in each.parts.values()]
    return Overview(
        status=max(found, key=list(Severity).index),
        causes=causes,
        coverage=coverage(cluster),
        promises=promises,
        differing=differing,
        unchecked=_notices(cluster, impossible=True),
        notices=_notices(cluster, impossible=False),
        left_off=sum(part.left_off for part in parts),
    )


def cluster_promises(cluster: CheckedCluster) -> tuple[ClusterPromise, ...]:
    """Combine what the nodes say of each promise: the worst first."""
    said: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for name, answer in sorted(cluster.answers.items()):
        for promise, each in answer.promises.items():
            said[promise].append((name, each))
    for minion, found in sorted(cluster.outside.items()):
        for promise, each in found.items():
            said[promise].append((minion, each))
    values = {
        promise: min((each.value for _name, each in all_said), key=PROMISE_VALUES.index)
        for promise, all_said in said.items()
    }
    combined = [
        ClusterPromise(
            name=promise,
            value=values[promise],
            severity=_severity(cluster.tables, promise, values[promise]),
            packets=sum(each.packets for _name, each in all_said),
            parts=tuple(dict.fromkeys(part for _name, each in all_said for part in each.parts)),
            nodes=tuple(name for name, each in all_said if each.value == "broken"),
        )
        for promise, all_said in said.items()
    ]
    return tuple(sorted(combined, key=lambda each: (PROMISE_VALUES.index(each.value), each.name)))


def _severity(tables: Mapping[str, Any], promise: str, value: str) -> Severity:
    """How bad a value is; an unproven promise is not a fault of a node."""
    if value in ("kept", "unproven"):
        return Severity.OK
    tests = tables.get("tests")
    said = tests.get(promise) if isinstance(tests, Mapping) else None
    is_warning = isinstance(said, Mapping) and said.get("severity") == "warn"
    return Severity.WARN if is_warning or value == "not enforceable" else Severity.FAIL


def _differing(cluster: CheckedCluster) -> Iterator[Problem]:
    """The nodes that were told other tables than most."""
    by_digest: dict[str, list[str]] = defaultdict(list)
    for name, answer in sorted(cluster.answers.items()):
        by_digest[answer.tables].append(name)
    most = max(by_digest, key=lambda digest: (len(by_digest[digest]), digest), default="")
    for digest, names in sorted(by_digest.items(), key=lambda each: each[1]):
        if digest != most:
            others = _count(len(by_digest[most]), "other node")
            yield Problem(
                f"the pillar of {join_some(names)} says something else ({digest}) than that of "
                f"{others} ({most})",
                see=f"salt-run k3sfw.tables minion={names[0]}",
            )


def _notices(cluster: CheckedCluster, *, impossible: bool) -> tuple[SharedNotice, ...]:
    """What nodes say besides problems: of checks that were not possible, or of the others."""
    by_text: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, answer in sorted(cluster.answers.items()):
        if answer.version not in (cluster.version, "") and not impossible:
            by_text[other_version(answer.version, cluster.version), ""].append(name)
        for part in PARTS:
            found = answer.parts[part]
            if _was_impossible(found) is not impossible:
                continue
            for text in found.notices or ((found.summary,) if impossible else ()):
                by_text[text, part if impossible else ""].append(name)
    return tuple(
        SharedNotice(text, tuple(dict.fromkeys(names)), part)
        for (text, part), names in sorted(by_text.items(), key=lambda each: (each[1], each[0]))
    )


def _was_impossible(part: CheckedPart) -> bool:
    """Whether a check ended before it had asked anything."""
    return part.status is Severity.UNKNOWN and not part.counts


def _told(cause: Cause) -> Mapping[str, str]:
    return _as_parts(sentence(cause))


def _as_parts(problem: Problem) -> Mapping[str, str]:
    return {"text": problem.text, "fix": problem.fix, "see": problem.see}


def _count(number: int, noun: str) -> str:
    if not number:
        return ""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
