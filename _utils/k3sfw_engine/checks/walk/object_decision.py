"""What one zone or policy of firewalld decides about a packet. Pure.

firewalld evaluates an object in this order: rules with a negative priority, rules that reject or
drop, what the object opens and rules that accept, rules with a positive priority, and its target.
https://firewalld.org/documentation/man-pages/firewalld.richlanguage.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import netaddr

from k3sfw_engine.checks.zone_openings import Opening, openings, parse_networks
from k3sfw_engine.model.firewall_objects import FirewalldObject, Kind
from k3sfw_engine.model.port_ranges import EVERY_PORT, parse_span
from k3sfw_engine.model.rich_rules import Part, Rule
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.model.rule_matches_packet import Packet
from k3sfw_engine.model.zones import IPSET, OtherRules, ServiceDefinition


class Fate(str, Enum):
    """What becomes of the packet at a step."""

    GOES_ON = "goes on"
    ALLOWED = "allowed"
    REJECTED = "rejected"
    DROPPED = "dropped"
    REDIRECTED = "redirected"
    NOT_KNOWN = "not known"


class Possible(NamedTuple):
    """An element that may decide, in firewall-cmd's words, and what it decides if it does."""

    fate: Fate
    by: str


@dataclass(frozen=True)
class Decision:
    """What an object decides, and by which of its elements.

    by
        The element in firewall-cmd's words, or the target.
    maybe
        Elements before it that may decide: what they depend on is not in the question, such as a
        MAC address, the sender's port or a rate limit.
    """

    fate: Fate
    by: str = ""
    maybe: tuple[Possible, ...] = ()

    def judged(self) -> Decision:
        """The same; not known if an element before it may decide otherwise."""
        if all(each.fate is self.fate for each in self.maybe):
            return self
        return Decision(Fate.NOT_KNOWN, maybe=self.maybe)


_TARGETS = {
    "ACCEPT": Fate.ALLOWED,
    "DROP": Fate.DROPPED,
    "REJECT": Fate.REJECTED,
    "%%REJECT%%": Fate.REJECTED,
    "CONTINUE": Fate.GOES_ON,
    # A zone's own way to reject; only echoes and the like pass.
    "default": Fate.REJECTED,
}
_VERDICTS = {"accept": Fate.ALLOWED, "reject": Fate.REJECTED, "drop": Fate.DROPPED}
_ICMP = (Protocol.ICMP, Protocol.IPV6_ICMP)


def decide(
    each: FirewalldObject, packet: Packet, others: OtherRules, *, target: bool = True
) -> Decision:
    """Return what the object decides about the packet, unless what is in ``maybe`` does before.

    others
        For the services and ipsets to which it refers.
    target
        Whether its target counts: policies that come after a zone come before its target.
    """
    maybe: list[Possible] = []
    for fate, by, certain in _in_order(each, packet, others):
        if certain:
            return Decision(fate, by, tuple(maybe))
        maybe.append(Possible(fate, by))
    if not target:
        return Decision(Fate.GOES_ON, maybe=tuple(maybe))
    return decide_by_target(each, packet, tuple(maybe))


def decide_by_target(
    each: FirewalldObject, packet: Packet, maybe: tuple[Possible, ...] = ()
) -> Decision:
    """Return what the object's target decides."""
    name = str(each.settings["target"])
    fate = _TARGETS.get(name, Fate.NOT_KNOWN)
    if name == "default" and packet.protocol in _ICMP:
        fate = Fate.ALLOWED
    return Decision(fate, "" if fate is Fate.GOES_ON else f"target {name}", maybe)


_Found = tuple[Fate, str, bool]


def _in_order(each: FirewalldObject, packet: Packet, others: OtherRules) -> Iterator[_Found]:
    rules = sorted(each.rules, key=lambda rule: (_priority(rule), str(rule)))
    plain = [rule for rule in rules if _priority(rule) == 0]
    for rule in rules:
        if _priority(rule) < 0:
            yield from _of_rule(rule, packet, others, tuple(_VERDICTS))
    for rule in plain:
        yield from _of_rule(rule, packet, others, ("reject", "drop"))
    if packet.protocol in _ICMP:
        yield from _of_icmp_blocks(each)
    yield from _of_elements(each, packet, others)
    for rule in plain:
        yield from _of_rule(rule, packet, others, ("accept",))
    for rule in rules:
        if _priority(rule) > 0:
            yield from _of_rule(rule, packet, others, tuple(_VERDICTS))


def _priority(rule: Rule) -> int:
    text = next((part.attributes.get("priority", "") for part in rule.parts), "")
    try:
        return int(text or 0)
    except ValueError:
        return 0


def _of_icmp_blocks(each: FirewalldObject) -> Iterator[_Found]:
    """What the object rejects of ICMP: by its type, which is not in the question."""
    if each.settings.get("icmp_block_inversion"):
        yield Fate.REJECTED, "icmp-block-inversion", False
    for name in each.items("icmp_blocks"):
        yield Fate.REJECTED, f"icmp-block {name}", False


def _of_elements(each: FirewalldObject, packet: Packet, others: OtherRules) -> Iterator[_Found]:
    """What the object's ports, services, protocols and source ports allow."""
    without_rules = {"rules_str": ()} if each.kind is Kind.ZONE else {"rich_rules": ()}
    for opening in openings(each.with_settings(without_rules), others.services):
        if _opens(opening, packet):
            certain = opening.setting != "source-port" and not _by_sender(opening)
            yield Fate.ALLOWED, f"{opening.setting} {opening.value}", certain


def _opens(opening: Opening, packet: Packet) -> bool:
    if not opening.is_of(packet.protocol):
        return False
    return not packet.protocol.has_ports or (
        packet.port is not None and packet.port in opening.ports
    )


def _by_sender(opening: Opening) -> bool:
    """Whether a service may open it by the sender's port alone."""
    return opening.setting == "service" and opening.ports == EVERY_PORT


# -- one rule -------------------------------------------------------------------------------------


def _of_rule(
    rule: Rule, packet: Packet, others: OtherRules, verdicts: tuple[str, ...]
) -> Iterator[_Found]:
    names = [part.name for part in rule.parts]
    verdict = next((name for name in verdicts if name in names), None)
    if verdict is None:
        return
    matched = [_matches(part, packet, others) for part in rule.parts]
    if False not in matched:
        yield _VERDICTS[verdict], f"rich-rule {rule}", None not in matched


def _matches(part: Part, packet: Packet, others: OtherRules) -> bool | None:
    """Whether the packet has what the part asks for; ``None`` if the question does not say."""
    attributes = part.attributes
    if part.name == "rule":
        family = attributes.get("family", "")
        return not family or family == f"ipv{packet.source.version}"
    if part.name == "source":
        found = _is_from(attributes, packet, others)
        return found if found is None else found is not part.negated
    if part.name == "port":
        return _is_to(f"{attributes.get('port', '')}/{attributes.get('protocol', '')}", packet)
    if part.name == "service":
        service = others.services.get(attributes.get("name", ""), ServiceDefinition())
        return _is_of_service(service, packet)
    if part.name == "protocol":
        value = attributes.get("value", "")
        return value in (packet.protocol.value, str(packet.protocol.number))
    if part.name in ("icmp-type", "icmp-block"):
        return None if packet.protocol in _ICMP else False
    if part.name in ("forward-port", "masquerade", "tcp-mss-clamp"):
        return False
    if part.name == "destination":
        found = _is_to_address(attributes.get("address", ""), packet)
        return found if found is None else found is not part.negated
    if part.name in ("source-port", "limit", "mark"):
        return None
    return True


def _is_to_address(address: str, packet: Packet) -> bool | None:
    """Whether it goes there; ``None`` if only some of this host's addresses are there."""
    family = [each for each in packet.to if each.version == packet.source.version]
    if not family or not address:  # An ipset.
        return None
    network = netaddr.IPNetwork(address)
    there = {each in network for each in family}
    return there.pop() if len(there) == 1 else None


def _is_from(attributes: Mapping[str, str], packet: Packet, others: OtherRules) -> bool | None:
    ipset = attributes.get("ipset", "")
    if ipset and ipset not in others.ipsets:
        return None
    source = f"{IPSET}{ipset}" if ipset else attributes.get("address", "")
    if not source:
        return None  # A MAC address.
    return any(packet.source in each for each in parse_networks(source, others.ipsets))


def _is_of_service(service: ServiceDefinition, packet: Packet) -> bool | None:
    if any(_is_to(text, packet) for text in service.ports):
        return True
    if packet.protocol.value in service.protocols:
        return True
    return None if service.source_ports else False


def _is_to(text: str, packet: Packet) -> bool:
    """Whether the packet goes to a port such as ``22/tcp``; a port by its name is skipped."""
    span, _slash, protocol = text.rpartition("/")
    if protocol != packet.protocol.value or packet.port is None:
        return False
    try:
        return packet.port in parse_span(span)
    except ValueError:
        return False
