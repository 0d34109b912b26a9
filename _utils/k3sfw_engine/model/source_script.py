"""The ports and networks that the example script of the source document opens. Pure."""

from __future__ import annotations

import netaddr

from k3sfw_engine.model.port_ranges import parse_port

SCRIPT_PORTS = tuple(
    parse_port(text)
    for text in (
        *("2379-2380/tcp", "6443/tcp", "8472/udp", "10250/tcp", "5001/tcp", "9500/tcp", "8500/tcp"),
        *("80/tcp", "443/tcp", "3000/tcp", "9095/tcp", "9093/tcp", "9090/tcp", "6379/tcp"),
    )
)
# The script has K3s's default networks, and asks to adjust the commands to the site's.
SCRIPT_NETWORKS = tuple(netaddr.IPNetwork(text) for text in ("10.42.0.0/16", "10.43.0.0/16"))
