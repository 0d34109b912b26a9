"""The command remove: remove every object that k3sfw created from firewalld."""

from __future__ import annotations

from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.make_plan import removal_plan
from k3sfw_engine.transaction.commit_options import NO_CONFIRMATION, CommitOptions
from k3sfw_engine.transaction.kept_tables import forget_kept_tables
from k3sfw_engine.transaction.run import run


def remove(*, options: CommitOptions = NO_CONFIRMATION, test: bool = False) -> RunResult:
    """Remove every object of ours, and nothing else.

    Raises ``EngineError`` and its kinds; ``Undone`` if the change did not prove itself.
    """
    return run(
        lambda _bus, observed: removal_plan(observed),
        options,
        test=test,
        afterwards=forget_kept_tables,
    )
