"""Runs inside a host: times one reader for ``bench.readers``, as JSON on stdout.

``readers_driver.py READER ours|library PEER``: the seconds of processor time of the import and of
one reading, child processes included, and how much was found.
"""

from __future__ import annotations

import importlib
import json
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_utils"))

# What is in every process of a minion that runs a function of k3sfw.
LOADED = ("salt.minion", "netaddr", "k3sfw_engine.model.rows", "k3sfw_engine.model.overlay")
TARGETS = 8


def spent() -> float:
    """The processor time of this process and of children that have ended."""
    done = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + done.ru_utime + done.ru_stime


def ours_nf_tables(_peer: str) -> int:
    from k3sfw_engine.host.nft_netlink import NftNetlink

    with NftNetlink() as tables:
        return sum(tables.find(name) is not None for name in ("firewalld", "firewalld_policy_drop"))


def library_nf_tables(_peer: str) -> int:
    from pyroute2.nftables.main import NFTables

    with NFTables(nfgen_family=1) as tables:
        names = [each.get_attr("NFTA_TABLE_NAME") for each in tables.get_tables()]
    return sum(name in names for name in ("firewalld", "firewalld_policy_drop"))


def ours_links(_peer: str) -> int:
    from k3sfw_engine.host.tunnel_devices import read_gateway_routes, read_tunnel_devices

    return len(read_tunnel_devices()) + len(read_gateway_routes())


def library_links(_peer: str) -> int:
    from pyroute2 import IPRoute

    with IPRoute() as kernel:
        kinds = [link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") for link in kernel.get_links()]
        routes = [each for each in kernel.get_routes() if each.get_attr("RTA_GATEWAY")]
    return kinds.count("vxlan") + len(routes)


def ours_network(peer: str) -> int:
    from k3sfw_engine.host.iproute import read_network

    return len(read_network(targets_near(peer)).lookups)


def library_network(peer: str) -> int:
    from pyroute2 import IPRoute

    with IPRoute() as kernel:
        for listed in (kernel.get_links, kernel.get_addr, kernel.get_routes, kernel.get_neighbours):
            list(listed())
        list(kernel.fdb("dump"))
        return sum(bool(list(kernel.route("get", dst=each))) for each in targets_near(peer))


def ours_conntrack(_peer: str) -> int:
    from k3sfw_engine.host.tracked_packets import read_tracked_packets

    return len(read_tracked_packets())


def library_conntrack(_peer: str) -> int:
    from pyroute2 import NFCTSocket

    with NFCTSocket() as tracked:
        return len(list(tracked.dump()))


def ours_echoes(peer: str) -> int:
    from k3sfw_engine.probes.echo import probe

    return len(probe({peer: 1400}) or {})


def library_echoes(peer: str) -> int:
    from icmplib import multiping

    small = multiping([peer], count=1, timeout=1, payload_size=56)
    large = multiping([peer], count=1, timeout=1, payload_size=1372)
    return sum(each.is_alive for each in (*small, *large)) // 2


def ours_iptables(_peer: str) -> int:
    from k3sfw_engine.host.filter_chains import read_filter_chains

    chains, _unread = read_filter_chains()
    return sum(chain.table == "ip filter" for chain in chains)


def library_iptables(_peer: str) -> int:
    import iptc

    return sum(bool(rules) for rules in iptc.easy.dump_table("filter").values())


def targets_near(peer: str) -> list[str]:
    network = peer.rpartition(".")[0]
    return [f"{network}.{number}" for number in range(101, 101 + TARGETS)]


IMPORTED = {
    "ours_nf_tables": ("k3sfw_engine.host.nft_netlink",),
    "ours_links": ("k3sfw_engine.host.tunnel_devices",),
    "ours_network": ("k3sfw_engine.host.iproute",),
    "ours_conntrack": ("k3sfw_engine.host.tracked_packets",),
    "ours_echoes": ("k3sfw_engine.probes.echo",),
    "ours_iptables": ("k3sfw_engine.host.filter_chains",),
    "library_nf_tables": ("pyroute2.nftables.main",),
    "library_links": ("pyroute2",),
    "library_network": ("pyroute2",),
    "library_conntrack": ("pyroute2",),
    "library_echoes": ("icmplib",),
    "library_iptables": ("iptc",),
}


def main(reader: str, whose: str, peer: str) -> dict[str, Any]:
    """Measure one import and one reading."""
    name = f"{whose}_{reader}"
    for module in LOADED:
        importlib.import_module(module)
    if reader == "conntrack":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"0", (peer, 8472))
    began = spent()
    for module in IMPORTED[name]:
        importlib.import_module(module)
    imported = spent()
    read: Callable[[str], int] = globals()[name]
    found = read(peer)
    return {"import": imported - began, "reading": spent() - imported, "found": found}


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
