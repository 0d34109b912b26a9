"""Networks and addresses, read strictly and compared. Pure; uses netaddr."""

from __future__ import annotations

import re
from collections.abc import Iterable

import netaddr

Networks = tuple[netaddr.IPNetwork, ...]

FAMILIES = (4, 6)

# netaddr also reads netmasks, host masks and integers; in a table these are spelling errors.
_NETWORK = re.compile(r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?\Z")
_LONGEST_NETWORK = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128")

# "This network", loopback, link-local, multicast and beyond: peers cannot reach a node at these.
_UNUSABLE = tuple(
    netaddr.IPNetwork(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
    + ("::/127", "fe80::/10", "ff00::/8")
)


def parse_network(text: object) -> netaddr.IPNetwork:
    """Read ``10.42.0.0/16``, ``2001:db8::/32`` or a single address.

    Raises ``ValueError`` with a sentence that names the value: for anything else than a string, a
    netmask instead of a prefix length, host bits behind the prefix, an IPv4-mapped IPv6 address.
    """
    if not isinstance(text, str):
        raise ValueError(f"a value of type {type(text).__name__} is not an address or CIDR")
    if len(text) > _LONGEST_NETWORK or not _NETWORK.match(text):
        raise ValueError(f"{text[:_LONGEST_NETWORK]!r} is not an address or CIDR")
    try:
        network = netaddr.IPNetwork(text)
    except (netaddr.AddrFormatError, ValueError) as error:
        raise ValueError(f"{text!r} is not an address or CIDR") from error
    if network.value != network.first:
        raise ValueError(f"{text!r} has host bits set; the network is {network.cidr}")
    if network.version == 6 and network.ip.is_ipv4_mapped():
        raise ValueError(f"{text!r} is an IPv4 address written as IPv6; write it as IPv4")
    return network


def parse_address(text: object) -> netaddr.IPAddress:
    """Read one address of a node: without a prefix length, and reachable for peers.

    Raises ``ValueError`` with a sentence that names the value.
    """
    network = parse_network(text)
    if "/" in str(text):
        raise ValueError(f"{text!r} is a network; a node has single addresses")
    address = network.ip
    if any(each.version == address.version and address in each for each in _UNUSABLE):
        raise ValueError(f"{text!r} is not an address at which peers can reach a node")
    return address


def networks_of_range(text: str) -> list[netaddr.IPNetwork]:
    """Read an address, a network, or a range such as ``192.0.2.1-192.0.2.9``.

    Raises ``ValueError`` for anything else.
    """
    first, dash, last = text.partition("-")
    try:
        return netaddr.iprange_to_cidrs(first, last) if dash else [netaddr.IPNetwork(first)]
    except netaddr.AddrFormatError as error:
        raise ValueError(f"{text!r} is not a range of addresses") from error


def entry(network: netaddr.IPNetwork) -> str:
    """Write a network as firewalld keeps it: a single address without its prefix length."""
    width = 32 if network.version == 4 else 128
    return str(network.ip) if network.prefixlen == width else str(network)


def without_contained(networks: Iterable[netaddr.IPNetwork]) -> tuple[netaddr.IPNetwork, ...]:
    """Drop every network that another one contains; sorted, one family after the other.

    firewalld refuses overlapping entries at runtime, and in the permanent configuration they break
    its next reload. Adjacent networks are *not* merged into a shorter prefix: a node that joins
    would then replace an entry of others, and a replacement closes it for a moment.
    """
    kept: list[netaddr.IPNetwork] = []
    # Sorted, a network comes directly before all that it contains.
    version, last = 0, 0
    for network in sorted(networks, key=lambda each: (each.version, each.first, each.prefixlen)):
        if network.version == version and network.last <= last:
            continue
        version, last = network.version, network.last
        kept.append(network)
    return tuple(kept)
