"""Sets of addresses in the words of the tables: roles, nodes, groups, pods, else networks. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import netaddr

from k3sfw_engine.model.address_set import AddressSet, everyone, set_of_networks, union
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.row_sources import networks_of_source
from k3sfw_engine.model.rows import Node, Role, Source, SourceKind, Tables

ANYONE = "anyone"
EVERY_NODE = "every node"
# Of more names in one sentence, the number says as much.
_MOST_EXCEPTIONS = 8
ByFamily = Mapping[int, AddressSet]


def range_texts(addresses: AddressSet) -> Iterator[str]:
    """Return each range as a network where it is one, else as its first and last address."""
    width = 32 if addresses.family == 4 else 128
    for first, last in addresses.ranges:
        low, high = (netaddr.IPAddress(value, 4 if width == 32 else 6) for value in (first, last))
        size = last - first + 1
        if size & (size - 1) == 0 and first % size == 0:
            length = width - (size.bit_length() - 1)
            yield str(low) if length == width else f"{low}/{length}"
        else:
            yield f"{low}-{high}"


class AddressNames:
    """The names that the tables have for addresses."""

    def __init__(self, tables: Tables) -> None:
        """Prepare the names of these tables."""
        self._tables = tables

    @cached_property
    def sets(self) -> Mapping[str, ByFamily]:
        """The addresses of each name: roles, pods, services and groups."""
        kinds = {role.value: Source(SourceKind(role.value)) for role in Role}
        kinds |= {"pods": Source(SourceKind.PODS), "services": Source(SourceKind.SERVICES)}
        kinds |= {name: Source(SourceKind.GROUP, name) for name in sorted(self._tables.groups)}
        networks = {
            name: networks_of_source(source, self._tables) for name, source in kinds.items()
        }
        return {
            name: {family: set_of_networks(family, found) for family in FAMILIES}
            for name, found in networks.items()
        }

    @cached_property
    def nodes(self) -> ByFamily:
        """The addresses of every node."""
        roles = [self.sets[role.value] for role in Role]
        return {family: union(family, (each[family] for each in roles)) for family in FAMILIES}

    @cached_property
    def outsiders(self) -> ByFamily:
        """Everyone that has no name; a group of everyone does not count as one."""
        found = {}
        for family in FAMILIES:
            named = [each[family] for each in self.sets.values() if not each[family].is_everyone]
            found[family] = everyone(family) - union(family, named)
        return found

    def name(self, sources: ByFamily, families: Iterable[int] = FAMILIES) -> tuple[str, ...]:
        """Name these addresses, the widest names first.

        families
            Those that could be in the set: a name of which only one of them is there says so.
        """
        wanted = tuple(families)
        there = {family: sources.get(family, AddressSet(family)) for family in wanted}
        most = [family for family in wanted if there[family].size > everyone(family).size // 2]
        if most and most == list(wanted):
            return (self._all_but(there, ANYONE),)
        names = [
            self._all_but({family: there[family]}, f"{ANYONE} (IPv{family})") for family in most
        ]
        rest = {
            family: AddressSet(family) if family in most else there[family] for family in wanted
        }
        return (*names, *self._fitting(rest))

    def _all_but(self, sources: ByFamily, name: str) -> str:
        rest = self.name({family: each.complement for family, each in sources.items()}, sources)
        left = len(rest) - _MOST_EXCEPTIONS
        listed = ", ".join(rest[:_MOST_EXCEPTIONS]) + (f" and {left} more" if left > 0 else "")
        return f"{name} except {listed}" if rest else name

    def _fitting(self, sources: ByFamily, suffix: str = "") -> Iterator[str]:
        """First the names of which every family is there, then those of single families."""
        left = dict(sources)
        for name, sets in self._candidates(sources):
            if any(each & left[family] for family, each in sets.items()) and all(
                each <= sources[family] for family, each in sets.items()
            ):
                yield name + suffix
                left = {family: left[family] - sets[family] for family in left}
        nodes = self._nodes_in(left)
        for node in nodes:
            yield self._unambiguous(node.name) + suffix
        for family in left:
            own = (AddressSet(family, ((each, each),)) for each in _values(nodes, (family,)))
            left[family] = left[family] - union(family, own)
            if len(left) > 1:
                yield from self._fitting({family: left[family]}, f" (IPv{family})")
            else:
                yield from range_texts(left[family])

    def _candidates(self, families: Iterable[int]) -> list[tuple[str, ByFamily]]:
        """The names with addresses of these families, the widest first."""
        sets = {
            name: {family: each[family] for family in families}
            for name, each in {EVERY_NODE: self.nodes, **self.sets}.items()
        }
        sizes = {name: sum(each.size for each in by.values()) for name, by in sets.items()}
        return [(name, sets[name]) for name in sorted(sets, key=lambda name: -sizes[name])]

    def _nodes_in(self, sources: ByFamily) -> list[Node]:
        """The nodes of which every address of these families is there."""
        starts = {family: [first for first, _ in each.ranges] for family, each in sources.items()}

        def has(address: netaddr.IPAddress) -> bool:
            at = bisect_right(starts[address.version], int(address)) - 1
            return at >= 0 and int(address) <= sources[address.version].ranges[at][1]

        own = (
            (node, [each for each in node.addresses if each.version in sources])
            for node in self._tables.nodes
        )
        return [node for node, addresses in own if addresses and all(map(has, addresses))]

    def _unambiguous(self, node: str) -> str:
        """A minion chooses its own id, and it may be the word for others."""
        return f"node {node}" if node in (ANYONE, EVERY_NODE, *self.sets) else node


def _values(nodes: Iterable[Node], families: Iterable[int]) -> list[int]:
    return [
        int(address) for node in nodes for address in node.addresses if address.version in families
    ]
