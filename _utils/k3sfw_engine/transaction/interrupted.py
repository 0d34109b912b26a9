"""What earlier runs left unfinished: a change to undo, one that waits, or a message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.host.lock import holder
from k3sfw_engine.standalone.undo.main import BY_NEXT_RUN, TOLD
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.journal import STATE, Entry, moment, unfinished
from k3sfw_engine.transaction.watchdog import lay_out_program, undo_now


def recover() -> Iterator[str]:
    """Undo an interrupted change; return notices about what was undone since the last run.

    The caller holds the lock, so the run that began it is dead.

    Raises ``EngineError`` if it cannot be undone, or if it waits for confirmation.
    """
    entry = unfinished()
    if entry is not None:
        refuse_waiting(entry)
        undo_entry(entry, BY_NEXT_RUN)
        yield messages.undone_first(entry.what, entry.at)
    if sentence := untold():
        yield sentence
        with contextlib.suppress(FileNotFoundError):
            (STATE / TOLD).unlink()


def untold() -> str:
    """The message about an undo that no run has reported yet; otherwise an empty text."""
    told = STATE / TOLD
    return told.read_text().strip() if told.exists() else ""


def is_under_way(entry: Entry) -> bool:
    """Whether the run of this transaction is still at work: it holds the lock, and is alive."""
    signature = holder()
    return bool(signature) and entry.record.holder == signature and entry.record.owner.is_alive


def unfinished_now() -> Entry | None:
    """The transaction that has not ended, or None. If its run is gone, it has not just ended it."""
    entry = unfinished()
    return entry if entry is None or is_under_way(entry) else unfinished()


def pending() -> tuple[str, ...]:
    """Notices about what the next run will undo first.

    Raises ``EngineError`` if a change waits for confirmation, as the run will.
    """
    entry = unfinished_now()
    if entry is None:
        return ()
    refuse_waiting(entry)
    if is_under_way(entry):
        return (messages.still_running(entry.what, entry.at),)
    return (messages.will_be_undone_first(entry.what, entry.at),)


def undo_entry(entry: Entry, by: str) -> None:
    """Undo what is not finished. The caller holds the lock.

    Raises ``EngineError`` if it cannot be undone.
    """
    # The program that is there is of the version that began it, so it can read the record.
    left = undo_now(by)
    # A power cut can leave it empty, and another process can have removed it.
    if left and lay_out_program():
        left = undo_now(by)
    if left:
        raise EngineError([messages.cannot_be_undone(entry.what, entry.at), *left])


def refuse_waiting(entry: Entry) -> None:
    """Raise ``EngineError`` if the transaction waits for confirmation."""
    if entry.waits:
        raise EngineError([_waiting(entry)])


def waiting_notice() -> tuple[str, ...]:
    """The notice about the change that waits for confirmation, if there is one."""
    entry = unfinished()
    return () if entry is None else (str(_waiting(entry)),)


def _waiting(entry: Entry) -> Problem:
    return messages.waits_for_confirmation(entry.what, entry.at, moment(entry.confirm_by))
