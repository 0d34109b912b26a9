"""The pod networks of nodes serve the checks, and open nothing."""

from __future__ import annotations

import copy

import pytest

from k3sfw_engine.model.rows import Role
from k3sfw_engine.plan.desired.compute import compute_desired
from tests.unit.port_tables.reading import faults
from tests.unit.samples import (
    NODES,
    parsed,
    pillar,
)


def with_pods(claimed=None, by_hand=None, **more):
    """The good pillar, with networks of pods by the nodes' grains or by hand, by name."""
    nodes = copy.deepcopy(NODES)
    for name, networks in (claimed or {}).items():
        nodes[name]["pod_cidrs"] = networks
        nodes[name]["claimed"] = copy.deepcopy(nodes[name])
    for name, networks in (by_hand or {}).items():
        nodes[name]["pod_cidrs"] = networks
    return pillar(nodes=nodes, **more)


def pods(tree):
    """``{name: [network, …]}`` of those nodes of which any is known."""
    found = {node.name: list(map(str, node.pod_cidrs)) for node in parsed(tree).nodes}
    return {name: networks for name, networks in found.items() if networks}


def test_pod_networks_may_be_claimed_or_by_hand_or_absent():
    assert pods(pillar()) == {}
    dual = ["10.42.0.0/16", "fd42::/56"]
    tree = with_pods({"s1": ["fd42:0:0:1::/64", "10.42.1.0/24"]}, {"a1": "10.42.4.0/24"})
    tree["pod_cidrs"] = dual
    assert pods(tree) == {"s1": ["10.42.1.0/24", "fd42:0:0:1::/64"], "a1": ["10.42.4.0/24"]}
    assert parsed(tree).notices == ()
    (s1,) = (node for node in parsed(tree).nodes if node.name == "s1")
    assert str(s1.pods(6)) == "fd42:0:0:1::/64"


def test_pod_networks_of_nodes_open_nothing():
    tree = with_pods({"s1": ["10.42.1.0/24"], "a2": ["10.42.5.0/24"]}, {"s2": ["10.42.2.0/24"]})
    for backend in ("vxlan", "wireguard-native", "host-gw", "none"):
        plain = pillar(flannel_backend=backend)
        known = {**tree, "flannel_backend": backend}
        assert compute_desired(parsed(known), Role.SERVER) == compute_desired(
            parsed(plain), Role.SERVER
        )


@pytest.mark.parametrize(
    ("networks", "problem"),
    [
        (["10.43.1.0/24"], "10.43.1.0/24 is in none of k3s:pod_cidrs (10.42.0.0/16)"),
        (["10.40.0.0/13"], "10.40.0.0/13 is in none of k3s:pod_cidrs"),
        (["fd42::/64"], "fd42::/64 is in none of k3s:pod_cidrs"),
        (["10.42.1.0/24", "10.42.2.0/24"], "names more than one network of a family"),
        (["10.42.1.1/24"], "has host bits set; the network is 10.42.1.0/24"),
        (["nonsense"], "is not an address or CIDR"),
        ({"a": 1}, "is not an address or CIDR"),
        ([], "is empty"),
        (None, "is not an address or CIDR"),
    ],
)
def test_an_impossible_pod_network_is_a_notice_if_claimed_and_a_fault_by_hand(networks, problem):
    tables = parsed(with_pods({"a1": networks, "s2": ["10.42.9.0/24"]}))
    (notice,) = tables.notices
    assert notice.startswith("pillar k3s:nodes:a1:pod_cidrs") and problem in notice
    assert "minion a1 claims so itself, and the checks ignore it" in notice
    # Who the nodes are is as sure as before, and they are all let in.
    assert tables.unsure == ()
    assert {node.name: node.addresses for node in tables.nodes} == {
        node.name: node.addresses for node in parsed().nodes
    }
    assert {node.name for node in tables.nodes if node.pod_cidrs} == {"s2"}
    ((path, fault),) = faults(with_pods(by_hand={"a1": networks})).items()
    assert path.startswith("k3s:nodes:a1:pod_cidrs")
    assert problem in fault


def test_two_claims_of_the_same_pods_are_both_ignored():
    claimed = {"s1": ["10.42.1.0/24"], "s2": ["10.42.2.0/24"], "a1": ["10.42.2.128/25"]}
    assert pods(with_pods(claimed)) == {"s1": ["10.42.1.0/24"]}
    (notice,) = parsed(with_pods(claimed)).notices
    assert notice == (
        "k3s:nodes: 10.42.2.0/24 of s2, 10.42.2.128/25 of a1 have addresses in common; the checks "
        "ignore what a1, s2 claim. Fix: salt -L a1,s2 saltutil.refresh_grains, or "
        "enter them into k3s:nodes by hand"
    )


def test_a_refused_pod_network_leaves_the_one_of_the_other_family():
    claimed = {name: ["10.42.1.0/24", f"fd42:0:0:{name[1]}::/64"] for name in ("s1", "s2")}
    tree = with_pods(claimed, pod_cidrs=["10.42.0.0/16", "fd42::/56"])
    assert pods(tree) == {"s1": ["fd42:0:0:1::/64"], "s2": ["fd42:0:0:2::/64"]}


def test_a_pod_network_by_hand_wins_over_a_claim_but_not_over_another_by_hand():
    tree = with_pods({"a1": ["10.42.2.0/24"]}, {"s2": ["10.42.2.0/24"]})
    assert pods(tree) == {"s2": ["10.42.2.0/24"]}
    (notice,) = parsed(tree).notices
    assert "the checks ignore what a1 claim" in notice
    assert faults(with_pods(by_hand={"s2": ["10.42.2.0/24"], "a1": ["10.42.2.0/25"]})) == {
        "k3s:nodes:a1:pod_cidrs": "10.42.2.0/25 has addresses of 10.42.2.0/24, which is s2's"
    }


def test_a_wrong_network_of_the_cluster_is_one_fault_and_not_one_for_each_node():
    tree = with_pods(by_hand={"s1": ["10.42.1.0/24"], "s2": ["10.42.2.0/24"]})
    assert list(faults({**tree, "pod_cidrs": ["10.42.0.1/16"]})) == ["k3s:pod_cidrs:0"]
