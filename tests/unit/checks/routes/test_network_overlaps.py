"""Networks and routes that meet the networks of pods and services."""

from __future__ import annotations

from dataclasses import replace

import netaddr
import pytest

from k3sfw_engine.checks.routes.route_check import judge_routes
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.interfaces_and_routes import Interface
from tests.unit.checks.routes.node_situations import (
    host,
    linked,
    network,
    only,
    problems,
    route,
    situation,
    with_routes,
    without_routes,
)


def test_pods_and_services_in_one_network_overlap():
    at = situation(service_cidrs=["10.42.128.0/17"])
    assert ("overlap", "s1", "overlap") in problems(at)


def test_a_node_in_the_network_of_pods_overlaps():
    net = linked(
        network(),
        "eth0",
        addresses=(*network().interfaces["eth0"].addresses, netaddr.IPNetwork("10.42.200.5/24")),
    )
    net = with_routes(net, route("10.42.200.0/24", "eth0"))
    check = only(situation(net))
    assert check.status is Status.OVERLAP
    assert check.evidence.startswith("eth0 of this node is in 10.42.200.0/24")


@pytest.mark.parametrize("destination", ["10.42.77.0/24", "10.43.7.0/24"])
def test_a_route_into_the_cluster_that_leads_out_of_it_overlaps(destination):
    net = with_routes(network(), route(destination, "eth0", "192.0.2.10"))
    check = only(situation(net))
    assert check.status is Status.OVERLAP
    # Hosts may be behind it that no connection shows now.
    assert check.hint == (
        f"remove the route {destination} via 192.0.2.10 dev eth0 where it is set, or create the "
        "cluster with another network"
    )


def test_pods_behind_a_neighbour_that_pillar_does_not_know_are_not_cut_off():
    net = with_routes(network(), route("10.42.77.0/24", "eth0", "192.0.2.77"))
    check = only(situation(net))
    assert check.status is Status.CONFLICT
    assert check.hint.startswith("if 192.0.2.77 is a node, run a minion with the grain k3s_role")


@pytest.mark.parametrize(
    "own",
    [
        route("10.42.7.0/26", "vxlan.calico", "10.42.7.0", protocol="80", onlink=True),
        route("10.42.1.0/26", kind="blackhole", protocol="80"),
        route("10.42.1.0/26", kind="blackhole", protocol="bird"),
    ],
)
def test_routes_to_pods_of_another_plugin_are_its_own(own):
    assert problems(situation(with_routes(network(), own), flannel_backend="none")) == []


def test_a_wider_route_is_a_warning_and_a_default_route_in_parts_is_none():
    wider = with_routes(network(), route("10.0.0.0/8", "eth0", "192.0.2.10"))
    assert {status for status, *_ in problems(situation(wider))} == {"conflict"}
    halves = with_routes(network(), route("0.0.0.0/1", "tun0"), route("128.0.0.0/1", "tun0"))
    assert problems(situation(halves)) == []


def test_a_route_to_all_services_is_no_overlap():
    net = with_routes(network(), route("10.43.0.0/16", "eth0"))
    assert problems(situation(net)) == []


@pytest.mark.parametrize(
    ("destination", "refused"),
    [
        ("10.42.0.0/16", False),
        ("10.0.0.0/8", False),
        ("10.42.77.0/24", True),
        ("10.43.0.0/16", True),
        ("10.43.0.10/32", True),
    ],
)
def test_a_route_that_refuses_a_part_of_the_cluster_is_reported(destination, refused):
    net = with_routes(network(), route(destination, kind="blackhole"))
    expected = [("no_route", "s1", "refusing routes")] if refused else []
    assert problems(situation(net)) == expected


@pytest.mark.parametrize("name", ["vxlan.calico", "tunl0", "wireguard.cali", "antrea-gw0"])
def test_the_tunnel_of_another_plugin_is_in_the_network_of_pods_and_overlaps_nothing(name):
    def plugin(name):
        net = network()
        link = Interface(name, True, True, 1450, "", (netaddr.IPNetwork("10.42.1.64/32"),))
        net = replace(net, interfaces={**net.interfaces, name: link})
        return with_routes(net, route("10.42.9.64/26", name, "10.42.9.64"))

    def overlaps(net):
        found = problems(situation(net, flannel_backend="none"))
        return [each for each in found if each[0] == "overlap"]

    assert overlaps(plugin(name)) == overlaps(network())
    assert len(overlaps(plugin("mine0"))) > len(overlaps(network()))


@pytest.mark.parametrize(
    ("refusing", "others", "connected", "deleted"),
    [
        (route("10.43.0.0/16", kind="blackhole"), True, (), True),
        # Nothing else would lead to services.
        (route("10.43.0.0/16", kind="blackhole"), False, (), False),
        # A daemon would set it again.
        (route("10.43.0.0/16", kind="blackhole", protocol="bird"), True, (), False),
        (route("10.42.77.0/24", kind="prohibit"), True, ("10.42.77.9",), False),
    ],
)
def test_a_route_is_deleted_only_if_another_leads_there_and_no_connection_uses_it(
    refusing, others, connected, deleted
):
    net = with_routes(network() if others else without_routes(network(), "0.0.0.0/0"), refusing)
    known = host(connected=frozenset(map(netaddr.IPAddress, connected)))
    (check,) = (
        c
        for c in judge_routes(situation(net, host=known), {})
        if c.description == "refusing routes"
    )
    assert ("ip route del" in check.hint) is deleted
    assert check.hint.startswith("remove the route ")
