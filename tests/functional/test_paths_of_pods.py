"""Pods of two nodes reach each other by the way that they really take, and no other host does."""

from contextlib import contextmanager

import pytest

from tests.functional.hardened import harden
from tests.functional.hosts import OUTSIDER, SERVER, Node, standing
from tests.functional.pods_of_two_nodes import (
    AGENT,
    DENIED,
    NUMBERS,
    POD,
    THROUGH,
    asks,
    behind_bridges,
    from_pod,
    tunnel,
)
from tests.selection import exhaustive


@pytest.fixture
def lab():
    with standing("func", (SERVER, AGENT, OUTSIDER)) as raised:
        yield raised


@pytest.fixture(params=["as installed", exhaustive("hardened")])
def node(lab, request):
    found = Node(lab.host("s1"))
    if request.param == "hardened":
        harden(found)
    return found


@pytest.fixture
def others(lab):
    return {"a1": lab.host("a1"), "out": lab.host("out")}


def test_a_tunnel_with_another_number_and_port_carries_pods(node, others, pillar):
    pillar["ports"]["cluster"]["flannel"]["port"] = 4789
    with behind_bridges(node, others) as hosts:
        node.call("apply", pillar)
        tunnel(hosts["s1"], 1, 2, hosts["a1"], 42, 4789)
        tunnel(hosts["a1"], 2, 1, hosts["s1"], 42, 4789)
        assert from_pod(others["a1"], POD["s1"]) in DENIED
        # A device that appears later is taken up by the next run.
        assert node.call("apply", pillar)["reloads"] == []
        assert from_pod(others["a1"], POD["s1"]) == THROUGH
        assert from_pod(node.host, POD["a1"]) == THROUGH
        assert node.call("apply", pillar)["changes"] == {}
        node.run("ip", "link", "delete", "flannel.42")
        assert node.call("apply", pillar)["changes"] == {}


def test_direct_routes_let_pods_of_nodes_in_and_no_others(node, others, pillar):
    with behind_bridges(node, others) as hosts:
        for name, other, peer in (("s1", 2, "a1"), ("a1", 1, "s1")):
            via = hosts[peer].ipv4
            hosts[name].run(["ip", "route", "add", f"10.42.{other}.0/24", "via", via])
        others["out"].run(["ip", "route", "add", "10.42.0.0/16", "via", node.host.ipv4])
        node.call("apply", pillar)
        assert node.call("apply", pillar)["changes"] == {}
        assert from_pod(others["a1"], POD["s1"]) == THROUGH
        assert from_pod(node.host, POD["a1"]) == THROUGH
        assert asks(others["a1"], POD["s1"]) == THROUGH
        assert asks(others["out"], POD["s1"]) in DENIED
        # Gone with a boot: K3s has not started, and nothing proves that they will not come back.
        node.run("ip", "route", "delete", "10.42.2.0/24")
        assert node.call("apply", pillar)["changes"] == {}
        tunnel(hosts["s1"], 1, 2, hosts["a1"], 1, 8472)
        assert node.call("apply", pillar)["reloads"] == []
        assert asks(others["a1"], POD["s1"]) in DENIED


@contextmanager
def routed_veths(node, others):
    """Pods as Calico makes them: a link and a route for each, and no bridge."""
    hosts = {"s1": node.host, "a1": others["a1"]}
    for name, host in hosts.items():
        peer = hosts["a1" if name == "s1" else "s1"]
        script = f"""
        echo 1 > /proc/sys/net/ipv4/ip_forward
        ip netns add pod
        ip link add cali0123456789a type veth peer name eth0 netns pod
        ip link set cali0123456789a address ee:ee:ee:ee:ee:ee up
        ip route add {POD[name]}/32 dev cali0123456789a
        ip netns exec pod sh -ec '
            ip link set lo up
            ip address add {POD[name]}/32 dev eth0
            ip link set eth0 up
            ip neighbour add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent
            ip route add 169.254.1.1 dev eth0
            ip route add default via 169.254.1.1'
        ip route add 10.42.{3 - NUMBERS[name]}.0/24 via {peer.ipv4}
        """
        host.run(["sh", "-ec", script])
    yield hosts


def test_pods_of_another_plugin_are_forwarded_where_no_zone_forwards(node, others, pillar):
    pillar["flannel_backend"] = "none"
    # As every zone is before firewalld 1.0.
    node.firewall_cmd("--permanent", "--zone=public", "--remove-forward")
    node.firewall_cmd("--reload")
    with routed_veths(node, others):
        others["out"].run(["ip", "route", "add", "10.42.0.0/16", "via", node.host.ipv4])
        assert from_pod(node.host, POD["a1"]) in DENIED
        node.call("apply", pillar)
        assert from_pod(node.host, POD["a1"]) == THROUGH
        assert from_pod(others["a1"], POD["s1"]) == THROUGH
        assert asks(others["a1"], POD["s1"]) == THROUGH
        assert from_pod(node.host, others["out"].ipv4) == THROUGH
        assert asks(others["out"], POD["s1"]) in DENIED
        assert node.call("apply", pillar)["changes"] == {}
        node.firewall_cmd("--reload")
        assert node.call("apply", pillar)["changes"] == {}


def test_a_cluster_moves_between_flannel_and_another_plugin_without_a_reload(node, pillar):
    node.call("apply", pillar)
    for backend in ("none", "tailscale", "none", "vxlan"):
        pillar["flannel_backend"] = backend
        foretold = node.call("apply", pillar, test=True)
        answer = node.call("apply", pillar)
        assert (answer["reloads"], answer["changes"]) == ([], foretold["changes"])
        assert node.call("apply", pillar)["changes"] == {}
