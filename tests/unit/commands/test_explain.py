"""What the source of a packet is, and which rows accept it."""

from __future__ import annotations

import netaddr
import pytest
from hypothesis import given

from k3sfw_engine.commands.explain import explain, parse_packet
from k3sfw_engine.model.firewall_objects import Kind
from k3sfw_engine.model.rows import Protocol, Role
from k3sfw_engine.model.rule_matches_packet import Packet
from k3sfw_engine.plan.desired.compute import compute_desired
from tests.unit.samples import addresses, changed, parsed, pillar, pillars

SERVER, AGENT, POD, OUTSIDER = "192.0.2.12", "192.0.2.21", "10.42.3.4", "203.0.113.9"


def asked(source, port=None, protocol="tcp", *, tree=None, role="server"):
    tables = parsed(tree, role)
    question = Packet(netaddr.IPAddress(source), Protocol(protocol), port)
    return explain(question, tables, Role(role))


def rows(*question, **options):
    return [f"{row.table}:{row.name}" for row in asked(*question, **options).rows]


@pytest.mark.parametrize(
    ("source", "port", "on_server", "on_agent"),
    [
        (SERVER, 2379, ["cluster:etcd"], []),
        (SERVER, 2380, ["cluster:etcd"], []),
        (SERVER, 2381, [], []),
        (AGENT, 2379, [], []),
        (OUTSIDER, 2379, [], []),
        (SERVER, 6443, ["cluster:api"], []),
        (AGENT, 6443, ["cluster:api"], []),
        (OUTSIDER, 6443, [], []),
        ("2001:db8::21", 6443, ["cluster:api"], []),
        ("2001:db8::99", 6443, [], []),
        (AGENT, 5001, ["cluster:spegel"], []),
        (SERVER, 10250, ["cluster:kubelet"], ["cluster:kubelet"]),
        (OUTSIDER, 10250, [], []),
        (SERVER, 443, ["cluster:https", "manager:https"], ["cluster:https", "manager:https"]),
        (OUTSIDER, 443, ["manager:https"], ["manager:https"]),
        (OUTSIDER, 80, [], []),
        (AGENT, 80, ["cluster:http"], ["cluster:http"]),
        (OUTSIDER, 6379, ["manager:redis"], ["manager:redis"]),
        ("2001:db8:ffff::9", 6379, ["manager:redis"], ["manager:redis"]),
        (POD, 6379, ["manager:redis", "cluster:pods"], ["manager:redis", "cluster:pods"]),
        (POD, 22, ["cluster:pods"], ["cluster:pods"]),
        ("10.43.0.1", 22, ["cluster:services"], ["cluster:services"]),
        (OUTSIDER, 22, [], []),
    ],
)
def test_the_rows_that_accept_a_tcp_packet(source, port, on_server, on_agent):
    assert rows(source, port) == on_server
    assert rows(source, port, role="agent") == on_agent


WITH_VRRP = changed(
    "ports:cluster:vrrp", {"protocol": "vrrp", "source": "server", "destination": "any"}
)


@pytest.mark.parametrize(
    ("source", "protocol", "expected"),
    [
        (SERVER, "vrrp", ["cluster:vrrp"]),
        ("2001:db8::12", "vrrp", ["cluster:vrrp"]),
        (AGENT, "vrrp", []),
        (POD, "vrrp", ["cluster:pods"]),
        (SERVER, "esp", []),
    ],
)
def test_the_rows_that_accept_a_packet_of_an_ip_protocol(source, protocol, expected):
    assert rows(source, protocol=protocol, tree=WITH_VRRP) == expected


def test_a_row_of_an_ip_protocol_opens_no_port():
    assert rows(SERVER, 2379, tree=WITH_VRRP) == ["cluster:etcd"]
    assert rows(SERVER, 2381, tree=WITH_VRRP) == []


@pytest.mark.parametrize(
    ("protocol", "port", "read"),
    [("VRRP", None, "vrrp"), (112, None, "vrrp"), ("253", None, "253"), ("tcp", "22", "tcp")],
)
def test_an_operator_gives_a_protocol_as_in_a_row(protocol, port, read):
    assert parse_packet(SERVER, port, protocol).protocol is Protocol(read)


@pytest.mark.parametrize(
    ("protocol", "port"),
    [("vrrp", 22), ("tcp", None), (6, 22), ("ipv4", None), ("", None), (None, None), ("tcp", 0)],
)
def test_what_is_not_a_packet_is_refused(protocol, port):
    with pytest.raises(ValueError, match="protocol|port"):
        parse_packet(SERVER, port, protocol)


@pytest.mark.parametrize(
    ("source", "protocol", "port", "expected"),
    [
        (AGENT, "udp", 8472, ["cluster:vxlan"]),
        (AGENT, "tcp", 8472, []),
        (OUTSIDER, "udp", 8472, []),
        (SERVER, "udp", 2379, []),
        (SERVER, "sctp", 2379, []),
        (POD, "sctp", 9, ["cluster:pods"]),
        (POD, "any", None, ["cluster:pods"]),
        (SERVER, "any", None, []),
        (SERVER, "tcp", None, []),
    ],
)
def test_the_rows_that_accept_another_packet(source, protocol, port, expected):
    assert rows(source, port, protocol) == expected


@pytest.mark.parametrize(
    ("source", "who"),
    [
        (SERVER, ("node s2 (server)", "group clients")),
        ("2001:db8::21", ("node a1 (agent)", "group clients")),
        (POD, ("pods", "group clients")),
        ("10.43.0.1", ("services", "group clients")),
        ("198.51.100.3", ("group admins", "group clients")),
        (OUTSIDER, ("group clients",)),
    ],
)
def test_the_source_is_named(source, who):
    assert sorted(asked(source, 22).source) == sorted(who)


def test_an_unknown_source_has_no_name():
    assert asked(OUTSIDER, 22, tree=changed("groups:clients", ["192.0.2.0/24"])).source == ()


def test_the_rule_that_accepts_a_packet_is_shown_as_firewalld_writes_it():
    assert asked(SERVER, 2379).accepted_by == (
        'policy k3s-rows: rule family="ipv4" source ipset="k3s-server-4" port port="2379-2380" '
        'protocol="tcp" accept',
    )


def test_a_packet_is_only_accepted_by_rules_of_its_family():
    (how,) = asked("2001:db8:ffff::9", 6379).accepted_by
    assert 'family="ipv6"' in how


def test_a_pod_is_accepted_only_on_its_interface():
    (how,) = asked(POD, 22).accepted_by
    assert how.startswith("policy k3s-pods-to-host: everything that arrives in zone k3s (cni0, ")
    assert how.endswith("on no other interface")


def test_without_known_interfaces_a_pod_is_accepted_by_its_address():
    (how,) = asked(POD, 22, tree=pillar(flannel_backend="none")).accepted_by
    assert how == 'policy k3s-rows: rule family="ipv4" source address="10.42.0.0/16" accept'


@given(pillars(), addresses())
def test_a_packet_is_explained_by_a_row_if_and_only_if_a_rule_accepts_it(tree, source):
    tables = parsed(tree)
    objects = compute_desired(tables, Role.SERVER)
    address = netaddr.IPAddress(source)
    for rule in objects.objects[Kind.POLICY, "k3s-rows"].rules:
        if rule.family != address.version or rule.port is None:
            continue
        networks = [rule.address] if rule.address else ["0.0.0.0/0", "::/0"]
        if rule.ipset:
            networks = objects.objects[Kind.IPSET, rule.ipset].items("entries")
        question = Packet(address, rule.protocol, rule.port.high)
        found = explain(question, tables, Role.SERVER)
        lets_in = any(address in netaddr.IPNetwork(network) for network in networks)
        assert (f"policy k3s-rows: {rule}" in found.accepted_by) == lets_in
        assert bool(found.rows) == bool(found.accepted_by)
