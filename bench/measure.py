"""What one command on a host costs: time, memory, processes, D-Bus calls, reloads, connections.

Time and memory are measured with nothing else running. What is counted slows a command down, so it
is counted in a run of its own.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.connection_stream import stream
from lab.host import Host
from lab.wait import wait_until

_LAUNCHER = Path(__file__).with_name("launcher.py")
# As small as a Python can be, and the machine's: it is there in each host.
_PYTHON = ("/usr/bin/python3", "-I", "-S")
# Open before and after every case: the default zone lets ssh in, and no tool touches that.
_PORT = 22
# Below the second after which a lost packet is sent again: such a connection was held up.
_PATIENCE = 0.9
# So that the connections leave the machine's cores to what is measured.
_PAUSE = 0.005


class TookTooLong(Exception):
    """A command did not end in time."""


@dataclass(frozen=True)
class Run:
    """A command that ran: seconds, MiB at the peak of its largest process and of firewalld."""

    seconds: float
    tool_mebibytes: float
    firewalld_mebibytes: float
    printed: str


@dataclass
class Counts:
    """What happened while a command ran; complete after the block."""

    processes: int = 0
    calls: int = 0
    reloads: int = 0
    connections: int = 0
    lost: int = 0


def run(host: Host, argv: Sequence[str], timeout: float) -> Run:
    """Run a command. Raises ``TookTooLong``."""
    firewalld = _firewalld(host)
    # From here on, its peak is that of this command.
    (firewalld / "clear_refs").write_text("5")
    try:
        done = host.run([*_PYTHON, str(_LAUNCHER), *argv], timeout=timeout)
    except subprocess.TimeoutExpired:
        raise TookTooLong(f"it did not end within {timeout:g} seconds") from None
    told = json.loads(done.stdout)
    return Run(
        told["seconds"], told["mebibytes"], _peak(_firewalld(host)), told["out"] + told["errors"]
    )


@contextmanager
def counted(host: Host, client: Host) -> Iterator[Counts]:
    """Count what happens on a host during the block, and new connections to it."""
    counts = Counts()
    opened = stream(client, host, _PORT, timeout=_PATIENCE, pause=_PAUSE)
    with opened as connections, _bus(host, counts), _processes(host, counts):
        yield counts
    counts.connections = sum(connections.counts.values())
    counts.lost = counts.connections - connections.counts.get("open", 0)


def _firewalld(host: Host) -> Path:
    # A trial start is one too, but not a child of the host's first process.
    first = host.pid
    (pid,) = (
        each.pid for each in host.processes() if each.name == "firewalld" and each.parent == first
    )
    return Path(f"/proc/{pid}")


def _peak(process: Path) -> float:
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


# -- D-Bus ----------------------------------------------------------------------------------------

_RELOADED = "org.fedoraproject.FirewallD1", "Reloaded"
_MARKER = "/k3sfw/bench"
_RULES = (
    "type='method_call'",
    f"type='signal',interface='{_RELOADED[0]}',member='{_RELOADED[1]}'",
)


@contextmanager
def _bus(host: Host, counts: Counts) -> Iterator[None]:
    """Count the calls to anything but the bus itself, and the signals that end a reload."""
    log = host.path("/run/bus.log")
    with log.open("w") as output:
        monitor = host.popen(["dbus-monitor", "--system", "--profile", *_RULES], stdout=output)
    try:
        began = _wait_for_marker(host, log, 0)
        yield
        ended = _wait_for_marker(host, log, began)
    finally:
        monitor.terminate()
        monitor.wait(10)
    for line in log.read_text()[began:ended].splitlines():
        kind, _time, _serial, _sender, to, path, *rest = [*line.split("\t"), "", "", "", "", "", ""]
        counts.calls += kind == "mc" and to != "org.freedesktop.DBus"
        counts.reloads += kind == "sig" and tuple(rest[:2]) == _RELOADED and path != _MARKER


def _wait_for_marker(host: Host, log: Path, begin: int) -> int:
    """Send a signal of our own: what comes after it in the log came after it on the bus."""

    def arrived() -> bool:
        # Until the monitor listens, no signal arrives.
        host.run(["dbus-send", "--system", _MARKER, ".".join(_RELOADED)])
        return _MARKER in log.read_text()[begin:]

    wait_until(arrived, "dbus-monitor shows nothing", timeout=30, every=0.1)
    return len(log.read_text())


# -- processes ------------------------------------------------------------------------------------

_CONNECTOR = 11  # NETLINK_CONNECTOR
_PROC = (1, 1)  # CN_IDX_PROC, CN_VAL_PROC: the group of events, and its value
_LISTEN = 1  # PROC_CN_MCAST_LISTEN
_FORK = 1  # PROC_EVENT_FORK
_HEADER = struct.Struct("=IHHII")
_MESSAGE = struct.Struct("=IIIIHH")
_EVENT = struct.Struct("=IIQIIII")
_BUFFER = 1 << 24
_SO_RCVBUFFORCE = 33  # which Python does not name


@dataclass
class _Births:
    """Every process that was started on the machine, in order, with its parent."""

    pairs: list[tuple[int, int]] = field(default_factory=list)


@contextmanager
def _processes(host: Host, counts: Counts) -> Iterator[None]:
    """Count the processes that the command, and what already runs on the host, starts."""
    known = {each.pid for each in host.processes()}
    with _births() as births:
        yield
    # The command is entered from outside, by a child of this process.
    launchers = {child for parent, child in births.pairs if parent == os.getpid()}
    for parent, child in births.pairs:
        if parent in known or parent in launchers:
            known.add(child)
            counts.processes += 1
    # The child of nsenter became the launcher, which is not the tool's.
    counts.processes -= len(launchers)


@contextmanager
def _births() -> Iterator[_Births]:
    """Listen to the kernel, which tells of each new process and misses none."""
    births = _Births()
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _CONNECTOR)
    events.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    events.bind((0, _PROC[0]))
    data = struct.pack("=I", _LISTEN)
    message = _MESSAGE.pack(*_PROC, 0, 0, len(data), 0) + data
    events.send(_HEADER.pack(_HEADER.size + len(message), 3, 0, 0, 0) + message)
    events.settimeout(0.2)
    # Of the clock by which the kernel stamps events.
    end: list[int] = []

    def listen() -> None:
        while True:
            try:
                received = events.recv(4096)
            except TimeoutError:
                if end:
                    return
                continue
            what, _cpu, at, _thread, parent, child, group = _EVENT.unpack_from(
                received, _HEADER.size + _MESSAGE.size
            )
            if end and at > end[0]:
                return
            # A thread has an id of its own too, in the group of its process.
            if what == _FORK and child == group:
                births.pairs.append((parent, child))

    with events, ThreadPoolExecutor(1) as pool:
        listening = pool.submit(listen)
        try:
            yield births
        finally:
            end.append(time.monotonic_ns())
            # Raises what the kernel says if it had to drop an event.
            listening.result()
