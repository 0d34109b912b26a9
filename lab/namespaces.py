"""Run commands in the namespaces of a process, read its files, find its processes.

Independent of what created the namespaces and of what they are for.
"""

from __future__ import annotations

import abc
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lab.errors import CommandFailed, LabError
from lab.spec import HostSpec

BIN = Path(sys.executable).parent
PATH = f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# These point out of the host, or make programs behave unlike services.
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
    """A process of a host; ``pid`` is its id outside."""

    pid: int
    parent: int
    name: str


class HostProcess(subprocess.Popen[str]):
    """A process inside a host. Signals go to it and not to the nsenter that waits for it.

    nsenter returns what its one child returns, so ``wait`` waits for that child too.
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


class Namespaces(abc.ABC):
    """The namespaces of one process, which is the first process of a host."""

    # nsenter options: the namespaces to enter.
    namespaces: ClassVar[tuple[str, ...]] = ("--mount", "--net", "--pid", "--uts", "--ipc")
    # setpriv options: what commands inside may not do.
    limits: ClassVar[tuple[str, ...]] = ()

    # The host's specification.
    spec: HostSpec

    @property
    def name(self) -> str:
        """The name of the host; also its hostname, and the id of its minion."""
        return self.spec.name

    @property
    def ipv4(self) -> str:
        """The IPv4 address on eth0."""
        return self.spec.ipv4

    @property
    def ipv6(self) -> str:
        """The IPv6 address on eth0."""
        return self.spec.ipv6

    @property
    @abc.abstractmethod
    def pid(self) -> int:
        """The id of the first process, as seen from outside."""

    @property
    def root(self) -> Path:
        """The host's ``/``, as seen from outside."""
        return Path(f"/proc/{self.pid}/root")

    @property
    def prefix(self) -> list[str]:
        """What goes before a command to run it inside, in ``/``."""
        return [
            *("nsenter", f"--target={self.pid}"),
            *self.namespaces,
            "--",
            # The command must end when its nsenter is killed.
            *("setpriv", "--pdeathsig", "TERM", *self.limits),
            # A caller may ignore ^C so that the command gets it; the command must not inherit that.
            *("env", "--default-signal=INT,QUIT"),
            *(f"--unset={name}" for name in UNSET),
            f"PATH={PATH}",
        ]

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 180,
        check: bool = True,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command and wait for it; with ``check``, a failure raises CommandFailed."""
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
                # The whole group: children of the command keep the pipes open.
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

    def path(self, path: str | os.PathLike[str]) -> Path:
        """Translate a path inside to one outside; links are followed inside the host."""
        return self.root / _follow(self.root, Path(path)).relative_to("/")

    def processes(self) -> list[Process]:
        """All processes of the host except zombies."""
        namespace = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            # ValueError: not a process; OSError: it has just ended.
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                if (entry / "ns/pid").readlink() == namespace:
                    found += _process(pid)
        return sorted(found, key=lambda process: process.pid)

    def kill(self, which: str | int, sig: int = signal.SIGTERM) -> None:
        """Signal every process of this name, or the one with this id outside."""
        found = [p.pid for p in self.processes() if which in (p.name, p.pid)]
        if not found:
            raise LabError(f"No process {which} runs on {self.name}.")
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)


def _process(pid: int) -> list[Process]:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").split()
    status = Path(f"/proc/{pid}/stat").read_text()
    short_name, rest = status[status.index("(") + 1 :].rsplit(") ", 1)
    condition, parent = rest.split()[:2]
    if condition == "Z":
        return []
    return [Process(pid, int(parent), _name(words) or short_name)]


def _name(words: list[bytes]) -> str:
    """The name of the program; of a script, not of its interpreter."""
    names = [Path(word.decode(errors="replace")).name for word in words]
    if names and names[0].startswith("python"):
        names = [name for name in names[1:] if not name.startswith("-")]
    return names[0] if names else ""


def _follow(root: Path, path: Path) -> Path:
    """Follow links as a process inside would.

    The kernel would resolve an absolute link, such as /var/run, in our own root.
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
    raise LabError(f"{path} is a loop of links.")


def _link(path: Path) -> Path | None:
    try:
        return path.readlink()
    except OSError:
        return None
