"""Whether zones and policies that are not ours allow a packet, so that it needs no row. Pure.

In doubt they do not: a reject rule might match this peer, and a source that is a MAC address or an
unread ipset might not match it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

import netaddr

from k3sfw_engine.checks.zone_openings import Opening, openings, parse_networks, rejects_the_rest
from k3sfw_engine.model.firewall_objects import FirewalldObject
from k3sfw_engine.model.port_ranges import EVERY_PORT, parse_span
from k3sfw_engine.model.rich_rules import Parts, Rule
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.model.rule_matches_packet import Packet
from k3sfw_engine.model.zones import OtherRules

_REFUSING_TARGETS = ("DROP", "REJECT", "%%REJECT%%")


def allows(rules: OtherRules, packet: Packet, interfaces: Set[str]) -> bool:
    """Whether the packet is certainly allowed, whichever of the interfaces it arrives on."""
    zones = zones_of(rules, packet, interfaces)
    policies = list(_to_host(rules, zones))
    if not zones or any(_may_refuse(each, packet) for each in policies):
        return False
    if any(_from_all(each, zones) and _opens(rules, each, packet) for each in policies):
        return True
    found = [rules.zones.get(name) for name in zones]
    return all(zone and _zone_allows(rules, zone, packet) for zone in found)


def zones_of(rules: OtherRules, packet: Packet, interfaces: Set[str]) -> tuple[str, ...]:
    """The zones that may judge the packet; none if its interfaces are unknown."""
    bound = {
        interface: name
        for name, zone in rules.zones.items()
        for interface in zone.items("interfaces")
    }
    by_interface = {
        bound.get(name) or rules.managed.get(name) or rules.default for name in interfaces
    }
    certain: set[str] = set()
    possible: set[str] = set()
    for name, zone in rules.zones.items():
        for source in zone.items("sources"):
            networks = parse_networks(source, rules.ipsets)
            if any(packet.source in network for network in networks):
                certain.add(name)
            elif not networks or netaddr.IPSet(networks) & _set_of(packet):
                possible.add(name)
    # A source takes precedence over an interface.
    return tuple(sorted((certain or by_interface) | possible)) if interfaces else ()


def _to_host(rules: OtherRules, zones: Iterable[str]) -> Iterator[FirewalldObject]:
    """The policies that may judge packets to this host from these zones."""
    for each in rules.policies:
        ingress = set(each.items("ingress_zones"))
        if "HOST" in each.items("egress_zones") and ingress & {"ANY", *zones}:
            yield each


def _from_all(policy: FirewalldObject, zones: Iterable[str]) -> bool:
    ingress = set(policy.items("ingress_zones"))
    return "ANY" in ingress or ingress.issuperset(zones)


def _zone_allows(rules: OtherRules, zone: FirewalldObject, packet: Packet) -> bool:
    if any(_rule_may_refuse(rule, packet) for rule in zone.rules):
        return False
    return _opens(rules, zone, packet)


def _opens(rules: OtherRules, each: FirewalldObject, packet: Packet) -> bool:
    if each.settings["target"] == "ACCEPT" and not rejects_the_rest(each):
        return True
    return any(_opening_allows(rules, found, packet) for found in openings(each, rules.services))


def _opening_allows(rules: OtherRules, opening: Opening, packet: Packet) -> bool:
    if (
        not opening.is_of(packet.protocol)
        or (packet.protocol.has_ports and not _is_for_port(opening, packet.port))
        or packet.source.version not in opening.families
        or opening.inverted
    ):
        return False
    networks = parse_networks(opening.source, rules.ipsets)
    return not opening.source or any(packet.source in network for network in networks)


def _may_refuse(policy: FirewalldObject, packet: Packet) -> bool:
    if policy.settings["target"] in _REFUSING_TARGETS:
        return True
    return any(_rule_may_refuse(rule, packet) for rule in policy.rules)


def _rule_may_refuse(rule: Rule, packet: Packet) -> bool:
    by_name = {part.name: part for part in rule.parts}
    if not {"reject", "drop"} & by_name.keys() or _is_of_another_port(rule.parts, packet):
        return False
    family = by_name["rule"].attributes.get("family", "") if "rule" in by_name else ""
    if family and family != f"ipv{packet.source.version}":
        return False
    source = by_name.get("source")
    if source is None or source.negated:
        return True
    networks = parse_networks(source.attributes.get("address", ""), {})
    return not networks or bool(netaddr.IPSet(networks) & _set_of(packet))


def _is_for_port(opening: Opening, port: int | None) -> bool:
    """Whether it opens the port to every sender, not only to those with one source port."""
    if port is None or port not in opening.ports:
        return False
    if opening.ports != EVERY_PORT:
        return True
    if opening.setting == "rich-rule":
        return opening.any_sender
    return opening.setting in ("port", "protocol")


def _is_of_another_port(parts: Parts, packet: Packet) -> bool:
    """Whether the rule certainly matches only packets of other protocols or to other ports."""
    for part in parts:
        if part.name in ("icmp-type", "icmp-block"):
            return packet.protocol not in (Protocol.ICMP, Protocol.IPV6_ICMP)
        if part.name == "port":
            if part.attributes.get("protocol") != packet.protocol.value:
                return True
            try:
                ports = parse_span(part.attributes.get("port", ""))
            except ValueError:
                continue  # A name of a port.
            return packet.port is not None and packet.port not in ports
    return False


def _set_of(packet: Packet) -> netaddr.IPSet:
    return netaddr.IPSet([netaddr.IPNetwork(packet.source)])
