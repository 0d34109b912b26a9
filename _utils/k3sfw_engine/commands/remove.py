"""The command remove: remove every object that k3sfw created from firewalld."""

from __future__ import annotations

from dataclasses import replace

from k3sfw_engine.firewalld.stopped import is_stopped
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.make_plan import removal_plan
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.before_first_start import run_before_first_start
from k3sfw_engine.transaction.commit_options import NO_CONFIRMATION, CommitOptions
from k3sfw_engine.transaction.kept_tables import forget_kept_tables
from k3sfw_engine.transaction.run import run


def remove(*, options: CommitOptions = NO_CONFIRMATION, test: bool = False) -> RunResult:
    """Remove every object of ours, and nothing else; of a stopped firewalld, their files.

    Raises ``EngineError`` and its kinds; ``Undone`` if the change did not prove itself.
    """
    if is_stopped():
        return _remove_files(options, test=test)
    removed = run(
        lambda _bus, observed: removal_plan(observed),
        options,
        test=test,
        afterwards=forget_kept_tables,
    )
    return replace(removed, in_step=messages.NOTHING_OF_OURS)


def _remove_files(options: CommitOptions, *, test: bool) -> RunResult:
    removed = run_before_first_start(
        removal_plan, lambda _observed, plan: plan, {}, options, test=test, starts=False
    )
    left = () if test else tuple(map(str, forget_kept_tables()))
    return replace(removed, notices=(*removed.notices, *left), in_step=messages.FILES_REMOVED)
