"""The routes to the pods of each peer, with host-gw and WireGuard, and what peers say of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from k3sfw_engine.checks.routes.route_check import echo_sizes, judge_routes
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.interfaces_and_routes import Interface
from tests.unit.checks.routes.node_situations import (
    NODES,
    answering,
    by,
    failed,
    network,
    only,
    passing,
    problems,
    route,
    situation,
    with_routes,
    without_forwarding,
    without_neighbours,
    without_overlay_entries,
    without_routes,
)

# -- other backends -------------------------------------------------------------------------------


def host_gw():
    net = without_overlay_entries(network())
    kept = {name: net.interfaces[name] for name in ("lo", "eth0", "cni0")}
    net = replace(net, interfaces=kept)
    lookups = {"10.42.2.1": by("eth0", "192.0.2.11"), "10.42.3.1": by("eth0", "192.0.2.11")}
    return with_routes(
        answering(net, **lookups),
        route("10.42.2.0/24", "eth0", "192.0.2.12"),
        route("10.42.3.0/24", "eth0", "192.0.2.21"),
    )


def gateways(net, **pillar):
    return situation(net, flannel_backend="host-gw", pod_cidrs=["10.42.0.0/16"], **pillar)


def test_with_host_gw_pods_are_behind_the_address_of_their_node():
    assert problems(gateways(host_gw())) == []


def test_with_host_gw_a_missing_route_is_not_proven():
    check = only(gateways(without_routes(host_gw(), "10.42.3.0/24")))
    assert (check.status, check.to) == (Status.UNPROVEN, "a1")


def test_with_host_gw_a_route_to_another_gateway_is_the_one_that_is_missing():
    net = without_routes(host_gw(), "10.42.3.0/24")
    check = only(gateways(with_routes(net, route("10.42.3.0/24", "eth0", "192.0.2.10"))))
    assert (check.status, check.to) == (Status.NO_ROUTE, "a1")
    assert "ip route replace 10.42.3.0/24 via 192.0.2.21 dev eth0" in check.hint


def wireguard(*routes, **pillar):
    net = without_overlay_entries(network())
    link = Interface("flannel-wg", True, True, 1420, "wireguard")
    kept = {name: net.interfaces[name] for name in ("lo", "eth0", "cni0")}
    kept["cni0"] = replace(kept["cni0"], mtu=1420)
    net = with_routes(replace(net, interfaces={**kept, "flannel-wg": link}), *routes)
    pillar = {"flannel_backend": "wireguard-native", "pod_cidrs": ["10.42.0.0/16"], **pillar}
    return situation(net, **pillar)


def test_with_wireguard_pods_are_behind_its_device():
    assert problems(wireguard(route("10.42.0.0/16", "flannel-wg"))) == []
    assert only(wireguard()).hint == (
        "salt s1 cmd.run 'ip route replace 10.42.0.0/16 dev flannel-wg'"
    )


def test_nothing_is_reported_about_another_network_plugin():
    at = situation(flannel_backend="none")
    assert not [c for c in judge_routes(at, {}) if c.description in ("pods", "overlay", "MTU")]


# -- what a peer says of its pods -----------------------------------------------------------------


def saying(**networks):
    """The nodes, with networks of their pods by their names."""
    return {
        "nodes": {
            name: {**node, "pod_cidrs": networks[name]} if name in networks else node
            for name, node in NODES.items()
        }
    }


RIGHT = saying(s2=["10.42.2.0/24", "fd42::2:0/112"], a1=["10.42.3.0/24", "fd42::3:0/112"])


def without_a1(net):
    """Nothing of flannel's entries for the pods of a1 in IPv4 is left."""
    net = without_forwarding(without_neighbours(net, "10.42.3.0"), "192.0.2.21")
    return without_routes(net, "10.42.3.0/24")


def test_what_peers_say_changes_nothing_where_flannels_entries_are_complete():
    paths = {target: passing(size) for target, size in echo_sizes(situation()).items()}
    assert judge_routes(situation(**RIGHT), paths) == judge_routes(situation(), paths)


def test_pods_of_which_flannel_has_no_entry_at_all_have_no_route_if_the_peer_says_which():
    check = only(situation(without_a1(network()), **RIGHT))
    assert (check.status, check.to, check.by) == (Status.NO_ROUTE, "a1", "s1")
    assert check.address == "10.42.3.0/24"
    assert check.hint == "salt s1 cmd.run 'systemctl restart k3s'"


def test_two_unpaired_entries_belong_to_the_peers_that_claim_them():
    net = without_forwarding(network(), "192.0.2.12", "192.0.2.21")
    checks = [c for c in judge_routes(situation(net, **RIGHT), {}) if c.status is not Status.OK]
    assert {(c.to, c.address, c.hint) for c in checks} == {
        (
            name,
            f"10.42.{number}.0/24",
            f"salt s1 cmd.run 'bridge fdb replace 02:00:00:00:00:0{number} dev flannel.1 "
            f"dst {address}'",
        )
        for name, number, address in (("s2", 2, "192.0.2.12"), ("a1", 3, "192.0.2.21"))
    }


def test_a_route_without_entries_belongs_to_the_peer_that_claims_it():
    net = without_forwarding(without_neighbours(network(), "10.42.3.0"), "192.0.2.21")
    check = only(situation(net, **RIGHT))
    assert (check.status, check.to) == (Status.NO_NEIGHBOUR, "a1")
    assert "flannel.1 has neither the neighbour 10.42.3.0 nor" in check.evidence
    assert check.hint == "salt s1 cmd.run 'systemctl restart k3s'"


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (network(), "10.42.3.0/24 of a1"),
        # Nothing speaks of a1 itself, but the network is another's.
        (without_a1(network()), "10.42.2.0/24 of s2"),
        (without_a1(network()), "it on cni0 of s1"),
    ],
)
def test_what_a_peer_says_against_flannels_entries_is_a_warning_that_names_both(net, words):
    said = {"it on cni0 of s1": "10.42.1.0/24", "10.42.2.0/24 of s2": "10.42.2.0/25"}
    wrong = said.get(words, "10.42.9.0/24")
    checks = judge_routes(situation(net, **saying(a1=[wrong])), {})
    (check,) = (c for c in checks if c.description == "pod network")
    assert (check.status, check.to, check.by, check.address) == (
        *(Status.CONFLICT, "a1", "a1"),
        wrong,
    )
    assert check.evidence == f"pillar has {wrong} for the pods of a1, but flannel here has {words}"
    assert check.hint.startswith("salt a1 saltutil.refresh_grains; if it stays so, compare ")
    # It is not gone by: all the rest is as without it.
    assert tuple(c for c in checks if c is not check) == judge_routes(situation(net), {})


def test_with_host_gw_a_missing_route_is_known_if_the_peer_says_its_network():
    check = only(gateways(without_routes(host_gw(), "10.42.3.0/24"), **saying(a1=["10.42.3.0/24"])))
    assert (check.status, check.to, check.address) == (Status.NO_ROUTE, "a1", "10.42.3.0/24")
    assert check.hint == ("salt s1 cmd.run 'ip route replace 10.42.3.0/24 via 192.0.2.21 dev eth0'")


def test_with_host_gw_what_two_peers_lack_is_told_apart_by_what_they_say():
    net = without_routes(host_gw(), "10.42.2.0/24", "10.42.3.0/24")
    net = with_routes(net, route("10.42.3.0/24", kind="blackhole"))
    said = saying(s2=["10.42.2.0/24"], a1=["10.42.3.0/24"])
    checks = [c for c in judge_routes(gateways(net, **said), {}) if c.status is not Status.OK]
    assert {(c.to, c.address) for c in checks} == {("s2", "10.42.2.0/24"), ("a1", "10.42.3.0/24")}
    assert [c.hint for c in checks] == [
        f"salt s1 cmd.run 'ip route replace {c.address} via {address} dev eth0'"
        for c, address in zip(checks, ("192.0.2.21", "192.0.2.12"))
    ]


def test_with_host_gw_the_routes_count_against_what_a_peer_says():
    check = only(gateways(host_gw(), **saying(a1=["10.42.9.0/24"])))
    assert (check.status, check.description) == (Status.CONFLICT, "pod network")


WG_SAID = saying(s2=["10.42.2.0/24"], a1=["10.42.3.0/24"])
TO_ALL = route("10.42.0.0/16", "flannel-wg", scope="link")


def tunnelled(*routes, wrong=None, said=WG_SAID):
    """A node of WireGuard; ``wrong`` is where the kernel sends what is for the pods of s2."""
    at = wireguard(*routes, **said)
    right = by("flannel-wg", "10.42.1.0")
    answers = {"10.42.2.1": wrong or right, "10.42.3.1": right}
    return replace(at, network=answering(at.network, **answers))


def test_with_wireguard_the_route_to_each_peer_with_a_known_network_is_judged():
    at = tunnelled(TO_ALL)
    assert problems(at) == []
    pods = [(c.to, c.address) for c in judge_routes(at, {}) if c.description == "pods"]
    assert pods == [("s1", "10.42.0.0/16"), ("a1", "10.42.3.0/24"), ("s2", "10.42.2.0/24")]


def test_with_wireguard_a_route_that_is_missing_for_all_is_one_problem():
    check = only(tunnelled(wrong=by("eth0", "192.0.2.11", "192.0.2.10")))
    assert (check.to, check.address) == ("s1", "10.42.0.0/16")


def test_with_wireguard_a_route_that_is_missing_for_one_peer_is_set():
    check = only(tunnelled(route("10.42.3.0/24", "flannel-wg"), wrong=by("eth0", "192.0.2.11")))
    assert (check.status, check.to, check.evidence) == (
        *(Status.NO_ROUTE, "s2"),
        "no route by flannel-wg",
    )
    assert check.hint == "salt s1 cmd.run 'ip route replace 10.42.2.0/24 dev flannel-wg'"


@pytest.mark.parametrize(
    ("wrong", "lookup", "status"),
    [
        (
            route("10.42.2.0/24", "eth0", "192.0.2.10"),
            by("eth0", "192.0.2.11", "192.0.2.10"),
            Status.WRONG_ROUTE,
        ),
        (route("10.42.2.0/24", "cni0"), by("cni0", "10.42.1.1"), Status.WRONG_ROUTE),
        (route("10.42.2.64/26", "eth0"), None, Status.WRONG_ROUTE),
        (
            route("10.42.2.0/24", kind="blackhole"),
            failed("10.42.2.1", "Invalid argument"),
            Status.NO_ROUTE,
        ),
    ],
)
def test_with_wireguard_a_route_by_another_device_is_removed_in_one_problem(wrong, lookup, status):
    check = only(tunnelled(TO_ALL, wrong, wrong=lookup))
    assert (check.status, check.to, check.address) == (status, "s2", "10.42.2.0/24")
    assert check.evidence.startswith("beside 10.42.0.0/16 dev flannel-wg there is ")
    assert "until then: salt s1 cmd.run 'ip route del " in check.hint


def test_with_wireguard_a_route_for_more_than_one_peer_is_reported_once():
    wide = route("10.42.0.0/17", "eth0", "192.0.2.10")
    check = only(tunnelled(TO_ALL, wide, wrong=by("eth0", "192.0.2.11", "192.0.2.10")))
    assert (check.status, check.description) == (Status.OVERLAP, "overlap")


def test_with_wireguard_a_peer_that_says_this_nodes_own_pods_are_its_is_a_warning():
    check = only(tunnelled(TO_ALL, said=saying(s2=["10.42.1.0/24"])))
    assert (check.status, check.description, check.to) == (Status.CONFLICT, "pod network", "s2")
