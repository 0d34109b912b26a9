"""The state folder: the transaction under way, with all that undoes it, and the history.

A transaction is a folder. It appears whole, before the first step; each step is noted before it is
taken; and in the end the folder moves into the history, from which nothing undoes it unasked.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld.permanent import Contents
from k3sfw_engine.model.difference import Differences, read_changes
from k3sfw_engine.standalone.undo import confirm_deadline, step_log
from k3sfw_engine.standalone.undo.files import sync
from k3sfw_engine.standalone.undo.record import (
    RECORD,
    BadRecord,
    Record,
    read_record,
    write_record,
)
from k3sfw_engine.standalone.undo.restore_runtime import Snapshot
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.defaults import HISTORY

STATE = Path("/var/lib/k3sfw")
TRANSACTION = STATE / "transaction"
_HISTORY = STATE / "history"
_MOMENT = "%Y%m%dT%H%M%S.%f"
_FILES, _RUNTIME, _TABLES = "files.json", "runtime.json", "tables.json"

# A step that the undo program need not know: it always puts the files back.
PERMANENT = "permanent"
KEPT = step_log.KEPT


@dataclass
class Journal:
    """A transaction under way."""

    name: str
    _steps: list[str] = field(default_factory=list)
    _is_on_disk: bool = False

    @property
    def touched(self) -> bool:
        """Whether a step has begun that changes what is in force, or will be."""
        return bool({step_log.RELOAD, step_log.RUNTIME, PERMANENT}.intersection(self._steps))

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to undo."""
        return not (TRANSACTION / RECORD).exists()

    def note(self, step: str, **more: Any) -> None:
        """Note that a step is about to begin: on disk, if it changes what outlives a power cut."""
        line = {"step": step, "at": time.time(), **more}
        # A power cut ends what is in force at runtime, and a kill leaves what was written.
        wait = step != step_log.RUNTIME
        with writing():
            if wait and not self._is_on_disk:
                # The files may lie on another disk: none may survive a power cut that the record of
                # the transaction does not.
                sync(str(STATE))
                self._is_on_disk = True
            step_log.note(str(TRANSACTION), line, wait)
        self._steps.append(step)

    def confirm_by(self, seconds: float, files: Contents, runtime: Snapshot, tables: str) -> None:
        """Wait for confirmation; the watchdog undoes the change after this many seconds.

        files
            What a confirmation makes permanent.
        runtime
            Our objects that are in force until then.
        tables
            The tables that a confirmation keeps as proven.
        """
        with writing():
            (TRANSACTION / _FILES).write_text(json.dumps(as_texts(files)))
            (TRANSACTION / _RUNTIME).write_text(json.dumps(runtime))
            (TRANSACTION / _TABLES).write_text(tables)
            (TRANSACTION / confirm_deadline.CONFIRM_BY).write_text(confirm_deadline.until(seconds))
        self.note(confirm_deadline.CONFIRM_BY, by=time.time() + seconds)

    def keep(self) -> None:
        """End the transaction: what was changed stays."""
        self.note(step_log.ENDED, **{"as": KEPT})
        # If it cannot be moved now, the watchdog or the next transaction moves it.
        with suppress(OSError):
            step_log.archive(str(STATE), str(TRANSACTION), self.name)

    def forget(self) -> None:
        """Discard the transaction; nothing was changed."""
        for folder in (TRANSACTION, _HISTORY / self.name):
            shutil.rmtree(folder, ignore_errors=True)


def begin(record: Record) -> Journal:
    """Begin a transaction: give its record a name, and write it.

    It is whole on disk or not there; the first step that outlives a power cut waits for it.

    Raises ``EngineError`` if it cannot be written; then nothing may be changed.
    """
    waiting = STATE / "transaction.new"
    with writing():
        make_state_folder()
        _put_away()
        _prune()
        name = _next_name()
        shutil.rmtree(waiting, ignore_errors=True)
        waiting.mkdir(mode=0o700)
        write_record(str(waiting), record._replace(id=name, at=time.time()))
        waiting.rename(TRANSACTION)
    return Journal(name)


def _next_name() -> str:
    """A name that sorts last, even if the clock was set back."""
    now = datetime.now(timezone.utc)
    for folder in _folders()[-1:]:
        # Read only if need be: strptime imports half a dozen modules.
        if folder.name >= f"{now:{_MOMENT}}":
            with suppress(ValueError):
                last = datetime.strptime(folder.name.partition("-")[0], f"{_MOMENT}%z")
                now = max(now, last + timedelta(microseconds=1))
    return f"{now:{_MOMENT}}Z-{os.getpid()}"


def _put_away() -> None:
    """Make room for a transaction, if a kill left the folder of one that has ended."""
    last = _entry(TRANSACTION)
    if last is None:
        shutil.rmtree(TRANSACTION, ignore_errors=True)
    elif last.ended == KEPT:
        step_log.archive(str(STATE), str(TRANSACTION), last.name)


def make_state_folder() -> None:
    """Create the folder, for root alone: it contains programs that run as root."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    if STATE.stat().st_mode & 0o777 != 0o700:  # A read-only disk may be right as it is.
        STATE.chmod(0o700)


@dataclass(frozen=True)
class Entry:
    """A transaction as it is on disk.

    ended
        ``kept`` or ``undone``; empty while it is under way.
    by
        What undid it.
    confirm_by
        Until when it can be confirmed, by the wall clock as it was when the wait began.
    """

    record: Record
    ended: str = ""
    by: str = ""
    confirm_by: float = 0.0

    @property
    def name(self) -> str:
        """The name in the history."""
        return self.record.id

    @property
    def what(self) -> str:
        """The command that made it."""
        return self.record.what

    @property
    def at(self) -> str:
        """When it began."""
        return moment(self.record.at)

    @property
    def differences(self) -> Differences:
        """What it changed, or was to change."""
        return read_changes(self.record.changes)

    @property
    def waits(self) -> bool:
        """Whether it may still be confirmed."""
        return not self.ended and confirm_deadline.waits_for_confirmation(str(TRANSACTION))

    @property
    def files(self) -> Contents:
        """What a confirmation makes permanent."""
        return of_texts(json.loads((TRANSACTION / _FILES).read_bytes()))

    @property
    def runtime(self) -> Snapshot:
        """What was in force when it began to wait."""
        found: Snapshot = json.loads((TRANSACTION / _RUNTIME).read_bytes())
        return found

    @property
    def tables(self) -> str:
        """The tables that a confirmation keeps; none if another version began to wait."""
        try:
            return (TRANSACTION / _TABLES).read_text()
        except OSError:
            return ""


def unfinished() -> Entry | None:
    """The transaction that has not ended, or None: it was interrupted, or waits for confirmation.

    Raises ``EngineError`` if its record cannot be read.
    """
    entry = _entry(TRANSACTION)
    return None if entry is None or entry.ended == KEPT else entry


def past() -> list[Entry]:
    """The history, the newest first.

    Raises ``EngineError`` if a record cannot be read.
    """
    last = _entry(TRANSACTION)
    found = [_entry(folder) for folder in reversed(_folders())]
    return [
        entry
        for entry in [last if last and last.ended == KEPT else None, *found]
        if entry is not None
    ]


def as_texts(files: Contents) -> dict[str, str | None]:
    """The contents of files, for JSON."""
    return {
        str(path): None if content is None else content.decode("latin-1")
        for path, content in files.items()
    }


def of_texts(texts: Mapping[str, str | None]) -> Contents:
    """The contents of files, from JSON."""
    return {
        Path(path): None if text is None else text.encode("latin-1") for path, text in texts.items()
    }


def moment(at: float) -> str:
    """A time as an operator reads it."""
    return f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _entry(folder: Path) -> Entry | None:
    try:
        record = read_record(str(folder))
        lines = list(step_log.lines(str(folder)))
    except (OSError, BadRecord) as error:
        raise EngineError([messages.record_unreadable(folder, error)]) from error
    if record is None:
        return None
    ends = [line for line in lines if line["step"] == step_log.ENDED and "as" in line]
    waits = [line for line in lines if line["step"] == confirm_deadline.CONFIRM_BY]
    return Entry(
        record,
        ended=ends[-1]["as"] if ends else "",
        by=ends[-1].get("by", "") if ends else "",
        confirm_by=waits[-1]["by"] if waits and not ends else 0.0,
    )


def _folders() -> list[Path]:
    return sorted(path for path in _HISTORY.iterdir() if path.is_dir()) if _HISTORY.exists() else []


def _prune() -> None:
    for folder in _folders()[: 1 - HISTORY]:
        shutil.rmtree(folder)


@contextmanager
def writing() -> Iterator[None]:
    """Turn what the disk refuses in the block into an ``EngineError``."""
    try:
        yield
    except OSError as error:
        raise EngineError([messages.state_folder_unwritable(STATE, error)]) from error
