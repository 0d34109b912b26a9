"""Who holds a lock file, asked of the kernel.

A process id written to disk can be stale, or meanwhile belong to another process. The
holder of a lock is alive by definition, and the kernel names it in the asker's terms
even when it lives in another pid namespace.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

# struct flock of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = "hhqqi4x"


def holder(lock: Path) -> int | None:
    """The id of the process that holds the lock, or none."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, question)
    finally:
        os.close(descriptor)
    kind, _, _, _, pid = struct.unpack(_FLOCK, answer)
    return None if kind == fcntl.F_UNLCK else int(pid)


@contextlib.contextmanager
def held(lock: Path) -> Iterator[None]:
    """Hold the lock for the block; ``BlockingIOError`` if another process has it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(descriptor).st_nlink:
            # The one who had it removed the file meanwhile: this lock binds nobody.
            raise BlockingIOError
        yield
    finally:
        os.close(descriptor)
