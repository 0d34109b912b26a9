"""What a zone of anybody lets in, and which of it is more than the tables say. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import netaddr

from .addresses import FAMILIES
from .desired import NODE_SETS, is_pod_row
from .objects import FirewalldObject, Kind
from .port_spans import EVERY_PORT, common, parse_span, without
from .rich_rules import Parts, parse_rule, write_rule
from .rows import PortRange, Protocol, Role, Row, Source, SourceKind, Tables

Networks = tuple[netaddr.IPNetwork, ...]

_TRANSPORTS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
_PROTOCOLS: Mapping[str, tuple[Protocol, ...]] = {
    "tcp": (Protocol.TCP,),
    "6": (Protocol.TCP,),
    "udp": (Protocol.UDP,),
    "17": (Protocol.UDP,),
    "sctp": (Protocol.SCTP,),
    "132": (Protocol.SCTP,),
}
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\Z")
IPSET = "ipset:"

# Where each kind has its rich rules.
RULES: Mapping[Kind, str] = {Kind.ZONE: "rules_str", Kind.POLICY: "rich_rules"}


@dataclass(frozen=True)
class Service:
    """A service of firewalld, with all that it includes: ``port/protocol``, and protocols."""

    ports: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    source_ports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Opening:
    """Ports that one element of a zone opens.

    setting, value
        The element in firewall-cmd's words: ``port`` and ``22/tcp``, ``service`` and ``ssh``,
        ``rich-rule`` and its text; without a value what the zone's target lets in.
    source
        An address, a network, ``ipset:NAME`` or a MAC; empty for everybody of these families.
    inverted
        Everybody but the source.
    """

    setting: str
    value: str
    protocol: Protocol
    ports: PortRange
    families: tuple[int, ...] = FAMILIES
    source: str = ""
    inverted: bool = False

    def __str__(self) -> str:
        if self.ports == EVERY_PORT:
            return f"{self.setting} {self.value}".strip()
        return f"{self.ports}/{self.protocol.value}"


@dataclass(frozen=True)
class Wider:
    """A row that names fewer than an opening lets in: at which ports, and in which families."""

    opening: Opening
    row: Row
    ports: PortRange
    families: tuple[int, ...]


def is_mac(source: str) -> bool:
    """Whether a zone's source is the address of a network card."""
    return bool(_MAC.match(source))


def parse_networks(source: str, ipsets: Mapping[str, tuple[str, ...]]) -> Networks:
    """The networks of a zone's or a rule's source; none of a MAC.

    ipsets
        Their entries by name.
    """
    if source.startswith(IPSET):
        entries = ipsets.get(source[len(IPSET) :], ())
        return tuple(each for entry in entries for each in _networks(entry))
    return () if is_mac(source) else tuple(_networks(source))


def _networks(text: str) -> Iterator[netaddr.IPNetwork]:
    # Of an entry such as ``192.0.2.1,tcp:80`` the address comes first.
    first, dash, last = text.partition(",")[0].partition("-")
    try:
        yield from netaddr.iprange_to_cidrs(first, last) if dash else [netaddr.IPNetwork(first)]
    except (netaddr.AddrFormatError, ValueError):
        return  # An interface, a mark or a MAC: no address.


# -- what a zone opens ----------------------------------------------------------------------------


def openings(zone: FirewalldObject, services: Mapping[str, Service]) -> Iterator[Opening]:
    """Every port that the zone or policy lets in, element by element, whoever comes in by it.

    A source port opens all ports: who sends chooses it.
    """
    for text in zone.items("ports"):
        yield from _ports("port", text, text)
    for text in zone.items("source_ports"):
        yield from _every_port("source-port", text, text.rpartition("/")[2])
    for text in zone.items("protocols"):
        yield from _every_port("protocol", text, text)
    for name in zone.items("services"):
        yield from _of_service("service", name, services.get(name, Service()))
    for text in zone.items(RULES[zone.kind]):
        yield from _of_rule(text, services)


def everything() -> Iterator[Opening]:
    """What a zone with the target ACCEPT opens."""
    yield from (Opening("", "", protocol, EVERY_PORT) for protocol in _TRANSPORTS)


def rejects_the_rest(zone: FirewalldObject) -> bool:
    """Whether a rule of the zone refuses whatever is left, before its target is asked.

    So libvirt keeps its machines from the host, in a zone whose target is ACCEPT for their way out.
    """
    for text in zone.items("rules_str"):
        names = {part.name for part in parse_rule(text)}
        if names <= {"rule", "reject", "drop", "log", "audit"} and names & {"reject", "drop"}:
            return True
    return False


def forward_ports(zone: FirewalldObject) -> Iterator[tuple[str, PortRange, Protocol, str]]:
    """Of each port that the zone forwards: whose packets (empty for all), the port, where to."""
    for text in zone.items("forward_ports"):
        port, protocol, *to = text.split("/")
        address = next((each for each in to if not each.replace("-", "").isdigit()), "")
        for each in _ports("forward-port", text, f"{port}/{protocol}"):
            yield "", each.ports, each.protocol, address
    for text in zone.items("rules_str"):
        by_name = {part.name: part.attributes for part in parse_rule(text)}
        forward = by_name.get("forward-port", {})
        port = f"{forward.get('port', '')}/{forward.get('protocol', '')}"
        for each in _ports("forward-port", text, port):
            source = by_name.get("source", {}).get("address", "")
            yield source, each.ports, each.protocol, forward.get("to-addr", "")


def service_names(zone: FirewalldObject) -> frozenset[str]:
    """The services that the zone or policy, or a rule of it, names."""
    in_rules = {
        part.attributes.get("name", "")
        for text in zone.items(RULES[zone.kind])
        for part in parse_rule(text)
        if part.name == "service"
    }
    return frozenset({*zone.items("services"), *in_rules} - {""})


def ipset_names(zone: FirewalldObject) -> frozenset[str]:
    """The ipsets that are sources of the zone or of a rule of it."""
    sources = {each[len(IPSET) :] for each in zone.items("sources") if each.startswith(IPSET)}
    in_rules = {
        part.attributes.get("ipset", "")
        for text in zone.items(RULES[zone.kind])
        for part in parse_rule(text)
        if part.name == "source"
    }
    return frozenset({*sources, *in_rules} - {""})


def _ports(setting: str, value: str, text: str) -> Iterator[Opening]:
    """Of ``2379-2380/tcp``; firewalld keeps nothing else, but for the names of ports."""
    span, _slash, protocol = text.partition("/")
    for each in _PROTOCOLS.get(protocol, ()):
        try:
            yield Opening(setting, value, each, parse_span(span))
        except ValueError:
            continue


def _every_port(setting: str, value: str, protocol: str) -> Iterator[Opening]:
    for each in _PROTOCOLS.get(protocol, ()):
        yield Opening(setting, value, each, EVERY_PORT)


def _of_service(setting: str, value: str, service: Service) -> Iterator[Opening]:
    for text in service.ports:
        yield from _ports(setting, value, text)
    for text in service.source_ports:
        yield from _every_port(setting, value, text.rpartition("/")[2])
    for text in service.protocols:
        yield from _every_port(setting, value, text)


def _of_rule(text: str, services: Mapping[str, Service]) -> Iterator[Opening]:
    """What a rule opens; nothing if it does not accept."""
    parts = parse_rule(text)
    by_name = {part.name: part for part in parts}
    if "accept" not in by_name:
        return
    source = by_name.get("source")
    family = by_name["rule"].attributes.get("family", "") if "rule" in by_name else ""
    families = {"ipv4": (4,), "ipv6": (6,)}.get(family, FAMILIES)
    for each in _of_element(write_rule(parts), parts, services):
        yield Opening(
            each.setting,
            each.value,
            each.protocol,
            each.ports,
            families,
            _source(source.attributes) if source else "",
            source is not None and source.negated,
        )


def _source(attributes: Mapping[str, str]) -> str:
    ipset = attributes.get("ipset", "")
    return f"{IPSET}{ipset}" if ipset else attributes.get("address") or attributes.get("mac", "")


# What a rule can be about that opens no port.
_NO_PORTS = ("icmp-block", "icmp-type", "masquerade", "forward-port", "tcp-mss-clamp")


def _of_element(value: str, parts: Parts, services: Mapping[str, Service]) -> Iterator[Opening]:
    setting = "rich-rule"
    for part in parts:
        attributes = part.attributes
        if part.name in _NO_PORTS:
            return
        if part.name == "port":
            text = f"{attributes.get('port', '')}/{attributes.get('protocol', '')}"
            yield from _ports(setting, value, text)
            return
        if part.name == "source-port":
            yield from _every_port(setting, value, attributes.get("protocol", ""))
            return
        if part.name == "protocol":
            yield from _every_port(setting, value, attributes.get("value", ""))
            return
        if part.name == "service":
            service = services.get(attributes.get("name", ""), Service())
            yield from _of_service(setting, value, service)
            return
    yield from (Opening(setting, value, protocol, EVERY_PORT) for protocol in _TRANSPORTS)


# -- what the tables give -------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """Rows, whether pods come in by their interfaces alone, and the families that count."""

    tables: Tables
    rows: tuple[Row, ...]
    pods_by_interface: bool
    families: tuple[int, ...] = FAMILIES

    def rows_at(self, protocol: Protocol, port: int) -> tuple[Row, ...]:
        """The rows that name this port."""
        return tuple(
            row
            for row in self.rows
            if row.protocol is protocol and any(port in span for span in row.ports)
        )

    def to(self, rows: Iterable[Row], family: int) -> Networks:
        """Who these rows, and those that are for every port, let in by address."""
        for_all = (
            row
            for row in self.rows
            if row.protocol is Protocol.ANY and not (self.pods_by_interface and is_pod_row(row))
        )
        return tuple(
            network
            for row in (*rows, *for_all)
            for source in row.sources
            for network in named(source, self.tables)
            if network.version == family
        )

    def is_for_everybody(self, protocol: Protocol, port: int, family: int) -> bool:
        """Whether the rows let everybody in there."""
        return any(
            network.prefixlen == 0 for network in self.to(self.rows_at(protocol, port), family)
        )

    def wider(self, opening: Opening, sources: Networks | None) -> Iterator[Wider]:
        """The rows of the ports that the opening has, where these sources are more than theirs.

        sources
            Who meets the opening, ``None`` for everybody.
        """
        for row in self.rows:
            if row.protocol is not opening.protocol:
                continue
            for span in row.ports:
                ports = common(span, opening.ports)
                families = tuple(
                    family
                    for family in opening.families
                    if ports
                    and family in self.families
                    and self._is_wider(opening.protocol, ports.low, family, sources)
                )
                if ports and families:
                    yield Wider(opening, row, ports, families)

    def _is_wider(
        self, protocol: Protocol, port: int, family: int, sources: Networks | None
    ) -> bool:
        given = self.to(self.rows_at(protocol, port), family)
        if any(network.prefixlen == 0 for network in given):
            return False
        if sources is None:
            return True
        # One look-up for each: an ipset may have thousands of entries, and a cluster of nodes.
        inside = netaddr.IPSet(given)
        return any(source not in inside for source in sources if source.version == family)


def named(source: Source, tables: Tables) -> Networks:
    """The networks that a name of the source column stands for."""
    if source.kind in NODE_SETS:
        return tuple(
            netaddr.IPNetwork(address)
            for node in tables.nodes
            if source.kind is SourceKind.ANY or node.role is Role(source.kind.value)
            for address in node.addresses
        )
    if source.kind is SourceKind.GROUP:
        return tuple(tables.groups.get(source.value, ()))
    if source.kind is SourceKind.PODS:
        return tables.pod_cidrs
    if source.kind is SourceKind.SERVICES:
        return tables.service_cidrs
    return (netaddr.IPNetwork(source.value),)


def left_over(opened: Iterable[Opening], wider: Iterable[Wider]) -> tuple[str, ...]:
    """What stays open of an element when the ports of these rows are taken out of it."""
    taken = tuple(wider)
    return tuple(
        f"{span}/{each.protocol.value}"
        for each in opened
        for span in without(
            each.ports, (w.ports for w in taken if w.opening.protocol is each.protocol)
        )
    )
