"""What is remembered of the checks of a node, and what a check adds to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from k3sfw_engine.checks.verdicts import Status

# The checks that have metrics, in the order of the file.
MEASURED_CHECKS = ("ports", "routes", "zones")
# The results of promises, as labels have them; ``warned`` is broken, and given as a warning.
WARNED = "warned"
TEST_RESULTS = ("kept", "broken", WARNED, "unproven", "not_enforceable")


@dataclass(frozen=True)
class LatestRun:
    """The last run of a check, and what its last success found.

    at
        When it last ran, in seconds since 1970; 0 if it never did.
    succeeded_at
        When it could last check, whatever it found.
    took
        The seconds that the last run took.
    counts
        How many questions of the last success had each answer.
    """

    at: float = 0.0
    succeeded_at: float = 0.0
    took: float = 0.0
    counts: Mapping[Status, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckedTables:
    """The tables that a check was made by.

    digest
        The same on every node that has the same tables.
    peers
        The names of the other nodes.
    """

    digest: str
    peers: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckRun:
    """What one run of a check found.

    counts
        ``None`` if it could not check.
    in_step
        By layer, where the check compared them; ``None`` for a layer that could not be read.
    tests
        How many promises had each result, where the check judged them.
    """

    check: str
    began: float
    took: float
    counts: Mapping[Status, int] | None = None
    tables: CheckedTables | None = None
    in_step: Mapping[str, bool | None] | None = None
    tests: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Measurements:
    """Everything that is remembered from one check to the next.

    known_since
        When each peer was first in the tables: until it is asked, its proof is as old as that.
    folder
        Where the metrics are written; empty if they are switched off. It is remembered because a
        check has to write them even if the pillar cannot be read.
    interval
        The seconds from one scheduled check to the next; 0 if none is scheduled.
    """

    runs: Mapping[str, LatestRun] = field(default_factory=dict)
    digest: str = ""
    in_step: Mapping[str, bool | None] = field(default_factory=dict)
    tests: Mapping[str, int] = field(default_factory=dict)
    known_since: Mapping[str, float] = field(default_factory=dict)
    folder: str = ""
    interval: int = 0

    def run_of(self, check: str) -> LatestRun:
        """The last run of a check."""
        return self.runs.get(check, LatestRun())


def add_runs(known: Measurements, runs: Iterable[CheckRun]) -> Measurements:
    """Add what these runs found, in their order."""
    for found in runs:
        known = _add(known, found)
    return known


def oldest_proof(known: Measurements, proofs: Mapping[str, float]) -> float | None:
    """When the peer was asked that was not asked for the longest time; ``None`` without peers.

    proofs
        When each peer was last asked.
    """
    times = [max(proofs.get(name, 0.0), since) for name, since in known.known_since.items()]
    return min(times, default=None)


def _add(known: Measurements, found: CheckRun) -> Measurements:
    before = known.run_of(found.check)
    run = replace(before, at=found.began, took=found.took)
    if found.counts is not None:
        # What an earlier check found stays until one can be made again: a port that was exposed is
        # not closed by a firewalld that does not answer.
        run = replace(run, succeeded_at=found.began, counts=dict(found.counts))
    known = replace(known, runs={**known.runs, found.check: run})
    if found.tables is not None:
        since = {name: known.known_since.get(name, found.began) for name in found.tables.peers}
        known = replace(known, digest=found.tables.digest, known_since=since)
    if found.in_step is not None:
        known = replace(known, in_step=dict(found.in_step))
    if found.tests is not None:
        known = replace(known, tests=dict(found.tests))
    return known
