"""One change of the files of a firewalld that does not run: plan, guard, write, read back.

The way back is on disk before the first file is written, as for any other change. There is nothing
in force that could be proven; so the files are validated before they are written.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld.interpreter import firewalld_python
from k3sfw_engine.host.image import is_image
from k3sfw_engine.host.iptables_save_restore import keep_iptables
from k3sfw_engine.host.lock import only_one
from k3sfw_engine.host.nft_tables_save_restore import keep_nft_tables
from k3sfw_engine.host.nftables_service import read_flushed_tables
from k3sfw_engine.model.firewall_objects import Objects
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.checkpoint import checkpoint
from k3sfw_engine.transaction.commit_options import CommitOptions
from k3sfw_engine.transaction.compare import observe_files
from k3sfw_engine.transaction.defaults import RUN_DEADLINE
from k3sfw_engine.transaction.interrupted import pending, recover
from k3sfw_engine.transaction.journal import PERMANENT
from k3sfw_engine.transaction.make_permanent import files_of_plan, keep_copies, make_permanent
from k3sfw_engine.transaction.make_record import make_record
from k3sfw_engine.transaction.validate_files import validate_files


def run_before_first_start(
    planner: Callable[[Observed], Plan],
    guard: Callable[[Observed, Plan], Plan],
    wanted: Objects,
    options: CommitOptions,
    *,
    test: bool,
    starts: bool = True,
) -> RunResult:
    """Undo an interrupted run, then plan and write the files.

    wanted
        What firewalld will have at runtime: there is nothing else to compare with.
    test
        Touch nothing, and return what would change.
    starts
        Whether firewalld will be started with these files: then they are validated, and what a
        start flushes is kept.

    Raises ``EngineError`` and its kinds; ``Undone`` if the files could not be written.
    """
    with nullcontext() if test else only_one():
        notices = pending() if test else tuple(recover())
        try:
            observed = observe_files(wanted)
            plan = guard(observed, planner(observed))
            if plan.steps and starts:
                notices += _validated(plan)
            if starts and not is_image():
                notices += _keep_what_a_start_flushes(test=test)
            if not test:
                if plan.steps:
                    _write(planner, plan, observed, options)
                notices += keep_copies()
        except EngineError as error:
            if not test:
                error.append_notes(notices)
            raise
    in_files = tuple(each for each in plan.differences if each.layer == "permanent")
    return RunResult(
        in_files,
        notices=(*notices, *plan.notices),
        broken_promises=plan.broken_promises,
        in_step=messages.FILES_IN_STEP,
    )


def _validated(plan: Plan) -> tuple[str, ...]:
    """Validate the files of the plan; return how, where nothing will do it again.

    A live node starts firewalld next, and its package may still be missing.
    """
    image = is_image()
    if not image and firewalld_python() is None:
        return ()
    how = validate_files(files_of_plan(plan))
    return how if image else ()


def _keep_what_a_start_flushes(*, test: bool) -> tuple[str, ...]:
    """Keep what a start of firewalld flushes, to restore it afterwards; return what is not kept."""
    flushed = read_flushed_tables()
    if not test:
        # A firewalld before 2.0 flushes iptables at its start.
        keep_iptables()
        if flushed is not None:
            keep_nft_tables(flushed)
    if flushed is None:
        return ()
    own, others = (map(" ".join, tables) for tables in (flushed.own, flushed.others))
    return tuple(messages.nftables_service_stops(flushed.file, own, others))


def _write(
    planner: Callable[[Observed], Plan], plan: Plan, observed: Observed, options: CommitOptions
) -> None:
    with checkpoint(make_record(plan, observed, options), RUN_DEADLINE) as journal:
        journal.note(PERMANENT)
        make_permanent(plan, observed, planner)
        journal.keep()
