"""One change of a running firewalld: observe, plan, guard, carry out. One run at a time on a host.

It does not know what is changed: a planner says that, and a guard may refuse it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

from k3sfw_engine.errors import EngineError, FirewalldFailed, Problem
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.permanent import has_policies_of_ours
from k3sfw_engine.firewalld.runtime import observe, refuse_lockdown
from k3sfw_engine.firewalld.trial_start import trial_ahead
from k3sfw_engine.healing.known_damage import HealResult
from k3sfw_engine.healing.leftover_drop_table import is_cut_off
from k3sfw_engine.healing.lost_host_ports import heal_host_ports_if_possible
from k3sfw_engine.healing.repair import heal_or_refuse
from k3sfw_engine.host.image import refuse_in_image
from k3sfw_engine.host.iptables_save_restore import put_back_iptables
from k3sfw_engine.host.lock import only_one
from k3sfw_engine.host.nft_tables_save_restore import put_back_nft_tables
from k3sfw_engine.model.difference import Difference, Differences, joined
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.needs_trial import needs_trial
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.transaction.commit_options import CommitOptions
from k3sfw_engine.transaction.execute_plan import Planner, carry_out
from k3sfw_engine.transaction.interrupted import pending, recover, waiting_notice
from k3sfw_engine.transaction.make_permanent import files_of_plan, keep_copies

# Refuses a plan, or adds notices to it, before anything is touched.
Guard = Callable[[Bus, Observed, Plan], Plan]


def run(
    planner: Planner,
    options: CommitOptions,
    *,
    test: bool,
    guard: Guard = lambda _bus, _observed, plan: plan,
    afterwards: Callable[[], Iterable[Problem]] = tuple,
) -> RunResult:
    """Undo an interrupted run, heal what blocks this one, then observe, plan and carry out.

    test
        Touch nothing, and return what would change.
    afterwards
        What follows once nothing is left to change and nothing has to be confirmed.

    Raises ``EngineError`` and its kinds; ``Undone`` if the change did not prove itself.
    """
    refuse_in_image()
    with nullcontext() if test else only_one():
        ports = heal_host_ports_if_possible(test=test)
        notices = pending() if test else (*recover(), *put_back_iptables(), *put_back_nft_tables())
        health = heal_or_refuse(test=test) if is_cut_off() else HealResult()
        try:
            with trial_ahead(start=not has_policies_of_ours()) as try_out, Bus() as bus:
                try:
                    observed = observe(bus)
                except FirewalldFailed:
                    health = heal_or_refuse(test=test)
                    if test:
                        # Only a firewalld that was healed would show what else differs.
                        differences = joined(ports.differences, health.differences)
                        told = (*notices, *ports.sentences, *health.sentences)
                        return RunResult(differences, health.reloads, told)
                    observed = observe(bus)
                plan = guard(bus, observed, planner(bus, observed))
                if plan.steps:
                    refuse_lockdown(bus)
                if plan.steps and not test:
                    notices += carry_out(bus, planner, plan, observed, options, try_out)
                elif needs_trial(plan):
                    notices += try_out(files_of_plan(plan)).notices
        except EngineError as error:
            if not test:
                error.append_notes((*notices, *ports.healed, *health.healed))
            raise
        if not test:
            notices += _at_last(afterwards, copies=_is_kept(plan, options))
    notices = (*notices, *ports.sentences, *health.sentences)
    healed = (*ports.differences, *health.differences)
    return _result(plan, joined(healed, _made_now(plan, options)), health.reloads, notices)


def _is_kept(plan: Plan, options: CommitOptions) -> bool:
    """Whether the plan changed something that waits for no confirmation."""
    return bool(plan.steps) and not options.confirm_within


def _at_last(afterwards: Callable[[], Iterable[Problem]], *, copies: bool) -> tuple[str, ...]:
    """What follows a change or none, with copies of the files if they changed; return notices."""
    with ThreadPoolExecutor(max_workers=1) as beside:
        kept = beside.submit(keep_copies) if copies else None
        notices = waiting_notice() or tuple(map(str, afterwards()))
        return (*(kept.result() if kept is not None else ()), *notices)


def _result(
    plan: Plan, differences: Differences, reloads: tuple[str, ...], notices: tuple[str, ...]
) -> RunResult:
    return RunResult(
        differences,
        (*reloads, *plan.reloads),
        (*notices, *plan.notices),
        plan.meaning,
        plan.broken_promises,
    )


def _made_now(plan: Plan, options: CommitOptions) -> tuple[Difference, ...]:
    """The differences that this run ends; what is permanent may wait for a confirmation."""
    waits = bool(options.confirm_within)
    return tuple(each for each in plan.differences if not (waits and each.layer == "permanent"))
