"""The record of a transaction on disk, and its journal of steps."""

import contextlib
import json
import os
import time
from typing import Any, Dict, Iterator, Mapping, Optional

from .files import sync

ANY = "any"
BY_RUN, BY_NEXT_RUN, BY_ROLLBACK = "run", "next run", "rollback"
BY_WATCHDOG, BY_BOOT = "watchdog", "boot"

# The files of a transaction, in its folder.
BEFORE, JOURNAL, CONFIRM_BY = "before.json", "journal", "confirm-by"

# What the next run is to tell, in the state folder.
TOLD = "told"
# The steps in the journal from which on something of the kind may have been touched.
RELOAD, RUNTIME, ENDED = "reload", "runtime", "ended"
KEPT, UNDONE = "kept", "undone"
Before = Mapping[str, Any]


def read_before(folder: str, wanted: str) -> Optional[Before]:
    try:
        with open(os.path.join(folder, BEFORE)) as file:
            before: Before = json.load(file)
    except FileNotFoundError:
        return None
    return before if wanted in (ANY, before["id"]) else None


def until(seconds: float) -> str:
    """The moment in so many seconds, by a clock that nobody sets; it ends with a reboot."""
    return "{} {}".format(time.monotonic() + seconds, _boot())


def waits_for_confirmation(folder: str) -> bool:
    """Whether a person may still confirm the transaction."""
    try:
        with open(os.path.join(folder, CONFIRM_BY)) as file:
            moment, boot = file.read().split()
            return boot == _boot() and time.monotonic() < float(moment)
    except (FileNotFoundError, ValueError):
        return False


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def started(pid: int) -> str:
    """When the process started, in the kernel's ticks; empty if there is none."""
    try:
        with open("/proc/{}/stat".format(pid)) as file:
            return file.read().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def note(folder: str, line: Mapping[str, Any]) -> None:
    """Add a line to the journal, and have it on the disk."""
    with open(os.path.join(folder, JOURNAL), "a+b") as file:
        begun = file.tell() > 0
        if begun:
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # The last line was cut short.
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if not begun:
        sync(folder)


def archive(state: str, folder: str, name: str) -> None:
    """Make a transaction that has ended a part of the history: from then on nobody undoes it."""
    history = os.path.join(state, "history")
    os.makedirs(history, mode=0o700, exist_ok=True)
    os.rename(folder, os.path.join(history, name))


def lines(folder: str) -> Iterator[Dict[str, Any]]:
    """The steps in the journal. What a kill or a full disk cut short had not begun."""
    try:
        with open(os.path.join(folder, JOURNAL), errors="replace") as file:
            for text in file:
                with contextlib.suppress(ValueError):
                    line = json.loads(text) if text.endswith("\n") else None
                    if isinstance(line, dict) and "step" in line:
                        yield line
    except FileNotFoundError:
        return


def was_kept(folder: str) -> bool:
    """Whether the transaction has ended well, whatever became of its run then."""
    ends = [line.get("as") for line in lines(folder) if line["step"] == ENDED]
    return ends[-1:] == [KEPT]
