"""Whether zones and policies of others let a packet in, so that no rule of ours is needed. Pure.

What cannot be known is no way in: a rule that refuses somebody may refuse him, a source that is a
card's address or an unread ipset may be his.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field

import netaddr

from k3sfw_engine.checks.zone_openings import Opening, openings, parse_networks, rejects_the_rest
from k3sfw_engine.model.firewall_objects import FirewalldObject
from k3sfw_engine.model.port_ranges import EVERY_PORT
from k3sfw_engine.model.rich_rules import Parts, parse_rule
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.model.rule_matches_packet import Packet
from k3sfw_engine.model.zones import RICH_RULE_SETTING, ServiceDefinition

_REFUSING_TARGETS = ("DROP", "REJECT", "%%REJECT%%")


@dataclass(frozen=True)
class OtherRules:
    """What others have in one layer of firewalld.

    zones
        Those that are in use, by name.
    policies
        What stands before and behind the zones, ours left out.
    managed
        The zone in which NetworkManager puts each of its interfaces.
    """

    zones: Mapping[str, FirewalldObject]
    default: str
    policies: tuple[FirewalldObject, ...] = ()
    services: Mapping[str, ServiceDefinition] = field(default_factory=dict)
    ipsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    managed: Mapping[str, str] = field(default_factory=dict)

    def let_in(self, question: Packet, interfaces: Set[str]) -> bool:
        """Whether the packet is let in for certain, by whichever of the interfaces it comes."""
        zones = self.zones_of(question, interfaces)
        policies = list(self._to_host(zones))
        if not zones or any(self._may_refuse(each, question) for each in policies):
            return False
        if any(self._from_all(each, zones) and self._opens(each, question) for each in policies):
            return True
        found = [self.zones.get(name) for name in zones]
        return all(zone and self._zone_lets_in(zone, question) for zone in found)

    def zones_of(self, question: Packet, interfaces: Set[str]) -> tuple[str, ...]:
        """The zones that may be asked about the packet; none if its way is not known."""
        bound = {
            interface: name
            for name, zone in self.zones.items()
            for interface in zone.items("interfaces")
        }
        by_interface = {
            bound.get(name) or self.managed.get(name) or self.default for name in interfaces
        }
        certain: set[str] = set()
        possible: set[str] = set()
        for name, zone in self.zones.items():
            for source in zone.items("sources"):
                networks = parse_networks(source, self.ipsets)
                if any(question.source in network for network in networks):
                    certain.add(name)
                elif not networks or netaddr.IPSet(networks) & _set_of(question):
                    possible.add(name)
        # A source counts before an interface.
        return tuple(sorted((certain or by_interface) | possible)) if interfaces else ()

    def _to_host(self, zones: Iterable[str]) -> Iterator[FirewalldObject]:
        """The policies that may be asked about what comes to this host by these zones."""
        for each in self.policies:
            ingress = set(each.items("ingress_zones"))
            if "HOST" in each.items("egress_zones") and ingress & {"ANY", *zones}:
                yield each

    def _from_all(self, policy: FirewalldObject, zones: Iterable[str]) -> bool:
        ingress = set(policy.items("ingress_zones"))
        return "ANY" in ingress or ingress.issuperset(zones)

    def _zone_lets_in(self, zone: FirewalldObject, question: Packet) -> bool:
        if any(
            self._rule_may_refuse(text, question)
            for text in zone.items(RICH_RULE_SETTING[zone.kind])
        ):
            return False
        return self._opens(zone, question)

    def _opens(self, each: FirewalldObject, question: Packet) -> bool:
        if each.settings["target"] == "ACCEPT" and not rejects_the_rest(each):
            return True
        return any(self._is_way_in(found, question) for found in openings(each, self.services))

    def _is_way_in(self, opening: Opening, question: Packet) -> bool:
        if (
            opening.protocol is not question.protocol
            or question.port is None
            or question.port not in opening.ports
            or question.source.version not in opening.families
            or opening.inverted
        ):
            return False
        if opening.ports == EVERY_PORT and not _is_for_every_sender(opening):
            return False
        networks = parse_networks(opening.source, self.ipsets)
        return not opening.source or any(question.source in network for network in networks)

    def _may_refuse(self, policy: FirewalldObject, question: Packet) -> bool:
        if policy.settings["target"] in _REFUSING_TARGETS:
            return True
        rules = policy.items(RICH_RULE_SETTING[policy.kind])
        return any(self._rule_may_refuse(text, question) for text in rules)

    def _rule_may_refuse(self, text: str, question: Packet) -> bool:
        parts = parse_rule(text)
        by_name = {part.name: part for part in parts}
        if not {"reject", "drop"} & by_name.keys() or _is_of_another_port(parts, question):
            return False
        family = by_name["rule"].attributes.get("family", "") if "rule" in by_name else ""
        if family and family != f"ipv{question.source.version}":
            return False
        source = by_name.get("source")
        if source is None or source.negated:
            return True
        networks = parse_networks(source.attributes.get("address", ""), {})
        return not networks or bool(netaddr.IPSet(networks) & _set_of(question))


def _is_for_every_sender(opening: Opening) -> bool:
    """Whether it is not one that opens every port to whoever sends from a certain one."""
    if opening.setting == "rich-rule":
        return not {"source-port", "service"} & {part.name for part in parse_rule(opening.value)}
    return opening.setting in ("port", "protocol")


def _is_of_another_port(parts: Parts, question: Packet) -> bool:
    """Whether the rule is certainly about other packets than those to the port."""
    for part in parts:
        if part.name in ("icmp-type", "icmp-block"):
            return True
        if part.name == "port":
            low, _dash, high = part.attributes.get("port", "").partition("-")
            if part.attributes.get("protocol") != Protocol.TCP.value:
                return True
            if low.isdigit() and (high or low).isdigit() and question.port is not None:
                return not int(low) <= question.port <= int(high or low)
    return False


def _set_of(question: Packet) -> netaddr.IPSet:
    return netaddr.IPSet([netaddr.IPNetwork(question.source)])
