"""The cluster as metrics: it grows with what is wrong, and not with the number of pairs. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from k3sfw_engine.checks.metrics.measurements import TEST_RESULTS, WARNED
from k3sfw_engine.checks.verdicts import Severity, Status
from k3sfw_engine.fleet.answers import CELLS, NOT_ASKED, CheckedCluster, CheckedNode
from k3sfw_engine.fleet.overview import ClusterPromise, cluster_promises
from k3sfw_engine.model.exposition import Metric, Sample, as_label, write_exposition

# https://prometheus.io/docs/practices/instrumentation: more than a hundred series of one metric
# call for another tool, and k3sfw.check is that tool.
MOST_PROBLEMS = 50
_NEVER = "not_asked"

NODES = Metric("k3sfw_cluster_nodes", "Nodes of the tables that answered, and that did not.")
LAST_CHECK = Metric(
    "k3sfw_cluster_last_check_timestamp_seconds", "When the master last checked the cluster."
)
TABLES = Metric(
    "k3sfw_cluster_tables", "How many different tables the nodes that answered were told."
)
PAIRS = Metric(
    "k3sfw_cluster_pairs",
    "Pairs of an asking and an asked node, by the worst answer to any row of the check.",
)
PROVEN = Metric(
    "k3sfw_cluster_pairs_proven", "Pairs of which the first node has ever asked the second."
)
OLDEST_PROOF = Metric(
    "k3sfw_cluster_oldest_proof_timestamp_seconds",
    "When the pair was asked that was not asked for the longest time; NaN if none was.",
)
FEWEST_ASKERS = Metric(
    "k3sfw_cluster_fewest_askers",
    "By how many nodes the node was asked that the fewest asked in the check.",
)
TESTS = Metric(
    "k3sfw_cluster_tests", "Promises (k3s:tests) with this result on the node where it is worst."
)
PROBLEM = Metric(
    "k3sfw_cluster_problem",
    "Questions of all nodes with this answer and this cause; the worst causes first.",
)
LEFT_OUT = Metric(
    "k3sfw_cluster_problems_left_out", "Causes that k3sfw_cluster_problem leaves out."
)


def write_cluster_metrics(found: CheckedCluster) -> str:
    """Return the text of the file."""
    causes = _causes(found)
    name = {"cluster": found.cluster}
    proofs = [at for at in _proofs(found) if at]
    return write_exposition(
        [
            (
                NODES,
                [
                    Sample(len(found.answers), {**name, "state": "answered"}),
                    Sample(len(found.silent), {**name, "state": "silent"}),
                ],
            ),
            (LAST_CHECK, [Sample(found.at, name)]),
            (TABLES, [Sample(len({each.tables for each in found.answers.values()}), name)]),
            (PAIRS, [*_pairs(found)]),
            (PROVEN, [Sample(len(proofs) + _proofs_left_off(found), name)]),
            (OLDEST_PROOF, [Sample(min(proofs, default=math.nan), name)]),
            (FEWEST_ASKERS, [Sample(_fewest_askers(found), name)]),
            (TESTS, [*_tests(found)]),
            (PROBLEM, [*_problems(found, causes)]),
            (LEFT_OUT, [Sample(max(0, len(causes) - MOST_PROBLEMS), name)]),
        ]
    )


def _pairs(found: CheckedCluster) -> Iterator[Sample]:
    ranks = {status: rank for rank, status in enumerate(Status)}
    worst: dict[tuple[str, str], Status] = {}
    for node in found.answers.values():
        for pair, status in _cells(node):
            if pair not in worst or ranks[status] < ranks[worst[pair]]:
                worst[pair] = status
    counts = Counter(worst.values())
    every = len(found.nodes) * (len(found.nodes) - 1)
    for status in Status:
        labels = {"cluster": found.cluster, "verdict": status.value}
        yield Sample(counts[status], labels)
    yield Sample(every - len(worst), {"cluster": found.cluster, "verdict": _NEVER})


def _cells(node: CheckedNode) -> Iterator[tuple[tuple[str, str], Status]]:
    for row in node.asked.rows.values():
        for peer, letter in zip(node.asked.peers, row):
            if letter != NOT_ASKED:
                yield (node.node, peer), CELLS[letter].status


def _proofs(found: CheckedCluster) -> Iterator[int]:
    for node in found.answers.values():
        for peer, at in node.proofs.items():
            if peer in found.nodes and peer != node.node:
                yield at


def _proofs_left_off(found: CheckedCluster) -> int:
    return sum(node.proofs_left_off for node in found.answers.values())


def _fewest_askers(found: CheckedCluster) -> int:
    askers = Counter(peer for node in found.answers.values() for peer in node.asked.peers)
    return min((askers[name] for name in found.nodes), default=0)


def _tests(found: CheckedCluster) -> Iterator[Sample]:
    counts = Counter(map(_result, cluster_promises(found)))
    for result in TEST_RESULTS:
        yield Sample(counts[result], {"cluster": found.cluster, "result": result})


def _result(promise: ClusterPromise) -> str:
    """The result of a promise as its label has it."""
    if promise.value == "broken" and promise.severity is Severity.WARN:
        return WARNED
    return promise.value.replace(" ", "_")


_Cause = tuple[Status, str, str, str]


def _causes(found: CheckedCluster) -> Counter[_Cause]:
    """How many questions have each answer and cause; what a node left off is told by itself."""
    return Counter(
        (each.status, as_label(each.by), as_label(each.protocol), as_label(each.port))
        for node in found.answers.values()
        for part in node.parts.values()
        for each in part.problems
    )


def _problems(found: CheckedCluster, causes: Counter[_Cause]) -> Iterator[Sample]:
    shown = sorted(causes.items(), key=_importance)[:MOST_PROBLEMS]
    for (status, by, protocol, port), number in shown:
        labels = {"status": status.value, "by": by, "protocol": protocol, "port": port}
        yield Sample(number, {"cluster": found.cluster, **labels})


def _importance(counted: tuple[_Cause, int]) -> tuple[object, ...]:
    """The worst answer first, and among equals what most asked."""
    (status, *rest), number = counted
    severity = -list(Severity).index(status.severity)
    return severity, list(Status).index(status), -number, *rest
