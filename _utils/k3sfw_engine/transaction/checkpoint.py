"""A change that can be undone by others: all that it takes is on the disk before the first step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from k3sfw_engine import __version__
from k3sfw_engine.errors import EngineError, Undone
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.permanent import Contents
from k3sfw_engine.firewalld.runtime import snapshot_of
from k3sfw_engine.host.iptables_save_restore import KEPT
from k3sfw_engine.host.lock import LOCK, holder
from k3sfw_engine.model.difference import Differences, as_changes
from k3sfw_engine.model.firewall_objects import as_plain, ours
from k3sfw_engine.model.packet_question import PacketQuestion
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.standalone.undo.firewalld_process import names_of
from k3sfw_engine.standalone.undo.main import BY_RUN
from k3sfw_engine.standalone.undo.record import Process, Record
from k3sfw_engine.standalone.undo.restore_runtime import Snapshot
from k3sfw_engine.transaction.journal import Journal, as_texts, begin
from k3sfw_engine.transaction.still_reachable import Proof
from k3sfw_engine.transaction.watchdog import arm, lay_out_program, undo_now


@dataclass(frozen=True)
class CommitOptions:
    """How a change proves itself, and what is written down about it.

    what, job
        The function that was called, and what gives the number of Salt's job.
    proof
        What must work afterwards as it did before.
    confirm_within
        The seconds within which a person has to confirm the change; 0 if the proof is enough.
    """

    what: str = "apply"
    job: Callable[[], str] = str
    proof: Proof = field(default_factory=Proof)
    confirm_within: float = 0.0


@contextmanager
def checkpoint(record: Record, seconds: float) -> Iterator[Journal]:
    """Undo everything if the block fails, or if the process dies in it."""
    lay_out_program()
    journal = begin(record)
    try:
        disarm = arm(journal, LOCK, seconds)
    except BaseException:
        journal.forget()
        raise
    try:
        yield journal
    except BaseException as failure:
        left = undo_now(BY_RUN)
        if not left:
            disarm()
        if not isinstance(failure, EngineError):
            raise
        if journal.touched:
            raise Undone(failure.problems, record.changes, left, failure.notes) from failure
        if not left:
            journal.forget()
            raise
        raise EngineError([*failure.problems, *left], failure.notes) from failure
    if journal.has_ended:
        disarm()


def make_record(
    bus: Bus,
    terms: CommitOptions,
    observed: Observed,
    *,
    differences: Differences,
    reloads: Iterable[str] = (),
    baseline: Iterable[PacketQuestion] = (),
    files: Contents,
    runtime: Snapshot,
    others: Snapshot | None = None,
) -> Record:
    """The record of a change that is about to begin.

    files, runtime
        As they are, of all that it may change.
    others
        The runtime objects of others, if it reloads firewalld.
    """
    return Record(
        version=__version__,
        what=terms.what,
        job=terms.job(),
        changes=as_changes(differences),
        reloads=list(reloads),
        baseline=[(question.address, question.port) for question in baseline],
        objects=[
            (kind.value, name, as_plain(each.settings))
            for (kind, name), each in ours(observed.readable).items()
        ],
        owner=Process.of(os.getpid()),
        firewalld=Process.of(bus.process()),
        lock=str(LOCK),
        holder=holder(),
        iptables=str(KEPT),
        files=as_texts(files),
        runtime=runtime,
        others=others,
        names=names_of(snapshot_of({**observed.readable, **observed.runtime})),
    )


NO_CONFIRMATION = CommitOptions()
