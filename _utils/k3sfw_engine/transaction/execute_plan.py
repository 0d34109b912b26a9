"""Carries out a plan: in force first, then proven, and permanent at last.

The permanent files stay as they were until the proof, but for the moment of a reload, which needs
the new ones. So a reload or restart of firewalld by anything else undoes an unproven change, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.defaults import (
    SECONDS_PER_ENTRY,
    SECONDS_PER_RULE,
    SETTLING_POLL,
    SETTLING_SECONDS,
)
from k3sfw_engine.firewalld.others_runtime_rules import (
    ForeignRuntime,
    put_back,
    read_again,
    read_foreign_runtime,
)
from k3sfw_engine.firewalld.permanent import (
    Contents,
    as_they_are,
    put_back_files,
    put_files,
    read_permanent,
)
from k3sfw_engine.firewalld.runtime import (
    check_permanent,
    execute,
    observe,
    observe_again,
    reload_checks_files,
    snapshot_of,
    tell_zones,
)
from k3sfw_engine.firewalld.trial_start import Trial, TryOut
from k3sfw_engine.healing.lost_host_ports import heal_host_ports_if_possible
from k3sfw_engine.host.iptables_save_restore import keep_iptables, put_back_iptables
from k3sfw_engine.model.firewall_objects import FirewalldObject, Kind, Objects, ours
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.needs_trial import needs_trial
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.steps import (
    Reload,
    RemovePermanent,
    SetRuntime,
    Step,
    TakeOutOfZone,
    WritePermanent,
    touched_at_runtime,
)
from k3sfw_engine.standalone.undo.record import Process
from k3sfw_engine.standalone.undo.step_log import RELOAD, RUNTIME
from k3sfw_engine.transaction.checkpoint import checkpoint
from k3sfw_engine.transaction.commit_options import CommitOptions
from k3sfw_engine.transaction.defaults import RUN_DEADLINE, RUN_DEADLINE_PER_ENTRY
from k3sfw_engine.transaction.journal import PERMANENT, Journal
from k3sfw_engine.transaction.make_permanent import (
    files_of_plan,
    make_permanent,
    refuse_differences,
)
from k3sfw_engine.transaction.make_record import make_record
from k3sfw_engine.transaction.reload_for_rules import note_pace
from k3sfw_engine.transaction.still_reachable import Baseline, Proof
from k3sfw_engine.transaction.take_out_of_zone import take_out_of_zones
from k3sfw_engine.transaction.watchdog import lay_out_program

# Plans what is wanted, given what is observed. It is asked again after each stage: what is left?
Planner = Callable[[Bus, Observed], Plan]

_NOT_AT_RUNTIME = (WritePermanent, RemovePermanent, TakeOutOfZone)


def carry_out(
    bus: Bus,
    planner: Planner,
    plan: Plan,
    observed: Observed,
    options: CommitOptions,
    try_out: TryOut,
) -> tuple[str, ...]:
    """Make the changes of the plan, prove them, and make them permanent; return notices.

    try_out
        Makes a trial start with the files of the plan.

    The caller holds the lock.

    Raises ``Undone`` if they did not prove themselves, and other kinds of ``EngineError`` if
    nothing was touched yet.
    """
    # A trial and a reload need them before they are in force.
    files = files_of_plan(plan) if needs_trial(plan) else {}
    others, baseline, trial = _look_ahead(
        bus, plan, observed, options.proof, partial(try_out, files)
    )
    notices = trial.notices
    record = make_record(
        plan,
        observed,
        options,
        firewalld=Process.of(bus.process()),
        baseline=baseline.connections,
        others=others.runtime.snapshot if others else None,
    )
    with checkpoint(record, _deadline(plan, observed, baseline)) as journal:
        if others is not None:
            notices += _reload(bus, journal, plan, files, others, checked=trial.tried)
            # Bindings that others had made at runtime only are restored; pods may use them.
            observed, plan = _once_settled(bus, planner, observe(bus))
        observed = _change_in_force(bus, journal, plan, observed)
        observed, left = _once_settled(bus, planner, observed)
        refuse_differences(left, ["runtime", "kernel"])
        notices += options.proof.prove(baseline)
        if options.confirm_within:
            runtime = snapshot_of(ours(observed.runtime))
            journal.confirm_by(options.confirm_within, files_of_plan(left), runtime, options.tables)
        else:
            journal.note(PERMANENT)
            tell_zones(bus, _zones_with_files(left))
            make_permanent(left, observed, partial(planner, bus))
            journal.keep()
    return notices


def _look_ahead(
    bus: Bus, plan: Plan, observed: Observed, proof: Proof, try_out: Callable[[], Trial]
) -> tuple[_Others | None, Baseline, Trial]:
    """Try the plan where that is worth it, and read meanwhile what has to be as it was before."""
    with ThreadPoolExecutor(max_workers=1) as beside:
        # A trial takes as long as a reload, and firewalld is idle meanwhile.
        tried = beside.submit(try_out) if needs_trial(plan) else None
        others = _read_others(bus, observed) if plan.reloads else None
        baseline = proof.baseline()
        if tried is None:
            return others, baseline, Trial(tried=False)
        # The way back will need it, and the disk takes a while where it is not there yet.
        lay_out_program()
        return others, baseline, tried.result()


def _deadline(plan: Plan, observed: Observed, baseline: Baseline) -> float:
    """The seconds after which the run is taken for frozen.

    While a change waits for confirmation no run is at work, and the watchdog itself waits, too.
    """
    rules = sum(step.changed for step in plan.steps if isinstance(step, SetRuntime))
    work = _entries(observed) * RUN_DEADLINE_PER_ENTRY + rules * SECONDS_PER_RULE
    return RUN_DEADLINE + work + baseline.spread + baseline.patience


def _entries(observed: Observed) -> int:
    """How many entries all ipsets have."""
    return sum(
        len(each.items("entries"))
        for (kind, _name), each in observed.runtime.items()
        if kind is Kind.IPSET
    )


# -- in force -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Others:
    """What others have, which a reload would drop."""

    runtime: ForeignRuntime
    permanent: Objects


def _read_others(bus: Bus, observed: Observed) -> _Others:
    keys = frozenset({**ours(observed.runtime), **ours(observed.permanent)})
    return _Others(read_foreign_runtime(bus, keys), read_permanent().others)


def _reload(
    bus: Bus, journal: Journal, plan: Plan, files: Contents, others: _Others, *, checked: bool
) -> tuple[str, ...]:
    """Reload firewalld with the new files; return notices about what others lost after all.

    Whatever firewalld would not load, it refuses before the reload, files of others included.
    Afterwards the files are the old ones again.

    checked
        Whether a trial has loaded these files a moment ago.
    """
    before = as_they_are(files)
    journal.note("files")
    put_files(files)
    if not (checked and reload_checks_files(bus)):
        check_permanent(bus)
    keep_iptables()
    journal.note(RELOAD)
    _execute(bus, [step for step in plan.steps if isinstance(step, Reload)])
    put_back_files(before)
    failed = put_back(bus, others.runtime, read_again(bus, others.runtime, others.permanent))
    failed = (*failed, *put_back_iptables())
    # A pod that started meanwhile has made chains anew that others share.
    return (*failed, *heal_host_ports_if_possible().notices)


def _change_in_force(bus: Bus, journal: Journal, plan: Plan, observed: Observed) -> Observed:
    """Change what is in force; return what is there afterwards."""
    if zones := [step for step in plan.steps if isinstance(step, TakeOutOfZone)]:
        take_out_of_zones(bus, journal, zones)
        observed = observe(bus)
    if all(isinstance(step, _NOT_AT_RUNTIME) for step in plan.steps):
        return observed
    journal.note(RUNTIME)
    _execute(bus, [step for step in plan.steps if not isinstance(step, _NOT_AT_RUNTIME)])
    return observe_again(bus, observed, touched_at_runtime(plan.steps))


def _execute(bus: Bus, steps: list[Step]) -> None:
    began = time.monotonic()
    execute(bus, steps)
    note_pace(steps, time.monotonic() - began)


def _once_settled(bus: Bus, planner: Planner, observed: Observed) -> tuple[Observed, Plan]:
    """Wait until the kernel has what it should; return what is there then, and what is left.

    From 2.5 on firewalld answers first, and adds the entries of an ipset once it is idle.
    """
    left = planner(bus, observed)
    until = time.monotonic() + SETTLING_SECONDS + _entries(observed) * SECONDS_PER_ENTRY
    while any(each.layer == "kernel" for each in left.differences) and time.monotonic() < until:
        time.sleep(SETTLING_POLL)
        observed = observe(bus)
        left = planner(bus, observed)
    return observed, left


def _zones_with_files(plan: Plan) -> Iterator[FirewalldObject]:
    for step in plan.steps:
        if isinstance(step, WritePermanent) and step.exists and step.object.kind is Kind.ZONE:
            yield step.object
