"""Ask the kernel which process holds a lock file.

A process id on disk can be stale, or belong to another process by now. The holder of a lock is
alive by definition, and the kernel gives its id as the asking process sees it, even if the holder
is in another pid namespace.
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
    """The id of the process that holds the lock, or None."""
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
            # The last holder removed the file, so this lock protects nothing.
            raise BlockingIOError
        yield
    finally:
        os.close(descriptor)
