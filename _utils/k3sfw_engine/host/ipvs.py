"""The virtual services of the kernel's IPVS, read from procfs."""

from __future__ import annotations

import re
from pathlib import Path

import netaddr

from k3sfw_engine.host.text_files import text_of
from k3sfw_engine.model.ipvs import IpvsFacts, VirtualService
from k3sfw_engine.model.kubernetes_names import IPVS_DEVICE
from k3sfw_engine.model.rows import Protocol

# A firewall mark in place of an address is nothing that kube-proxy makes.
# https://github.com/torvalds/linux/blob/master/net/netfilter/ipvs/ip_vs_ctl.c (ip_vs_info_seq_show)
_SERVICE = re.compile(
    r"^(TCP|UDP|SCTP) +(?:([0-9A-F]{8})|\[([0-9a-f:.]+)\]):([0-9A-F]{4}) ", re.MULTILINE
)


def read_ipvs(root: Path = Path("/")) -> IpvsFacts:
    """Read whether kube-proxy uses IPVS, and its services."""
    used = (root / "sys/class/net" / IPVS_DEVICE).exists()
    text = text_of(root / "proc/net/ip_vs")
    if not text:
        return IpvsFacts(used)
    services = {
        VirtualService(
            Protocol(protocol.lower()),
            netaddr.IPAddress(int(four, 16), 4) if four else netaddr.IPAddress(six, 6),
            int(port, 16),
        )
        for protocol, four, six, port in _SERVICE.findall(text)
    }
    return IpvsFacts(used, tuple(sorted(services)))
