"""The checks on nodes whose pods go through WireGuard: proven by answers, and judged by routes.

Which pods are whose, the nodes say by the grain ``k3s_pod_cidrs``, as flannel wrote it down.
"""

import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab.k3s import flannel
from lab.k3s.addresses import ALL_PODS, ip
from lab.wait import wait_until
from tests.cluster.packets.pod_sources import behind_a_bridge
from tests.cluster.packets.reach import responding
from tests.cluster.packets.tables import LISTED
from tests.typed_fixes import commands_of

pytestmark = pytest.mark.cluster

NUMBERS = {"s1": 1, "s2": 2, "a1": 4}
MEMBERS = list(NUMBERS)
PILLAR = {
    "k3s": {
        "flannel_backend": "wireguard-native",
        "pod_cidrs": [*ALL_PODS.values()],
    }
}
DROPPED = "udp dport 51820 drop"
RULE = 'rule family="ipv4" source ipset="k3s-node-4" port port="51820" protocol="udp" accept'
VXLAN = 8472


@pytest.fixture(scope="module")
def tunnels(applied):
    """Three nodes with pods, WireGuard between them in both families, and all services."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("this machine has no tun devices, which WireGuard in user space needs")
    hosts = {number: applied.host(name) for name, number in NUMBERS.items()}
    with ExitStack() as stack:
        for number, host in hosts.items():
            stack.enter_context(behind_a_bridge(host, number))
            stack.enter_context(_as_a_node(host))
            stack.enter_context(responding(host, LISTED - {VXLAN}))
        stack.enter_context(flannel.wireguard(hosts))
        stack.enter_context(_written_down(applied, hosts))
        yield applied


@contextmanager
def _as_a_node(host):
    """A way out, the overlay's size, and forwarding of IPv6, as K3s sets it."""
    forwarding = "/proc/sys/net/ipv6/conf/all/forwarding"
    ip(host, "route add default via 192.0.2.10", "link set cni0 mtu 1420")
    host.run(["sh", "-c", f"echo 1 > {forwarding}"])
    try:
        yield
    finally:
        host.run(["sh", "-c", f"echo 0 > {forwarding}"])
        ip(host, "route delete default via 192.0.2.10")


@contextmanager
def _written_down(cluster, hosts):
    """Flannel's file on each of these nodes, and the master knowing what it says."""
    for number, host in hosts.items():
        file = host.path("/run/flannel/subnet.env")
        file.parent.mkdir(exist_ok=True)
        file.write_text(flannel.subnet_file(number, mtu=1420, dual_stack=True))
    try:
        _tell(cluster, known=True)
        yield
    finally:
        for host in hosts.values():
            shutil.rmtree(host.path("/run/flannel"))
        _tell(cluster, known=False)


def _tell(cluster, known):
    cluster.salt(MEMBERS, "saltutil.refresh_grains")

    def is_told():
        grains = cluster.salt_run("cache.grains", "*")
        return all(("k3s_pod_cidrs" in grains.get(name, {})) is known for name in MEMBERS)

    wait_until(is_told, "The master does not know every node's pods", timeout=30)


@pytest.fixture(scope="module")
def wireguard(tunnels):
    """The same with the rules of the backend applied."""
    with tunnels.keeping_site(PILLAR, *MEMBERS):
        yield tunnels
        # The rows of the backend go while its tunnels are still up, which a guard refuses.
        with tunnels.site({"k3s": {"firewall": {"allow_lockout": True}}}):
            tunnels.converge(*MEMBERS)


def asked(cluster, check, **options):
    """What a check returns on the three nodes, of one another."""
    returned = cluster.salt(MEMBERS, f"k3sfw.{check}", to=MEMBERS, **options)
    assert all(isinstance(answer, dict) for answer in returned.values()), returned
    return returned


def problems(cluster, check="check_ports"):
    found = asked(cluster, check)
    return {name: answer["problems"] for name, answer in found.items() if answer["problems"]}


@contextmanager
def rule(host, text):
    """One rule of nft on what comes in, behind firewalld."""
    host.run(
        [
            "nft",
            "add table inet t; add chain inet t c { type filter hook input priority 20; }; "
            f"add rule inet t c {text}",
        ]
    )
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "inet", "t"])


def test_wireguard_is_proven_in_both_directions_by_answers_through_it(wireguard):
    for name, answer in asked(wireguard, "check_ports", full=True).items():
        assert (name, answer["status"], answer["problems"]) == (name, "OK", [])
        proven = {
            (row["to"], row["address"], row["port"])
            for row in answer["checks"]
            if row["evidence"].endswith("answered through the overlay") and row["port"]
        }
        others = [wireguard.host(peer) for peer in MEMBERS if peer != name]
        assert proven == {
            (peer.name, address, port)
            for peer in others
            for address, port in ((peer.ipv4, "51820"), (peer.ipv6, "51821"))
        }


def test_packets_of_connections_from_this_node_do_not_count_as_rejected(wireguard):
    """As all of WireGuard may be, while no peer asks anything."""
    returned = wireguard.salt("s1", "k3sfw.check_ports", to=MEMBERS)
    assert returned["s1"]["problems"] == []


def test_wireguard_that_is_dropped_on_arrival_is_blamed_on_the_node_that_drops_it(wireguard):
    with rule(wireguard.host("s2"), DROPPED):
        found = problems(wireguard)
    assert set(found) == set(MEMBERS)
    for name in ("s1", "a1"):
        (sentence,) = found[name]
        assert sentence.startswith(
            f"no_answer udp/51820 {name} -> s2 (192.0.2.12): nothing comes back through the overlay"
        )
    assert [sentence.partition(";")[0] for sentence in found["s2"]] == [
        f"blocked udp/51820 {name} -> s2 ({address}): its packets arrive at s2, which drops "
        "them although its rows are in force"
        for name, address in (("s1", "192.0.2.11"), ("a1", "192.0.2.21"))
    ]


def test_a_lost_rule_is_found_although_an_old_wireguard_connection_still_passes(wireguard):
    wireguard.host("s2").run(["firewall-cmd", "--policy=k3s-rows", f"--remove-rich-rule={RULE}"])
    found = problems(wireguard)
    for name in ("s1", "a1"):
        assert found[name] == [
            f"blocked udp/51820 {name} -> s2 (192.0.2.12): rejected by s2 itself (firewalld). "
            "Fix: salt s2 state.apply k3s.firewall"
        ]
    (own,) = found["s2"]
    assert own.startswith("blocked udp/51820,51821 any -> s2: runtime: policy k3s-rows lacks"), own


CUTS = {
    "the route to all pods": (
        "ip route del 10.42.0.0/16 dev flannel-wg",
        "no_route pods -> s1 (10.42.0.0/16): no route by flannel-wg",
    ),
    "a detour": (
        "ip route add 10.42.2.0/24 via 192.0.2.10",
        "wrong_route pods s1 -> s2 (10.42.2.0/24): beside 10.42.0.0/16 dev flannel-wg",
    ),
    "the wrong device": (
        "ip route add 10.42.4.0/24 dev cni0",
        "wrong_route pods s1 -> a1 (10.42.4.0/24): beside 10.42.0.0/16 dev flannel-wg",
    ),
    "a route in IPv6": (
        "ip -6 route add blackhole fd42::2:0/112",
        "no_route pods s1 -> s2 (fd42::2:0/112): beside fd42::/56 dev flannel-wg-v6",
    ),
}


def test_routes_into_wireguard_are_judged_for_each_peer_and_fixed(wireguard):
    assert problems(wireguard, "check_routes") == {}
    host = wireguard.host("s1")
    for cut, (command, words) in CUTS.items():
        host.run(command.split())
        found = problems(wireguard, "check_routes")
        assert set(found) == {"s1"}, cut
        (problem,) = found["s1"]
        assert problem.startswith(words), problem
        ((node, function, typed),) = commands_of(problem)
        assert (node, function) == ("s1", "cmd.run")
        # The next check shows that it is fixed: it has a single problem, another one.
        host.run(["sh", "-ec", typed])
    assert problems(wireguard, "check_routes") == {}
