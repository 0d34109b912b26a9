"""The interfaces and sources that firewalld's zones are bound to, as data. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import netaddr


@dataclass(frozen=True)
class Bindings:
    """The zone of each bound interface and of each bound source, in one layer.

    A source is an address, a network, a MAC address, or ``ipset:`` and a name.
    """

    interfaces: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def interfaces_of(self, zone: str) -> tuple[str, ...]:
        """Return the interfaces that are bound to the zone."""
        return tuple(sorted(name for name, owner in self.interfaces.items() if owner == zone))

    def is_active(self, zone: str) -> bool:
        """Whether the zone is active; a policy has chains only while its zones are active."""
        return zone in self.interfaces.values() or zone in self.sources.values()

    def elsewhere(
        self, zone: str, interfaces: Iterable[str], networks: Iterable[netaddr.IPNetwork]
    ) -> Bindings:
        """Return which of these interfaces, and sources in these networks, other zones have."""
        wanted = set(interfaces)
        networks = tuple(networks)
        return Bindings(
            {
                name: owner
                for name, owner in sorted(self.interfaces.items())
                if owner != zone and name in wanted
            },
            {
                source: owner
                for source, owner in sorted(self.sources.items())
                if owner != zone and _overlaps(source, networks)
            },
        )

    def __or__(self, other: Bindings) -> Bindings:
        """Return both together; where they differ, the left one counts."""
        return Bindings({**other.interfaces, **self.interfaces}, {**other.sources, **self.sources})

    @property
    def zones(self) -> frozenset[str]:
        """The zones that are bound to anything."""
        return frozenset((*self.interfaces.values(), *self.sources.values()))


def _overlaps(source: str, networks: tuple[netaddr.IPNetwork, ...]) -> bool:
    try:
        bound = netaddr.IPNetwork(source)
    except (netaddr.AddrFormatError, ValueError):
        return False  # A MAC address or an ipset.
    return any(bound in network or network in bound for network in networks)
