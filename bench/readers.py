"""
Our readers of the kernel beside libraries that read the same: pyroute2, icmplib, python-iptables.

Both read the same host, one after the other, each in processes of its own: the processor time of
the import, on top of what a minion has loaded, and of one reading with its child processes. A
library that this Python does not have is named and left out: install it into an environment of your
own.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from lab.cluster import Lab
from lab.host import Host
from lab.spec import HostSpec

CHECKOUT = Path(__file__).resolve().parents[1]
ENGINE = CHECKOUT / "_utils" / "k3sfw_engine"
DRIVER = Path(__file__).with_name("readers_driver.py")
RUNS = 5
# What is read, the library that reads it too, and our own files for it.
READERS = {
    "nf_tables": ("pyroute2", ("host/nft_netlink.py", "host/netlink.py")),
    "links": ("pyroute2", ("host/tunnel_devices.py", "host/netlink.py")),
    "network": ("pyroute2", ("host/iproute.py",)),
    "conntrack": ("pyroute2", ("host/tracked_packets.py", "host/netlink.py")),
    "echoes": ("icmplib", ("probes/echo.py",)),
    "iptables": ("python-iptables", ("host/filter_chains.py",)),
}
HOSTS = (
    HostSpec("s1", "server", 11, minion=False),
    HostSpec("out", "plain", 99, firewalld=False),
)
# Rules of another firewall, and a device as flannel makes it.
OTHER_RULES = "iptables -A INPUT -p tcp --dport 9999 -j DROP; iptables -A FORWARD -j ACCEPT"
FLANNEL = "ip link add flannel.1 type vxlan id 1 dev eth0 dstport 8472; ip link set flannel.1 up"


def main() -> None:
    """Measure, and print the results."""
    print(f"medians of {RUNS} processes on {os.cpu_count()} cores, in milliseconds")
    print("reader                          lines   import  reading  found")
    with Lab(f"bench{os.getpid()}", HOSTS, salt=False, ephemeral=True) as lab:
        host, peer = lab.host("s1"), lab.host("out")
        route = f"ip route add 10.42.9.0/24 via {peer.ipv4}"
        host.run(["sh", "-ec", f"{OTHER_RULES}; {FLANNEL}; {route}"])
        for reader, (library, files) in READERS.items():
            _show(f"{reader}, ours", sum(_lines(ENGINE / file) for file in files))(
                _medians(host, reader, "ours", peer.ipv4)
            )
            try:
                version, lines = metadata.version(library), _lines_of(library)
            except metadata.PackageNotFoundError:
                print(f"  {reader + ', ' + library:30}is not installed here")
                continue
            _show(f"{reader}, {library} {version}", lines)(
                _medians(host, reader, "library", peer.ipv4)
            )


def _show(name: str, lines: int) -> Any:
    def row(found: dict[str, Any]) -> None:
        spent = "".join(f"{found[each] * 1000:9.1f}" for each in ("import", "reading"))
        print(f"  {name:30}{lines:5}{spent}  {found['found']}")

    return row


def _medians(host: Host, *words: str) -> dict[str, Any]:
    runs = [
        json.loads(host.run([sys.executable, str(DRIVER), *words], timeout=120).stdout)
        for _run in range(RUNS)
    ]
    middle = {
        name: statistics.median(each[name] for each in runs) for name in ("import", "reading")
    }
    return {**middle, "found": runs[0]["found"]}


def _lines_of(library: str) -> int:
    files = metadata.files(library) or ()
    return sum(_lines(Path(str(file.locate()))) for file in files if file.suffix == ".py")


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n")


if __name__ == "__main__":
    main()
