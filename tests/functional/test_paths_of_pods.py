"""Pods of two nodes reach each other by the way that they really take, and no other host does."""

import sys
from contextlib import contextmanager

import pytest

from lab.k3s import pods
from lab.spec import HostSpec
from tests.functional.hosts import OUTSIDER, SERVER, Node, standing

# The other node has no firewall, so that whatever is rejected was rejected by the first.
AGENT = HostSpec("a1", "agent", 21, firewalld=False)
NUMBERS = {"s1": 1, "a1": 2}
POD = {"s1": "10.42.1.2", "a1": "10.42.2.2"}
# Nothing listens there: an answer of the pod itself is a refusal.
CONNECT = """
import errno, socket, sys
one = socket.socket()
one.settimeout(3)
one.bind((sys.argv[1], 0))
error = one.connect_ex((sys.argv[2], 5432))
print("through" if error in (0, errno.ECONNREFUSED) else errno.errorcode[error])
"""


@pytest.fixture
def lab():
    with standing("func", (SERVER, AGENT, OUTSIDER)) as raised:
        yield raised


@pytest.fixture
def node(lab):
    return Node(lab.host("s1"))


@pytest.fixture
def others(lab):
    return {"a1": lab.host("a1"), "out": lab.host("out")}


def asks(host, target, *, source="0.0.0.0", inside=()):
    """What a connection to a pod's closed port meets."""
    command = [*inside, sys.executable, "-I", "-S", "-c", CONNECT, source, target]
    return host.run(command).stdout.strip()


def from_pod(host, target):
    return asks(host, target, inside=pods.INSIDE)


@contextmanager
def behind_bridges(node, others):
    hosts = {"s1": node.host, "a1": others["a1"]}
    for name, host in hosts.items():
        pods.make(host, NUMBERS[name])
        host.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    yield hosts


def tunnel(host, number, other, peer, vni, port):
    """Create flannel's device, with its entries for one peer."""
    device = f"flannel.{vni}"
    mac = "02:00:00:00:00:{:02x}"
    script = f"""
    ip link add {device} address {mac.format(number)} type vxlan id {vni} local {host.ipv4} \
        dev eth0 dstport {port} nolearning
    ip address add 10.42.{number}.0/32 dev {device}
    ip link set {device} up
    ip neighbour add 10.42.{other}.0 lladdr {mac.format(other)} dev {device} nud permanent
    bridge fdb add {mac.format(other)} dev {device} dst {peer.ipv4}
    ip route add 10.42.{other}.0/24 via 10.42.{other}.0 dev {device} onlink
    """
    host.run(["sh", "-ec", script])


def test_a_tunnel_with_another_number_and_port_carries_pods(node, others, pillar):
    pillar["ports"]["cluster"]["flannel"]["port"] = 4789
    with behind_bridges(node, others) as hosts:
        node.call("apply", pillar)
        tunnel(hosts["s1"], 1, 2, hosts["a1"], 42, 4789)
        tunnel(hosts["a1"], 2, 1, hosts["s1"], 42, 4789)
        assert from_pod(others["a1"], POD["s1"]) == "EHOSTUNREACH"
        # A device that appears later is taken up by the next run.
        assert node.call("apply", pillar)["reloads"] == []
        assert from_pod(others["a1"], POD["s1"]) == "through"
        assert from_pod(node.host, POD["a1"]) == "through"
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
        assert from_pod(others["a1"], POD["s1"]) == "through"
        assert from_pod(node.host, POD["a1"]) == "through"
        assert asks(others["a1"], POD["s1"]) == "through"
        assert asks(others["out"], POD["s1"]) == "EHOSTUNREACH"
        # Gone with a boot: K3s has not started, and nothing proves that they will not come back.
        node.run("ip", "route", "delete", "10.42.2.0/24")
        assert node.call("apply", pillar)["changes"] == {}
        tunnel(hosts["s1"], 1, 2, hosts["a1"], 1, 8472)
        assert node.call("apply", pillar)["reloads"] == []
        assert asks(others["a1"], POD["s1"]) == "EHOSTUNREACH"


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
        assert from_pod(node.host, POD["a1"]) == "EHOSTUNREACH"
        node.call("apply", pillar)
        assert from_pod(node.host, POD["a1"]) == "through"
        assert from_pod(others["a1"], POD["s1"]) == "through"
        assert asks(others["a1"], POD["s1"]) == "through"
        assert from_pod(node.host, others["out"].ipv4) == "through"
        assert asks(others["out"], POD["s1"]) == "EHOSTUNREACH"
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
