"""The answers of a cluster as test results in JUnit's XML, for a CI. Pure.

There is no official schema. What is written here is what Jenkins, GitLab and the libraries that
read such files agree on (https://github.com/testmoapp/junitxml).
"""

from __future__ import annotations

import datetime
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from k3sfw_engine.checks.verdicts import Severity, Status
from k3sfw_engine.fleet.answers import (
    CELLS,
    FREE,
    NOT_ASKED,
    CheckedCluster,
    CheckedNode,
    NodeProblem,
)
from k3sfw_engine.fleet.blame import blamed_problems
from k3sfw_engine.fleet.defaults import MOST_CASES
from k3sfw_engine.fleet.overview import cluster_promises

# What XML 1.0 cannot hold, not even escaped: https://www.w3.org/TR/xml/#charsets
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PASSED, _SKIPPED, _FAILURE, _ERROR = "passed", "skipped", "failure", "error"
_RESULTS = {
    Severity.OK: _PASSED,
    Severity.WARN: _SKIPPED,
    Severity.FAIL: _FAILURE,
    Severity.UNKNOWN: _ERROR,
}


@dataclass(frozen=True)
class _Case:
    """One test.

    word
        The status, or another word for the result; ``text`` says more.
    """

    name: str
    result: str = _PASSED
    word: str = ""
    text: str = ""
    seconds: float = 0.0


def junit(cluster: CheckedCluster) -> bytes:
    """Write the document."""
    suites = {
        "Infrastructure": list(_infrastructure(cluster)),
        "Promises": list(_promises(cluster)),
        **_rows(cluster),
        **{_SUITES[part]: list(_own(cluster, part)) for part in _SUITES},
    }
    took = max((each.took for each in cluster.answers.values()), default=0)
    return _document(f"k3sfw {cluster.cluster}", suites, cluster.at, took)


def junit_of_promises(name: str, promises: Mapping[str, Any], at: int) -> bytes:
    """Write what the tables make of the promises, as ``promise_report`` has it."""
    cases = []
    for each in promises["tests"]:
        result = {"kept": _PASSED, "broken": _FAILURE}.get(each["value"], _SKIPPED)
        result = _SKIPPED if result == _FAILURE and not each["fails"] else result
        cases.append(_Case(each["name"], result, each["value"], "\n".join(each["problems"])))
    return _document(f"k3sfw {name}", {"Promises": cases}, at)


def _document(name: str, suites: Mapping[str, list[_Case]], at: int, took: float = 0.0) -> bytes:
    root = ElementTree.Element("testsuites", {"name": _legal(name)})
    stamp = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    counts = [
        _suite(root, title, cases, f"{stamp:%Y-%m-%dT%H:%M:%S}")
        for title, cases in suites.items()
        if cases
    ]
    for result in ("tests", "failures", "errors", "skipped"):
        root.set(result, str(sum(each[result] for each in counts)))
    root.set("time", f"{took:.3f}")
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


# -- suites ---------------------------------------------------------------------------------------


_SUITES = {"ports": "Rows in force", "routes": "Routes", "zones": "Zones"}


def _infrastructure(cluster: CheckedCluster) -> Iterator[_Case]:
    for name in sorted(cluster.nodes):
        if name in cluster.silent:
            yield _Case(name, _ERROR, "silent", cluster.silent[name])
        else:
            yield _Case(name, seconds=cluster.answers[name].took)


def _promises(cluster: CheckedCluster) -> Iterator[_Case]:
    for each in sorted(cluster_promises(cluster), key=lambda promise: promise.name):
        # What is unproven is not wrong, and was not tested either.
        result = _SKIPPED if each.value == "unproven" else _RESULTS[each.severity]
        yield _Case(each.name, result, each.value, "\n".join(each.parts))


def _rows(cluster: CheckedCluster) -> dict[str, list[_Case]]:
    """A suite for each row and pair of roles, with a case for each asked node."""
    worst = _worst_cells(cluster)
    evidence = _evidence(cluster)
    suites: dict[str, list[_Case]] = defaultdict(list)
    for (row, roles, is_open), nodes in sorted(worst.items()):
        name = f"{_row(row)}: {' -> '.join(roles)} must be {'open' if is_open else 'closed'}"
        for node, askers in sorted(nodes.items()):
            suites[name].append(_case_of_cells(node, askers, evidence, row))
    if sum(map(len, suites.values())) <= MOST_CASES:
        return suites
    return {name: [_joined(name, cases)] for name, cases in suites.items()}


def _own(cluster: CheckedCluster, part: str) -> Iterator[_Case]:
    """What a node finds by itself: a case for each node."""
    alone = defaultdict(list)
    for each in blamed_problems(cluster):
        # A question without a cell is in no suite of a row.
        if not each.asked.has_cell:
            alone[each.reporter, each.part].append(each.problem)
    for name, answer in sorted(cluster.answers.items()):
        found = answer.parts[part]
        problems = alone[name, part]
        if found.status is Severity.UNKNOWN and not found.counts:
            yield _Case(name, _ERROR, "unchecked", "\n".join(found.notices) or found.summary)
            continue
        sentences = [_sentence(each) for each in problems]
        shown = [each.status for each in problems]
        in_cells = _statuses_in_cells(answer) if part == "ports" else set()
        if _rank(found.status) > max(map(_rank_of, [*shown, *in_cells]), default=0):
            # What the node counted and did not send.
            text = "\n".join([found.summary, *sentences])
            yield _Case(name, _RESULTS[found.status], found.status.value, text)
        elif problems:
            worst = max(shown, key=_badness)
            yield _Case(name, _RESULTS[worst.severity], worst.value, "\n".join(sentences))
        else:
            yield _Case(name)


def _statuses_in_cells(answer: CheckedNode) -> set[Status]:
    letters = set("".join(answer.asked.rows.values())) - {NOT_ASKED}
    return {CELLS[letter].status for letter in letters}


def _rank(severity: Severity) -> int:
    return list(Severity).index(severity)


def _rank_of(status: Status) -> int:
    return _rank(status.severity)


# -- rows by their cells --------------------------------------------------------------------------


_Suite = tuple[str, tuple[str, str], bool]


def _worst_cells(cluster: CheckedCluster) -> Mapping[_Suite, dict[str, dict[str, Status]]]:
    """``{suite: {asked node: {asking node: status}}}``."""
    roles = {name: each.role for name, each in cluster.nodes.items()}
    found: dict[_Suite, dict[str, dict[str, Status]]] = defaultdict(lambda: defaultdict(dict))
    for name, answer in cluster.answers.items():
        for row, cells in answer.asked.rows.items():
            for peer, letter in zip(answer.asked.peers, cells):
                if letter != NOT_ASKED:
                    cell = CELLS[letter]
                    suite = row, (roles[name], roles[peer]), cell.is_open
                    found[suite][peer][name] = cell.status
    return found


def _case_of_cells(
    node: str,
    askers: Mapping[str, Status],
    evidence: Mapping[tuple[str, str, Status], NodeProblem],
    row: str,
) -> _Case:
    worst = max(askers.values(), key=_badness)
    if worst is Status.OK:
        return _Case(node)
    named = ", ".join(sorted(name for name, status in askers.items() if status is worst))
    problem = evidence.get((row, node, worst))
    text = f"asked by {named}" + (f": {_because(problem)}" if problem else "")
    return _Case(node, _RESULTS[worst.severity], worst.value, text)


def _evidence(cluster: CheckedCluster) -> Mapping[tuple[str, str, Status], NodeProblem]:
    found: dict[tuple[str, str, Status], NodeProblem] = {}
    for each in blamed_problems(cluster):
        if each.source == each.reporter:
            found.setdefault((each.row, each.to, each.status), each.problem)
    return found


def _joined(name: str, cases: Iterable[_Case]) -> _Case:
    """One case for all nodes of a suite, where there are too many to list."""
    every = list(cases)
    bad = [each for each in every if each.result != _PASSED]
    if not bad:
        return _Case(f"{len(every)} nodes")
    worst = max(bad, key=lambda each: [_SKIPPED, _ERROR, _FAILURE].index(each.result))
    text = "\n".join(f"{each.name}: {each.word}: {each.text}" for each in bad)
    return _Case(f"{len(every)} nodes", worst.result, worst.word, text)


# Asked for every pair of nodes.
_BADNESS = {status: -at for at, status in enumerate(Status)}


def _badness(status: Status) -> int:
    return _BADNESS[status]


def _row(row: str) -> str:
    return "a port that no row names" if row.endswith(f"/{FREE}") else row


def _sentence(problem: NodeProblem) -> str:
    about = "/".join(each for each in (problem.protocol, problem.port) if each)
    return f"{problem.status.value} {about or problem.description}: {_because(problem)}"


def _because(problem: NodeProblem) -> str:
    if problem.hint.startswith("see "):
        return f"{problem.evidence}; {problem.hint}"
    return f"{problem.evidence}. Fix: {problem.hint}" if problem.hint else problem.evidence


# -- XML ------------------------------------------------------------------------------------------


def _suite(
    root: ElementTree.Element, name: str, cases: Iterable[_Case], stamp: str
) -> dict[str, int]:
    suite = ElementTree.SubElement(root, "testsuite", {"name": _legal(name), "timestamp": stamp})
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    seconds = 0.0
    for case in cases:
        attributes = {"classname": _legal(name), "name": _legal(case.name)}
        attributes["time"] = f"{case.seconds:.3f}"
        element = ElementTree.SubElement(suite, "testcase", attributes)
        counts["tests"] += 1
        seconds += case.seconds
        if case.result == _SKIPPED:
            counts["skipped"] += 1
            message = ": ".join(each for each in (case.word, case.text) if each)
            ElementTree.SubElement(element, "skipped", {"message": _legal(message)})
        elif case.result != _PASSED:
            counts["failures" if case.result == _FAILURE else "errors"] += 1
            first = case.text.partition("\n")[0]
            told = {"type": _legal(case.word), "message": _legal(first)}
            ElementTree.SubElement(element, case.result, told).text = _legal(case.text)
    for key, number in counts.items():
        suite.set(key, str(number))
    suite.set("time", f"{seconds:.3f}")
    return counts


def _legal(text: str) -> str:
    """The text without what XML cannot hold; the rest is escaped where it is written."""
    return _NOT_IN_XML.sub("\ufffd", text)
