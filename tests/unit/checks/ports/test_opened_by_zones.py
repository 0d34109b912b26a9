"""A zone or policy that opens what a promise denies is found, and none that does not."""

from __future__ import annotations

from typing import Any

import netaddr
import pytest

from k3sfw_engine.checks.ports.opened_by_zones import zone_openings_for
from k3sfw_engine.model.address_set import AddressSet, set_of_networks
from k3sfw_engine.model.firewall_objects import Kind
from k3sfw_engine.model.rows import PortRange, PromisedPorts, Protocol
from k3sfw_engine.model.zones import OtherRules, ServiceDefinition
from tests.unit.samples import as_read

ETCD = PromisedPorts(Protocol.TCP, PortRange(2379, 2380))
RULE = 'rule family="ipv4" source address="{}" port port="2379" protocol="tcp" accept'


def wanted(network: str) -> AddressSet:
    found = netaddr.IPNetwork(network)
    return set_of_networks(found.version, (found,))


def found(sources: str = "198.51.100.0/24", policies: Any = (), **zones: Any) -> tuple[str, ...]:
    read = {name: as_read(Kind.ZONE, name, settings) for name, settings in zones.items()}
    services = {"etcd": ServiceDefinition(ports=("2380/tcp",))}
    every = {"public": as_read(Kind.ZONE, "public", {}), **read}
    rules = OtherRules(every, "public", tuple(policies), services)
    return zone_openings_for(rules, frozenset({"eth0"}), ETCD, wanted(sources))


@pytest.mark.parametrize(
    "settings",
    [
        {"ports": ("2379/tcp",)},
        {"ports": ("2000-3000/tcp",)},
        {"services": ("etcd",)},
        {"target": "ACCEPT"},
        {"source_ports": ("53/tcp",)},
        {"rules_str": (RULE.format("198.51.100.0/28"),)},
        {"rules_str": (RULE.format("0.0.0.0/0"),)},
    ],
)
def test_what_the_zone_of_the_outer_interface_opens_is_found(settings):
    (text,) = found(public=settings)
    assert text.startswith("zone public (")


@pytest.mark.parametrize(
    "zones",
    [
        {},
        {"public": {"ports": ("22/tcp", "2379/udp")}},
        {"public": {"rules_str": (RULE.format("203.0.113.0/24"),)}},
        {"dmz": {"ports": ("2379/tcp",), "interfaces": ("eth9",)}},
        {"dmz": {"ports": ("2379/tcp",), "sources": ("203.0.113.0/24",)}},
        {"k3s": {"target": "ACCEPT", "interfaces": ("eth0",)}},
    ],
)
def test_what_lets_in_no_source_of_the_promise_is_not_found(zones):
    assert found(**zones) == ()


def test_a_zone_of_these_sources_counts_on_every_interface():
    assert found(dmz={"ports": ("2379/tcp",), "sources": ("198.51.100.7",)}) == (
        "zone dmz (2379/tcp)",
    )


def test_a_rule_of_ipv4_says_nothing_of_ipv6():
    opened = {"rules_str": (RULE.format("0.0.0.0/0"),)}
    assert found(public=opened) and not found("2001:db8::/32", public=opened)


def test_a_policy_to_the_host_counts_and_one_to_elsewhere_does_not():
    for egress, count in (("HOST", 1), ("ANY", 0)):
        settings = {"ingress_zones": ("ANY",), "egress_zones": (egress,), "ports": ("2379/tcp",)}
        assert len(found(policies=[as_read(Kind.POLICY, "theirs", settings)])) == count
