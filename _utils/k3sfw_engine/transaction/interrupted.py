"""What earlier runs have left: broken off, undone in the meantime, or waiting for a person."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from k3sfw_engine.errors import EngineError
from k3sfw_engine.host.lock import holder
from k3sfw_engine.standalone.undo.main import BY_NEXT_RUN, TOLD
from k3sfw_engine.transaction.journal import STATE, Entry, moment, unfinished
from k3sfw_engine.transaction.watchdog import lay_out_program, undo_now


def recover() -> Iterator[str]:
    """Undo what was broken off; sentences about what was undone since the last run.

    The caller holds the lock, so whoever began it is gone.

    Raises ``EngineError`` if it cannot be undone, or waits for a person.
    """
    entry = unfinished()
    if entry is not None:
        refuse_waiting(entry)
        undo_entry(entry, BY_NEXT_RUN)
        yield f"the {entry.what} of {entry.at} was broken off; all of it was undone first"
    if sentence := untold():
        yield sentence
        with contextlib.suppress(FileNotFoundError):
            (STATE / TOLD).unlink()


def untold() -> str:
    """The sentence about what was undone and nobody knows yet; else an empty text."""
    told = STATE / TOLD
    return told.read_text().strip() if told.exists() else ""


def is_under_way(entry: Entry) -> bool:
    """Whether the run of this transaction is at work: it holds the lock, and is alive."""
    signature = holder()
    return bool(signature) and entry.record.holder == signature and entry.record.owner.is_alive


def unfinished_now() -> Entry | None:
    """The transaction that has not ended; if its run is gone, it has not just ended it."""
    entry = unfinished()
    return entry if entry is None or is_under_way(entry) else unfinished()


def pending() -> tuple[str, ...]:
    """What the next run will undo first.

    Raises ``EngineError`` if something waits for a person, as the run will.
    """
    entry = unfinished_now()
    if entry is None:
        return ()
    refuse_waiting(entry)
    if is_under_way(entry):
        return (f"the {entry.what} of {entry.at} is under way; this is told from amid it",)
    return (f"the {entry.what} of {entry.at} was broken off and will be undone first",)


def undo_entry(entry: Entry, by: str) -> None:
    """Undo what is not finished. The caller holds the lock.

    Raises ``EngineError`` if it cannot be undone.
    """
    # The program that lies there is of the version that began it, and so reads what that wrote.
    left = undo_now(by)
    # A power cut can leave it empty, and another process can have removed it.
    if left and lay_out_program():
        left = undo_now(by)
    if left:
        raise EngineError(
            [
                f"the {entry.what} of {entry.at} cannot be undone, and nothing else is tried. "
                "Fix: see what keeps firewalld from answering (journalctl -u firewalld), then "
                "apply again",
                *left,
            ]
        )


def refuse_waiting(entry: Entry) -> None:
    """Raises ``EngineError`` if the transaction waits for a person."""
    if entry.waits:
        raise EngineError([_sentence(entry)])


def waiting_notice() -> tuple[str, ...]:
    """The sentence about what waits for a person, if anything does."""
    entry = unfinished()
    return () if entry is None else (_sentence(entry),)


def _sentence(entry: Entry) -> str:
    return (
        f"the {entry.what} of {entry.at} is undone at {moment(entry.confirm_by)} unless it is "
        "confirmed. Fix: k3sfw.confirm keeps it, k3sfw.rollback undoes it now"
    )
