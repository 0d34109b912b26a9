"""One host of a lab: entering it, running things in it, its files and its processes.

Knows nothing of the other hosts or of how a lab is put together.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import daemons, ending, lock
from lab.errors import CommandFailed, LabError
from lab.spec import HostSpec
from lab.wait import wait_until

BIN = Path(sys.executable).parent
PATH = f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Would lead out of the host, or make its programs behave unlike a service's.
UNSET = (
    "DBUS_SESSION_BUS_ADDRESS",
    "DBUS_STARTER_ADDRESS",
    "DBUS_STARTER_BUS_TYPE",
    "DBUS_SYSTEM_BUS_ADDRESS",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPATH",
    "XDG_RUNTIME_DIR",
)


@dataclass(frozen=True)
class Process:
    """A process of a host; ``pid`` is its number outside."""

    pid: int
    parent: int
    name: str


class HostProcess(subprocess.Popen[str]):
    """A process inside a host. Signals reach it, and not the nsenter that waits for it.

    nsenter gives back what its one child returns, so ``wait`` is about that child too.
    """

    def send_signal(self, sig: int) -> None:
        """Send a signal to the process inside."""
        if self.poll() is not None:
            return
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            inside = [int(pid) for pid in children.read_text().split()]
            for pid in inside or [self.pid]:
                os.kill(pid, sig)


@dataclass(frozen=True)
class Host:
    """A host that stands; ``folder`` holds what it writes, and its lock."""

    spec: HostSpec
    folder: Path

    @property
    def name(self) -> str:
        """The host's name, which is also its hostname and its minion id."""
        return self.spec.name

    @property
    def role(self) -> str:
        """The role of the host in the lab: master, server, agent or plain."""
        return self.spec.role

    @property
    def ipv4(self) -> str:
        """The IPv4 address on eth0."""
        return self.spec.ipv4

    @property
    def ipv6(self) -> str:
        """The IPv6 address on eth0."""
        return self.spec.ipv6

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

    @property
    def prefix(self) -> list[str]:
        """What to write before a command so that it runs inside, in ``/``."""
        return [
            *("nsenter", f"--target={self.pid}"),
            *("--mount", "--net", "--pid", "--uts", "--ipc", "--"),
            # An nsenter that is killed must not leave what it started behind.
            *("setpriv", "--pdeathsig", "TERM"),
            # A caller that ignores ^C to let the command have it must not pass that on.
            *("env", "--default-signal=INT,QUIT"),
            *(f"--unset={name}" for name in UNSET),
            f"PATH={PATH}",
        ]

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60,
        check: bool = True,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; with ``check``, a failure raises CommandFailed."""
        process = self.popen(
            argv,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            try:
                out, err = process.communicate(input, timeout=timeout)
            except BaseException as error:
                # The whole group: what the command has started holds the pipes open.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    error.cmd = list(argv)
                raise
        code = process.returncode
        if check and code:
            raise CommandFailed(code, list(argv), out, err)
        return subprocess.CompletedProcess(list(argv), code, out, err)

    def popen(self, argv: Sequence[str], **options: Any) -> HostProcess:
        """Start a command; ``options`` are those of ``subprocess.Popen``."""
        options.setdefault("text", True)
        options.setdefault("start_new_session", True)
        return HostProcess([*self.prefix, *argv], **options)

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

    def path(self, path: str | os.PathLike[str]) -> Path:
        """The path outside of a path inside; links are followed inside the host."""
        root = Path(f"/proc/{self.pid}/root")
        return root / _follow(root, Path(path)).relative_to("/")

    def processes(self) -> list[Process]:
        """All processes of the host, but for the dead that wait for their parent."""
        namespace = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            # ValueError: no process at all; OSError: one that ended meanwhile.
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                if (entry / "ns/pid").readlink() == namespace:
                    found += _process(pid)
        return sorted(found, key=lambda process: process.pid)

    def daemons(self) -> list[str]:
        """The names of what runs on its own here: the children of pid 1."""
        first = self.pid
        return sorted({p.name for p in self.processes() if p.parent == first})

    def kill(self, which: str | int, sig: int = signal.SIGTERM) -> None:
        """Signal every process of this name, or the one with this outside number."""
        found = [p.pid for p in self.processes() if which in (p.name, p.pid)]
        if not found:
            raise LabError(f"Nothing called {which} runs on {self.name}.")
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)

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
        ending.kill(lambda: ending.first_processes(self.folder))


def _process(pid: int) -> list[Process]:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").split()
    status = Path(f"/proc/{pid}/stat").read_text()
    short_name, rest = status[status.index("(") + 1 :].rsplit(") ", 1)
    condition, parent = rest.split()[:2]
    if condition == "Z":
        return []
    return [Process(pid, int(parent), _name(words) or short_name)]


def _name(words: list[bytes]) -> str:
    """The program's name: for a script its own, and not its interpreter's."""
    names = [Path(word.decode(errors="replace")).name for word in words]
    if names and names[0].startswith("python"):
        names = [name for name in names[1:] if not name.startswith("-")]
    return names[0] if names else ""


def _follow(root: Path, path: Path) -> Path:
    """Follow links as a process inside would.

    The kernel would take an absolute link, such as /var/run, from our own root.
    """
    done, ahead = Path("/"), list(path.parts[1:])
    for _ in range(1000):
        if not ahead:
            return done
        part = ahead.pop(0)
        if part == "..":
            done = done.parent
            continue
        link = _link(root / (done / part).relative_to("/"))
        if link is None:
            done = done / part
        elif link.is_absolute():
            done, ahead = Path("/"), [*link.parts[1:], *ahead]
        else:
            ahead = [*link.parts, *ahead]
    raise LabError(f"{path} goes round in circles of links.")


def _link(path: Path) -> Path | None:
    try:
        return path.readlink()
    except OSError:
        return None
