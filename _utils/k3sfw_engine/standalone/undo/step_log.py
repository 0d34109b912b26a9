"""The steps of a transaction: a line on disk before each begins, and how the transaction ended."""

import contextlib
import json
import os
from typing import Any, Dict, Iterator, Mapping

from .files import sync

# The file, in the folder of its transaction.
STEPS = "journal"
# The steps from which on something of the kind may have been touched.
RELOAD, RUNTIME, ENDED = "reload", "runtime", "ended"
# How it ended.
KEPT, UNDONE = "kept", "undone"


def note(folder: str, line: Mapping[str, Any], wait: bool = True) -> None:
    """Add a line; wait until it is on disk with all before it, unless a kill is all to fear."""
    with open(os.path.join(folder, STEPS), "a+b") as file:
        begun = file.tell() > 0
        if begun:
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # A kill or a full disk cut the last line short.
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        if wait:
            os.fsync(file.fileno())
    if wait:
        sync(folder)


def lines(folder: str) -> Iterator[Dict[str, Any]]:
    """The lines. A step whose line was cut short had not begun."""
    try:
        with open(os.path.join(folder, STEPS), errors="replace") as file:
            for text in file:
                with contextlib.suppress(ValueError):
                    line = json.loads(text) if text.endswith("\n") else None
                    if isinstance(line, dict) and "step" in line:
                        yield line
    except FileNotFoundError:
        return


def was_kept(folder: str) -> bool:
    """Whether the transaction ended well, whatever happened to its run afterwards."""
    ends = [line.get("as") for line in lines(folder) if line["step"] == ENDED]
    return ends[-1:] == [KEPT]


def archive(state: str, folder: str, name: str) -> None:
    """Move a transaction that has ended into the history: from then on nothing undoes it."""
    history = os.path.join(state, "history")
    os.makedirs(history, mode=0o700, exist_ok=True)
    os.rename(folder, os.path.join(history, name))
