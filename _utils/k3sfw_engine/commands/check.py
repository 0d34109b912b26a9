"""The command check: the three checks of a node in one answer, short enough for a whole cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from k3sfw_engine.checks.ports.messages import FREE_PORT
from k3sfw_engine.checks.report import RETCODES, Report
from k3sfw_engine.checks.verdicts import Check, Severity, Status, worst_first
from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.fleet.answers import (
    PARTS,
    CheckedNode,
    CheckedPart,
    NodeProblem,
    NodePromise,
    asked_peers,
    problems_of,
)
from k3sfw_engine.fleet.defaults import NOTICES_SENT, PROBLEMS_SENT, PROOFS_SENT
from k3sfw_engine.host.defaults import SETTLED_SECONDS
from k3sfw_engine.host.lock import LOCK, is_free_within
from k3sfw_engine.host.proof_record import note_proofs
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.tables_digest import digest_of


def check(
    tables: Tables,
    role: Role,
    node: str,
    checks: Mapping[str, Callable[[], Report]],
    *,
    version: str,
    clock: Callable[[], float],
) -> tuple[dict[str, Any], int]:
    """Run the checks of this node, one after the other; return the answer and a return code.

    node
        This node's minion id.
    checks
        Each of ``PARTS``. One that cannot be carried out is UNKNOWN, with the reason; the others
        are carried out all the same.
    clock
        The seconds since 1970.
    """
    began = clock()
    reports = {name: _carried_out(checks[name]) for name in PARTS}
    ports = reports["ports"]
    probed = () if isinstance(ports, EngineError) else ports.checks
    peers = probed_peers(probed, node)
    proofs, unwritten = note_proofs(peers, {each.name for each in tables.nodes}, int(began))
    oldest = sorted(proofs, key=lambda peer: (proofs[peer], peer))[:PROOFS_SENT]
    said = {"ports": map(str, unwritten)}
    answer = CheckedNode(
        node=node,
        at=int(began),
        # The clock may be set back meanwhile.
        took=max(0.0, clock() - began),
        role=role.value,
        version=version,
        tables=digest_of(tables),
        parts={name: _part(found, said.get(name, ())) for name, found in reports.items()},
        asked=asked_peers(probed, node, peers, FREE_PORT),
        proofs={peer: proofs[peer] for peer in oldest},
        proofs_left_off=len(proofs) - len(oldest),
        promises=_promises(ports),
    )
    worst = max((each.status for each in answer.parts.values()), key=list(Severity).index)
    return answer.as_dict(), RETCODES[worst]


def change_under_way(seconds: float = SETTLED_SECONDS, lock: Path = LOCK) -> tuple[str, ...]:
    """Wait for a change of this node to end; return a notice if it does not.

    What is asked amid a change is neither as before nor as after.
    """
    if is_free_within(seconds, lock):
        return ()
    problem = Problem(
        f"another run of k3sfw was at work on this node for more than {seconds:.0f} seconds, so "
        "what was found may be of neither state",
        "k3sfw.check again",
    )
    return (str(problem),)


def probed_peers(checks: Iterable[Check], node: str) -> frozenset[str]:
    """The peers that this node could ask anything by packets."""
    return frozenset(
        each.to
        for each in checks
        if each.source == node
        and each.to != node
        and each.protocol
        and each.status is not Status.ERROR
    )


def _carried_out(run: Callable[[], Report]) -> Report | EngineError:
    try:
        return run()
    except EngineError as error:
        return error


def _promises(report: Report | EngineError) -> dict[str, NodePromise]:
    """What is known of each promise; nothing where packets could not be asked."""
    if isinstance(report, EngineError):
        return {}
    return {
        each.name: NodePromise(each.value.value, each.packets, tuple(map(str, each.problems)))
        for each in report.promises
    }


def _part(report: Report | EngineError, notices: Iterable[str]) -> CheckedPart:
    if isinstance(report, EngineError):
        reasons = (*report.sentences, *notices)
        return CheckedPart(Severity.UNKNOWN, report.summary, notices=reasons[:NOTICES_SENT])
    counts = Counter(each.status for each in report.checks)
    problems = problems_of(worst_first(report.checks))
    sent = _of_every_kind_first(problems)[:PROBLEMS_SENT]
    return CheckedPart(
        status=report.status,
        summary=str(report.as_dict(full=False)["summary"]),
        counts={status: counts[status] for status in Status if status in counts},
        problems=tuple(sent),
        notices=(*report.notices, *notices)[:NOTICES_SENT],
        left_off=len(problems) - len(sent),
    )


def _of_every_kind_first(problems: Iterable[NodeProblem]) -> list[NodeProblem]:
    """The first problem of each kind and peer before the second of any.

    What is left off is then like something that is sent.
    """
    places: Counter[tuple[Status, str, str]] = Counter()
    ranked = []
    for each in problems:
        kind = (each.status, each.to, each.hint)
        ranked.append((places[kind], each))
        places[kind] += 1
    return [each for _place, each in sorted(ranked, key=lambda pair: pair[0])]
