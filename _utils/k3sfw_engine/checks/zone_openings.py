"""The ports that a firewalld zone or policy opens, element by element, and to which sources. Pure.

It knows no rows: whether an opening exceeds the tables is judged in ``zones/``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import netaddr

from k3sfw_engine.model.addresses import FAMILIES, Networks, networks_of_range
from k3sfw_engine.model.firewall_objects import FirewalldObject
from k3sfw_engine.model.port_ranges import EVERY_PORT, parse_port
from k3sfw_engine.model.protocol_names import protocol_of_number
from k3sfw_engine.model.rich_rules import Parts, Rule, write_rule
from k3sfw_engine.model.rows import PortRange, Protocol
from k3sfw_engine.model.zones import IPSET, ServiceDefinition

# ``any`` stands for all protocols that have no ports.
_EVERY_PROTOCOL = (Protocol.TCP, Protocol.UDP, Protocol.SCTP, Protocol.ANY)
# What /etc/protocols calls them on Debian or Fedora, where a row has another name or none. Its ipip
# is not that of ``ip tunnel``.
_OTHER_NAMES: Mapping[str, Protocol] = {
    "ipencap": Protocol.IPIP,
    "ipip": Protocol("94"),
    "ipv4": Protocol.IPIP,
    "ipv6": Protocol("41"),
    "ospfigp": Protocol.OSPF,
}
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\Z")


@dataclass(frozen=True)
class Opening:
    """Ports that one element of a zone opens, or a protocol that has none.

    setting, value
        The element in firewall-cmd's words: ``port`` and ``22/tcp``, ``service`` and ``ssh``,
        ``rich-rule`` and its text; without a value what the zone's target allows.
    protocol, ports
        Every port, where the protocol has none; ``any`` is every protocol that has none.
    source
        An address, a network, ``ipset:NAME`` or a MAC; empty for every source of these families.
    inverted
        Every source except this one.
    any_sender
        Whether it is certainly open to packets from every source port.
    """

    setting: str
    value: str
    protocol: Protocol
    ports: PortRange
    families: tuple[int, ...] = FAMILIES
    source: str = ""
    inverted: bool = False
    any_sender: bool = True

    def __str__(self) -> str:
        if self.ports == EVERY_PORT:
            return f"{self.setting} {self.value}".strip()
        return f"{self.ports}/{self.protocol.value}"

    def is_of(self, protocol: Protocol) -> bool:
        """Whether it opens this protocol, or a port of it."""
        return self.protocol is protocol or (self.protocol is Protocol.ANY and protocol.is_whole)


def is_mac(source: str) -> bool:
    """Whether a zone's source is the address of a network card."""
    return bool(_MAC.match(source))


def parse_networks(source: str, ipsets: Mapping[str, tuple[str, ...]]) -> Networks:
    """The networks of a zone's or a rule's source; none if it is a MAC address.

    ipsets
        Their entries by name.
    """
    if source.startswith(IPSET):
        entries = ipsets.get(source[len(IPSET) :], ())
        return tuple(each for entry in entries for each in _networks(entry))
    return () if is_mac(source) else tuple(_networks(source))


def _networks(text: str) -> Iterator[netaddr.IPNetwork]:
    # In an entry such as ``192.0.2.1,tcp:80`` the address comes first.
    try:
        yield from networks_of_range(text.partition(",")[0])
    except ValueError:
        return  # An interface, a mark or a MAC: no address.


# -- what a zone opens ----------------------------------------------------------------------------


def openings(zone: FirewalldObject, services: Mapping[str, ServiceDefinition]) -> Iterator[Opening]:
    """Everything that the zone or policy opens, element by element.

    A source port opens all ports, because the sender chooses it.
    """
    for text in zone.items("ports"):
        yield from _ports("port", text, text)
    for text in zone.items("source_ports"):
        yield from _every_port("source-port", text, text.rpartition("/")[2])
    for text in zone.items("protocols"):
        yield from _every_port("protocol", text, text)
    for name in zone.items("services"):
        yield from _of_service("service", name, services.get(name, ServiceDefinition()))
    for rule in zone.rules:
        yield from _of_rule(rule, services)


def everything() -> Iterator[Opening]:
    """What a zone with the target ACCEPT opens."""
    yield from (Opening("", "", protocol, EVERY_PORT) for protocol in _EVERY_PROTOCOL)


def rejects_the_rest(zone: FirewalldObject) -> bool:
    """Whether a rule of the zone rejects everything else, before its target applies.

    libvirt denies its guests access to the host this way, in a zone whose target accepts what they
    send elsewhere.
    """
    for rule in zone.rules:
        names = {part.name for part in rule.parts}
        if names <= {"rule", "reject", "drop", "log", "audit"} and names & {"reject", "drop"}:
            return True
    return False


def forward_ports(zone: FirewalldObject) -> Iterator[tuple[str, PortRange, Protocol, str]]:
    """Each port that the zone forwards: the source (empty for all), ports, protocol, target."""
    for text in zone.items("forward_ports"):
        port, protocol, *to = text.split("/")
        address = next((each for each in to if not each.replace("-", "").isdigit()), "")
        for each in _ports("forward-port", text, f"{port}/{protocol}"):
            yield "", each.ports, each.protocol, address
    for rule in zone.rules:
        by_name = {part.name: part.attributes for part in rule.parts}
        forward = by_name.get("forward-port", {})
        port = f"{forward.get('port', '')}/{forward.get('protocol', '')}"
        for each in _ports("forward-port", str(rule), port):
            source = by_name.get("source", {}).get("address", "")
            yield source, each.ports, each.protocol, forward.get("to-addr", "")


def _ports(setting: str, value: str, text: str) -> Iterator[Opening]:
    """What ``2379-2380/tcp`` opens; a port given by its name is skipped."""
    try:
        port = parse_port(text)
    except ValueError:
        return
    yield Opening(setting, value, port.protocol, port.ports)


def _every_port(setting: str, value: str, protocol: str) -> Iterator[Opening]:
    """What a protocol opens; one whose name is not known here is skipped."""
    try:
        if protocol.isdecimal():
            opened = protocol_of_number(int(protocol))
        else:
            opened = _OTHER_NAMES.get(protocol) or Protocol(protocol)
    except ValueError:
        return
    yield Opening(setting, value, opened, EVERY_PORT)


def _of_service(setting: str, value: str, service: ServiceDefinition) -> Iterator[Opening]:
    for text in service.ports:
        yield from _ports(setting, value, text)
    for text in service.source_ports:
        yield from _every_port(setting, value, text.rpartition("/")[2])
    for text in service.protocols:
        yield from _every_port(setting, value, text)


def _of_rule(rule: Rule, services: Mapping[str, ServiceDefinition]) -> Iterator[Opening]:
    """What a rule opens; nothing if it does not accept."""
    by_name = {part.name: part for part in rule.parts}
    if "accept" not in by_name:
        return
    source = by_name.get("source")
    family = by_name["rule"].attributes.get("family", "") if "rule" in by_name else ""
    families = {"ipv4": (4,), "ipv6": (6,)}.get(family, FAMILIES)
    for each in _of_element(write_rule(rule.parts), rule.parts, services):
        yield Opening(
            each.setting,
            each.value,
            each.protocol,
            each.ports,
            families,
            _source(source.attributes) if source else "",
            source is not None and source.negated,
            any_sender=not {"source-port", "service"} & by_name.keys(),
        )


def _source(attributes: Mapping[str, str]) -> str:
    ipset = attributes.get("ipset", "")
    return f"{IPSET}{ipset}" if ipset else attributes.get("address") or attributes.get("mac", "")


# Elements of a rule that open no port.
_NO_PORTS = ("icmp-block", "icmp-type", "masquerade", "forward-port", "tcp-mss-clamp")


def _of_element(
    value: str, parts: Parts, services: Mapping[str, ServiceDefinition]
) -> Iterator[Opening]:
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
            service = services.get(attributes.get("name", ""), ServiceDefinition())
            yield from _of_service(setting, value, service)
            return
    yield from (Opening(setting, value, protocol, EVERY_PORT) for protocol in _EVERY_PROTOCOL)
