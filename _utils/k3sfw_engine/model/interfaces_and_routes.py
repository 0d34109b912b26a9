"""The kernel's interfaces, routes, neighbours and forwarding entries, as data. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import netaddr

from k3sfw_engine.model.kubernetes_names import is_flannel_device

MAIN = "main"
# The kinds of routes that discard packets.
REFUSING = ("blackhole", "prohibit", "unreachable", "throw")


@dataclass(frozen=True)
class Interface:
    """One link; ``up`` is the administrative state, ``carrier`` whether it can carry packets.

    master
        The bridge or bond that it is part of.
    details
        The settings of its kind, as texts: for vxlan ``id``, ``local``, ``link``, ``port``.
    """

    name: str
    up: bool
    carrier: bool
    mtu: int
    kind: str = ""
    addresses: tuple[netaddr.IPNetwork, ...] = ()
    master: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hop:
    """One next hop of a route: the device, and the gateway if there is one."""

    device: str
    gateway: str = ""


@dataclass(frozen=True)
class Route:
    """One route of any table; ``kind`` is unicast, blackhole, prohibit, unreachable or throw."""

    destination: netaddr.IPNetwork
    kind: str
    hops: tuple[Hop, ...]
    table: str = "main"
    source: str = ""
    metric: int = 0
    protocol: str = ""
    scope: str = ""
    onlink: bool = False

    @property
    def device(self) -> str:
        """The device of the first hop."""
        return self.hops[0].device if self.hops else ""

    @property
    def gateway(self) -> str:
        """The gateway of the first hop."""
        return self.hops[0].gateway if self.hops else ""


@dataclass(frozen=True)
class Neighbour:
    """The link-layer address of an address on a device."""

    address: str
    device: str
    mac: str


@dataclass(frozen=True)
class Forwarding:
    """Where a vxlan device sends the frames for a MAC: the address of another node."""

    mac: str
    device: str
    destination: str


@dataclass(frozen=True)
class Rule:
    """One IPv4 routing rule."""

    priority: int
    source: str
    table: str


@dataclass(frozen=True)
class Lookup:
    """What the kernel would do with a packet to ``target``; ``error`` if it would not send it."""

    target: str
    kind: str = ""
    device: str = ""
    gateway: str = ""
    source: str = ""
    table: str = ""
    error: str = ""


@dataclass(frozen=True)
class Network:
    """Everything that was read, at one moment."""

    interfaces: Mapping[str, Interface]
    routes: tuple[Route, ...]
    neighbours: tuple[Neighbour, ...]
    forwarding: tuple[Forwarding, ...]
    rules: tuple[Rule, ...]
    lookups: Mapping[str, Lookup]


def overlay_peers(network: Network) -> Mapping[str, str]:
    """The overlay address of each peer, by the node address to which its packets are sent.

    Only of peers for which flannel's vxlan device has both entries: the neighbour (overlay address
    to MAC) and the forwarding entry (MAC to node address).
    """
    addresses = {(each.device, each.mac): each.address for each in overlay_neighbours(network)}
    return {
        entry.destination: addresses[entry.device, entry.mac]
        for entry in overlay_forwarding(network)
        if (entry.device, entry.mac) in addresses
    }


def overlay_neighbours(network: Network) -> tuple[Neighbour, ...]:
    """The neighbours on flannel's vxlan devices."""
    devices = overlay_devices(network)
    return tuple(each for each in network.neighbours if each.device in devices)


def overlay_forwarding(network: Network) -> tuple[Forwarding, ...]:
    """The forwarding entries of flannel's vxlan devices."""
    devices = overlay_devices(network)
    return tuple(each for each in network.forwarding if each.device in devices)


def overlay_devices(network: Network) -> frozenset[str]:
    """The names of flannel's vxlan devices."""
    # By name as well: Longhorn, KubeVirt and operators have vxlan devices of their own.
    return frozenset(
        name
        for name, each in network.interfaces.items()
        if each.kind == "vxlan" and is_flannel_device(name)
    )
