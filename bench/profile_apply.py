"""
Where the time of an apply goes: every D-Bus call, fsync, process and import, and the phases side by
side: for a first apply, nothing to do, one node more, one row more, 150 rows, and 5,000 nodes.

``python -m bench.profile_apply`` raises a host and runs this file inside it. On a busy machine,
compare counts and CPU times, and times as ratios to the reload.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "_utils")]

# Each is shown with its beginning and its end, in order: what overlaps runs side by side.
PHASES = {
    "k3sfw_engine.commands.apply": ("compute_desired", "guard_apply", "keep_tables"),
    "k3sfw_engine.transaction.run": ("recover", "observe", "keep_copies"),
    "k3sfw_engine.transaction.execute_plan": (
        "_read_others",
        "lay_out_program",
        "make_record",
        "put_files",
        "check_permanent",
        "keep_iptables",
        "execute",
        "put_back",
        "observe",
        "observe_again",
        "tell_zones",
        "make_permanent",
    ),
    "k3sfw_engine.firewalld.trial_start": ("try_out",),
    "k3sfw_engine.transaction.checkpoint": ("begin", "arm"),
    "k3sfw_engine.standalone.undo.step_log": ("note",),
}
ROWS = 150
NODES = 5000


def main() -> None:
    """Raise a host and print the profile of each apply on it."""
    from bench.rules import SERVER, pillar_of
    from lab.cluster import Lab

    def rows(first: int, count: int) -> dict[str, Any]:
        pillar = pillar_of(6)
        more = {f"row{at}": {"protocol": "tcp", "port": first + at} for at in range(count)}
        manager = {**pillar["ports"]["manager"], **more}
        return {**pillar, "ports": {**pillar["ports"], "manager": manager}}

    pillars = [
        ("first apply", pillar_of(5)),
        ("nothing to do", pillar_of(5)),
        ("one node more", pillar_of(6)),
        ("one row more", rows(20000, 1)),
        (f"{ROWS} rows", rows(20000, ROWS)),
        (f"{ROWS} rows changed", rows(30000, ROWS)),
        (f"{NODES} nodes", _many_nodes(NODES)),
        ("nothing to do", _many_nodes(NODES)),
        ("one node more", _many_nodes(NODES + 1)),
    ]
    with Lab(f"bench{os.getpid()}", (SERVER,), salt=False, ephemeral=True) as lab:
        given = json.dumps(pillars)
        done = lab.host("s1").run([sys.executable, __file__, "inside"], input=given, timeout=500)
    print(done.stdout)


def _many_nodes(count: int) -> dict[str, Any]:
    """Return both tables and so many nodes, three of them servers."""
    from bench.rules import tables_of

    def address(at: int) -> str:
        return f"10.{at // 100 // 250}.{at // 100 % 250}.{2 * (at % 100) + 1}"

    nodes = {
        f"s{at + 1}": {"role": "server" if at < 3 else "agent", "addresses": [address(at)]}
        for at in range(count)
    }
    return {**tables_of(), "nodes": nodes, "firewall": {"expected_nodes": count}}


# -- inside the host ------------------------------------------------------------------------------


class Profile:
    """What happened since it began."""

    def __init__(self, firewalld: int) -> None:
        self.firewalld = firewalld
        self.began, self.own = time.perf_counter(), _own_cpu()
        self.theirs, self.modules = _cpu(firewalld), set(sys.modules)
        self.calls: list[tuple[str, float]] = []
        self.syncs: list[tuple[str, float]] = []
        self.processes: list[str] = []
        self.phases: list[tuple[float, float, str, str]] = []

    def show(self, name: str, reload: float) -> None:
        """Print it; ``reload`` is the milliseconds of a reload on this host."""
        whole = (time.perf_counter() - self.began) * 1000
        own, theirs = _own_cpu() - self.own, _cpu(self.firewalld) - self.theirs
        ratio = f" = {whole / reload:.2f} reloads" if reload else ""
        print(f"\n{name}: {whole:.0f} ms{ratio}; CPU {own:.0f} ms, of firewalld {theirs:.0f} ms")
        for begin, end, phase, thread in sorted(self.phases):
            beside = "" if thread == "MainThread" else " (beside)"
            print(f"  {begin:7.0f} -{end:7.0f}  {phase}{beside}")
        for title, timed in (("D-Bus calls", self.calls), ("fsyncs", self.syncs)):
            print(f"  {len(timed)} {title}, {sum(took for _what, took in timed):.0f} ms")
            for what, count in Counter(what for what, _took in timed).most_common():
                took = sum(each for name, each in timed if name == what)
                print(f"    {count:4} {what:52}{took:7.0f} ms")
        print(f"  {len(self.processes)} processes")
        for command, count in Counter(self.processes).most_common():
            print(f"    {count:4} {command}")
        new = sorted(set(sys.modules) - self.modules)
        print(f"  {len(new)} imports{': ' if new else ''}{', '.join(new)}")


def _inside() -> None:
    began = time.perf_counter()
    from k3sfw_engine.commands import apply
    from k3sfw_engine.firewalld.dbus import Bus
    from k3sfw_engine.model.rows import Role
    from k3sfw_engine.port_tables.read_pillar import parse_tables

    print(f"import of the engine: {(time.perf_counter() - began) * 1000:.0f} ms")
    pillars = json.load(sys.stdin)
    tables = [
        (name, parse_tables(pillar, minion_id="s1", role="server")) for name, pillar in pillars
    ]
    with Bus() as bus:
        firewalld = bus.process()
    began = time.perf_counter()
    subprocess.run(["firewall-cmd", "--quiet", "--reload"], check=True)
    reload = (time.perf_counter() - began) * 1000
    print(f"one firewall-cmd --reload before the first apply: {reload:.0f} ms")
    current = [Profile(firewalld)]
    _watch(current)
    for name, each in tables:
        current[0] = Profile(firewalld)
        apply.apply(each, Role.SERVER)
        current[0].show(name, reload)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of all of them: {peak:.0f} MiB")


def _watch(current: list[Profile]) -> None:
    """Let everything of interest be noted in the current profile."""
    from importlib import import_module

    from jeepney.io.blocking import DBusConnection

    from k3sfw_engine.firewalld.dbus import Bus

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            command = " ".join(map(str, arguments[1])).splitlines()[0]
            current[0].processes.append(command[:90])

    sys.addaudithook(audit)
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        with _timed(lambda took: current[0].syncs.append((path, took))):
            sync(descriptor)

    os.fsync = fsync
    # firewalld answers one call after the other: each took the time since it was sent, or since the
    # answer before it.
    waiting: dict[int, tuple[str, float]] = {}
    last = [0.0]
    begin, receive = Bus.begin, DBusConnection.receive

    def begun(self: Any, calls: Any) -> Any:
        sent = begin(self, calls)
        waiting.update({serial: (call.method, time.perf_counter()) for serial, call in sent})
        return sent

    def received(self: Any, *arguments: Any, **options: Any) -> Any:
        from jeepney import HeaderFields

        reply = receive(self, *arguments, **options)
        serial = reply.header.fields.get(HeaderFields.reply_serial)
        if serial in waiting:
            method, at = waiting.pop(serial)
            now = time.perf_counter()
            current[0].calls.append((method, (now - max(at, last[0])) * 1000))
            last[0] = now
        return reply

    Bus.begin, DBusConnection.receive = begun, received
    for module, names in PHASES.items():
        for name in names:
            at = import_module(module)
            setattr(at, name, _noted(getattr(at, name), name, current))


def _noted(function: Callable[..., Any], name: str, current: list[Profile]) -> Callable[..., Any]:
    def run(*arguments: Any, **options: Any) -> Any:
        profile = current[0]
        began = (time.perf_counter() - profile.began) * 1000
        try:
            return function(*arguments, **options)
        finally:
            ended = (time.perf_counter() - profile.began) * 1000
            thread = threading.current_thread().name
            profile.phases.append((began, ended, name, thread))

    return run


@contextmanager
def _timed(note: Callable[[float], None]) -> Any:
    began = time.perf_counter()
    yield
    note((time.perf_counter() - began) * 1000)


def _own_cpu() -> float:
    """The milliseconds of CPU of this process and of the children that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) * 1000


def _cpu(process: int) -> float:
    """The milliseconds of CPU of another process, which has one thread."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e6


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        _inside()
    else:
        main()
