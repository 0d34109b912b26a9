"""
The cost of check_ports: on one node alone compared with three D-Bus round trips; with packets to
eight peers that answer, that drop what no row allows, and that drop everything; and with a thousand
peers. A real firewalld runs on every host, and one run measures everything.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from bench.rules import tables_of
from lab.cluster import Lab
from lab.host import Host
from lab.spec import HostSpec

DRIVER = Path(__file__).with_name("check_driver.py")
PEERS = 8
MANY = 1000
# The first two bytes of their addresses, which are all on one host.
THOUSAND = "10.99"


def main() -> None:
    """Measure, and print the results."""
    specs = [HostSpec(f"s{number}", "server", 10 + number) for number in range(1, PEERS + 2)]
    out = HostSpec("out", "plain", 99, firewalld=False)
    with Lab(f"bench{os.getpid()}", (*specs, out), salt=False, ephemeral=True) as lab:
        hosts = [lab.host(spec.name) for spec in specs]
        nodes = {host.name: {"role": "server", "addresses": [host.ipv4]} for host in hosts}
        local = _ask(hosts[0], "local", nodes)
        for host in hosts:
            _ask(host, "local", nodes)
        answering = _ask(hosts[0], "peers", nodes)
        for host in hosts[1:]:
            _drop(host, "tcp dport 1-65535 tcp dport != 6443")
        dropping = _ask(hosts[0], "peers", nodes)
        for host in hosts[1:]:
            _drop(host, "meta l4proto { tcp, udp }")
        silent = _ask(hosts[0], "peers", nodes)
        many = _ask_many(lab.host("out"), hosts[0])
    print(f"check_ports on {os.cpu_count()} cores")
    print(f"  one node alone            {local['check'] * 1000:8.1f} ms")
    print(f"  three D-Bus round trips   {local['trips'] * 1000:8.1f} ms")
    for which, took in (
        ("answer", answering),
        ("drop all but one port", dropping),
        ("are silent", silent),
    ):
        print(f"  {PEERS} peers that {which:22} {took['seconds']:6.2f} s  {took['statuses']}")
    print(f"  pillar and plan for {MANY} peers {many['model'] * 1000:8.1f} ms")
    print(f"    memory that it adds       {many['planned']:8.1f} MiB")
    print(f"  {many['asked']} questions to them   {many['seconds']:8.2f} s  {many['statuses']}")
    print(f"    peak memory of it all     {many['mebibytes']:8.1f} MiB")
    print("ratios")
    print(f"  one node alone : three round trips    {local['check'] / local['trips']:8.2f}")
    for which, took in (("that drop", dropping), ("silent", silent)):
        ratio = took["seconds"] / answering["seconds"]
        print(f"  peers {which:9} : peers that answer {ratio:8.1f}")


def _ask(host: Host, what: str, nodes: dict[str, Any]) -> dict[str, Any]:
    given = {"pillar": {**tables_of(), "peer_ports": {}, "nodes": nodes}, "minion_id": host.name}
    words = [sys.executable, str(DRIVER), what]
    answer = json.loads(host.run(words, input=json.dumps(given), timeout=300).stdout)
    assert isinstance(answer, dict)
    return answer


def _drop(host: Host, what: str) -> None:
    rules = "add table inet t; add chain inet t c { type filter hook prerouting priority -300; }; "
    host.run(["nft", f"{rules} add rule inet t c {what} drop"])


def _ask_many(answering: Host, asking: Host) -> dict[str, Any]:
    addresses = [f"{THOUSAND}.{n // 250}.{n % 250 + 1}" for n in range(MANY)]
    commands = [f"address add {address}/32 dev lo" for address in addresses]
    answering.run(["ip", "-batch", "-"], input="\n".join(commands) + "\n")
    # A thousand hosts would not share one host's rate limit of ICMP errors.
    answering.run(["sh", "-c", "echo 0 > /proc/sys/net/ipv4/icmp_ratelimit"])
    asking.run(["ip", "route", "add", f"{THOUSAND}.0.0/16", "via", answering.ipv4])
    nodes = {
        f"n{n}": {"role": "server", "addresses": [address]} for n, address in enumerate(addresses)
    }
    nodes[asking.name] = {"role": "server", "addresses": [asking.ipv4]}
    return _ask(asking, "many", nodes)


if __name__ == "__main__":
    main()
