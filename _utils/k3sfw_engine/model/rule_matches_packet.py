"""Whose packets an accepting rich rule of ours lets in. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import netaddr

from k3sfw_engine.model.firewall_objects import Kind, Objects
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import Protocol

EVERYONE = {4: netaddr.IPNetwork("0.0.0.0/0"), 6: netaddr.IPNetwork("::/0")}


@dataclass(frozen=True)
class Packet:
    """A packet from an address, or all from a network, to a port here; none with protocol any."""

    source: netaddr.IPAddress | netaddr.IPNetwork
    protocol: Protocol
    port: int | None = None


def rule_matches(rule: RichRule, question: Packet, objects: Objects) -> bool:
    """Whether the rule lets the packet in.

    objects
        Those that the rule stands among: its ipset is looked up there.
    """
    return (
        rule.family == question.source.version
        and is_about(rule, question.protocol, question.port)
        and any(question.source in network for network in sources_of(rule, objects))
    )


def is_about(rule: RichRule, protocol: Protocol, port: int | None) -> bool:
    """Whether the rule is for this port of ours."""
    if rule.port is None:
        return True
    # Who sends chooses the source port, so such a rule is for no port of ours.
    if rule.source_port or rule.protocol is not protocol:
        return False
    return port is not None and port in rule.port


def sources_of(rule: RichRule, objects: Objects) -> tuple[netaddr.IPNetwork, ...]:
    """The networks whose packets the rule lets in; none of an ipset that is not there."""
    if rule.ipset:
        ipset = objects.get((Kind.IPSET, rule.ipset))
        return tuple(map(netaddr.IPNetwork, ipset.items("entries"))) if ipset else ()
    return (netaddr.IPNetwork(rule.address) if rule.address else EVERYONE[rule.family],)
