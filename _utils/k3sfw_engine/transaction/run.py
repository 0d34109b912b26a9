"""The change itself: observe, plan, carry out, read back. One run at a time on a host."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from k3sfw_engine.errors import EngineError, FirewalldFailed
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.runtime import observe
from k3sfw_engine.firewalld.trial_start import try_out
from k3sfw_engine.healing.known_damage import HealResult
from k3sfw_engine.healing.leftover_drop_table import is_cut_off
from k3sfw_engine.healing.repair import heal_or_refuse
from k3sfw_engine.host.iptables_save_restore import put_back_iptables
from k3sfw_engine.host.lock import only_one
from k3sfw_engine.model.difference import joined
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.needs_trial import needs_trial
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.transaction.checkpoint import CommitOptions
from k3sfw_engine.transaction.execute_plan import Planner, carry_out, files_of_plan
from k3sfw_engine.transaction.interrupted import pending, recover, waiting_notice


def run(
    make: Planner,
    terms: CommitOptions,
    test: bool,
    guard: Callable[[Bus, Observed, Plan], Plan] = lambda _bus, _observed, plan: plan,
) -> RunResult:
    """Observe, plan and carry out, alone on this host; first what others left undone.

    guard
        Refuses a plan, or says more of it, before anything is touched.

    Raises ``EngineError`` and its kinds; ``Undone`` if the change did not prove itself.
    """
    with nullcontext() if test else only_one():
        told = pending() if test else (*recover(), *put_back_iptables())
        health = heal_or_refuse(test=test) if is_cut_off() else HealResult()
        try:
            with Bus() as bus:
                try:
                    observed = observe(bus)
                except FirewalldFailed:
                    health = heal_or_refuse(test=test)
                    if test:
                        # What else differs shows only in what firewalld will then have.
                        return RunResult(
                            health.differences, health.reloads, (*told, *health.sentences)
                        )
                    observed = observe(bus)
                plan = guard(bus, observed, make(observed))
                if plan.steps and not test:
                    told += carry_out(bus, make, plan, observed, terms)
                elif needs_trial(plan):
                    told += try_out(files_of_plan(plan)).notices
        except EngineError as error:
            if not test:
                error.append_notes((*told, *health.mended))
            raise
        if terms.confirm_within and not test:
            told += waiting_notice()
    now = tuple(
        each
        for each in plan.differences
        # What is permanent waits for the confirmation.
        if not (terms.confirm_within and each.layer == "permanent")
    )
    return RunResult(
        joined(health.differences, now),
        (*health.reloads, *plan.reloads),
        (*told, *health.sentences, *plan.notices),
    )
