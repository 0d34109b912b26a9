"""Sets of addresses are exactly what the sets of their single addresses are."""

from __future__ import annotations

import netaddr
import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.model.address_set import AddressSet, everyone, set_of_networks, union
from k3sfw_engine.model.addresses import FAMILIES

BASE = {4: int(netaddr.IPAddress("192.0.2.0")), 6: int(netaddr.IPAddress("2001:db8::"))}
SIZE = 64


def single_addresses(them: AddressSet) -> set[int]:
    return {value for first, last in them.ranges for value in range(first, last + 1)}


@st.composite
def pairs(draw):
    family = draw(st.sampled_from(FAMILIES))
    width = 32 if family == 4 else 128

    def networks():
        bits = draw(st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, 4)), max_size=6))
        return [
            netaddr.IPNetwork((BASE[family] + value, width - length), family).cidr
            for value, length in bits
        ]

    return networks(), networks(), family


def values_of(networks):
    return {value for each in networks for value in range(each.first, each.last + 1)}


@given(pairs())
def test_union_intersection_and_difference_are_those_of_single_addresses(case):
    ones, others, family = case
    one, other = set_of_networks(family, ones), set_of_networks(family, others)
    assert single_addresses(one) == values_of(ones)
    assert single_addresses(one | other) == values_of(ones) | values_of(others)
    assert single_addresses(one & other) == values_of(ones) & values_of(others)
    assert single_addresses(one - other) == values_of(ones) - values_of(others)
    assert (one <= other) == (values_of(ones) <= values_of(others))
    assert one.size == len(values_of(ones))


@given(pairs())
def test_equal_sets_are_equal_values_and_their_ranges_do_not_touch(case):
    ones, others, family = case
    one, other = set_of_networks(family, ones), set_of_networks(family, others)
    assert (one == other) == (values_of(ones) == values_of(others))
    for (_first, last), (following, _last) in zip(one.ranges, one.ranges[1:]):
        assert last + 1 < following
    assert set_of_networks(family, one.networks()) == one


@pytest.mark.parametrize("family", FAMILIES)
def test_the_complement_of_everyone_is_empty_and_back(family):
    everything = everyone(family)
    assert everything.is_everyone
    assert not everything.complement
    assert AddressSet(family).complement == everything
    assert not AddressSet(family)


@given(pairs())
def test_the_complement_has_every_other_address(case):
    ones, _others, family = case
    one = set_of_networks(family, ones)
    assert not one & one.complement
    assert (one | one.complement).is_everyone
    assert one.complement.complement == one


def test_an_address_of_the_other_family_is_in_no_set():
    assert netaddr.IPAddress("192.0.2.1") in everyone(4)
    assert netaddr.IPAddress("192.0.2.1") not in everyone(6)
    assert not set_of_networks(6, [netaddr.IPNetwork("192.0.2.0/24")])


def test_everyone_without_a_thousand_addresses_is_a_thousand_and_one_ranges():
    singles = [netaddr.IPNetwork((BASE[4] + 2 * number + 1, 32), 4) for number in range(1000)]
    left = everyone(4) - set_of_networks(4, singles)
    assert len(left.ranges) == 1001
    assert left.size == 2**32 - 1000
    assert union(4, (left, set_of_networks(4, singles))).is_everyone
