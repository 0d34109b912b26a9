"""The state folder: the transaction under way, with all that undoes it, and those that ended.

A transaction is a folder. It appears whole, before the first step; each step is noted before it is
taken; and in the end it is moved into the history, from which nobody undoes it by himself.
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

STATE = Path("/var/lib/k3sfw")
TRANSACTION = STATE / "transaction"
_HISTORY = STATE / "history"
_MOMENT = "%Y%m%dT%H%M%S.%f"
_FILES, _RUNTIME = "files.json", "runtime.json"

# A step that the undo program need not know: it puts the files back in any case.
PERMANENT = "permanent"
KEPT = step_log.KEPT

# As many as an operator looks through; those of ten thousand nodes take a megabyte each.
_KEPT_LAST = 20


@dataclass
class Journal:
    """A transaction under way."""

    name: str
    _steps: list[str] = field(default_factory=list)

    @property
    def touched(self) -> bool:
        """Whether anything has begun that is in force, or will be."""
        return bool({step_log.RELOAD, step_log.RUNTIME, PERMANENT}.intersection(self._steps))

    @property
    def has_ended(self) -> bool:
        """Whether nobody has anything to undo any more."""
        return not (TRANSACTION / RECORD).exists()

    def note(self, step: str, **more: Any) -> None:
        """Say that a step is about to begin."""
        with writing():
            step_log.note(str(TRANSACTION), {"step": step, "at": time.time(), **more})
        self._steps.append(step)

    def confirm_by(self, seconds: float, files: Contents, runtime: Snapshot) -> None:
        """Have it wait for a person, and be undone if none confirms it within these seconds.

        files
            What will be permanent then.
        runtime
            Our objects that are in force until then.
        """
        with writing():
            (TRANSACTION / _FILES).write_text(json.dumps(as_texts(files)))
            (TRANSACTION / _RUNTIME).write_text(json.dumps(runtime))
            (TRANSACTION / confirm_deadline.CONFIRM_BY).write_text(confirm_deadline.until(seconds))
        self.note(confirm_deadline.CONFIRM_BY, by=time.time() + seconds)

    def keep(self) -> None:
        """End it: what was changed stays."""
        self.note(step_log.ENDED, **{"as": KEPT})
        # Where it cannot be moved now, the watchdog or the next transaction moves it.
        with suppress(OSError):
            step_log.archive(str(STATE), str(TRANSACTION), self.name)

    def forget(self) -> None:
        """Let there be no trace of it, as nothing was touched."""
        for folder in (TRANSACTION, _HISTORY / self.name):
            shutil.rmtree(folder, ignore_errors=True)


def begin(record: Record) -> Journal:
    """Begin a transaction; ``record`` is all that is needed to undo it.

    Raises ``EngineError`` if it cannot be written down: then nothing may be changed.
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
        # The steps lie on another disk: none of them may outlive a power cut that this does not.
        sync(str(STATE))
    return Journal(name)


def _next_name() -> str:
    """A name that sorts behind all others: the order of the history outlives a clock set back."""
    now = datetime.now(timezone.utc)
    for folder in _folders()[-1:]:
        with suppress(ValueError):
            last = datetime.strptime(folder.name.partition("-")[0], f"{_MOMENT}%z")
            now = max(now, last + timedelta(microseconds=1))
    return f"{now:{_MOMENT}}Z-{os.getpid()}"


def _put_away() -> None:
    """Make room for a transaction, where the last has ended and a kill has left its folder."""
    last = _entry(TRANSACTION)
    if last is None:
        shutil.rmtree(TRANSACTION, ignore_errors=True)
    elif last.ended == KEPT:
        step_log.archive(str(STATE), str(TRANSACTION), last.name)


def make_state_folder() -> None:
    """Have the folder, for root alone: programs that run as root lie in it."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    if STATE.stat().st_mode & 0o777 != 0o700:  # Where nothing can be written, all may be well.
        STATE.chmod(0o700)


@dataclass(frozen=True)
class Entry:
    """A transaction as it was written down.

    ended
        ``kept`` or ``undone``; empty while it is under way.
    by
        Who undid it.
    confirm_by
        The time until which a person can confirm it, as the wall clock was to show it.
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
        """Whether a person may still confirm it."""
        return not self.ended and confirm_deadline.waits_for_confirmation(str(TRANSACTION))

    @property
    def files(self) -> Contents:
        """What will be permanent if it is confirmed."""
        return of_texts(json.loads((TRANSACTION / _FILES).read_bytes()))

    @property
    def runtime(self) -> Snapshot:
        """What was in force when it began to wait."""
        found: Snapshot = json.loads((TRANSACTION / _RUNTIME).read_bytes())
        return found


def unfinished() -> Entry | None:
    """The transaction that has not ended, if there is one: after a kill, or it waits for a person.

    Raises ``EngineError`` if what was written cannot be read.
    """
    entry = _entry(TRANSACTION)
    return None if entry is None or entry.ended == KEPT else entry


def past() -> list[Entry]:
    """All that have ended and are kept, the newest first.

    Raises ``EngineError`` if what was written cannot be read.
    """
    last = _entry(TRANSACTION)
    found = [_entry(folder) for folder in reversed(_folders())]
    return [
        entry
        for entry in [last if last and last.ended == KEPT else None, *found]
        if entry is not None
    ]


def as_texts(files: Contents) -> dict[str, str | None]:
    """What files hold, for JSON."""
    return {
        str(path): None if content is None else content.decode("latin-1")
        for path, content in files.items()
    }


def of_texts(texts: Mapping[str, str | None]) -> Contents:
    """What files hold, from JSON."""
    return {
        Path(path): None if text is None else text.encode("latin-1") for path, text in texts.items()
    }


def moment(at: float) -> str:
    """A time as people read it."""
    return f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _entry(folder: Path) -> Entry | None:
    try:
        record = read_record(str(folder))
        lines = list(step_log.lines(str(folder)))
    except (OSError, BadRecord) as error:
        raise EngineError(
            [
                f"what k3sfw wrote down in {folder} cannot be read ({error}). Fix: look at the "
                f"node's firewall (k3sfw.status), then remove {folder}"
            ]
        ) from error
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
    for folder in _folders()[: 1 - _KEPT_LAST]:
        shutil.rmtree(folder)


@contextmanager
def writing() -> Iterator[None]:
    """What the disk refuses in the block becomes an ``EngineError``."""
    try:
        yield
    except OSError as error:
        raise EngineError(
            [
                f"{STATE} cannot be written ({error.strerror}: {error.filename}), and nothing is "
                "changed that could not be undone after a crash. Fix: make room, or the folder "
                "writable, then apply again"
            ]
        ) from error
