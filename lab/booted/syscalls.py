"""System calls that Python 3.9 lacks, and the table of mounts."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWCGROUP = 0x02000000

MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Mount:
    """One line of the kernel's table of mounts."""

    device: str
    point: Path
    read_only: bool
    kind: str


def mounts() -> list[Mount]:
    """Read what is mounted for this process; later mounts cover earlier ones."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        here, _, source = line.partition(" - ")
        words = here.split()
        read_only = "ro" in words[5].split(",")
        found.append(Mount(words[2], Path(words[4]), read_only, source.split()[0]))
    return found


def mount(source: str, target: str | Path, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system; without a kind, change or bind an existing mount."""
    result = _libc.mount(
        source.encode(),
        str(target).encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _check(result, f"mount {kind or source} on {target}")


def unshare(flags: int) -> None:
    """Create new namespaces for this process."""
    _check(_libc.unshare(flags), "unshare")


def enter(namespace: int, kind: int) -> None:
    """Enter the namespace of a file descriptor."""
    _check(_libc.setns(namespace, kind), "setns")


def change_root(new: Path) -> None:
    """Make a mount the root, and unmount the old root with everything in it."""
    os.chdir(new)
    _check(_libc.pivot_root(b".", b"."), f"pivot_root to {new}")
    # The old root is now mounted over the new one.
    _check(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def die_with_parent(signal: int) -> None:
    """Ask the kernel to signal this process when its parent ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl")


def give_up_capability(number: int) -> None:
    """Give up a capability for good, also for programs that are executed later."""
    _check(_libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "prctl")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
