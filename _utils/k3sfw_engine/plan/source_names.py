"""Addresses as an operator knows them: nodes, groups, pods and services by name. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import netaddr

from k3sfw_engine.model.address_set import AddressSet, set_of_networks
from k3sfw_engine.model.names_of_addresses import range_texts
from k3sfw_engine.model.rows import Tables
from k3sfw_engine.plan.defaults import ITEMS_IN_A_SENTENCE


def name_sources(
    sources: Iterable[AddressSet], tables: Tables, most: int = ITEMS_IN_A_SENTENCE
) -> tuple[str, ...]:
    """Return who is in these sets, one for each family at most.

    Nodes come first, as ``192.0.2.21 (a1)``, then groups, pods and services of which everyone is in
    them, then the addresses that are left. Of more than ``most``, the last entry tells the number.
    """
    sets = tuple(each for each in sources if each)
    if sets and all(each.is_everyone for each in sets):
        families = {each.family for each in sets}
        return ("anyone",) if len(families) > 1 else (f"anyone (IPv{families.pop()})",)
    named: list[str] = []
    rest: list[AddressSet] = []
    for each in sets:
        found, left = _of_nodes(each, tables)
        names, left = _of_names(each, left, tables)
        named += [*found, *(name for name in names if name not in named)]
        rest.append(left)
    return _bounded([*named, *(text for each in rest for text in range_texts(each))], most)


def _of_nodes(addresses: AddressSet, tables: Tables) -> tuple[list[str], AddressSet]:
    """The nodes that have addresses in the set, and what is left of it."""
    if addresses.is_everyone:
        return [], addresses
    found = [
        (node.name, address)
        for node in tables.nodes
        for address in node.addresses
        if address.version == addresses.family
    ]
    all_of_them = set_of_networks(
        addresses.family, (netaddr.IPNetwork(address) for _name, address in found)
    )
    common = addresses & all_of_them
    inside = {value for low, high in common.ranges for value in range(low, high + 1)}
    names = [f"{address} ({name})" for name, address in found if int(address) in inside]
    return names, addresses - common


def _of_names(whole: AddressSet, left: AddressSet, tables: Tables) -> tuple[list[str], AddressSet]:
    """The groups and networks of which all addresses are in the set, and what is left."""
    named = (
        *((f"group {name}", networks) for name, networks in sorted(tables.groups.items())),
        ("pods", tables.pod_cidrs),
        ("services", tables.service_cidrs),
    )
    names = []
    for name, networks in named:
        members = set_of_networks(whole.family, networks)
        if members and members <= whole and members & left:
            names.append(name)
            left = left - members
    return names, left


def _bounded(names: list[str], most: int) -> tuple[str, ...]:
    if len(names) <= most:
        return tuple(names)
    return (*names[: most - 1], f"{len(names) - most + 1} more")
