"""Whether a rich rule of ours accepts a packet. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import netaddr

from k3sfw_engine.model.firewall_objects import Kind, Objects
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import Protocol

EVERYONE = {4: netaddr.IPNetwork("0.0.0.0/0"), 6: netaddr.IPNetwork("::/0")}


@dataclass(frozen=True)
class Packet:
    """A packet from an address, or all packets from a network, to a port of this host.

    port
        ``None`` with a protocol that has none.
    to
        The addresses of this host, to one of which it goes; empty if they are not known.
    """

    source: netaddr.IPAddress | netaddr.IPNetwork
    protocol: Protocol
    port: int | None = None
    to: frozenset[netaddr.IPAddress] = frozenset()


def rule_matches(rule: RichRule, question: Packet, objects: Objects) -> bool:
    """Whether the rule accepts the packet.

    objects
        The layer of the rule, in which its ipset is looked up.
    """
    return (
        rule.family == question.source.version
        and is_about(rule, question.protocol, question.port)
        and any(question.source in network for network in sources_of(rule, objects))
    )


def is_about(rule: RichRule, protocol: Protocol, port: int | None) -> bool:
    """Whether the rule opens this port of the host, or this protocol that has none."""
    if rule.destination:
        return False  # It is about forwarding.
    if rule.protocol is Protocol.ANY:
        return True
    # The sender chooses the source port, so such a rule opens no port of ours.
    if rule.source_port or rule.protocol is not protocol:
        return False
    return rule.port is None or (port is not None and port in rule.port)


def sources_of(rule: RichRule, objects: Objects) -> tuple[netaddr.IPNetwork, ...]:
    """Return the networks that the rule accepts; none if its ipset does not exist."""
    if rule.ipset:
        ipset = objects.get((Kind.IPSET, rule.ipset))
        return tuple(map(netaddr.IPNetwork, ipset.items("entries"))) if ipset else ()
    return (netaddr.IPNetwork(rule.address) if rule.address else EVERYONE[rule.family],)
