"""The servers and agents of K3s that run on this host, by the names of their processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from . import _k3s_files
from ._k3s_command import ROLES

_BINARY = b"k3s"


@dataclass(frozen=True)
class Process:
    """A server or an agent that runs, and the unit that started it if systemd did."""

    role: str
    unit: str = ""


def running(proc: Path) -> list[Process]:
    """Return the servers and agents in this minion's namespaces.

    A pod may call its process what it likes. It has a process namespace of its own, and on most
    hosts a network of its own; K3s has those of the host, and so has the minion.
    """
    own = _namespaces(proc / "self")
    user = os.geteuid()
    found = []
    for name in _k3s_files.names(proc):
        if not name.isdigit():
            continue
        process = proc / name
        comm = _short(process / "comm")
        if not comm.startswith(_BINARY):
            continue
        role = _role(comm, process)
        try:
            is_ours = role and process.stat().st_uid == user
        except OSError:
            continue
        if is_ours and _namespaces(process) == own:
            found.append(Process(role, _unit(process)))
    return found


def _role(comm: bytes, process: Path) -> str:
    # K3s sets its title to "/usr/local/bin/k3s server": one string, so split it by blanks, too.
    words = _short(process / "cmdline").replace(b"\0", b" ").split()
    if len(words) > 1 and words[0].rpartition(b"/")[2].startswith(_BINARY):
        title = words[1].decode("ascii", "replace")
        if title in ROLES:
            return title
    name = comm.strip().decode("ascii", "replace").rpartition("-")[2]
    return name if name in ROLES else ""


def _unit(process: Path) -> str:
    """The service in whose control group the process is; empty if it is in none."""
    for line in _short(process / "cgroup").splitlines():
        name = line.rpartition(b"/")[2].decode("utf-8", "replace")
        if name.endswith(".service"):
            return name
    return ""


def _namespaces(process: Path) -> tuple[str, str]:
    return _link(process / "ns/pid"), _link(process / "ns/net")


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _short(path: Path) -> bytes:
    """The first bytes of a file of the kernel; empty if there are none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
