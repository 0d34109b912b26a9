"""The ipsets that a node must have, with their entries; in doubt, no node is removed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Optional

import netaddr

from k3sfw_engine.model.addresses import FAMILIES, entry, without_contained
from k3sfw_engine.model.firewall_objects import (
    PREFIX,
    FirewalldObject,
    Kind,
    Objects,
    our_object,
    set_name,
)
from k3sfw_engine.model.row_sources import NODE_SETS
from k3sfw_engine.model.rows import Tables
from k3sfw_engine.plan.desired.desired_objects import Desired


def keep_members(wanted: Desired, *observed: Objects) -> Desired:
    """Keep the present entries of the ipsets of nodes as well as the wanted ones.

    For a list of nodes that may be incomplete.
    """
    kept = dict(wanted.objects)
    for name in NODE_SETS.values():
        for family in FAMILIES:
            key = (Kind.IPSET, set_name(name, family))
            layers = [layer[key] for layer in (kept, *observed) if key in layer]
            texts = {text for each in layers for text in each.items("entries")}
            entries = _entries(without_contained(map(netaddr.IPNetwork, texts)))
            kept[key] = kept[key].with_settings({"entries": entries})
    return replace(wanted, objects=kept)


# The entries of each ipset, by name and family. None is everyone: firewalld refuses /0 in an ipset,
# so its rules have no source; the ipset exists all the same, for the day the group is narrowed.
AddressSets = Mapping[tuple[str, int], Optional[tuple[str, ...]]]


def address_sets(tables: Tables) -> AddressSets:
    """Return the entries of every ipset, empty ones too."""
    members: dict[str, list[netaddr.IPNetwork]] = {name: [] for name in NODE_SETS.values()}
    for node in tables.nodes:
        networks = [netaddr.IPNetwork(address) for address in node.addresses]
        members[node.role.value] += networks
        members["node"] += networks
    for group, group_networks in tables.groups.items():
        members[f"group-{group}"] = list(group_networks)
    return {
        (name, family): _members(each for each in networks if each.version == family)
        for name, networks in members.items()
        for family in FAMILIES
    }


def _members(networks: Iterable[netaddr.IPNetwork]) -> tuple[str, ...] | None:
    kept = without_contained(networks)
    return None if any(network.prefixlen == 0 for network in kept) else _entries(kept)


def _entries(networks: Iterable[netaddr.IPNetwork]) -> tuple[str, ...]:
    return tuple(sorted(map(entry, networks)))


def is_ipset_as_made(each: FirewalldObject) -> bool:
    """Whether an object is an ipset exactly as we create it, whatever its entries."""
    name, _hyphen, family = each.name.removeprefix(f"{PREFIX}-").rpartition("-")
    if each.kind is not Kind.IPSET or family not in map(str, FAMILIES):
        return False
    return each == make_ipset(name, int(family), each.items("entries"))


def make_ipset(name: str, family: int, entries: tuple[str, ...]) -> FirewalldObject:
    """Return an ipset of ours with these entries."""
    return our_object(
        Kind.IPSET,
        set_name(name, family),
        f"IPv{family} addresses of {name}",
        {
            "type": "hash:net",
            "options": (f"family={'inet' if family == 4 else 'inet6'}",),
            "entries": entries,
        },
    )
