"""The addresses of other hosts with which this one has a TCP connection."""

from __future__ import annotations

import netaddr
import psutil

from k3sfw_engine.host.live_connections import parse_socket_address


def read_connected_addresses() -> frozenset[netaddr.IPAddress]:
    """Read the far ends of all established connections; loopback does not count."""
    ends = (
        parse_socket_address(each.raddr.ip)
        for each in psutil.net_connections(kind="tcp")
        if each.raddr and each.status == psutil.CONN_ESTABLISHED
    )
    return frozenset(end for end in ends if end is not None and not end.is_loopback())
