"""A node with everything measured, and the views of its metrics that tests compare."""

from __future__ import annotations

from k3sfw_engine.checks.metrics.measurements import (
    CheckedTables,
    CheckRun,
    Measurements,
    add_runs,
)
from k3sfw_engine.checks.metrics.node_families import NodeState, node_families
from k3sfw_engine.checks.verdicts import Status

NODE = NodeState("1.2.3", "a1", "default", "agent")
TABLES = CheckedTables("abc", ("s1", "s2"))
IN_STEP = {"runtime": True, "permanent": False, "kernel": None}
PORTS = CheckRun(
    "ports",
    began=1000.0,
    took=1.5,
    counts={Status.OK: 5, Status.BLOCKED: 2, Status.UNPROVEN: 1},
    tables=TABLES,
    in_step=IN_STEP,
    tests={"kept": 3, "broken": 1},
)


def measured(*runs):
    return add_runs(Measurements(folder="/somewhere", interval=600), runs)


def series(known, node=NODE):
    """Every sample by its metric and its labels."""
    return {
        (metric.name, *sample.labels.values()): sample.value
        for metric, samples in node_families(known, node)
        for sample in samples
    }
