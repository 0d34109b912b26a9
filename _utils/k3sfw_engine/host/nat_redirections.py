"""Follow packets through NAT chains, from the prerouting hook to each DNAT. Pure.

kube-proxy (NodePort, addresses of LoadBalancer services) and the portmap plugin (hostPort, and so
ServiceLB) use DNAT, in iptables' table nat or in tables of their own. Each path is followed with
the conditions of its rules; paths that only concern loopback, pods, services or other nodes end
early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import netaddr

from k3sfw_engine.model.kubernetes_names import is_kubernetes_interface
from k3sfw_engine.model.nat import LocalAddresses, Redirection
from k3sfw_engine.model.port_ranges import EVERY_PORT, in_common, parse_span, without
from k3sfw_engine.model.rows import PortRange, Protocol


@dataclass(frozen=True)
class PacketSet:
    """The packets that get to a chain; ``to`` are the node's own addresses among their targets."""

    to: frozenset[netaddr.IPAddress]
    protocols: frozenset[Protocol] = frozenset({Protocol.TCP, Protocol.UDP, Protocol.SCTP})
    ports: tuple[PortRange, ...] = (EVERY_PORT,)
    source: str = ""

    @property
    def none(self) -> bool:
        return not (self.to and self.protocols and self.ports)


@dataclass(frozen=True)
class ChainHop:
    """A chain that packets enter; an empty name is the redirection itself."""

    chain: str
    packets: PacketSet
    by: str = ""
    service: str = ""


NextHops = Callable[[ChainHop], Iterator[ChainHop]]


def follow(start: Iterable[ChainHop], steps: NextHops) -> frozenset[Redirection]:
    """Follow packets from chain to chain, and return the redirections in which they end."""
    found: set[Redirection] = set()
    seen: set[ChainHop] = set()
    ahead = list(start)
    while ahead:
        way = ahead.pop()
        if way in seen or way.packets.none:
            continue
        seen.add(way)
        if way.chain:
            ahead += steps(way)
        else:
            found.update(_redirections(way))
    return frozenset(found)


def _redirections(way: ChainHop) -> Iterator[Redirection]:
    for protocol in way.packets.protocols:
        for ports in way.packets.ports:
            for family in {address.version for address in way.packets.to}:
                yield Redirection(protocol, ports, family, way.by, way.service, way.packets.source)


def narrow(packets: PacketSet, field: str, values: list[str], negated: bool) -> PacketSet:
    """Keep the packets with one of these values in a field, or with none of them."""
    if field == "to":
        networks = _networks(values)
        to = {a for a in packets.to if any(a in each for each in networks) is not negated}
        return replace(packets, to=frozenset(to))
    if field == "protocol":
        named = {PROTOCOLS[value] for value in values if value in PROTOCOLS}
        kept = packets.protocols - named if negated else packets.protocols & named
        return replace(packets, protocols=kept)
    if field == "port":
        spans = [parse_span(value) for value in values]
        spans = list(without(EVERY_PORT, spans)) if negated else spans
        return replace(packets, ports=in_common(packets.ports, spans))
    return packets


PROTOCOLS: Mapping[str, Protocol] = {
    "tcp": Protocol.TCP,
    "6": Protocol.TCP,
    "udp": Protocol.UDP,
    "17": Protocol.UDP,
    "sctp": Protocol.SCTP,
    "132": Protocol.SCTP,
}
_NO_PACKETS = PacketSet(to=frozenset())


def _networks(values: Iterable[str]) -> list[netaddr.IPNetwork]:
    found = []
    for value in values:
        first, dash, last = value.partition("-")
        try:
            found += netaddr.iprange_to_cidrs(first, last) if dash else [netaddr.IPNetwork(value)]
        except (netaddr.AddrFormatError, ValueError):
            continue  # Not an address: the name of something else.
    return found


def narrow_to_source(
    packets: PacketSet, values: list[str], negated: bool, here: LocalAddresses
) -> PacketSet:
    """Keep the packets from these sources, as far as they are other hosts."""
    networks = _networks(values)
    if negated or not networks or any(network.prefixlen == 0 for network in networks):
        return packets
    inside = (*here.pods, netaddr.IPNetwork("127.0.0.0/8"), netaddr.IPNetwork("::1/128"))
    outside = [
        network
        for network in networks
        if not any(network in each for each in inside)
        and not (network.size == 1 and network.ip in here.own)
    ]
    if not outside:
        return _NO_PACKETS
    return replace(packets, source=",".join(str(network) for network in outside))


def narrow_to_interfaces(packets: PacketSet, names: Iterable[str], negated: bool) -> PacketSet:
    """Keep the packets that arrive on these interfaces, unless all of them are internal."""
    inside = all(name.rstrip("+*") == "lo" or is_kubernetes_interface(name) for name in names)
    return _NO_PACKETS if inside and not negated else packets


def narrow_to_address_type(
    packets: PacketSet, kind: str, *, of_source: bool, negated: bool
) -> PacketSet:
    """Keep the packets whose address is of this type (``local`` or another)."""
    local = kind.lower() == "local"
    if of_source:
        return _NO_PACKETS if local and not negated else packets
    # The target addresses are all local.
    return packets if local is not negated else _NO_PACKETS
