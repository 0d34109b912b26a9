"""What a zone or policy decides about a packet: firewalld's order, and nothing guessed."""

from __future__ import annotations

import netaddr
import pytest

from k3sfw_engine.checks.walk.object_decision import Fate, decide
from k3sfw_engine.model.firewall_objects import Kind
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.model.rule_matches_packet import Packet
from k3sfw_engine.model.zones import OtherRules, ServiceDefinition
from tests.unit.samples import as_read

SERVICES = {
    "ssh": ServiceDefinition(ports=("22/tcp",)),
    "odd": ServiceDefinition(source_ports=("68/udp",)),
}
IPSETS = {"known": ("203.0.113.0/24",)}
OTHERS = OtherRules(zones={}, default="public", services=SERVICES, ipsets=IPSETS)
ACCEPT = "rule family=ipv4 port port=22 protocol=tcp accept"
DROP = "rule family=ipv4 port port=22 protocol=tcp drop"
REJECT = "rule family=ipv4 port port=22 protocol=tcp reject"


def policy(*rules, **settings):
    return as_read(Kind.POLICY, "mine", {"rich_rules": rules, **settings})


def decided(each, port=22, protocol="tcp", source="203.0.113.9"):
    found = decide(each, Packet(netaddr.IPAddress(source), Protocol(protocol), port), OTHERS)
    return found.fate, found.by, len(found.maybe)


def fate(*rules, **settings):
    return decided(policy(*rules, **settings))[0]


def test_a_policy_without_anything_lets_the_packet_go_on():
    assert decided(policy()) == (Fate.GOES_ON, "", 0)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("ACCEPT", Fate.ALLOWED),
        ("DROP", Fate.DROPPED),
        ("REJECT", Fate.REJECTED),
        ("%%REJECT%%", Fate.REJECTED),
        ("SOMETHING NEW", Fate.NOT_KNOWN),
    ],
)
def test_a_target_decides_what_nothing_else_does(target, expected):
    assert decided(policy(target=target)) == (expected, f"target {target}", 0)


def test_what_denies_comes_before_what_allows_and_a_priority_before_both():
    assert fate(ACCEPT, DROP) is Fate.DROPPED
    assert fate(DROP, ports=("22/tcp",)) is Fate.DROPPED
    assert fate(ports=("22/tcp",), target="DROP") is Fate.ALLOWED
    first = "rule priority=-5 family=ipv4 port port=22 protocol=tcp accept"
    earlier = "rule priority=-9 family=ipv4 port port=22 protocol=tcp reject"
    last = "rule priority=7 family=ipv4 port port=22 protocol=tcp drop"
    assert fate(first, DROP) is Fate.ALLOWED
    assert fate(first, earlier) is Fate.REJECTED
    assert fate(last, ACCEPT) is Fate.ALLOWED
    assert fate(last, target="ACCEPT") is Fate.DROPPED


@pytest.mark.parametrize(
    "rule",
    [
        "rule family=ipv6 port port=22 protocol=tcp drop",
        "rule family=ipv4 port port=23-25 protocol=tcp drop",
        "rule family=ipv4 port port=22 protocol=udp drop",
        "rule family=ipv4 source address=198.51.100.0/24 drop",
        "rule family=ipv4 source NOT address=203.0.113.0/24 drop",
        "rule family=ipv4 source NOT ipset=known drop",
        "rule service name=odd drop",
        "rule protocol value=112 drop",
        "rule icmp-type name=echo-request drop",
        "rule family=ipv4 masquerade",
        "rule family=ipv4 forward-port port=22 protocol=tcp to-port=23",
    ],
)
def test_a_rule_about_other_packets_decides_nothing(rule):
    found = decided(policy(rule))
    assert found[0] is Fate.GOES_ON and (found[2] == 0 or "odd" in rule)


@pytest.mark.parametrize(
    "rule",
    [
        "rule drop",
        "rule family=ipv4 drop",
        "rule family=ipv4 source address=203.0.113.9 drop",
        "rule family=ipv4 source address=203.0.113.0/24 drop",
        "rule family=ipv4 source NOT address=198.51.100.0/24 drop",
        "rule family=ipv4 source ipset=known drop",
        "rule service name=ssh drop",
        "rule protocol value=tcp drop",
        "rule protocol value=6 drop",
        "rule port port=20-30 protocol=tcp log prefix=x drop",
    ],
)
def test_a_rule_about_the_packet_decides(rule):
    assert decided(policy(rule)) == (Fate.DROPPED, f"rich-rule {rule}", 0)


@pytest.mark.parametrize(
    "rule",
    [
        "rule source mac=02:00:00:00:00:01 drop",
        "rule family=ipv4 source ipset=unread drop",
        "rule family=ipv4 destination address=192.0.2.11 drop",
        "rule source-port port=68 protocol=tcp drop",
        "rule port port=22 protocol=tcp drop limit value=1/s",
    ],
)
def test_what_the_question_does_not_say_decides_nothing_and_is_told(rule):
    assert decided(policy(rule)) == (Fate.GOES_ON, "", 1)
    assert decided(policy(rule, target="ACCEPT")) == (Fate.ALLOWED, "target ACCEPT", 1)


def test_a_zone_rejects_by_itself_and_lets_echoes_pass():
    zone = as_read(Kind.ZONE, "public", {"services": ("ssh",)})
    assert decided(zone) == (Fate.ALLOWED, "service ssh", 0)
    assert decided(zone, 23) == (Fate.REJECTED, "target default", 0)
    assert decided(zone, None, "icmp")[0] is Fate.ALLOWED
    assert decided(zone, None, "vrrp")[0] is Fate.REJECTED


def test_a_service_that_trusts_the_port_of_the_sender_is_not_certain():
    zone = as_read(Kind.ZONE, "public", {"services": ("odd",)})
    assert decided(zone, 1000, "udp") == (Fate.REJECTED, "target default", 1)
