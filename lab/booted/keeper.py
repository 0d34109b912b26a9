"""The process that keeps one booted host: its disk while it is off, and its first process.

Started with the host's spec, the file system that its disk is based on, and the command line of its
first process. Single bytes on stdin are
its commands; it reports the host's state on stdout, one line each. The other end of stdin is in the
process that uses the host. If that is killed, the kernel closes the pipe, and the keeper takes
everything down.

The disk is in memory and mounted for this process only, so it disappears with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from lab.booted import cgroup, disk, root, syscalls
from lab.errors import LabError
from lab.init import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    MS_NODEV,
    MS_REC,
)
from lab.spec import DEFAULT_HOSTS, IPV4_NETWORK, IPV6_NETWORK, HostSpec, from_record

ON = b"1"
OFF = b"0"

CHECKOUT = Path(__file__).resolve().parents[2]
# Covered for this process only.
FOLDER = Path("/mnt")
DISK = FOLDER / "disk"
# The other end of the host's veth pair is in the network namespace of the keeper.
NEIGHBOUR = DEFAULT_HOSTS[-1]
# By this systemd knows that it runs in a container.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "container": "k3sfw",
}


def main(argv: list[str]) -> None:
    """Keep the host until stdin closes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        keeper = Keeper(from_record(json.loads(argv[0])), Path(argv[1]), argv[2:], root.devices())
        keeper.set_up()
    except (OSError, LabError) as error:
        _say(f"failed {error}")
        return
    _say("ready")
    keeper.serve()


@dataclass
class Keeper:
    """One host and its resources; ``machine`` are the devices that it must not touch."""

    spec: HostSpec
    base: Path
    first: list[str]
    machine: frozenset[str]
    pid: int | None = None
    handle: int | None = None
    branch: Path | None = None
    shown: list[Path] = field(default_factory=list)

    def set_up(self) -> None:
        """Create the disk, and a network namespace for the other end of the veth pair."""
        cgroup.sweep()
        syscalls.unshare(CLONE_NEWNS | CLONE_NEWNET)
        syscalls.mount("none", "/", "", MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("tmpfs", FOLDER, "tmpfs", 0, "mode=700")
        for name in ("files", "work", DISK.name):
            (FOLDER / name).mkdir()
        disk.lay_out(FOLDER, self.spec, self.base)
        layers = f"lowerdir={self.base},upperdir={FOLDER}/files,workdir={FOLDER}/work"
        syscalls.mount("overlay", DISK, "overlay", MS_NODEV, layers)
        # The checkout's .venv may be a link to that of another checkout.
        self.shown = [CHECKOUT, *{Path(sys.prefix).resolve()} - {CHECKOUT / ".venv"}]
        _ip("link set lo up")

    def serve(self) -> None:
        """Carry out commands, and report when the host goes off by itself."""
        try:
            while True:
                heard = [0] if self.handle is None else [0, self.handle]
                ready, _, _ = select.select(heard, [], [])
                if self.handle in ready:
                    self._ended()
                    continue
                command = os.read(0, 1)
                if not command:
                    return
                if command == ON and self.pid is None:
                    self._on()
                elif command == OFF and self.pid is not None:
                    os.kill(self.pid, signal.SIGKILL)
        finally:
            if self.pid is not None:
                os.kill(self.pid, signal.SIGKILL)
                self._ended()

    def _on(self) -> None:
        self.branch = cgroup.make()
        outside = os.open("/proc/self/ns/pid", os.O_RDONLY)
        keeper = os.pidfd_open(os.getpid())
        listen, tell = os.pipe()
        # The next child becomes the first process of the new namespace.
        syscalls.unshare(CLONE_NEWPID)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(listen)
            self._become_host(keeper, tell)
        syscalls.enter(outside, CLONE_NEWPID)
        self.handle = os.pidfd_open(self.pid)
        for descriptor in (outside, keeper, tell):
            os.close(descriptor)
        # A successful execve closes it; otherwise the reason arrives.
        with os.fdopen(listen) as telling:
            reason = telling.read()
        if reason:
            self._ended()
            _say(f"failed {reason}")
            return
        _ip(*_veth_end(NEIGHBOUR))
        _say(f"on {self.pid}")

    def _become_host(self, keeper: int, tell: int) -> NoReturn:
        try:
            syscalls.die_with_parent(signal.SIGKILL)
            if select.select([keeper], [], [], 0)[0]:
                # The keeper ended before this process asked to end with it.
                os._exit(1)
            assert self.branch is not None
            (self.branch / "cgroup.procs").write_text("0")
            network = os.open("/proc/self/ns/net", os.O_RDONLY)
            syscalls.unshare(
                CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | syscalls.CLONE_NEWCGROUP
            )
            # With the same index at both ends, the kernel would report the link up to a second
            # later.
            near = "link add eth0 index 100 type veth"
            far = f"peer name eth0 netns /proc/self/fd/{network}"
            _ip(f"{near} {far}", *_veth_end(self.spec), pass_on=network)
            root.enter(DISK, FOLDER / "srv", self.shown, self.branch, self.machine)
            os.setsid()
            # Ignored signals would stay ignored.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nowhere, descriptor)
            os.umask(0o022)
            os.execve(self.first[0], self.first, ENVIRONMENT)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.write(tell, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(1)

    def _ended(self) -> None:
        """Remove the rest of a host that is off, and report it."""
        assert self.pid is not None and self.handle is not None and self.branch is not None
        _, status = os.waitpid(self.pid, 0)
        os.close(self.handle)
        self.pid = self.handle = None
        # The kernel removes it with the host's namespace as well, but some time later.
        subprocess.run(["ip", "link", "del", "eth0"], check=False, stderr=subprocess.DEVNULL)
        cgroup.remove(self.branch)
        _say(f"off {os.waitstatus_to_exitcode(status)}")


def _veth_end(spec: HostSpec) -> list[str]:
    four, six = (network.split("/")[1] for network in (IPV4_NETWORK, IPV6_NETWORK))
    return [
        f"addr add {spec.ipv4}/{four} dev eth0",
        # No other host could have this address.
        f"addr add {spec.ipv6}/{six} dev eth0 nodad",
        "link set eth0 up",
    ]


def _ip(*commands: str, pass_on: int | None = None) -> None:
    done = subprocess.run(
        ["ip", "-batch", "-"],
        input="\n".join(commands),
        pass_fds=() if pass_on is None else (pass_on,),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise LabError(f"ip: {done.stderr.strip()}")


def _say(line: str) -> None:
    # If the reader has ended, stdin is closed too, which ends the keeper.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{' '.join(line.split())}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
