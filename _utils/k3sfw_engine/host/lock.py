"""One run at a time on a host: the lock of schedule, operators and undo."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from k3sfw_engine.errors import EngineError

LOCK = Path("/run/k3sfw.lock")
_DEADLINE = 60.0


@contextmanager
def only_one(path: Path = LOCK, deadline: float = _DEADLINE) -> Iterator[None]:
    """Keep the schedule, an operator and a second operator from working at the same time.

    deadline
        The seconds within which each run that comes before this one has to end. A queue may be as
        long as it likes, as long as it moves.

    Raises ``EngineError`` if another run does not end.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EngineError(
            [f"the lock {path} cannot be opened ({error.strerror}). Fix: run the minion as root"]
        ) from error
    try:
        holder, ends_at = b"", time.monotonic() + deadline
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if holder != (holder := os.pread(descriptor, 100, 0)):
                    ends_at = time.monotonic() + deadline
                if time.monotonic() > ends_at:
                    raise EngineError(
                        [
                            f"another run of k3sfw holds {path} for more than "
                            f"{deadline:.0f} seconds. Fix: see which process has it open "
                            f"(fuser {path}), wait for it or end it"
                        ]
                    ) from error
                time.sleep(0.05)
        _sign(descriptor, f"{os.getpid()} {time.monotonic_ns()}\n")
        try:
            yield
        finally:
            _sign(descriptor, "")
    finally:
        os.close(descriptor)


def holder(path: Path = LOCK) -> str:
    """What the run that holds the lock has signed it with, or the last that was killed with it."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _sign(descriptor: int, text: str) -> None:
    """Have those that wait see that it is another run's turn."""
    # Without room in /run they take all runs before them for one, and may give up early.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
