"""portmap's rules of nftables, compared with what nft 1.0.6 shows after the plugin 1.9.1 ran."""

from __future__ import annotations

import netaddr
import pytest

from k3sfw_engine.model.host_ports import PodPorts, PortMapping, PortmapSettings
from k3sfw_engine.model.portmap_nft_rules import (
    expected_nft_uses,
    is_lost_in_nft,
    nft_restoration,
    nft_rules_of,
)

ID = "2c06183cad50729a97810beea306cf40370732f29021d0ddc7fe8b75480397a9"
SAVED = {
    4: [
        ("hostports", "tcp dport 80 dnat to 10.42.1.2:8000"),
        ("hostports", "ip daddr 192.0.2.11 udp dport 53 dnat to 10.42.1.2:53"),
        ("masquerading", "ip saddr 10.42.1.2 ip daddr 10.42.1.2 masquerade"),
        ("masquerading", "ip saddr 127.0.0.1 ip daddr 10.42.1.2 masquerade"),
    ],
    6: [
        ("hostports", "tcp dport 80 dnat to [fd42::1:2]:8000"),
        ("masquerading", "ip6 saddr fd42::1:2 ip6 daddr fd42::1:2 masquerade"),
    ],
}
# The kernel counts a jump as a use of the chain that it leads to.
USES = {
    4: {"hostports": 3, "masquerading": 2, "prerouting": 1, "output": 1},
    6: {"hostports": 2, "masquerading": 1, "prerouting": 1, "output": 1},
}
WHOLE = {
    "hostports": [ID],
    "masquerading": [ID],
    "prerouting": [""],
    "output": [""],
}


def pod(**settings):
    return PodPorts(
        "cbr0",
        ID,
        "kube-system/web",
        {4: netaddr.IPNetwork("10.42.1.2/24"), 6: netaddr.IPNetwork("fd42::1:2/112")},
        (
            PortMapping("tcp", 80, 8000),
            PortMapping("udp", 53, 53, (4,), netaddr.IPAddress("192.0.2.11")),
        ),
        "/var/run/netns/cni-1",
        (),
        PortmapSettings(**settings),
        "nftables",
    )


@pytest.mark.parametrize("family", [4, 6])
def test_a_rule_is_written_as_nft_shows_portmaps(family):
    assert list(nft_rules_of(pod(), family)) == SAVED[family]
    assert expected_nft_uses([pod()], family) == USES[family]


def test_no_pod_has_no_rules():
    assert expected_nft_uses([], 4) == {}


def test_all_packets_are_masqueraded_if_the_network_says_so():
    masquerading = [text for chain, text in nft_rules_of(pod(masquerade_all=True), 4)][-1:]
    assert masquerading == ["ip saddr 0.0.0.0/0 ip daddr 10.42.1.2 masquerade"]
    assert all(chain == "hostports" for chain, _text in nft_rules_of(pod(snat=False), 4))


@pytest.mark.parametrize("gone", sorted(WHOLE))
def test_a_pod_is_lost_without_its_rules_or_what_leads_to_them(gone):
    assert not is_lost_in_nft(pod(), 4, WHOLE)
    there = {chain: comments for chain, comments in WHOLE.items() if chain != gone}
    assert is_lost_in_nft(pod(), 4, there)


def test_only_missing_rules_are_added():
    text = nft_restoration([pod()], 4, {**WHOLE, "masquerading": []})
    assert text.count(ID) == 2
    assert "dnat" not in text


def test_the_conditions_of_the_network_come_first():
    text = nft_restoration([pod(conditions={4: ("ip", "saddr", "!=", "192.0.2.9")})], 4, {})
    assert "prerouting ip saddr != 192.0.2.9 fib daddr type local jump hostports_all\n" in text
