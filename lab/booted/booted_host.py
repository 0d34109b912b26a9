"""A host booted by systemd, as tests use it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar

from lab.booted import disk, keeper, root
from lab.errors import LabError
from lab.namespaces import Namespaces
from lab.spec import HostSpec
from lab.wait import wait_until

SYSTEMD = ("/usr/lib/systemd/systemd",)
SPEC = HostSpec("s1", "server", 11)


class Neighbour(Namespaces):
    """The network namespace at the other end of the host's veth pair, with the machine's files."""

    namespaces: ClassVar[tuple[str, ...]] = ("--net",)
    spec = keeper.NEIGHBOUR

    def __init__(self, pid: int) -> None:
        """Take the network namespace of this process."""
        self._pid = pid

    @property
    def pid(self) -> int:
        """A process in this network namespace."""
        return self._pid


class BootedHost(Namespaces):
    """A host with a disk of its own. It exists for the block, and is off at first.

    ``path`` works while it is off, too: a test can write files for the first boot.
    """

    namespaces: ClassVar[tuple[str, ...]] = (*Namespaces.namespaces, "--cgroup")
    limits: ClassVar[tuple[str, ...]] = (
        "--bounding-set",
        ",".join(f"-{name}" for name in root.GIVEN_UP),
    )

    def __init__(
        self,
        spec: HostSpec = SPEC,
        first: tuple[str, ...] = SYSTEMD,
        base: Path = disk.MACHINE,
    ) -> None:
        """Describe the host.

        first
            The command line of its first process.
        base
            The file system that its disk is based on: the machine's, or another distribution's.
        """
        self.spec = spec
        self._base = base
        self._first = first
        self._keeper: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._on: int | None = None

    def __enter__(self) -> BootedHost:
        """Create the disk."""
        self._keeper = subprocess.Popen(
            [
                *(sys.executable, "-m", keeper.__name__),
                json.dumps(dataclasses.asdict(self.spec)),
                str(self._base),
                *self._first,
            ],
            cwd=keeper.CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # ^C must reach only this process, which then stops the keeper.
            start_new_session=True,
        )
        try:
            self._hear("ready", timeout=30)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the host, and wait until nothing of it is left."""
        running = self._running
        with contextlib.suppress(BrokenPipeError):
            self._pipe(running.stdin).close()
        try:
            running.wait(30)
        finally:
            self._pipe(running.stdout).close()
            self._on = None

    @property
    def on(self) -> bool:
        """Whether the host is on."""
        while self._readable(0):
            self._take(self._line(1))
        return self._on is not None

    @property
    def pid(self) -> int:
        """Pid 1 of the host as seen from outside."""
        if not self.on:
            raise LabError(f"Host {self.name} is off. Fix: boot()")
        assert self._on is not None
        return self._on

    @property
    def root(self) -> Path:
        """The host's ``/`` as seen from outside; while it is off, its disk."""
        if self.on:
            return super().root
        return Path(f"/proc/{self._running.pid}/root") / keeper.DISK.relative_to("/")

    @property
    def neighbour(self) -> Neighbour:
        """The other end of the host's veth pair."""
        return Neighbour(self._running.pid)

    def switch_on(self) -> None:
        """Execute the first process without waiting for what it does."""
        if self.on:
            raise LabError(f"Host {self.name} is on already.")
        self._ask(keeper.ON)
        self._hear("on", timeout=30)

    def boot(self, timeout: float = 60) -> str:
        """Switch on and wait until systemd has started all units: ``running`` or ``degraded``.

        systemd calls firewalld active half a second before its rules are loaded. A test that needs
        them calls ``firewall-cmd --state``, which waits.
        """
        self.switch_on()
        end = time.monotonic() + timeout
        wait_until(
            self.path("/run/systemd/private").exists,
            f"systemd on host {self.name} does not answer",
            timeout=timeout,
            every=0.01,
        )
        left = max(1, end - time.monotonic())
        asked = ["systemctl", "is-system-running", "--wait"]
        state = self.run(asked, check=False, timeout=left).stdout.strip()
        if state not in ("running", "degraded"):
            raise LabError(f"Host {self.name} did not boot: it is {state or 'off'}.")
        return state

    def cut_power(self) -> None:
        """Kill all processes at once; the host stays off."""
        if self.on:
            self._ask(keeper.OFF)
            self._hear("off", timeout=30)

    def power_cut(self) -> str:
        """Kill all processes at once and boot again from the same disk."""
        self.cut_power()
        return self.boot()

    def shut_down(self, how: str = "poweroff", timeout: float = 120) -> None:
        """Ask systemd to stop all services in order; the host stays off."""
        # The command may be killed before it can answer.
        self.run(["systemctl", how], check=False)
        self._hear("off", timeout=timeout)

    def reboot(self) -> str:
        """Shut down as ``systemctl reboot`` does and boot again from the same disk."""
        self.shut_down("reboot")
        return self.boot()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._keeper is None:
            raise LabError("A booted host exists only in its with block.")
        return self._keeper

    def _ask(self, command: bytes) -> None:
        pipe = self._pipe(self._running.stdin)
        pipe.write(command)
        pipe.flush()

    def _hear(self, wanted: str, timeout: float) -> None:
        """Read reports of the keeper until the wanted one."""
        end = time.monotonic() + timeout
        while True:
            word = self._take(self._line(end - time.monotonic()))
            if word == wanted:
                return

    def _take(self, line: str) -> str:
        word, _, rest = line.partition(" ")
        if word == "failed":
            raise LabError(f"Host {self.name} cannot be made: {rest}")
        if word == "on":
            self._on = int(rest)
        if word == "off":
            self._on = None
        return word

    def _line(self, timeout: float) -> str:
        while b"\n" not in self._unread:
            if not self._readable(max(0, timeout)):
                raise LabError(f"The keeper of host {self.name} said nothing for {timeout:.0f} s.")
            read = os.read(self._pipe(self._running.stdout).fileno(), 4096)
            if not read:
                raise LabError(f"The keeper of host {self.name} has ended.")
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def _readable(self, timeout: float) -> bool:
        if b"\n" in self._unread:
            return True
        return bool(select.select([self._pipe(self._running.stdout)], [], [], timeout)[0])

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe
