"""The way to nodes: what answers is not wrong, and no fix takes a way that is needed."""

from __future__ import annotations

from dataclasses import replace

import netaddr
import pytest

from k3sfw_engine.checks.routes.node_routes import doubtful_addresses
from k3sfw_engine.checks.routes.route_check import echo_sizes, judge_routes
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.echo import Echo, EchoResult, PathEchoes
from k3sfw_engine.model.interfaces_and_routes import Lookup
from tests.unit.checks.routes.node_situations import (
    NODES,
    answering,
    by,
    failed,
    host,
    linked,
    network,
    only,
    passing,
    problems,
    route,
    situation,
    with_routes,
    without_routes,
)

SILENT = PathEchoes(Echo(96, EchoResult.SILENT))
S2 = "192.0.2.12"


def detour(*routes, **options):
    """The way to s2 leads by a router, although it is in the network of s1."""
    net = with_routes(network(), *(routes or [route(f"{S2}/32", "eth0", "192.0.2.10")]))
    net = answering(net, **{S2: by("eth0", "192.0.2.11", "192.0.2.10")})
    return situation(net, **options)


def direct(at, *addresses):
    return replace(at, direct=frozenset(addresses or [S2]))


# -- a way that looks odd -------------------------------------------------------------------------


@pytest.mark.parametrize("path", [passing(1480), None])
def test_a_neighbour_that_answers_by_a_router_is_right(path):
    at = detour()
    paths = {S2: path} if path else {}
    assert problems(at, paths) == []
    assert S2 in echo_sizes(at)
    assert doubtful_addresses(at, paths) == {}


def test_a_neighbour_that_rejects_echoes_is_reached_all_the_same():
    rejected = PathEchoes(Echo(96, EchoResult.REJECTED, S2))
    assert doubtful_addresses(detour(), {S2: rejected}) == {}


def test_a_neighbour_with_a_connection_is_reached_whatever_echoes_say():
    at = detour(host=host(connected=frozenset({netaddr.IPAddress(S2)})))
    assert doubtful_addresses(at, {S2: SILENT}) == {}
    assert only(at, {S2: SILENT}).description == "path MTU"


def test_a_neighbour_that_answers_neither_way_is_silent_and_its_route_stays():
    at = detour()
    assert doubtful_addresses(at, {S2: SILENT}) == {S2: "eth0"}
    check = only(at, {S2: SILENT})
    assert (check.status, check.description) == (Status.UNPROVEN, "path MTU")
    assert "(sent via 192.0.2.10 dev eth0, although it is in a network of this node)" in (
        check.evidence
    )
    assert "ip route" not in check.hint


def test_a_neighbour_that_answers_only_without_the_router_has_a_wrong_route():
    check = only(direct(detour()), {S2: SILENT})
    assert (check.status, check.description, check.to) == (Status.WRONG_ROUTE, "node", "s2")
    assert check.hint == (
        "remove the route 192.0.2.12/32 via 192.0.2.10 dev eth0 where it is set; until then: "
        "salt s1 cmd.run 'ip route del 192.0.2.12/32 via 192.0.2.10 dev eth0'"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        # It leads to more hosts than this peer.
        route("192.0.2.0/28", "eth0", "192.0.2.10"),
        route(f"{S2}/32", "eth0", "192.0.2.10", protocol="dhcp"),
        route(f"{S2}/32", "eth0", "192.0.2.10", protocol="bgp"),
    ],
)
def test_a_wrong_route_that_others_may_need_is_named_and_not_deleted(wrong):
    check = only(direct(detour(wrong)), {S2: SILENT})
    assert check.status is Status.WRONG_ROUTE
    assert check.hint.startswith("remove the route ") and "salt" not in check.hint


def test_ipv6_cannot_be_asked_without_a_router_and_is_not_judged():
    net = answering(network(), **{"2001:db8::12": by("eth0", "2001:db8::11", "2001:db8::10")})
    assert doubtful_addresses(situation(net), {"2001:db8::12": SILENT}) == {}
    assert only(situation(net), {"2001:db8::12": SILENT}).status is Status.UNPROVEN


def test_a_neighbour_on_a_second_card_in_the_same_network_is_fine():
    net = answering(network(), **{S2: by("eth1", "192.0.2.11")})
    assert problems(situation(net), {S2: passing(1480)}) == []


def test_a_node_behind_a_router_may_be_reached_by_it():
    nodes = {**NODES, "s2": {"role": "server", "addresses": ["198.51.100.12"]}}
    net = answering(network(), **{"198.51.100.12": by("eth0", "192.0.2.11", "192.0.2.10")})
    checks = judge_routes(situation(net, nodes=nodes), {})
    (check,) = (c for c in checks if c.address == "198.51.100.12")
    assert (check.status, check.evidence) == (Status.OK, "via 192.0.2.10 dev eth0 src 192.0.2.11")


# -- a way that is wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("blackhole", "Invalid argument"),
        ("prohibit", "Permission denied"),
        ("unreachable", "No route to host"),
    ],
)
def test_a_route_that_refuses_a_node_is_named_and_removed(kind, error):
    net = with_routes(network(), route(f"{S2}/32", kind=kind))
    check = only(situation(answering(net, **{S2: failed(S2, error)})))
    assert (check.status, check.source, check.to) == (Status.NO_ROUTE, "s1", "s2")
    assert check.evidence == f"the route {kind} 192.0.2.12/32 refuses it"
    assert check.hint.endswith(f"until then: salt s1 cmd.run 'ip route del {kind} 192.0.2.12/32'")


def test_a_node_without_a_route_is_reported():
    net = without_routes(network(), "0.0.0.0/0")
    nodes = {**NODES, "s2": {"role": "server", "addresses": ["198.51.100.12"]}}
    lost = failed("198.51.100.12", "Network is unreachable")
    net = answering(net, **{"198.51.100.12": lost})
    found = [c for c in judge_routes(situation(net, nodes=nodes), {}) if c.description == "node"]
    assert found[0].evidence == "the kernel has no route to it (Network is unreachable)"


def test_a_node_that_is_sought_behind_pods_has_a_wrong_route():
    net = with_routes(network(), route(f"{S2}/32", "flannel.1"))
    net = answering(net, **{S2: by("flannel.1", "192.0.2.11")})
    check = only(situation(net), {S2: SILENT})
    assert (check.status, check.to) == (Status.WRONG_ROUTE, "s2")
    assert check.hint.endswith("salt s1 cmd.run 'ip route del 192.0.2.12/32 dev flannel.1'")
    # One that answers there, as over a mesh of the operator's, is right.
    assert problems(situation(net), {S2: passing(1480)}) == []


@pytest.mark.parametrize("length", [24, 32])
def test_an_address_of_a_peer_on_this_node_is_a_conflict_and_stays(length):
    link = network().interfaces["eth0"]
    addresses = (*link.addresses, netaddr.IPNetwork(f"{S2}/{length}"))
    net = linked(network(), "eth0", addresses=addresses)
    check = only(situation(answering(net, **{S2: Lookup("", "local", "lo")})))
    assert (check.status, check.to) == (Status.CONFLICT, "s2")
    assert check.evidence.startswith("this node itself has 192.0.2.12, on eth0")
    assert check.hint.startswith("salt s2 saltutil.refresh_grains; if it stays so, ")
    assert "address del" not in check.hint


# -- the source address ---------------------------------------------------------------------------


def test_a_source_address_that_peers_do_not_allow_is_a_mismatch():
    check = only(situation(answering(network(), **{S2: by("eth0", "192.0.2.199")})))
    assert check.status is Status.SRC_MISMATCH
    assert "leave with the address 192.0.2.199" in check.evidence
    assert "add 192.0.2.199 to k3s:nodes:s1:addresses in pillar" in check.hint
    assert check.hint.endswith(
        "salt s1 cmd.run 'ip route replace 192.0.2.0/24 dev eth0 proto kernel scope link "
        "src 192.0.2.11'"
    )


def test_the_source_of_a_default_route_is_left_to_the_operator():
    nodes = {**NODES, "s2": {"role": "server", "addresses": ["198.51.100.12"]}}
    net = answering(network(), **{"198.51.100.12": by("eth0", "192.0.2.199", "192.0.2.10")})
    check = only(situation(net, nodes=nodes, peers=("s2",), pod_cidrs=["fd42::/64"]))
    assert check.status is Status.SRC_MISMATCH
    assert "ip route" not in check.hint


def test_any_address_that_pillar_has_of_the_node_is_a_right_source():
    nodes = {**NODES, "s1": {"role": "server", "addresses": ["192.0.2.11", "192.0.2.111"]}}
    net = linked(
        network(),
        "eth0",
        addresses=tuple(map(netaddr.IPNetwork, ("192.0.2.11/24", "192.0.2.111/24"))),
    )
    net = answering(net, **{S2: by("eth0", "192.0.2.111")})
    assert [p for p in problems(situation(net, nodes=nodes)) if p[2] == "node"] == []


# -- the networks of the own addresses ------------------------------------------------------------

BY_ROUTER = by("eth0", "192.0.2.11", "192.0.2.10")
PREPEND = (
    "salt s1 cmd.run 'ip route prepend 192.0.2.0/24 dev eth0 proto kernel scope link "
    "src 192.0.2.11'"
)


def without_link_route(*instead, **lookups):
    net = with_routes(without_routes(network(), "192.0.2.0/24"), *instead)
    return answering(net, **{S2: BY_ROUTER, "192.0.2.21": BY_ROUTER, **lookups})


@pytest.mark.parametrize("instead", [[], [route("192.0.2.0/24", "eth0", "192.0.2.10")]])
def test_a_hoster_that_leads_a_whole_network_by_its_router_is_right(instead):
    at = situation(without_link_route(*instead))
    paths = {S2: passing(1480), "192.0.2.21": SILENT}
    assert [c.description for c in judge_routes(at, paths) if c.status is not Status.OK] == [
        "path MTU"
    ]
    # Asked without the router, the silent one is silent as well.
    assert doubtful_addresses(at, paths) == {"192.0.2.21": "eth0"}


def test_a_lost_route_to_the_own_network_is_one_problem_and_not_one_for_each_peer():
    gone = failed("", "Network is unreachable")
    check = only(situation(without_link_route(**{S2: gone, "192.0.2.21": gone})))
    assert (check.description, check.address) == ("own network", "192.0.2.0/24")
    assert check.hint.endswith(f"until then: {PREPEND}")


def test_a_lost_route_by_which_peers_answer_is_set_beside_the_other_one():
    wrong = route("192.0.2.0/24", "eth0", "192.0.2.10")
    at = direct(situation(without_link_route(wrong)), S2, "192.0.2.21")
    check = only(at, {S2: SILENT, "192.0.2.21": SILENT})
    assert check.description == "own network"
    assert "instead there is 192.0.2.0/24 via 192.0.2.10 dev eth0" in check.evidence
    assert check.hint.endswith(PREPEND) and " del " not in check.hint


@pytest.mark.parametrize(("answers", "set_"), [(True, True), (False, False)])
def test_a_route_is_set_only_if_the_master_answers_by_it_too(answers, set_):
    master = netaddr.IPAddress("192.0.2.40")
    at = situation(without_link_route(), host=host(connected=frozenset({master})))
    paths = {S2: SILENT, "192.0.2.21": SILENT}
    assert doubtful_addresses(at, paths)[str(master)] == "eth0"
    at = direct(at, S2, *([str(master)] if answers else []))
    assert (PREPEND in only(at, paths).hint) is set_


def test_a_master_with_a_narrower_route_is_not_concerned():
    master = netaddr.IPAddress("192.0.2.40")
    net = with_routes(without_link_route(), route("192.0.2.40/32", "eth0", "192.0.2.10"))
    at = direct(situation(net, host=host(connected=frozenset({master}))))
    assert PREPEND in only(at, {S2: SILENT, "192.0.2.21": SILENT}).hint


def test_a_lost_route_of_ipv6_is_added():
    gone = failed("", "Network is unreachable")
    net = without_routes(network(), "2001:db8::/64")
    net = answering(net, **{"2001:db8::12": gone, "2001:db8::21": gone})
    check = only(situation(net))
    assert check.hint.endswith(
        "salt s1 cmd.run 'ip -6 route add 2001:db8::/64 dev eth0 proto kernel metric 256'"
    )
