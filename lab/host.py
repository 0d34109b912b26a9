"""One host of a lab: its specification, its daemons, and its end.

Knows nothing of the other hosts or of how a lab is put together.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import daemons, kill_hosts, lock
from lab.errors import LabError
from lab.namespaces import Namespaces
from lab.spec import HostSpec
from lab.wait import wait_until


@dataclass(frozen=True)
class Host(Namespaces):
    """A running host; ``folder`` holds its files and its lock."""

    spec: HostSpec
    folder: Path

    @property
    def role(self) -> str:
        """The role of the host in the lab: master, server, agent or plain."""
        return self.spec.role

    @property
    def alive(self) -> bool:
        """Whether the host is running."""
        return lock.holder(self.folder / "lock") is not None

    @property
    def pid(self) -> int:
        """The id of the host's pid 1 as seen from outside; read each time, so it is never stale."""
        pid = lock.holder(self.folder / "lock")
        if pid is None:
            raise LabError(f"Host {self.name} is down. Fix: take the lab down and up again")
        return pid

    def spawn(self, argv: Sequence[str], log: str) -> None:
        """Start a daemon that outlives its starter, with its output in ``log``."""
        target = self.path(log)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as output:
            subprocess.run(
                [*self.prefix, "setsid", "--fork", *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=True,
            )
        # Until setsid has become the daemon, the daemon cannot be found by its name.
        wait_until(
            lambda: all(process.name != "setsid" for process in self.processes()),
            f"{argv[0]} did not start on {self.name}",
            timeout=10,
            every=0.005,
        )

    def daemons(self) -> list[str]:
        """The names of the daemons: the children of pid 1."""
        first = self.pid
        return sorted({p.name for p in self.processes() if p.parent == first})

    def start_dbus(self) -> None:
        """Start the system bus and wait until it listens."""
        daemons.start_dbus(self)

    def start_firewalld(self, *, state: str = "RUNNING") -> None:
        """Start firewalld and wait until it reports this state."""
        daemons.start_firewalld(self, state)

    def stop_firewalld(self) -> None:
        """Stop firewalld as its service would, and wait until it has ended."""
        daemons.stop(self, "firewalld")
        wait_until(
            lambda: not daemons.firewalld_is_on_bus(self),
            f"firewalld on {self.name} is still on the bus",
            timeout=10,
        )

    def restart_firewalld(self, *, state: str = "RUNNING") -> None:
        """Stop firewalld and start it again."""
        self.stop_firewalld()
        self.start_firewalld(state=state)

    def kill_host(self) -> None:
        """Kill the whole host at once, like a power failure."""
        kill_hosts.kill(lambda: kill_hosts.first_processes(self.folder))
