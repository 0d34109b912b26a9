"""The steps of a packet in their order, and the one that decides."""

from __future__ import annotations

from dataclasses import replace

import netaddr
import pytest

from k3sfw_engine.checks.walk.object_decision import Fate
from k3sfw_engine.checks.walk.packet_walk import PacketFacts, Stage, nft_text, walk
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.firewall_objects import Kind
from k3sfw_engine.model.nat import NatFacts, Redirection
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import PortRange, Protocol
from k3sfw_engine.model.rule_matches_packet import Packet
from k3sfw_engine.model.zones import OtherRules
from tests.unit.samples import as_read, parsed

PACKET = Packet(netaddr.IPAddress("203.0.113.9"), Protocol.TCP, 6379)
RULE = RichRule(4, protocol=Protocol.TCP, port=PortRange(6379, 6379))
(ROW,) = [row for row in parsed().rows if row.name == "redis"]
PUBLIC = as_read(Kind.ZONE, "public", {"interfaces": ("eth0",)})
TRUSTED = as_read(Kind.ZONE, "trusted", {"target": "ACCEPT", "sources": ("203.0.113.0/24",)})


def policy(priority, target="DROP", ingress=("ANY",), egress=("HOST",), **settings):
    settings = {"ingress_zones": ingress, "egress_zones": egress, **settings}
    return as_read(
        Kind.POLICY, f"p{priority}", {"priority": priority, "target": target, **settings}
    )


def facts(*policies, zones=(PUBLIC,), **changed):
    others = OtherRules({each.name: each for each in zones}, "public", policies)
    found = PacketFacts("eth0", others=others, kernel=frozenset())
    return replace(found, **changed)


ALLOWED = {"rows": (ROW,), "rules": (RULE,), "kernel": frozenset({RULE})}


def decision(found):
    step = walk(PACKET, found).decisive
    return None if step is None else (step.stage, step.fate)


def test_every_packet_meets_every_stage_in_the_same_order():
    stages = [step.stage for step in walk(PACKET, facts(**ALLOWED)).steps]
    assert stages == list(Stage)
    assert [step.stage for step in walk(PACKET, facts()).steps] == list(Stage)


def test_a_row_whose_rule_is_in_the_kernel_allows():
    assert decision(facts(**ALLOWED)) == (Stage.ROWS, Fate.ALLOWED)


def test_a_row_whose_rule_is_not_in_the_kernel_allows_nothing():
    found = facts(**{**ALLOWED, "kernel": frozenset()})
    assert decision(found) == (Stage.ZONE, Fate.REJECTED)


def test_a_kernel_that_cannot_be_read_leaves_the_end_open():
    found = facts(**{**ALLOWED, "kernel": None, "unread_kernel": ("nft is missing",)})
    assert decision(found) == (Stage.KERNEL, Fate.NOT_KNOWN)


def test_policies_decide_in_the_order_of_their_priorities():
    assert decision(facts(policy(-600), **ALLOWED)) == (Stage.EARLIER_POLICIES, Fate.DROPPED)
    assert decision(facts(policy(-400), **ALLOWED)) == (Stage.ROWS, Fate.ALLOWED)
    assert decision(facts(policy(-400))) == (Stage.LATER_POLICIES, Fate.DROPPED)
    both = facts(policy(-700, "ACCEPT"), policy(-600))
    assert decision(both) == (Stage.EARLIER_POLICIES, Fate.ALLOWED)


TO_HOST = "rule family=ipv4 destination address={} port port=6379 protocol=tcp reject"
OWN = frozenset(map(netaddr.IPAddress, ("192.0.2.11", "192.0.2.12", "2001:db8::11")))


def test_nothing_is_decided_behind_a_rule_that_may_reject():
    odd = policy(-1000, "CONTINUE", rich_rules=("rule source-port port=68 protocol=tcp reject",))
    assert decision(facts(odd, **ALLOWED)) == (Stage.EARLIER_POLICIES, Fate.NOT_KNOWN)
    zone = as_read(Kind.ZONE, "public", {"rules_str": ("rule source mac=02:00:00:00:00:01 drop",)})
    accepting = zone.with_settings({"target": "ACCEPT"})
    assert decision(facts(zones=(accepting,))) == (Stage.ZONE, Fate.NOT_KNOWN)
    dropping = zone.with_settings({"target": "DROP"})
    assert decision(facts(zones=(dropping,))) == (Stage.ZONE, Fate.DROPPED)
    later = facts(policy(5, "ACCEPT"), zones=(dropping,))
    assert decision(later) == (Stage.ZONE, Fate.NOT_KNOWN)


@pytest.mark.parametrize(
    ("destination", "fate"),
    [
        ("192.0.2.0/24", Fate.REJECTED),
        ("198.51.100.0/24", Fate.ALLOWED),
        ("192.0.2.11", Fate.NOT_KNOWN),
    ],
)
def test_a_destination_is_compared_with_the_addresses_of_the_host(destination, fate):
    each = policy(-1000, "CONTINUE", rich_rules=(TO_HOST.format(destination),))
    assert decision(facts(each, own=OWN, **ALLOWED))[1] is fate
    assert decision(facts(each, **ALLOWED))[1] is Fate.NOT_KNOWN


@pytest.mark.parametrize(
    "settings", [{"icmp_blocks": ("echo-request",)}, {"icmp_block_inversion": True}]
)
def test_an_echo_is_not_said_to_pass_where_its_type_decides(settings):
    echo = Packet(PACKET.source, Protocol.ICMP)
    blocks = as_read(Kind.ZONE, "public", {"interfaces": ("eth0",), **settings})
    assert walk(echo, facts(zones=(blocks,))).decisive.fate is Fate.NOT_KNOWN
    assert walk(echo, facts()).decisive.fate is Fate.ALLOWED
    assert decision(facts(zones=(blocks,))) == (Stage.ZONE, Fate.REJECTED)


def test_a_policy_after_the_zone_comes_before_its_target_and_after_its_elements():
    assert decision(facts(policy(5, "ACCEPT"))) == (Stage.ZONE, Fate.ALLOWED)
    opens = as_read(Kind.ZONE, "public", {"interfaces": ("eth0",), "ports": ("6379/tcp",)})
    assert decision(facts(policy(5), zones=(opens,))) == (Stage.ZONE, Fate.ALLOWED)


@pytest.mark.parametrize(
    "other", [{"egress": ("ANY",)}, {"ingress": ("dmz",)}, {"egress": ("public",)}]
)
def test_a_policy_about_other_packets_decides_nothing(other):
    assert decision(facts(policy(-600, **other), **ALLOWED)) == (Stage.ROWS, Fate.ALLOWED)


def test_a_source_of_a_zone_comes_before_the_interface():
    assert decision(facts(zones=(PUBLIC, TRUSTED))) == (Stage.ZONE, Fate.ALLOWED)


@pytest.mark.parametrize(
    ("changed", "fate"),
    [
        ({}, Fate.REDIRECTED),
        ({"source": "203.0.113.0/24"}, Fate.REDIRECTED),
        ({"source": "198.51.100.0/24"}, Fate.ALLOWED),
        ({"family": 6}, Fate.ALLOWED),
        ({"ports": PortRange(80, 80)}, Fate.ALLOWED),
        ({"protocol": Protocol.UDP}, Fate.ALLOWED),
    ],
)
def test_what_nat_redirects_never_meets_a_rule(changed, fate):
    made = Redirection(Protocol.TCP, PortRange(6379, 6379), 4, "hostPort")
    nat = NatFacts(frozenset({replace(made, **changed)}))
    assert decision(facts(redirected=nat, **ALLOWED))[1] is fate


def test_what_cannot_be_read_is_never_taken_for_nothing():
    nat = NatFacts(unread=(Problem("iptables-save is not installed"),))
    assert decision(facts(redirected=nat, **ALLOWED)) == (Stage.NAT, Fate.NOT_KNOWN)
    blind = facts(others=None, unread=("firewalld does not run",), **ALLOWED)
    assert decision(blind) == (Stage.EARLIER_POLICIES, Fate.NOT_KNOWN)
    nowhere = facts(interface="", no_route="unreachable")
    assert decision(nowhere) == (Stage.ZONE, Fate.NOT_KNOWN)


def test_a_packet_of_this_host_meets_only_the_loopback_interface():
    assert decision(facts(interface="lo")) == (Stage.ZONE, Fate.ALLOWED)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (RULE, "meta nfproto ipv4 tcp dport 6379 accept"),
        (RichRule(6, ipset="k3s-node-6"), "ip6 saddr @k3s-node-6 accept"),
        (
            RichRule(4, address="192.0.2.0/24", protocol=Protocol.UDP, port=PortRange(1, 9)),
            "ip saddr 192.0.2.0/24 udp dport 1-9 accept",
        ),
        (RichRule(4, protocol=Protocol.VRRP), "meta nfproto ipv4 meta l4proto 112 accept"),
    ],
)
def test_a_rule_is_shown_as_nft_has_it(rule, text):
    assert nft_text(rule) == f"inet firewalld filter_IN_policy_k3s-rows_allow: {text}"
