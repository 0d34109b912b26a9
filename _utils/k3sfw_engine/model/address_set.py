"""Sets of addresses of one family, as disjoint ranges of integers. Pure.

Ranges and not CIDRs, which netaddr's IPSet keeps: everyone without 1,000 single addresses is 1,001
ranges and some 20,000 CIDRs, and IPSet takes seconds to make them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import netaddr

from k3sfw_engine.model.addresses import Networks

_LAST = {4: 2**32 - 1, 6: 2**128 - 1}
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class AddressSet:
    """Addresses of one family; equal sets are equal values.

    ranges
        The first and the last address of each range, sorted, neither overlapping nor adjacent.
    """

    family: int
    ranges: Ranges = ()

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __contains__(self, address: netaddr.IPAddress) -> bool:
        value = int(address)
        return address.version == self.family and any(
            first <= value <= last for first, last in self.ranges
        )

    def __or__(self, other: AddressSet) -> AddressSet:
        return union(self.family, (self, other))

    def __and__(self, other: AddressSet) -> AddressSet:
        return AddressSet(self.family, _common(self.ranges, other.ranges))

    def __sub__(self, other: AddressSet) -> AddressSet:
        return AddressSet(self.family, _common(self.ranges, other.complement.ranges))

    def __le__(self, other: AddressSet) -> bool:
        return (self & other).ranges == self.ranges

    @cached_property
    def complement(self) -> AddressSet:
        """Every other address of the family."""
        left, low = [], 0
        for first, last in self.ranges:
            if low < first:
                left.append((low, first - 1))
            low = last + 1
        if low <= _LAST[self.family]:
            left.append((low, _LAST[self.family]))
        return AddressSet(self.family, tuple(left))

    @property
    def size(self) -> int:
        """The number of addresses."""
        return sum(last - first + 1 for first, last in self.ranges)

    @property
    def is_everyone(self) -> bool:
        """Whether it has every address of the family."""
        return self.ranges == ((0, _LAST[self.family]),)

    @property
    def first(self) -> netaddr.IPAddress | None:
        """The lowest address, as an example."""
        return _address(self.ranges[0][0], self.family) if self.ranges else None

    def networks(self) -> Networks:
        """The fewest networks that contain exactly these addresses."""
        return tuple(
            network
            for first, last in self.ranges
            for network in netaddr.iprange_to_cidrs(
                _address(first, self.family), _address(last, self.family)
            )
        )


def set_of_networks(family: int, networks: Iterable[netaddr.IPNetwork]) -> AddressSet:
    """Return the addresses of those networks that are of this family."""
    return AddressSet(
        family, _joined((each.first, each.last) for each in networks if each.version == family)
    )


def everyone(family: int) -> AddressSet:
    """Return every address of the family."""
    return AddressSet(family, ((0, _LAST[family]),))


def union(family: int, sets: Iterable[AddressSet]) -> AddressSet:
    """Return the addresses of all of these sets."""
    return AddressSet(family, _joined(span for each in sets for span in each.ranges))


def _address(value: int, family: int) -> netaddr.IPAddress:
    return netaddr.IPAddress(value, 4 if family == 4 else 6)


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def _common(ones: Ranges, others: Ranges) -> Ranges:
    found = []
    one = other = 0
    while one < len(ones) and other < len(others):
        first = max(ones[one][0], others[other][0])
        last = min(ones[one][1], others[other][1])
        if first <= last:
            found.append((first, last))
        if ones[one][1] < others[other][1]:
            one += 1
        else:
            other += 1
    return tuple(found)
