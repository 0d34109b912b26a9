"""A booted host's own branch of the machine's tree of cgroups."""

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
    """Where the machine has its cgroups of version 2, which systemd wants."""
    for mount in syscalls.mounts():
        if mount.kind == "cgroup2" and not mount.read_only:
            return mount.point
    raise LabError("No writable cgroup2 is mounted. Fix: mount -t cgroup2 none /sys/fs/cgroup")


def branches() -> list[Path]:
    """The branches of all booted hosts; a name ends with the id of the host's keeper."""
    return sorted(tree().glob(f"{_PREFIX}*"))


def make() -> Path:
    """A branch of this process's."""
    branch = tree() / f"{_PREFIX}{os.getpid()}"
    branch.mkdir()
    return branch


def remove(branch: Path, timeout: float = 10) -> None:
    """Remove a branch whose processes have ended; there is no call that does it at once."""
    end = time.monotonic() + timeout
    for folder in _leaves_first(branch):
        while True:
            try:
                folder.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError as error:
                # What has ended is counted for a moment yet.
                if error.errno != errno.EBUSY or time.monotonic() > end:
                    raise
            time.sleep(0.005)


def sweep() -> None:
    """Remove the branches whose keepers were killed before they could do it."""
    for branch in branches():
        if not _is_kept(branch):
            # Busy: what was in it is just about to end, and the next sweep comes.
            with contextlib.suppress(OSError):
                remove(branch, timeout=0)


def _is_kept(branch: Path) -> bool:
    keeper = Path("/proc") / branch.name[len(_PREFIX) :]
    try:
        # Of a process that has ended and waits for its parent this is empty.
        return b"lab.booted.keeper" in (keeper / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _leaves_first(branch: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(branch, topdown=False):
        yield Path(folder)
