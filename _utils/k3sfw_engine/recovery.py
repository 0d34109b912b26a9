"""What earlier runs have left: broken off, undone in the meantime, or waiting for a person."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

from . import healing, undo
from .bus import Bus
from .errors import EngineError, FirewalldUnavailable
from .exclusive import holder, only_one
from .healing import Health
from .journal import STATE, Entry, moment, unfinished
from .outcome import Outcome
from .watchdog import lay_out_program, undo_now


def recover() -> Iterator[str]:
    """Undo what was broken off; sentences about what was undone since the last run.

    The caller holds the lock, so whoever began it is gone.

    Raises ``EngineError`` if it cannot be undone, or waits for a person.
    """
    entry = unfinished()
    if entry is not None:
        refuse_waiting(entry)
        undo_entry(entry, undo.BY_NEXT_RUN)
        yield f"the {entry.what} of {entry.at} was broken off; all of it was undone first"
    if sentence := untold():
        yield sentence
        with contextlib.suppress(FileNotFoundError):
            (STATE / undo.TOLD).unlink()


def untold() -> str:
    """The sentence about what was undone and nobody knows yet; else an empty text."""
    told = STATE / undo.TOLD
    return told.read_text().strip() if told.exists() else ""


def is_under_way(entry: Entry) -> bool:
    """Whether the run of this transaction is at work: it holds the lock, and is alive."""
    owner, signature = entry.before["owner"], holder()
    is_alive: bool = undo.started(owner["pid"]) == owner["started"]
    return bool(signature) and entry.before["holder"] == signature and is_alive


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


def mend(*, test: bool) -> Health:
    """Mend what is ours of what somebody's death left. The caller holds the lock.

    Raises ``EngineError`` if firewalld cannot be used all the same.
    """
    with Bus() as bus:
        health = healing.heal(bus, test=test)
    if health.refusal:
        raise EngineError([*health.refusal.sentences, *health.mended]) from health.refusal
    return health


def heal(*, test: bool = False) -> Outcome:
    """Undo what was broken off, and mend what somebody's death or a full disk left of the firewall.

    It needs no tables, and no firewalld that can be used.

    Raises ``EngineError`` if something of ours could not be undone or mended.
    """
    with nullcontext() if test else only_one():
        entry = unfinished()
        told: tuple[str, ...] = ()
        if entry is None or not entry.waits:
            told = pending() if test else tuple(recover())
        with _bus_if_there() as bus:
            health = healing.heal(bus, test=test, files=True)
    return Outcome(health.changes, health.reloads, (*told, *health.notices), health.mended)


def _bus_if_there() -> AbstractContextManager[Bus | None]:
    try:
        return Bus()
    except FirewalldUnavailable:
        return nullcontext()


def undo_entry(entry: Entry, by: str) -> None:
    """Undo what is not finished. The caller holds the lock.

    Raises ``EngineError`` if it cannot be undone.
    """
    # A power cut can leave the copy empty, and somebody can have taken it away.
    lay_out_program()
    if left := undo_now(by):
        raise EngineError(
            [
                f"the {entry.what} of {entry.at} cannot be undone, and nothing else is tried. "
                "Mend: see what keeps firewalld from answering (journalctl -u firewalld), then "
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
        "confirmed. Mend: k3sfw.confirm keeps it, k3sfw.rollback undoes it now"
    )
