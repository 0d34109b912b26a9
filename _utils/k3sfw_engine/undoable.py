"""A change that can be undone by others: all that it takes is on the disk before the first step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from . import __version__, undo
from .bus import Bus
from .difference import Observed, ours
from .errors import EngineError, Undone
from .exclusive import LOCK, holder
from .firewalld import snapshot_of
from .iptables import KEPT
from .journal import Journal, as_texts, begin
from .permanent import Contents
from .proof import Proof
from .restoring import Snapshot
from .watchdog import arm, lay_out_program, undo_now


@dataclass(frozen=True)
class Terms:
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
def undoable(before: Mapping[str, Any], seconds: float) -> Iterator[Journal]:
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
        left = undo_now(undo.BY_RUN)
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


def written_down(
    bus: Bus,
    terms: Terms,
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
        "owner": {"pid": os.getpid(), "started": undo.started(os.getpid())},
        "firewalld": [str(pid), undo.started(pid)],
        "lock": str(LOCK),
        "holder": holder(),
        "iptables": str(KEPT),
        "files": as_texts(files),
        "runtime": runtime,
        "others": None,
        "names": undo.names_of(snapshot_of({**observed.readable, **observed.runtime})),
    }
