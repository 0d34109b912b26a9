"""Addresses and networks are read strictly, and what firewalld gets never overlaps."""

from itertools import combinations

import netaddr
import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.model.addresses import entry, parse_address, parse_network, without_contained
from tests.unit.samples import networks


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("10.42.0.0/16", "10.42.0.0/16"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("192.0.2.11", "192.0.2.11"),
        ("192.0.2.11/32", "192.0.2.11"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8:0:0:0:0:0:11", "2001:db8::11"),
        ("2001:db8::11/128", "2001:db8::11"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_is_written_as_firewalld_keeps_it(text, written):
    assert entry(parse_network(text)) == written


@pytest.mark.parametrize(
    "value",
    [
        "",
        "10",
        "10.42",
        "10.42.0",
        "010.0.0.1",
        "256.0.0.1",
        "0x0a.0.0.1",
        "10.42.0.0/33",
        "10.42.0.0/-1",
        "10.42.0.0/",
        "10.42.0.0/255.255.0.0",
        "10.42.0.0/16/16",
        "10.42.0.0/16 ",
        "10.42.0.0/16\n",
        "10.42.0.0-10.42.0.9",
        "10.42.*.*",
        "2001:db8::/129",
        "2001:db8:::1",
        "fe80::1%eth0",
        "::ffff:192.0.2.1",
        "server.example",
        "192.0.2.1'; reboot; '",
        '192.0.2.0/24" accept',
        "1" * 5000,
        "१९२.0.2.1",
        None,
        True,
        10,
        1.5,
        b"192.0.2.1",
        ["192.0.2.1"],
    ],
)
def test_anything_but_a_cidr_is_refused(value):
    with pytest.raises(ValueError, match=r"is not an address|written as IPv6"):
        parse_network(value)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.42.0.1/16", "10.42.0.0/16"),
        ("192.0.2.255/24", "192.0.2.0/24"),
        ("2001:db8::1/64", "2001:db8::/64"),
    ],
)
def test_host_bits_are_refused_with_the_network_that_was_meant(text, network):
    with pytest.raises(ValueError, match=f"host bits set; the network is {network}$"):
        parse_network(text)


@pytest.mark.parametrize(
    "text", ["192.0.2.11", "10.0.0.1", "100.64.0.7", "2001:db8::11", "fd00::1"]
)
def test_a_node_has_single_addresses(text):
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.11/32",
        "192.0.2.0/24",
        "0.0.0.0",
        "127.0.0.1",
        "169.254.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "ff02::1",
    ],
)
def test_an_address_that_no_peer_can_have_is_refused(text):
    with pytest.raises(ValueError, match="a network|not an address at which"):
        parse_address(text)


@given(st.one_of(st.text(), st.from_regex(r"[0-9a-f:./]{1,50}"), st.integers(), st.none()))
def test_whatever_is_given_is_a_network_or_a_sentence(value):
    for read in (parse_network, parse_address):
        try:
            read(value)
        except ValueError as error:
            assert str(error).isprintable()


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (["10.42.1.0/24", "10.42.0.0/16"], ["10.42.0.0/16"]),
        (["10.42.0.0/16", "10.42.0.0/16"], ["10.42.0.0/16"]),
        (["10.42.0.0/16", "10.42.0.0", "10.42.255.255"], ["10.42.0.0/16"]),
        (["2001:db8::1", "192.0.2.1"], ["192.0.2.1", "2001:db8::1"]),
        # Neighbours stay as they are: to merge them would take an entry of others away.
        (["192.0.2.10", "192.0.2.11"], ["192.0.2.10", "192.0.2.11"]),
        (["192.0.2.0/25", "192.0.2.128/25"], ["192.0.2.0/25", "192.0.2.128/25"]),
        # The first addresses of both families have the same number.
        (["0.0.0.0/8", "::/8"], ["0.0.0.0/8", "::/8"]),
        ([], []),
    ],
)
def test_a_network_inside_another_is_left_out(texts, kept):
    found = without_contained(map(netaddr.IPNetwork, texts))
    assert [entry(network) for network in found] == kept


@given(st.lists(networks(), max_size=12), st.randoms())
def test_no_two_kept_networks_overlap_and_no_address_is_lost(texts, random):
    some = [netaddr.IPNetwork(text) for text in texts]
    kept = without_contained(some)
    assert not [pair for pair in combinations(kept, 2) if pair[0] in pair[1] or pair[1] in pair[0]]
    assert netaddr.IPSet(kept) == netaddr.IPSet(some)
    assert set(kept) <= set(some)
    random.shuffle(some)
    assert without_contained(some) == kept == without_contained(kept)
