"""Write the file that node_exporter's textfile collector reads, as a whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

METRICS_FILE = "k3sfw.prom"


def write_metrics_file(folder: Path, text: str) -> Path:
    """Replace the file in this folder, which must exist; return its path.

    Raises ``OSError``; then the file is as it was before.
    """
    _remove_unfinished(folder)
    # In the same folder: a rename from another disk is not atomic. The collector reads only names
    # that end in .prom.
    waiting = folder / f".{METRICS_FILE}.{os.getpid()}"
    try:
        # Another user may own the folder: never follow a link that waits under this name.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(waiting, flags, 0o600), "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
            # Whatever the umask is; and not before the file is whole.
            os.fchmod(file.fileno(), 0o644)
        os.replace(waiting, folder / METRICS_FILE)
    finally:
        waiting.unlink(missing_ok=True)
    return folder / METRICS_FILE


def remove_metrics_file(folder: Path) -> bool:
    """Remove the file, and what a killed run left beside it; return whether there was a file."""
    _remove_unfinished(folder)
    try:
        (folder / METRICS_FILE).unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _remove_unfinished(folder: Path) -> None:
    # One run writes at a time, so any that is there was left by a killed one.
    for left in folder.glob(f".{METRICS_FILE}.*"):
        with suppress(FileNotFoundError):
            left.unlink()
