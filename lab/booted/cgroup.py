"""The cgroup of a booted host: a branch of the machine's tree."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from lab.booted import syscalls
from lab.errors import LabError

_PREFIX = "k3sfw-booted-"


def tree() -> Path:
    """Where the machine's cgroup2 is mounted, which systemd needs."""
    for mount in syscalls.mounts():
        if mount.kind == "cgroup2" and not mount.read_only:
            return mount.point
    raise LabError("No writable cgroup2 is mounted. Fix: mount -t cgroup2 none /sys/fs/cgroup")


def branches() -> list[Path]:
    """The branches of all booted hosts; each name ends with the process id of its keeper."""
    return sorted(tree().glob(f"{_PREFIX}*"))


def make() -> Path:
    """Create the branch of this process."""
    branch = tree() / f"{_PREFIX}{os.getpid()}"
    branch.mkdir()
    return branch


def remove(branch: Path, timeout: float = 10) -> None:
    """Remove a branch whose processes have ended, from its leaves to the top."""
    end = time.monotonic() + timeout
    for folder in _leaves_first(branch):
        while True:
            try:
                folder.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError as error:
                # Processes that have just ended still count for a moment.
                if error.errno != errno.EBUSY or time.monotonic() > end:
                    raise
            time.sleep(0.005)


def sweep() -> None:
    """Remove the branches of keepers that were killed."""
    for branch in branches():
        if not _is_kept(branch):
            # Busy: its processes are still ending. The next sweep removes it.
            with contextlib.suppress(OSError):
                remove(branch, timeout=0)


def _is_kept(branch: Path) -> bool:
    keeper = Path("/proc") / branch.name[len(_PREFIX) :]
    try:
        # Empty for a zombie.
        return b"lab.booted.keeper" in (keeper / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _leaves_first(branch: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(branch, topdown=False):
        yield Path(folder)
