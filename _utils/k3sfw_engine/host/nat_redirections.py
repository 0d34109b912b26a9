"""Which ports of this node are redirected in prerouting, before any rule of INPUT. Pure.

kube-proxy (NodePort, the addresses of LoadBalancer services) and the portmap plugin (hostPort, and
so ServiceLB) do that with DNAT, in the table nat of iptables or in tables of their own. The ways
from the hook to a DNAT are followed, with what each rule on the way asks of a packet; what only
concerns loopback, pods, services or other nodes ends at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import netaddr

from k3sfw_engine.model.kubernetes_names import is_kubernetes_interface
from k3sfw_engine.model.nat import LocalAddresses, Redirection
from k3sfw_engine.model.port_ranges import EVERY_PORT, in_common, parse_span, without
from k3sfw_engine.model.rows import PortRange, Protocol

# -- the ways of packets through chains -----------------------------------------------------------


@dataclass(frozen=True)
class PacketSet:
    """What a packet must be like to get here; ``to`` are those of the own addresses."""

    to: frozenset[netaddr.IPAddress]
    protocols: frozenset[Protocol] = frozenset({Protocol.TCP, Protocol.UDP, Protocol.SCTP})
    ports: tuple[PortRange, ...] = (EVERY_PORT,)
    source: str = ""

    @property
    def none(self) -> bool:
        return not (self.to and self.protocols and self.ports)


@dataclass(frozen=True)
class ChainHop:
    """A chain that packets get into; an empty one is the redirection itself."""

    chain: str
    packets: PacketSet
    by: str = ""
    service: str = ""


NextHops = Callable[[ChainHop], Iterator[ChainHop]]


def follow(start: Iterable[ChainHop], steps: NextHops) -> frozenset[Redirection]:
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
    """The packets that also have one of these values there, or none of them."""
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
    """Only packets of other hosts count; a rule for one network of them is one for it alone."""
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
    inside = all(name.rstrip("+*") == "lo" or is_kubernetes_interface(name) for name in names)
    return _NO_PACKETS if inside and not negated else packets


def narrow_to_address_type(
    packets: PacketSet, kind: str, *, of_source: bool, negated: bool
) -> PacketSet:
    """What a rule asks of the kind of an address (``local`` and others)."""
    local = kind.lower() == "local"
    if of_source:
        return _NO_PACKETS if local and not negated else packets
    # The addresses in question are all local ones.
    return packets if local is not negated else _NO_PACKETS
