"""The calls of the kernel that Python 3.9 has no functions for, and the table of mounts."""

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
    """What is mounted for this process; what is later in the list covers what is earlier."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        here, _, source = line.partition(" - ")
        words = here.split()
        read_only = "ro" in words[5].split(",")
        found.append(Mount(words[2], Path(words[4]), read_only, source.split()[0]))
    return found


def mount(source: str, target: str | Path, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system; without a kind, change or repeat what is mounted."""
    result = _libc.mount(
        source.encode(),
        str(target).encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _check(result, f"mount {kind or source} on {target}")


def unshare(flags: int) -> None:
    """Begin new namespaces."""
    _check(_libc.unshare(flags), "unshare")


def enter(namespace: int, kind: int) -> None:
    """Go into the namespace of a descriptor."""
    _check(_libc.setns(namespace, kind), "setns")


def change_root(new: Path) -> None:
    """Make a mount the root, and let go of the old root with all that is mounted there."""
    os.chdir(new)
    _check(_libc.pivot_root(b".", b"."), f"pivot_root to {new}")
    # The old root now lies over the new one.
    _check(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def die_with_parent(signal: int) -> None:
    """Have this process signalled when its parent ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl")


def give_up_capability(number: int) -> None:
    """Give a capability up for good, also for what is executed later."""
    _check(_libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "prctl")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
