"""One run at a time on a host: the lock that schedule, operators and undo share."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.host.defaults import LOCK_SECONDS

LOCK = Path("/run/k3sfw.lock")


@contextmanager
def only_one(path: Path = LOCK, deadline: float = LOCK_SECONDS) -> Iterator[None]:
    """Keep the schedule and several operators from working at the same time.

    deadline
        The seconds within which each run ahead of this one has to end. A queue may have any length,
        as long as it moves.

    Raises ``EngineError`` if another run does not end.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EngineError(
            [
                Problem(
                    f"the lock {path} cannot be opened ({error.strerror})", "run the minion as root"
                )
            ]
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
                            Problem(
                                f"another run of k3sfw has held {path} for more than "
                                f"{deadline:.0f} seconds",
                                f"find the process (fuser {path}), and wait for it or end it",
                            )
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


def is_free_within(deadline: float, path: Path = LOCK) -> bool:
    """Wait until no run holds the lock; return whether that came true in so many seconds."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True  # No run has ever held it since the start of the host.
    try:
        ends_at = time.monotonic() + deadline
        while True:
            with suppress(BlockingIOError):
                # It is given back at once, as the descriptor is closed.
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return True
            if time.monotonic() > ends_at:
                return False
            time.sleep(0.05)
    finally:
        os.close(descriptor)


def holder(path: Path = LOCK) -> str:
    """The signature of the run that holds the lock, or of the last one that was killed with it."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _sign(descriptor: int, text: str) -> None:
    """Tell waiting runs that the lock changed hands."""
    # Without room in /run, waiting runs take all runs ahead for one, and may give up early.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
