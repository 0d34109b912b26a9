"""One change of firewalld, as a transaction: it proves itself, or all of it is undone.

The permanent configuration stays as it was until the proof, but for the moment of a reload, which
needs it: so whatever else reloads or restarts firewalld in between undoes the change, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from k3sfw_engine.errors import EngineError, NotConverged
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.defaults import SECONDS_PER_RULE
from k3sfw_engine.firewalld.file_copies import keep
from k3sfw_engine.firewalld.others_runtime_rules import (
    ForeignRuntime,
    put_back,
    read_again,
    read_foreign_runtime,
)
from k3sfw_engine.firewalld.permanent import (
    Contents,
    as_they_are,
    contents_of,
    files_of,
    put_back_files,
    put_files,
    read_permanent,
)
from k3sfw_engine.firewalld.runtime import (
    check_permanent,
    execute,
    observe,
    observe_again,
    snapshot_of,
    tell_zones,
)
from k3sfw_engine.firewalld.trial_start import try_out
from k3sfw_engine.host.iptables_save_restore import keep_iptables, put_back_iptables
from k3sfw_engine.model.firewall_objects import FirewalldObject, Kind, Objects, ours
from k3sfw_engine.model.packet_question import PacketQuestion
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.needs_trial import needs_trial
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.steps import (
    Reload,
    RemovePermanent,
    SetRuntime,
    WritePermanent,
    touched_at_runtime,
)
from k3sfw_engine.standalone.undo.firewalld_process import names_of
from k3sfw_engine.standalone.undo.record import Record
from k3sfw_engine.standalone.undo.restore_runtime import restoring
from k3sfw_engine.standalone.undo.step_log import RELOAD, RUNTIME
from k3sfw_engine.transaction.checkpoint import CommitOptions, checkpoint, make_record
from k3sfw_engine.transaction.journal import PERMANENT, Entry, Journal
from k3sfw_engine.transaction.still_reachable import Proof
from k3sfw_engine.transaction.watchdog import WITHIN

# A call for so many entries may take so long; a transaction has a few of them for each.
_SECONDS_PER_ENTRY = 0.01

_PERMANENT = (WritePermanent, RemovePermanent)

# What is wanted now, given what is observed.
Planner = Callable[[Observed], Plan]


def carry_out(
    bus: Bus, make: Planner, plan: Plan, observed: Observed, terms: CommitOptions
) -> tuple[str, ...]:
    """Change what the plan says, prove it and make it permanent; notices for people.

    The caller holds the lock.

    Raises ``Undone`` if it did not prove itself, and other kinds of ``EngineError`` if nothing was
    touched yet.
    """
    # A trial takes as long as a reload, and firewalld has nothing to do meanwhile.
    with ThreadPoolExecutor(max_workers=1) as beside:
        trial = beside.submit(try_out, files_of_plan(plan)) if needs_trial(plan) else None
        others = _others(bus, observed) if plan.reloads else None
        baseline = terms.proof.baseline()
        failed = trial.result().notices if trial is not None else ()
    record = _record(bus, plan, observed, others, baseline, terms)
    with checkpoint(record, _watched_for(plan, observed)) as journal:
        if others is not None:
            failed += _reload(bus, journal, plan, others)
            observed = observe(bus)
            # What others had changed at runtime only is as it was, and pods may come in by it.
            plan = make(observed)
        observed = _change_runtime(bus, journal, plan, observed)
        left = make(observed)
        read_back(left, ("runtime", "kernel"))
        if broken := terms.proof.broken(baseline):
            raise NotConverged(broken)
        if terms.confirm_within:
            runtime = snapshot_of(ours(observed.runtime))
            journal.confirm_by(terms.confirm_within, files_of_plan(left), runtime)
        else:
            journal.note(PERMANENT)
            tell_zones(bus, _known_zones(left))
            put_files(files_of_plan(left))
            permanent = read_permanent()
            read_back(
                make(
                    replace(
                        observed,
                        permanent=permanent.objects,
                        damaged=permanent.damaged,
                        bindings={**observed.bindings, "permanent": permanent.bindings},
                        zones=permanent.zones,
                        users=permanent.users,
                    )
                ),
                ("permanent",),
            )
            journal.keep()
            failed += keep_copies(permanent.objects)
    return failed


def confirm_change(entry: Entry, proof: Proof) -> tuple[str, ...]:
    """Keep a change that waits for it; notices for people. The caller holds the lock.

    Raises ``NotConverged`` if it cuts this node off, or is not in force any more; the change goes
    on waiting.
    """
    with Bus() as bus:
        now = snapshot_of(ours(observe(bus).runtime))
    if names_of(now) != names_of(entry.runtime) or list(restoring(entry.runtime, now)):
        raise NotConverged(
            [
                f"what the {entry.what} of {entry.at} had changed is not in force any more: "
                "firewalld was reloaded or restarted, or somebody changed it. Fix: "
                "k3sfw.rollback, then apply again"
            ]
        )
    baseline = [PacketQuestion(host, Protocol.TCP, port) for host, port in entry.record.baseline]
    if broken := proof.broken(baseline):
        raise NotConverged(broken)
    journal = Journal(entry.name)
    journal.note(PERMANENT)
    put_files(entry.files)
    journal.keep()
    return keep_copies(read_permanent().objects)


def keep_copies(permanent: Objects) -> tuple[str, ...]:
    """Have copies of our files, by which one is known and mended if somebody spoils it.

    Sentences about what keeps us from it; the change itself is none the worse.
    """
    try:
        keep(files_of(ours(permanent)))
    except EngineError as error:
        return error.sentences
    return ()


def read_back(left: Plan, layers: Iterable[str]) -> None:
    """Raises ``NotConverged`` if anything of these layers is left to be changed."""
    sentences = [
        f"after the change, {layer} still differs from the tables: {each}"
        for layer in layers
        for each in left.differences
        if each.layer == layer
    ]
    if sentences:
        raise NotConverged(sentences)


# -- the steps ------------------------------------------------------------------------------------


def _change_runtime(bus: Bus, journal: Journal, plan: Plan, observed: Observed) -> Observed:
    """Change what is in force; what is there afterwards."""
    if all(isinstance(step, _PERMANENT) for step in plan.steps):
        return observed
    journal.note(RUNTIME)
    execute(bus, plan.steps)
    return observe_again(bus, observed, touched_at_runtime(plan.steps))


def _reload(bus: Bus, journal: Journal, plan: Plan, others: _Others) -> tuple[str, ...]:
    """Do it; sentences about what it has cost others after all.

    What firewalld would refuse it refuses before the reload, and so it does if somebody else's
    file would make the reload fail. Afterwards the files are the old ones again.
    """
    files = files_of_plan(plan)
    before = as_they_are(files)
    journal.note("files")
    put_files(files)
    check_permanent(bus)
    keep_iptables()
    journal.note(RELOAD)
    execute(bus, [step for step in plan.steps if isinstance(step, Reload)])
    put_back_files(before)
    failed = put_back(bus, others.runtime, read_again(bus, others.runtime, others.permanent))
    return (*failed, *put_back_iptables())


def files_of_plan(plan: Plan) -> Contents:
    """The files that the plan writes and removes."""
    return contents_of(
        [step.object for step in plan.steps if isinstance(step, WritePermanent)],
        [step.key for step in plan.steps if isinstance(step, RemovePermanent)],
    )


def _known_zones(plan: Plan) -> Iterator[FirewalldObject]:
    for step in plan.steps:
        if isinstance(step, WritePermanent) and step.exists and step.object.kind is Kind.ZONE:
            yield step.object


# -- all that undoes it ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Others:
    """What others have, which a reload would take away."""

    runtime: ForeignRuntime
    permanent: Objects


def _others(bus: Bus, observed: Observed) -> _Others:
    keys = frozenset({**ours(observed.runtime), **ours(observed.permanent)})
    return _Others(read_foreign_runtime(bus, keys), read_permanent().others)


def _record(
    bus: Bus,
    plan: Plan,
    observed: Observed,
    others: _Others | None,
    baseline: Iterable[PacketQuestion],
    terms: CommitOptions,
) -> Record:
    runtime = ours(observed.runtime)
    return make_record(
        bus,
        terms,
        observed,
        differences=plan.differences,
        reloads=plan.reloads,
        baseline=baseline,
        files={**files_of(ours(observed.permanent)), **as_they_are(files_of_plan(plan))},
        # A reload can touch all of them, anything else what it names.
        runtime=snapshot_of(
            {
                key: each
                for key, each in runtime.items()
                if plan.reloads or key in touched_at_runtime(plan.steps)
            }
        ),
        others=others.runtime.snapshot if others else None,
    )


def _watched_for(plan: Plan, observed: Observed) -> float:
    """The seconds after which the run is taken to be frozen.

    While a change waits for a person, no run is at work, and the watchdog itself waits, too.
    """
    entries = sum(
        len(each.items("entries"))
        for (kind, _name), each in observed.runtime.items()
        if kind is Kind.IPSET
    )
    rules = sum(step.changed for step in plan.steps if isinstance(step, SetRuntime))
    return WITHIN + entries * _SECONDS_PER_ENTRY + rules * SECONDS_PER_RULE
