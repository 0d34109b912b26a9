"""A change that can be undone by others: all that it takes is on the disk before the first step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from k3sfw_engine import __version__
from k3sfw_engine.errors import EngineError, Undone
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.permanent import Contents
from k3sfw_engine.firewalld.runtime import snapshot_of
from k3sfw_engine.host.iptables_save_restore import KEPT
from k3sfw_engine.host.lock import LOCK, holder
from k3sfw_engine.model.firewall_objects import ours
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.standalone.undo import firewalld_process, record
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
def checkpoint(before: Mapping[str, Any], seconds: float) -> Iterator[Journal]:
    """Have everything undone if the block fails, or the process dies in it."""
    lay_out_program()
    journal = begin(before)
    try:
        disarm = arm(journal, LOCK, seconds)
    except BaseException:
        journal.forget()
        raise
    try:
        yield journal
    except BaseException as failure:
        left = undo_now(record.BY_RUN)
        if not left:
            disarm()
        if not isinstance(failure, EngineError):
            raise
        if journal.touched:
            raise Undone(failure.sentences, before["changes"], left) from failure
        if not left:
            journal.forget()
            raise
        raise EngineError([*failure.sentences, *left]) from failure
    if journal.has_ended:
        disarm()


def describe_before(
    bus: Bus,
    terms: CommitOptions,
    observed: Observed,
    *,
    changes: Mapping[str, Any],
    files: Contents,
    runtime: Snapshot,
) -> Mapping[str, Any]:
    """What a transaction writes down before its first step.

    files, runtime
        As they are, of all that it may change.
    """
    pid = bus.process()
    return {
        "version": __version__,
        "what": terms.what,
        "job": terms.job(),
        "changes": changes,
        "reloads": (),
        "baseline": (),
        "objects": [
            (kind.value, name, each.settings)
            for (kind, name), each in ours(observed.readable).items()
        ],
        "owner": {"pid": os.getpid(), "started": record.started(os.getpid())},
        "firewalld": [str(pid), record.started(pid)],
        "lock": str(LOCK),
        "holder": holder(),
        "iptables": str(KEPT),
        "files": as_texts(files),
        "runtime": runtime,
        "others": None,
        "names": firewalld_process.names_of(snapshot_of({**observed.readable, **observed.runtime})),
    }


NO_CONFIRMATION = CommitOptions()
