"""The samples of every metric of a node, zeros included: no alert sees a missing series. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from k3sfw_engine.checks.metrics import definitions
from k3sfw_engine.checks.metrics.measurements import (
    MEASURED_CHECKS,
    TEST_RESULTS,
    Measurements,
    oldest_proof,
)
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.exposition import Metric, Sample

_LAYERS = ("runtime", "permanent", "kernel")
_NOT_ANSWERED = frozenset({Status.ERROR, Status.UNPROVEN})
_NOT_KNOWN = math.nan


@dataclass(frozen=True)
class NodeState:
    """What is not of a check: who the node is, and what its journals say.

    last_changes
        When the last change with each outcome began (``kept``, ``undone``); ``None`` if the journal
        could not be read.
    unconfirmed_until
        When the change that waits for confirmation will be undone.
    proofs
        When each peer was last asked.
    """

    version: str
    name: str
    cluster: str
    role: str
    last_changes: Mapping[str, float] | None = field(default_factory=dict)
    unconfirmed_until: float = 0.0
    proofs: Mapping[str, float] = field(default_factory=dict)


def node_families(known: Measurements, node: NodeState) -> list[tuple[Metric, list[Sample]]]:
    """Return the samples of every metric of a node."""
    return [*_about(known, node), *_of_checks(known), *_of_changes(node), *_coverage(known, node)]


def _about(known: Measurements, node: NodeState) -> Iterable[tuple[Metric, list[Sample]]]:
    identity = {"node": node.name, "cluster": node.cluster, "role": node.role}
    tables = {"cluster": node.cluster, "digest": known.digest}
    yield definitions.BUILD_INFO, [Sample(1, {"version": node.version})]
    yield definitions.NODE_INFO, [Sample(1, identity)]
    yield definitions.TABLES_INFO, [Sample(1, tables)]
    yield (
        definitions.IN_STEP,
        [Sample(_flag(known.in_step.get(layer)), {"layer": layer}) for layer in _LAYERS],
    )


def _flag(value: bool | None) -> float:
    return _NOT_KNOWN if value is None else float(value)


def _of_checks(known: Measurements) -> Iterable[tuple[Metric, list[Sample]]]:
    runs = {check: known.run_of(check) for check in MEASURED_CHECKS}
    yield (
        definitions.PROBLEMS,
        [
            Sample(run.counts.get(status, 0), {"check": check, "status": status.value})
            for check, run in runs.items()
            for status in Status
            if status is not Status.OK
        ],
    )
    yield (
        definitions.QUESTIONS,
        [
            Sample(_questions(run.counts, answered), {"check": check, "answered": word})
            for check, run in runs.items()
            for word, answered in (("yes", True), ("no", False))
        ],
    )
    yield definitions.LAST_RUN, [Sample(run.at, {"check": name}) for name, run in runs.items()]
    yield (
        definitions.LAST_SUCCESS,
        [Sample(run.succeeded_at, {"check": name}) for name, run in runs.items()],
    )
    yield definitions.DURATION, [Sample(run.took, {"check": name}) for name, run in runs.items()]
    yield (
        definitions.TESTS,
        [Sample(known.tests.get(result, 0), {"result": result}) for result in TEST_RESULTS],
    )


def _questions(counts: Mapping[Status, int], answered: bool) -> int:
    return sum(
        number for status, number in counts.items() if (status not in _NOT_ANSWERED) is answered
    )


def _of_changes(node: NodeState) -> Iterable[tuple[Metric, list[Sample]]]:
    changes = node.last_changes
    yield (
        definitions.LAST_CHANGE,
        [
            Sample(
                _NOT_KNOWN if changes is None else changes.get(outcome, 0.0), {"outcome": outcome}
            )
            for outcome in ("kept", "undone")
        ],
    )
    yield definitions.UNCONFIRMED_UNTIL, [Sample(node.unconfirmed_until)]


def _coverage(known: Measurements, node: NodeState) -> Iterable[tuple[Metric, list[Sample]]]:
    began = known.run_of("ports").at
    # A proof has whole seconds, and is noted when the run has just begun or ended.
    asked = sum(1 for name in known.known_since if node.proofs.get(name, 0.0) >= began - 1 > 0)
    oldest = oldest_proof(known, node.proofs)
    yield definitions.INTERVAL, [Sample(known.interval)]
    yield definitions.PEERS, [Sample(len(known.known_since))]
    yield definitions.PEERS_ASKED, [Sample(asked)]
    yield definitions.OLDEST_PROOF, [Sample(_NOT_KNOWN if oldest is None else oldest)]
