"""Undoes everything if a change fails, or if the process that makes it dies.

It knows nothing about what is changed: all that undoes it is in the record.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from k3sfw_engine.errors import EngineError, Undone
from k3sfw_engine.host.lock import LOCK
from k3sfw_engine.standalone.undo.main import BY_RUN
from k3sfw_engine.standalone.undo.record import Record
from k3sfw_engine.transaction.journal import Journal, begin
from k3sfw_engine.transaction.watchdog import arm, lay_out_program, undo_now


@contextmanager
def checkpoint(record: Record, seconds: float) -> Iterator[Journal]:
    """Undo everything if the block fails, or if the process dies in it.

    seconds
        The time after which the watchdog takes the process for frozen.

    Raises ``Undone`` if the block failed after it had begun a step, and what it raised itself if
    it had not.
    """
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
