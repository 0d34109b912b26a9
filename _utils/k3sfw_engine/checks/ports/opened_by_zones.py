"""Which zones and policies of the operator let in what a promise denies. Pure.

In doubt they do: a rule that rejects may come first, and then a packet is the proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

from k3sfw_engine.checks.zone_openings import (
    Opening,
    everything,
    is_mac,
    openings,
    parse_networks,
    rejects_the_rest,
)
from k3sfw_engine.model.address_set import AddressSet, set_of_networks
from k3sfw_engine.model.firewall_objects import ZONE, FirewalldObject, title
from k3sfw_engine.model.port_ranges import common
from k3sfw_engine.model.rows import PromisedPorts, Protocol
from k3sfw_engine.model.zones import OtherRules


def zone_openings_for(
    rules: OtherRules, interfaces: Set[str], denied: PromisedPorts, wanted: AddressSet
) -> tuple[str, ...]:
    """Return what lets in any of the wanted sources, such as ``zone public (2379/tcp)``.

    interfaces
        Those by which hosts outside of this node come in.
    """
    found = (
        f"{title(each.key)} ({opening})"
        for each, reached in _judging(rules, interfaces, wanted)
        for opening in _openings(rules, each)
        if _meets(opening, denied) and _sources(rules, opening, reached)
    )
    return tuple(dict.fromkeys(found))


def _judging(
    rules: OtherRules, interfaces: Set[str], wanted: AddressSet
) -> Iterator[tuple[FirewalldObject, AddressSet]]:
    """The zones and policies that judge packets to this host, each with those that it judges."""
    bound = {each: name for name, zone in rules.zones.items() for each in zone.items("interfaces")}
    by_interface = {bound.get(n) or rules.managed.get(n) or rules.default for n in interfaces}
    names = {"ANY"}
    for name, zone in sorted(rules.zones.items()):
        if name == ZONE:
            continue  # The rows say who comes in by it.
        reached = wanted if name in by_interface else AddressSet(wanted.family)
        if not reached:
            bound_sources = (parse_networks(s, rules.ipsets) for s in zone.items("sources"))
            networks = (each for several in bound_sources for each in several)
            reached = wanted & set_of_networks(wanted.family, networks)
        if reached:
            names.add(name)
            yield zone, reached
    for policy in rules.policies:
        if "HOST" in policy.items("egress_zones") and names & {*policy.items("ingress_zones")}:
            yield policy, wanted


def _openings(rules: OtherRules, each: FirewalldObject) -> Iterable[Opening]:
    if each.settings["target"] == "ACCEPT" and not rejects_the_rest(each):
        return everything()
    return openings(each, rules.services)


def _meets(opening: Opening, denied: PromisedPorts) -> bool:
    if denied.protocol is Protocol.ANY:
        return True
    if not opening.is_of(denied.protocol):
        return False
    return denied.ports is None or common(opening.ports, denied.ports) is not None


def _sources(rules: OtherRules, opening: Opening, reached: AddressSet) -> bool:
    """Whether it opens to any of these addresses."""
    if reached.family not in opening.families or is_mac(opening.source):
        return False
    if not opening.source:
        return True
    named = set_of_networks(reached.family, parse_networks(opening.source, rules.ipsets))
    return bool(reached - named if opening.inverted else reached & named)
