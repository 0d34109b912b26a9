"""The sysctls that decide about forwarded packets, by their paths below /proc/sys. Pure.

``host/sysctls`` reads them, ``checks/routes/required_sysctls`` judges them, and the state
``k3s.routes`` sets them (a test compares the two).
"""

from __future__ import annotations

from collections.abc import Mapping

FORWARDING: Mapping[int, str] = {
    4: "net/ipv4/ip_forward",
    6: "net/ipv6/conf/all/forwarding",
}
# They exist once br_netfilter is loaded; K3s loads it.
BRIDGE_CALLS: Mapping[int, str] = {
    4: "net/bridge/bridge-nf-call-iptables",
    6: "net/bridge/bridge-nf-call-ip6tables",
}


def forwarding_of(interface: str) -> str:
    """The IPv4 switch of one interface, which overrules the general one.

    That of IPv6 only says whether the interface listens to routers (measured: with 0 there and 1
    in general, the kernel forwards).
    """
    return f"net/ipv4/conf/{interface}/forwarding"


def rp_filter_of(interface: str) -> str:
    """Reverse-path filtering of one interface, or of ``all``."""
    return f"net/ipv4/conf/{interface}/rp_filter"


def dotted(path: str) -> str:
    """The name that the program sysctl takes: a dot in an interface's name becomes a slash."""
    return "".join({"/": ".", ".": "/"}.get(character, character) for character in path)
