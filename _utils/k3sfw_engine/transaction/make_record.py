"""Collects all that undoes a change, as it is before the first step."""

from __future__ import annotations

import os
from collections.abc import Iterable

from k3sfw_engine import __version__
from k3sfw_engine.firewalld.permanent import files_of
from k3sfw_engine.firewalld.runtime import snapshot_of
from k3sfw_engine.host.iptables_save_restore import KEPT
from k3sfw_engine.host.lock import LOCK, holder
from k3sfw_engine.model.difference import as_changes
from k3sfw_engine.model.firewall_objects import Kind, as_plain, ours
from k3sfw_engine.model.packet_question import PacketQuestion
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.steps import TakeOutOfZone, touched_at_runtime
from k3sfw_engine.standalone.undo.firewalld_process import names_of
from k3sfw_engine.standalone.undo.record import Process, Record
from k3sfw_engine.standalone.undo.restore_runtime import Snapshot
from k3sfw_engine.transaction.commit_options import CommitOptions
from k3sfw_engine.transaction.journal import as_texts
from k3sfw_engine.transaction.make_permanent import files_before

# In place of firewalld's process, where none runs.
NO_PROCESS = Process(0, "")


def make_record(
    plan: Plan,
    observed: Observed,
    options: CommitOptions,
    *,
    firewalld: Process = NO_PROCESS,
    baseline: Iterable[PacketQuestion] = (),
    others: Snapshot | None = None,
) -> Record:
    """The record of a change that is about to begin.

    baseline
        The questions that the masters answer now.
    others
        The runtime objects of others, if the plan reloads firewalld.
    """
    zones = [(Kind.ZONE, step.zone.name) for step in plan.steps if isinstance(step, TakeOutOfZone)]
    files = {
        **files_of([*ours(observed.permanent), *zones]),
        **files_before(plan),
    }
    return Record(
        version=__version__,
        what=options.what,
        job=options.job(),
        changes=as_changes(plan.differences),
        reloads=list(plan.reloads),
        baseline=[(question.address, question.port) for question in baseline],
        objects=[
            (kind.value, name, as_plain(each.settings))
            for (kind, name), each in ours(observed.readable).items()
        ],
        owner=Process.of(os.getpid()),
        firewalld=firewalld,
        lock=str(LOCK),
        holder=holder(),
        iptables=str(KEPT),
        files=as_texts(files),
        runtime=_runtime_before(plan, observed),
        others=others,
        names=names_of(snapshot_of({**observed.readable, **observed.runtime})),
    )


def _runtime_before(plan: Plan, observed: Observed) -> Snapshot:
    """The runtime settings that the plan may change.

    Of a zone of the operator only the settings from which something is taken: what another process
    changes in the others meanwhile stays as it wants it.
    """
    touched = touched_at_runtime(plan.steps)
    snapshot = snapshot_of(
        {
            key: each
            for key, each in ours(observed.runtime).items()
            # A reload can change all of them.
            if plan.reloads or key in touched
        }
    )
    zones = dict(snapshot["zones"])
    for step in plan.steps:
        if isinstance(step, TakeOutOfZone) and step.layer == "runtime":
            settings = snapshot_of({step.zone.key: step.zone})["zones"][step.zone.name]
            zones[step.zone.name] = {key: settings[key] for key in step.elements}
    return {**snapshot, "zones": zones}
