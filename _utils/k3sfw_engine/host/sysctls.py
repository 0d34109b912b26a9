"""The sysctls of this host, read from /proc/sys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from k3sfw_engine.host.other_managers import text_of

_SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv6/conf/all/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
)
_SYSCTLS_OF_AN_INTERFACE = (
    "net/ipv4/conf/{}/forwarding",
    "net/ipv4/conf/{}/rp_filter",
    "net/ipv6/conf/{}/forwarding",
)


def read_sysctls(interfaces: Iterable[str], root: Path) -> dict[str, str]:
    names = [*_SYSCTLS]
    names += [
        pattern.format(interface)
        for interface in interfaces
        for pattern in _SYSCTLS_OF_AN_INTERFACE
    ]
    values = {name: text_of(root / "proc/sys" / name).strip() for name in names}
    return {name: value for name, value in values.items() if value}
