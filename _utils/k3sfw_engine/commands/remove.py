"""The command remove: take every object that k3sfw created out of firewalld."""

from __future__ import annotations

from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.make_plan import removal_plan
from k3sfw_engine.transaction.checkpoint import NO_CONFIRMATION, CommitOptions
from k3sfw_engine.transaction.run import run


def remove(*, terms: CommitOptions = NO_CONFIRMATION, test: bool = False) -> RunResult:
    """Take every object of ours away, and nothing else."""
    return run(removal_plan, terms, test)
