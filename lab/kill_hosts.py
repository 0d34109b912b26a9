"""Find the first processes of hosts and kill them: only these, and all of them.

Knows processes only, not what a lab consists of.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

from lab.errors import LabError


def kill(find: Callable[[], set[int]], timeout: float = 30) -> None:
    """Kill the processes that ``find`` names, all at once, and wait until all have ended.

    The first process of a pid namespace ends after all others in it have been reaped.
    """
    handles = {pid: handle for pid in find() for handle in _handle(pid)}
    try:
        _resume_parents_outside(set(handles))
        # Found twice, before and after its handle was opened: so the handle is of the process
        # that was found, and not of a later one with the same id.
        for pid in find() & set(handles):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handles[pid], signal.SIGKILL)
        for pid, handle in handles.items():
            if not select.select([handle], [], [], timeout)[0]:
                raise LabError(f"Process {pid} did not end within {timeout:.0f} s.")
    finally:
        for handle in handles.values():
            os.close(handle)


def first_processes(folder: Path) -> set[int]:
    """Find the first processes of all hosts below a folder, by their command lines.

    Locks would not do: a host may not have taken its lock yet, or its lock file may be deleted.
    """
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry.name)
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            script, lock = words[3:5]
            if script.endswith("/lab/init.py") and lock.startswith(f"{folder}/"):
                found.add(pid)
    return found


def _resume_parents_outside(first: set[int]) -> None:
    """Resume every process outside that has a child in these hosts, so that it reaps the child.

    nsenter stops itself when its child is stopped, and nothing resumes it with the child.
    """
    namespaces = {namespace for pid in first for namespace in _namespace(pid)}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry.name)
            if pid in first or not namespaces.intersection(_namespace(pid)):
                continue
            parent = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
            if not namespaces.intersection(_namespace(parent)):
                os.kill(parent, signal.SIGCONT)


def _namespace(pid: int) -> list[str]:
    """The pid namespace of a process, if it runs."""
    try:
        return [os.readlink(f"/proc/{pid}/ns/pid")]
    except OSError:
        return []


def _handle(pid: int) -> list[int]:
    try:
        return [os.pidfd_open(pid)]
    except ProcessLookupError:
        return []
