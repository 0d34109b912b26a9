"""check_routes where a healthy node looks odd: nothing is found, or no fix cuts what works.

Each situation is one that hosters, flannel, docker or the operator make on purpose. Real packets
show that it works before the check, and that it still works after every command of every fix.
"""

from contextlib import contextmanager

import pytest

from lab.k3s.flannel import mac
from tests.cluster.packets.checked_routes import NUMBERS, Routes
from tests.typed_fixes import commands_of

pytestmark = pytest.mark.cluster

ROUTER = "192.0.2.99"
FORWARDS = "/proc/sys/net/ipv4/ip_forward"
DOCKER = """
iptables -N DOCKER-USER; iptables -N DOCKER-FORWARD; iptables -N FLANNEL-FWD
iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-FORWARD
iptables -A DOCKER-USER -j RETURN; iptables -A DOCKER-FORWARD -i docker0 -j ACCEPT
iptables -P FORWARD DROP
"""
FLANNEL_ACCEPTS = """
iptables -A FLANNEL-FWD -s 10.42.0.0/16 -j ACCEPT
iptables -A FLANNEL-FWD -d 10.42.0.0/16 -j ACCEPT
iptables -A FORWARD -j FLANNEL-FWD
"""


def direct(other, address):
    """flannel with DirectRouting: a route to the neighbour's pods, and no entries for it."""
    return [
        f"ip route replace 10.42.{other}.0/24 via {address} dev eth0",
        f"ip neighbour del 10.42.{other}.0 dev flannel.1",
        f"bridge fdb del {mac(other)} dev flannel.1 dst {address}",
    ]


# The commands on each node, and what may be said: nothing, or the begin of the one problem there.
SITUATIONS = {
    "a neighbour is reached by the hoster's router": (
        {"s1": [f"ip route add 192.0.2.12/32 via {ROUTER}"]},
        {},
    ),
    "the whole network is reached by the hoster's router": (
        {
            "s1": [
                f"ip route add {ROUTER} dev eth0",
                f"ip route replace 192.0.2.0/24 via {ROUTER} dev eth0",
            ]
        },
        {},
    ),
    "a host without a route to its own network": (
        {
            "s3": [
                f"ip route add {ROUTER} dev eth0",
                f"ip route replace default via {ROUTER}",
                "ip route del 192.0.2.0/24 dev eth0",
            ]
        },
        {},
    ),
    "pods of a node that pillar does not know": (
        {"s1": ["ip route add 10.42.77.0/24 via 192.0.2.99"]},
        {"s1": "conflict overlap -> s1 (10.42.0.0/16): the route 10.42.77.0/24 via 192.0.2.99"},
    ),
    "a blackhole that flannel's route outranks": (
        {"a1": ["ip route add blackhole 10.42.1.0/24 metric 500"]},
        {},
    ),
    "a blackhole for all pods, behind those of each node": (
        {"a1": ["ip route add blackhole 10.42.0.0/16"]},
        {},
    ),
    "docker's policy, with flannel's rules before it": (
        {"a2": [DOCKER, FLANNEL_ACCEPTS]},
        {},
    ),
    "rules that end in a rejection, but allow what the cluster needs": (
        {
            "a2": [
                "iptables -A INPUT -s 192.0.2.0/24 -j ACCEPT",
                "iptables -A INPUT -i flannel.1 -j ACCEPT",
                "iptables -A INPUT -j REJECT --reject-with icmp-host-prohibited",
            ]
        },
        {"a2": "conflict other firewalls -> a2: table ip filter closes chain INPUT (input) by"},
    ),
    "an overlay made smaller, and the bridge with it": (
        {"s2": ["ip link set flannel.1 mtu 1350", "ip link set cni0 mtu 1350"]},
        {},
    ),
}
# The others are judged by the same code as one that stays.
VARIANTS = {
    "a host without a route to its own network",
    "a blackhole that flannel's route outranks",
    "a blackhole for all pods, behind those of each node",
    "an overlay made smaller, and the bridge with it",
}


@pytest.fixture(scope="module")
def routed(overlay):
    """A host forwards between hosts of one network, as a hoster's router does."""
    router = overlay.host("out")
    send = "/proc/sys/net/ipv4/conf/{}/send_redirects"
    turns = [f"echo 0 > {send.format(name)}" for name in ("all", "eth0")]
    router.run(["sh", "-ec", "\n".join([*turns, f"echo 1 > {FORWARDS}"])])
    yield overlay
    router.run(["sh", "-ec", f"echo 0 > {FORWARDS}"])


@contextmanager
def as_(overlay, commands):
    """The nodes as these commands make them."""
    if not commands:
        yield
        return
    (name, own), *rest = commands.items()
    with overlay.cut(name, *own), as_(overlay, dict(rest)):
        yield


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(each, marks=pytest.mark.exhaustive if each in VARIANTS else [])
        for each in SITUATIONS
    ],
)
def test_what_works_is_not_wrong_and_no_fix_cuts_it(routed, situation):
    commands, said = SITUATIONS[situation]
    with as_(routed, commands):
        assert [way for name in commands for way in routed.cut_off(name)] == []
        found = routed.problems()
        assert list(found) == list(said)
        for name, problems in found.items():
            (problem,) = problems
            assert problem.startswith(said[name])
            if commands_of(problem):
                routed.type(problem)
        assert [way for name in commands for way in routed.cut_off(name)] == []


def test_direct_routes_of_flannel_are_its_own(applied, routed):
    """The rules for pods that come in by the node's own link follow with the next apply."""
    commands = {"s1": direct(2, "192.0.2.12"), "s2": direct(1, "192.0.2.11")}
    try:
        with as_(routed, commands):
            applied.converge(*commands)
            assert routed.problems() == {}
            assert [way for name in commands for way in routed.cut_off(name)] == []
    finally:
        applied.converge(*commands)


def test_an_address_that_moved_here_stays_and_only_its_old_claim_is_refreshed(applied, routed):
    """The API's virtual address has left s2; pillar still has what s2 said."""
    moved = "ip address add 192.0.2.100/32 dev eth0"
    claims = {"s2": ["192.0.2.100"]}
    with Routes(applied, claims=claims) as routes, routes.cut("s1", moved):
        (problem,) = routes.problems().pop("s1")
        assert problem.startswith(
            "conflict node s1 -> s2 (192.0.2.100): this node itself has 192.0.2.100, on eth0"
        )
        routes.type(problem)
        assert "192.0.2.100/32" in routes.host("s1").run(["ip", "address"]).stdout
        assert routes.cut_off("s1") == []


def test_dockers_policy_without_flannels_rules_is_opened_for_pods_alone(routed):
    host = routed.host("a2")
    with routed.cut("a2", DOCKER):
        assert routed.cut_off("a2") != []
        (problem,) = routed.problems().pop("a2")
        assert problem.startswith("conflict other firewalls -> a2: table ip filter closes chain")
        routed.type(problem)
        assert (routed.problems(), routed.cut_off("a2")) == ({}, [])
        # What docker closed stays closed.
        assert "-P FORWARD DROP" in host.run(["iptables", "-S", "FORWARD"]).stdout


@pytest.mark.exhaustive
def test_every_node_reaches_what_it_must_before_any_of_this(routed):
    assert [routed.cut_off(name) for name in NUMBERS] == [[]] * len(NUMBERS)
