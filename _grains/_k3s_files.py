"""Files of this host, read so that none of them can hurt: bounded, never waiting, never raising."""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

# Far more than any of these files holds: an installer's unit has a kilobyte.
LONGEST = 256 * 1024
MOST_NAMES = 10_000


def read(path: Path, longest: int = LONGEST) -> bytes | None:
    """Return the content of a regular file; None if there is none, or if it is too long."""
    try:
        # A pipe with no writer must not block the minion's start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with os.fdopen(os.dup(descriptor), "rb") as file:
            content = file.read(longest + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return content if len(content) <= longest else None


def read_text(path: Path, longest: int = LONGEST) -> str:
    """Return the text of a regular file; empty if there is none, or if it is too long."""
    return (read(path, longest) or b"").decode("utf-8", "replace")


def names(folder: Path) -> list[str]:
    """The names in a folder, sorted; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in itertools.islice(entries, MOST_NAMES))
    except (OSError, ValueError):
        return []


def inside(root: Path, path: str) -> Path:
    """The place below the root of what the host calls by this absolute path."""
    return root / path.lstrip("/")
