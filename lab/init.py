"""Pid 1 of a host: create the namespaces, reap orphans, and do nothing else.

Started as a script with the host's lock file, its name, and (except for the switch) its folder and
the checkout. It imports nothing of the lab, so that it starts at once. It knows nothing of networks
or daemons; these are added from outside.

The kernel ends all processes of a pid namespace with its pid 1, and the other namespaces with
their last process. So killing this process takes the host down.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_SLAVE = 1 << 19

# Folders of which each host has a copy of its own to change. /usr is among them so that a test can
# remove a program from one host. The rest of the machine's files is shared with it.
OVERLAID = ("etc", "usr", "var")

READY = b"ready\n"
KEEP = b"k"

_libc = ctypes.CDLL(None, use_errno=True)


def main(argv: list[str]) -> None:
    """Become pid 1 of a new host, report it on stdout, and stay until told otherwise."""
    lock, name, *rest = argv
    try:
        _check(_libc.unshare(_namespaces(with_files=bool(rest))), "unshare")
        if os.fork():
            # A new pid namespace starts with the next child; this process never enters it.
            os._exit(0)
        # Without this, zombies would stay: nothing else in here reaps orphans.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _hold(Path(lock))
        socket.sethostname(name)
        if rest:
            _mount_files(Path(rest[0]), Path(rest[1]))
        os.write(1, READY)
    except OSError as error:
        # The reader may have ended.
        with contextlib.suppress(OSError):
            os.write(1, f"{error}\n".encode())
        os._exit(1)
    _detach_from_terminal()
    _stay()


def _namespaces(with_files: bool) -> int:
    flags = CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC
    return flags | CLONE_NEWNS if with_files else flags


def _hold(lock: Path) -> None:
    """Lock the file for the life of this process; ``lab.lock`` tells which process holds it."""
    fcntl.lockf(os.open(lock, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _mount_files(folder: Path, checkout: Path) -> None:
    """Mount the host's own files, which are in its folder."""
    # Opened before an overlay may cover it: changes that are made later would not show.
    opened = os.open(checkout, os.O_PATH)
    # Slave, not private: what the machine unmounts later is unmounted here too.
    _mount("none", "/", None, MS_REC | MS_SLAVE)
    for top in OVERLAID:
        upper, work = folder / "files" / top, folder / "work" / top
        options = f"lowerdir=/{top},upperdir={upper},workdir={work}"
        _mount("overlay", f"/{top}", "overlay", 0, options)
    _mount(str(folder / "srv"), "/srv", None, MS_BIND)
    _mount(f"/proc/self/fd/{opened}", str(checkout), None, MS_BIND)
    _mount("none", str(checkout), None, MS_BIND | MS_REMOUNT | MS_RDONLY)
    os.close(opened)
    plain = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _mount("proc", "/proc", "proc", plain)
    _mount("sysfs", "/sys", "sysfs", plain)
    _mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    _mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    Path("/run/dbus").mkdir()
    Path("/run/lock").mkdir()
    Path("/run/lock").chmod(0o1777)
    # Otherwise inherited from the machine, where another program may have set it.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode(),
    )
    _check(result, f"mount {kind or 'bind'} on {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _detach_from_terminal() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.chdir("/")


def _stay() -> None:
    """Run while stdin is open, or for good after one byte on it.

    The other end of stdin is in the process that starts the lab. If that process is killed, the
    kernel closes the pipe, so no cleanup is needed.
    """
    if os.read(0, 1) == KEEP:
        while True:
            signal.pause()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
