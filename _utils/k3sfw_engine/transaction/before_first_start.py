"""One change of the files of a firewalld that does not run: plan, guard, write, read back.

The way back is on disk before the first file is written, as for any other change. There is nothing
in force that could be proven.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld.permanent import Permanent, read_permanent
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
from k3sfw_engine.transaction.defaults import RUN_DEADLINE
from k3sfw_engine.transaction.interrupted import pending, recover
from k3sfw_engine.transaction.journal import PERMANENT
from k3sfw_engine.transaction.make_permanent import keep_copies, make_permanent
from k3sfw_engine.transaction.make_record import make_record


def run_before_first_start(
    planner: Callable[[Observed], Plan],
    guard: Callable[[Observed, Plan], Plan],
    wanted: Objects,
    options: CommitOptions,
    *,
    test: bool,
) -> RunResult:
    """Undo an interrupted run, then plan and write the files.

    wanted
        What firewalld will have at runtime: there is nothing else to compare with.
    test
        Touch nothing, and return what would change.

    Raises ``EngineError`` and its kinds; ``Undone`` if the files could not be written.
    """
    with nullcontext() if test else only_one():
        notices = pending() if test else tuple(recover())
        try:
            observed = _observe(wanted, read_permanent())
            plan = guard(observed, planner(observed))
            flushed = read_flushed_tables()
            if flushed is not None:
                notices += tuple(
                    messages.nftables_service_stops(
                        flushed.file, map(" ".join, flushed.own), map(" ".join, flushed.others)
                    )
                )
            if not test:
                # A firewalld before 2.0 flushes iptables at its start.
                keep_iptables()
                if flushed is not None:
                    keep_nft_tables(flushed)
                if plan.steps:
                    _write(planner, plan, observed, options)
                notices += keep_copies()
        except EngineError as error:
            if not test:
                error.append_notes(notices)
            raise
    in_files = tuple(each for each in plan.differences if each.layer == "permanent")
    return RunResult(
        in_files, notices=(*notices, *plan.notices), broken_promises=plan.broken_promises
    )


def _observe(wanted: Objects, permanent: Permanent) -> Observed:
    return Observed(
        runtime=wanted,
        permanent=permanent.objects,
        damaged=permanent.damaged,
        bindings={"permanent": permanent.bindings},
        zones=permanent.zones,
        users=permanent.users,
    )


def _write(
    planner: Callable[[Observed], Plan], plan: Plan, observed: Observed, options: CommitOptions
) -> None:
    with checkpoint(make_record(plan, observed, options), RUN_DEADLINE) as journal:
        journal.note(PERMANENT)
        make_permanent(plan, observed, planner)
        journal.keep()
