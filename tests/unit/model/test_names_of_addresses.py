"""Addresses are named by the words of the tables, and a name never says more than is there."""

from __future__ import annotations

import netaddr
import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.model.address_set import AddressSet, everyone, set_of_networks, union
from k3sfw_engine.model.names_of_addresses import ANYONE, EVERY_NODE, AddressNames
from tests.unit.samples import changed, parsed

TREE = changed("groups", {"clients": ["0.0.0.0/0", "::/0"], "admins": ["198.51.100.0/28"]})
NAMES = AddressNames(parsed(TREE))


def addresses(*networks: str, family: int = 4) -> AddressSet:
    return set_of_networks(family, map(netaddr.IPNetwork, networks))


@pytest.mark.parametrize(
    ("four", "six", "named"),
    [
        (["192.0.2.11", "192.0.2.12", "192.0.2.13"], ["2001:db8::11", "2001:db8::12"], ["server"]),
        (["192.0.2.21"], ["2001:db8::21"], ["a1"]),
        (["192.0.2.21"], [], ["a1 (IPv4)"]),
        (["192.0.2.22"], [], ["a2"]),
        (["198.51.100.0/28", "10.42.0.0/16"], [], ["pods", "admins"]),
        (["198.51.100.0/29", "203.0.113.7"], [], ["198.51.100.0/29", "203.0.113.7"]),
        (["0.0.0.0/0"], ["::/0"], [ANYONE]),
        (["0.0.0.0/0"], [], [f"{ANYONE} (IPv4)"]),
    ],
)
def test_a_set_has_the_widest_names_that_fit(four, six, named):
    found = NAMES.name({4: addresses(*four), 6: addresses(*six, family=6)})
    assert list(found) == named


def test_all_nodes_have_one_name_and_all_others_are_anyone_but_these():
    assert NAMES.name(NAMES.nodes) == (EVERY_NODE,)
    rest = {family: each.complement for family, each in NAMES.nodes.items()}
    assert NAMES.name(rest) == (f"{ANYONE} except {EVERY_NODE}",)


def test_everyone_but_many_names_few_of_them():
    single = addresses(*(f"203.0.113.{number}" for number in range(0, 200, 2)))
    (name,) = NAMES.name({4: single.complement}, (4,))
    assert name.startswith(f"{ANYONE} except 203.0.113.0, ") and name.endswith(" and 92 more")


def test_a_minion_that_calls_itself_anyone_is_shown_as_a_node():
    nodes = {
        "s1": {"role": "server", "addresses": ["192.0.2.11"]},
        ANYONE: {"role": "agent", "addresses": ["192.0.2.66"]},
        "pods": {"role": "agent", "addresses": ["192.0.2.67"]},
    }
    tree = changed("firewall", {}, changed("nodes", nodes))
    names = AddressNames(parsed(tree))
    assert names.name({4: addresses("192.0.2.66")}, (4,)) == (f"node {ANYONE}",)
    assert names.name({4: addresses("192.0.2.67")}, (4,)) == ("node pods",)


@given(
    st.sets(st.sampled_from(["server", "agent", "pods", "services", "admins", "a1", "s3"])),
    st.booleans(),
)
def test_names_stand_for_exactly_the_addresses(chosen, inverted):
    def of(name: str) -> AddressSet:
        if name == EVERY_NODE:
            return NAMES.nodes[4]
        if name in NAMES.sets:
            return NAMES.sets[name][4]
        return addresses({"a1": "192.0.2.21", "s3": "192.0.2.13"}.get(name, name))

    wanted = union(4, map(of, chosen))
    found = NAMES.name({4: wanted.complement if inverted else wanted}, (4,))
    if inverted and chosen:
        (text,) = found
        found = text.removeprefix(f"{ANYONE} except ").split(", ")
    if found == (ANYONE,):
        assert not chosen and everyone(4) == wanted.complement
    else:
        assert union(4, map(of, found)) == wanted
