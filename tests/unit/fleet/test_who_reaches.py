"""Who reaches a port, and what a source reaches: both are what the rows say packet by packet."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.errors import EngineError
from k3sfw_engine.fleet.asked_of_tables import nodes_named, parse_asked_ports, sources_named
from k3sfw_engine.fleet.proven_pairs import ProvenPairs, proven_pairs
from k3sfw_engine.fleet.text.render import render
from k3sfw_engine.fleet.text.style import Style
from k3sfw_engine.fleet.who_reaches import reaches, who_reaches
from k3sfw_engine.model.row_sources import networks_of_source
from k3sfw_engine.model.rows import Protocol
from tests.simulated_fleet import simulated_fleet
from tests.unit.samples import changed, parsed, pillars


def who(tables, to, port):
    return who_reaches(tables, nodes_named(to, tables), parse_asked_ports(port), {})


def test_etcd_is_reached_by_servers_and_by_pods():
    found = {each["row"]: each for each in who(parsed(), "s1", 2379)}
    assert list(found) == ["etcd", "pods", "services"]
    assert (found["etcd"]["from"], found["etcd"]["ports"]) == (["server"], ["tcp/2379"])
    assert found["pods"]["ports"] == ["tcp/2379", "udp/2379", "sctp/2379"]
    assert found["pods"]["by_interface"] and not found["etcd"]["by_interface"]


def test_a_row_of_the_other_role_lets_nothing_in():
    assert [each["row"] for each in who(parsed(), "a1", "tcp/2379")] == ["pods", "services"]
    assert who(parsed(changed("ports:cluster", {})), "a1", "tcp/22") == []


@given(pillars(), st.sampled_from(["tcp/80", "udp/8472", "tcp/2379-2380", "vrrp", "tcp"]))
def test_the_rows_are_exactly_those_that_open_one_of_the_ports(tree, port):
    tables = parsed(tree)
    asked = parse_asked_ports(port)
    for node in tables.nodes:
        expected = {
            row.path
            for row in tables.every_row
            if row.destination.includes(node.role)
            and row.protocol in (*asked.protocols, Protocol.ANY)
            and (
                not row.ports
                or any(
                    each.low <= asked.ports.high and asked.ports.low <= each.high
                    for each in row.ports
                )
            )
            and any(networks_of_source(source, tables) for source in row.sources)
            and any(
                network.version in row.protocol.families
                and network.version in asked.protocols[0].families
                for source in row.sources
                for network in networks_of_source(source, tables)
            )
        }
        assert {each["path"] for each in who(tables, node.name, port)} == expected


@given(pillars(), st.sampled_from(["a1", "s1", "198.51.100.3", "2001:db8::21", "pods", "admins"]))
def test_a_source_reaches_what_the_rows_name_it_for(tree, name):
    tables = parsed(tree)
    try:
        sources = sources_named(name, tables)
    except EngineError:
        return
    expected = {
        row.path
        for row in tables.every_row
        if any(row.destination.includes(node.role) for node in tables.nodes)
        and any(
            network.version in row.protocol.families
            and any(
                first <= network.last and network.first <= last
                for first, last in sources[network.version].ranges
            )
            for source in row.sources
            for network in networks_of_source(source, tables)
        )
    }
    assert {each["path"] for each in reaches(tables, sources, {})} == expected


def test_an_address_of_a_pod_reaches_what_pods_reach_from_their_interfaces_only():
    tables = parsed()
    found = {each["row"]: each for each in reaches(tables, sources_named("10.42.3.4", tables), {})}
    assert found["pods"]["by_interface"] is True
    assert found["grafana"]["by_interface"] is False


def test_a_source_that_a_row_lets_in_by_half_says_which_half():
    row = {"protocol": "tcp", "port": 8000, "source": "198.51.100.0/29", "destination": "any"}
    tables = parsed(changed("ports:cluster:half", row))
    found = {each["row"]: each for each in reaches(tables, sources_named("admins", tables), {})}
    assert (found["half"]["part"], found["half"]["from"]) == (True, ["198.51.100.0/29"])
    assert found["grafana"]["part"] is False


@pytest.mark.parametrize("port", ["", "0", "65536", "2380-2379x", "tcp/", "vrrp/1", "x/80", "-1"])
def test_what_is_not_a_port_is_refused(port):
    with pytest.raises(EngineError):
        parse_asked_ports(port)


@pytest.mark.parametrize("name", ["stranger", "10.0.0.1/8", "", "s1;a1"])
def test_an_unknown_name_is_refused_on_both_sides(name):
    with pytest.raises(EngineError):
        nodes_named(name, parsed())
    with pytest.raises(EngineError):
        sources_named(name, parsed())


def test_packets_that_were_sent_are_counted_at_the_port_that_is_asked_about():
    cluster = simulated_fleet(8)
    targets = {name for name, node in cluster.nodes.items() if node.role == "server"}
    found = proven_pairs(cluster, targets, parse_asked_ports("tcp/2379-2380"))
    assert found.asked == found.let_in + found.refused > 0
    assert found.let_in and found.refused and found.oldest
    assert proven_pairs(cluster, targets, parse_asked_ports("tcp/1")) == ProvenPairs()


def test_the_text_is_at_most_80_columns_wide():
    tables = parsed()
    shared = {"summary": "", "notes": []}
    texts = (
        {
            "view": "who",
            "to": "any",
            "port": "6443",
            "openings": who(tables, "any", 6443),
            **shared,
        },
        {
            "view": "reach",
            "from": "a1",
            "openings": reaches(tables, sources_named("a1", tables), {}),
            **shared,
        },
    )
    for data in texts:
        assert max(map(len, render(data, Style()).splitlines())) <= 80
