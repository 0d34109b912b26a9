"""Reach is exactly what single packets, asked one by one, would find."""

from __future__ import annotations

import netaddr
import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.commands.explain import explain
from k3sfw_engine.model.address_set import everyone
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.rows import PortRange, Protocol, Role, Row
from k3sfw_engine.model.rule_matches_packet import Packet
from k3sfw_engine.plan.reach import Reach, ReachSpan, compute_reach
from tests.unit.samples import changed, networks, parsed, pillar, pillars

EDGES = (1, 22, 79, 80, 81, 443, 2378, 2379, 2380, 2381, 6443, 8000, 8010, 8011, 9300, 10250, 65535)
PROTOCOLS = ("tcp", "udp", "sctp", "vrrp", "esp", "ipip", "253", "icmp", "any")


def rows_that_let_in(reach: Reach, role: Role, packet: Packet) -> list[Row]:
    family = packet.source.version
    return [
        part.row
        for span in reach.spans_of(role, family, packet.protocol)
        if span.ports is None or packet.port in span.ports
        for part in span.parts
        if packet.source in part.sources
    ]


def packets() -> st.SearchStrategy[Packet]:
    sources = st.one_of(
        networks().map(lambda text: netaddr.IPNetwork(text)[0]),
        networks().map(lambda text: netaddr.IPNetwork(text)[-1]),
        st.integers(0, 61).map(lambda last: netaddr.IPAddress(f"192.0.2.{last}")),
        st.integers(0, 61).map(lambda last: netaddr.IPAddress(f"2001:db8::{last:x}")),
        st.sampled_from(
            ["10.41.255.255", "10.42.0.0", "10.42.255.255", "10.43.0.1", "203.0.113.7"]
            + ["fd42::1", "fd43::1", "255.255.255.255", "::"]
        ).map(netaddr.IPAddress),
    )

    def packet(source, protocol, port):
        known = Protocol(protocol)
        return Packet(source, known, port if known.has_ports else None)

    return st.builds(packet, sources, st.sampled_from(PROTOCOLS), st.sampled_from(EDGES))


@given(pillars(), st.sampled_from(Role), st.lists(packets(), min_size=1, max_size=30))
def test_reach_is_what_the_rules_of_the_node_let_in_packet_by_packet(tree, role, asked):
    tables = parsed(tree, role.value)
    reach = compute_reach(tables, (role,))
    for packet in asked:
        if packet.source.version in packet.protocol.families:
            allowed = explain(packet, tables, role).rows
            assert set(rows_that_let_in(reach, role, packet)) == set(allowed), packet


@given(pillars())
def test_spans_are_disjoint_sorted_never_empty_and_differ_from_their_neighbours(tree):
    for spans in compute_reach(parsed(tree)).spans.values():
        assert all(span.parts and span.sources for span in spans)
        for one, other in zip(spans, spans[1:]):
            assert one.ports.high < other.ports.low
            assert one.ports.high + 1 < other.ports.low or one.parts != other.parts


def open_to(reach: Reach, role: str, protocol: str, port: int | None = None, family: int = 4):
    return next(
        (
            span
            for span in reach.spans_of(Role(role), family, Protocol(protocol))
            if span.ports is None or port in span.ports
        ),
        ReachSpan(None, ()),
    )


def names(span: ReachSpan) -> list[str]:
    return [part.row.name for part in span.parts]


def test_etcd_is_reached_by_servers_pods_and_services():
    span = open_to(compute_reach(parsed()), "server", "tcp", 2379)
    assert span.ports == PortRange(2379, 2380)
    assert names(span) == ["etcd", "pods", "services"]
    assert span.sources.networks() == tuple(
        map(
            netaddr.IPNetwork,
            ("10.42.0.0/15", "192.0.2.11/32", "192.0.2.12/31"),
        )
    )


def test_agents_have_no_row_of_etcd():
    assert names(open_to(compute_reach(parsed()), "agent", "tcp", 2379)) == ["pods", "services"]


def test_overlapping_rows_are_cut_into_spans_that_name_each_row():
    tree = changed("ports:manager:range", {"protocol": "tcp", "port": "9092-9094"})
    reach = compute_reach(parsed(tree))
    assert [
        (str(span.ports), sorted({*names(span)} - {"pods", "services"}))
        for span in reach.spans_of(Role.AGENT, 4, Protocol.TCP)
        if 9090 < span.ports.low < 9500
    ] == [
        ("9091", []),
        ("9092", ["range"]),
        ("9093", ["alertmanager", "range"]),
        ("9094", ["range"]),
        ("9095", ["kafka"]),
        ("9096-9499", []),
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_for_everyone_reaches_from_every_address(family):
    assert open_to(compute_reach(parsed()), "agent", "tcp", 6379, family).sources == everyone(
        family
    )


def test_a_protocol_that_no_row_names_is_reached_by_rows_of_any_protocol_alone():
    reach = compute_reach(parsed())
    assert names(open_to(reach, "agent", "ospf")) == ["pods", "services"]
    assert Protocol.OSPF not in reach.protocols


def test_pods_are_marked_where_an_interface_and_not_an_address_lets_them_in():
    def marks(tables):
        span = open_to(compute_reach(tables), "agent", "tcp", 22)
        return {part.by_interface for part in span.parts}

    assert marks(parsed()) == {True}
    assert marks(parsed(pillar(flannel_backend="none"))) == {False}
    assert marks(parsed(changed("firewall:pods_from", "addresses"))) == {False}


def test_rows_of_the_other_role_are_known_with_the_peer_rows_alone():
    tree = pillar()
    etcd = tree["ports"]["cluster"].pop("etcd")
    assert names(open_to(compute_reach(parsed(tree)), "server", "tcp", 2379)) == [
        "pods",
        "services",
    ]
    tree["peer_ports"] = {"cluster": {"etcd": etcd}}
    assert "etcd" in names(open_to(compute_reach(parsed(tree)), "server", "tcp", 2379))


def test_only_the_roles_asked_for_are_computed():
    reach = compute_reach(parsed(), (Role.AGENT,))
    assert reach.roles == (Role.AGENT,)
    assert {key.role for key in reach.spans} == {Role.AGENT}
