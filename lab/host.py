"""One host of a lab: who it is, what runs in it on its own, and its end.

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
    """A host that stands; ``folder`` holds what it writes, and its lock."""

    spec: HostSpec
    folder: Path

    @property
    def role(self) -> str:
        """The role of the host in the lab: master, server, agent or plain."""
        return self.spec.role

    @property
    def alive(self) -> bool:
        """Whether the host stands."""
        return lock.holder(self.folder / "lock") is not None

    @property
    def pid(self) -> int:
        """Pid 1 of the host as seen from outside; asked anew, so never a stale one."""
        pid = lock.holder(self.folder / "lock")
        if pid is None:
            raise LabError(f"Host {self.name} is down: take the lab down and raise it again.")
        return pid

    def spawn(self, argv: Sequence[str], log: str) -> None:
        """Start a daemon that outlives its starter; ``log`` gets what it prints."""
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
        # Until it has become the daemon, nobody would find that one by its name.
        wait_until(
            lambda: all(process.name != "setsid" for process in self.processes()),
            f"{argv[0]} did not start on {self.name}",
            timeout=10,
            every=0.005,
        )

    def daemons(self) -> list[str]:
        """The names of what runs on its own here: the children of pid 1."""
        first = self.pid
        return sorted({p.name for p in self.processes() if p.parent == first})

    def start_dbus(self) -> None:
        """Start the system bus and wait until it listens."""
        daemons.start_dbus(self)

    def start_firewalld(self, *, state: str = "RUNNING") -> None:
        """Start firewalld and wait until it says that it is in this state."""
        daemons.start_firewalld(self, state)

    def stop_firewalld(self) -> None:
        """End firewalld as its service would, and wait until it is gone."""
        daemons.stop(self, "firewalld")

    def restart_firewalld(self, *, state: str = "RUNNING") -> None:
        """End firewalld and start it again."""
        self.stop_firewalld()
        self.start_firewalld(state=state)

    def kill_host(self) -> None:
        """Take the whole host down at once, like a power failure."""
        kill_hosts.kill(lambda: kill_hosts.first_processes(self.folder))
