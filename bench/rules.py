"""
The time to apply the tables to one server: k3sfw compared with the source's script, Salt's own
firewalld state and a bare ``firewall-cmd --reload``, each on a new host, all in one run.

Salt times the states itself (``duration`` in the output of salt-call), so the start of a process
counts for neither of them.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lab.cluster import Lab
from lab.connection_stream import stream
from lab.daemons import salt_program
from lab.host import Host
from lab.spec import HostSpec

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPT = Path(__file__).with_name("source_script.sh")
RUNS = 5
_TABLES = ("cluster", "manager")
CONFIGURATION = "/etc/salt/bench"

SERVER = HostSpec("s1", "server", 11, minion=False)
CLIENT = HostSpec("out", "plain", 99, firewalld=False)


def main() -> dict[str, float]:
    """Print all times; return those of the script, a first apply and one node more."""
    script, reload = [], []
    for _run in range(RUNS):
        with _server() as (host, _client):
            script.append(_timed(lambda host=host: host.run(["sh", str(SCRIPT)])))
            reload.append(_timed(lambda host=host: host.run(["firewall-cmd", "--reload"])))
    theirs = [_states(_firewalld_present()) for _run in range(RUNS)]
    ours = [_states(None) for _run in range(RUNS)]
    joins = _joins(6)
    counts = _connections()

    middle = statistics.median
    their_first, their_noop = (middle(each[index] for each in theirs) for index in (0, 1))
    our_first, our_noop = (middle(each[index] for each in ours) for index in (0, 1))
    print(f"medians of {RUNS} runs on {os.cpu_count()} cores, in milliseconds")
    for name, milliseconds in (
        ("one firewall-cmd --reload", middle(reload)),
        ("the source's script", middle(script)),
        ("Salt's firewalld.present, first", their_first),
        ("Salt's firewalld.present, nothing to do", their_noop),
        ("k3sfw.managed, first", our_first),
        ("k3sfw.managed, nothing to do", our_noop),
        ("k3sfw.managed, one node more", middle(joins)),
    ):
        print(f"  {name:42}{milliseconds:8.1f}")
    print("ratios")
    for name, ratio in (
        ("first apply, faster than the script", middle(script) / our_first),
        ("first apply, faster than Salt's own", their_first / our_first),
        ("first apply : one reload", our_first / middle(reload)),
        ("nothing to do, faster than Salt's own", their_noop / our_noop),
        ("one node more : one reload", middle(joins) / middle(reload)),
    ):
        print(f"  {name:42}{ratio:9.2f}")
    print(f"new connections while {len(joins)} nodes joined: {counts}")
    return {"script": middle(script), "first apply": our_first, "one node more": middle(joins)}


@contextmanager
def _server() -> Iterator[tuple[Host, Host]]:
    with Lab(f"bench{os.getpid()}", (SERVER, CLIENT), salt=False, ephemeral=True) as lab:
        yield lab.host("s1"), lab.host("out")


def _timed(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def _states(sls: dict[str, Any] | None) -> tuple[float, float]:
    """Return the milliseconds of the first and the second run of a state on a new host."""
    with _server() as (host, _client):
        _configure(host, sls, pillar_of(5))
        return _apply(host), _apply(host)


def _joins(first: int, host: Host | None = None) -> list[float]:
    """Return the milliseconds of each apply that adds one node."""
    if host is None:
        with _server() as (host, _client):
            _configure(host, None, pillar_of(first - 1))
            _apply(host)
            return _joins(first, host)
    taken = []
    for nodes in range(first, first + RUNS):
        _configure(host, None, pillar_of(nodes))
        taken.append(_apply(host))
    return taken


def _connections() -> dict[str, int]:
    """Return how many new connections succeed and fail, one after the other, while nodes join."""
    with _server() as (host, client):
        _configure(host, None, pillar_of(5))
        _apply(host)
        with stream(client, host, 6379) as connections:
            _joins(6, host)
    return connections.counts


def _configure(host: Host, sls: dict[str, Any] | None, pillar: dict[str, Any]) -> None:
    """Write the configuration of a masterless minion; ``sls`` is None for our own state."""
    folder = host.path(CONFIGURATION)
    for sub in ("pillar", "states"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    state = sls or {"k3s_firewall": {"k3sfw.managed": []}}
    (folder / "states" / "rules.sls").write_text(yaml.safe_dump(state))
    (folder / "pillar" / "top.sls").write_text(yaml.safe_dump({"base": {"*": ["k3s"]}}))
    (folder / "pillar" / "k3s.sls").write_text(yaml.safe_dump({"k3s": pillar}))
    (folder / "minion").write_text(
        yaml.safe_dump(
            {
                "id": "s1",
                "file_client": "local",
                "root_dir": "/var/lib/salt-bench",
                "file_roots": {"base": [f"{CONFIGURATION}/states"]},
                "pillar_roots": {"base": [f"{CONFIGURATION}/pillar"]},
                "grains": {"k3s_role": "server"},
                "module_dirs": [str(CHECKOUT / "_modules")],
                "states_dirs": [str(CHECKOUT / "_states")],
                "utils_dirs": [str(CHECKOUT / "_utils")],
            }
        )
    )


def _apply(host: Host) -> float:
    """Apply the only state, and return its milliseconds."""
    command = [salt_program("salt-call"), "--local", "-c", CONFIGURATION, "--out=json"]
    done = host.run([*command, "state.apply", "rules"], check=False, timeout=300)
    (result,) = json.loads(done.stdout)["local"].values()
    if not result["result"]:
        raise SystemExit(result["comment"])
    return float(result["duration"])


def tables_of() -> dict[str, Any]:
    """Return both tables as they are in pillar."""
    tables = CHECKOUT / "pillar" / "k3s" / "tables"
    ports = {name: yaml.safe_load((tables / f"{name}.yaml").read_text()) for name in _TABLES}
    return {"ports": ports}


def pillar_of(nodes: int) -> dict[str, Any]:
    """Return both tables and the nodes of a cluster: three servers, the rest agents."""
    return {
        **tables_of(),
        "nodes": {
            f"s{number}" if number <= 3 else f"a{number}": {
                "role": "server" if number <= 3 else "agent",
                "addresses": [f"192.0.2.{10 + number}"],
            }
            for number in range(1, nodes + 1)
        },
    }


def _firewalld_present() -> dict[str, Any]:
    """Return the script's rules as a state of Salt's own firewalld module."""
    ports, rules = [], []
    for line in SCRIPT.read_text().splitlines():
        if "--add-port=" in line:
            ports.append(line.split("--add-port=")[1])
        elif "--add-rich-rule=" in line:
            rules.append(line.split("--add-rich-rule=")[1].strip("'"))
    settings = [{"name": "public"}, {"ports": sorted(set(ports))}, {"rich_rules": rules}]
    return {"rules": {"firewalld.present": settings}}


if __name__ == "__main__":
    main()
