"""check_routes on a whole cluster: a single cut is found, blamed on its node, and fixed."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.k3s import flannel
from lab.k3s.addresses import ip
from lab.k3s.flannel import mac
from tests.cluster.packets.checked_routes import NUMBERS, Routes, peers_of, put_back
from tests.cluster.packets.network_manager import managed, network_manager

pytestmark = pytest.mark.cluster

# What the check is called in the result of k3s.routes.
ROUTES = "k3sfw_|-k3s_routes_|-k3s_routes_|-routes_checked"

DROP = """table inet firewalld_policy_drop {
  chain filter_input {
    type filter hook input priority 9; policy drop; ct state established,related accept
  }
  chain filter_forward {
    type filter hook forward priority 9; policy drop; ct state established,related accept
  }
  chain filter_output {
    type filter hook output priority 9; policy drop; ct state established,related accept
  }
}"""


@pytest.fixture
def bare(applied):
    """Nodes before K3s runs: no pods, no overlay, no forwarding."""
    try:
        with Routes(applied) as routes:
            yield routes
    finally:
        for host in applied.nodes.values():
            forget = "rm -f /etc/sysctl.d/90-k3sfw.conf /etc/NetworkManager/conf.d/zz-k3sfw.conf"
            host.run(["sh", "-ec", f"{forget}; echo 0 > /proc/sys/net/ipv4/ip_forward"])


def routes_state(cluster, name, **options):
    """What the check returned as a part of k3s.routes."""
    return states(cluster, name, **options)[ROUTES]


def states(cluster, name, **options):
    returned = cluster.salt(name, "state.apply", "k3s.routes", **options)[name]
    assert isinstance(returned, dict), returned
    return returned


# First, while there is no overlay.


def test_a_node_without_k3s_is_neither_ok_nor_broken(bare):
    for name, problems in bare.problems().items():
        forwarding, *others = problems
        assert forwarding.startswith(f"bad_setting net.ipv4.ip_forward -> {name}: is 0")
        assert [problem.partition(":")[0] for problem in others] == [
            f"unproven overlay -> {name}",
            f"unproven default route -> {name} (10.43.0.0/16)",
        ]


DUAL_STACK = {
    "k3s": {
        "pod_cidrs": ["10.42.0.0/16", "fd42::/56"],
        "service_cidrs": ["10.43.0.0/16", "fd43::/112"],
    }
}
# Of a node with two links, strict reverse paths, and routers that announce themselves.
SETTINGS = {
    "ipv4/ip_forward": ("0", "1"),
    "ipv6/conf/all/forwarding": ("0", "1"),
    "ipv6/conf/eth0/accept_ra": ("1", "2"),
    "ipv4/conf/eth0/rp_filter": ("0", "2"),
    "ipv4/conf/spare/rp_filter": ("0", "2"),
}


@pytest.fixture
def wanting(bare):
    """A node without any of the settings."""
    host = bare.host("s2")
    ip(host, "link add spare type bridge", "address add 198.51.100.2/24 dev spare")
    kept = [*SETTINGS, "ipv4/conf/all/rp_filter"]
    before = dict(zip(kept, _settings(host, kept)))
    _set(host, {**{name: value for name, (value, _new) in SETTINGS.items()}, kept[-1]: "1"})
    try:
        yield host
    finally:
        _set(host, before)
        ip(host, "link delete spare")


def _settings(host, names=SETTINGS):
    # Read inside the host: outside, the same path shows the machine's own value.
    return host.run(["cat", *(f"/proc/sys/net/{name}" for name in names)]).stdout.split()


def _set(host, values):
    commands = [f"echo {value} > /proc/sys/net/{name}" for name, value in values.items()]
    host.run(["sh", "-ec", "\n".join(commands)])


def test_k3s_routes_sets_missing_values_once_and_test_mode_touches_nothing(applied, wanting):
    names = ("sysctl.d/90-k3sfw.conf", "NetworkManager/conf.d/zz-k3sfw.conf")
    files = [wanting.path(f"/etc/{name}") for name in names]
    old, new = map(list, zip(*SETTINGS.values()))
    with applied.site(DUAL_STACK):
        dry = states(applied, "s2", test=True)
        assert (_settings(wanting), [file.exists() for file in files]) == (old, [False, False])
        first = states(applied, "s2")
        assert (_settings(wanting), [file.exists() for file in files]) == (new, [True, True])
        second = states(applied, "s2")
    assert {state["result"] for state in first.values()} == {True}
    assert [state["changes"] for state in second.values() if state["changes"]] == []
    would = {name for name, state in dry.items() if state["result"] is None}
    changed = {name for name, state in first.items() if state["changes"]}
    # The check predicts that it will pass once the settings are applied.
    assert would == {*changed, ROUTES}


def test_a_whole_cluster_is_ok_everywhere(overlay):
    for name, report in overlay.ask().items():
        assert (name, report["status"], report["problems"]) == (name, "OK", [])


# The place and kind of each cut, and the problem to expect there. A node's number is that of its
# pod network: s1 is 1, s2 is 2, s3 is 3, a1 is 4, a2 is 5.
CUTS = {
    "a route": ("s1", ["ip route del 10.42.2.0/24"], ["no_route pods s1 -> s2 (10.42.2.0/24)"]),
    "a forwarding entry": (
        "a1",
        [f"bridge fdb del {mac(3)} dev flannel.1 dst 192.0.2.13"],
        ["no_neighbour pods a1 -> s3 (10.42.3.0/24)", "no forwarding entry"],
    ),
    "a forwarding entry to a stranger": (
        "s2",
        [f"bridge fdb replace {mac(5)} dev flannel.1 dst 192.0.2.99"],
        ["no_neighbour pods s2 -> a2 (10.42.5.0/24)", "192.0.2.99, which is not a node"],
    ),
    "a neighbour": (
        "s3",
        ["ip neighbour del 10.42.1.0 dev flannel.1"],
        ["no_neighbour pods s3 -> s1 (10.42.1.0/24)", "has no MAC"],
    ),
    "a neighbour with the wrong MAC": (
        "a2",
        ["ip neighbour replace 10.42.4.0 lladdr 02:00:00:00:00:44 dev flannel.1 nud permanent"],
        ["no_neighbour pods a2 -> a1 (10.42.4.0/24)", "02:00:00:00:00:44"],
    ),
    "the overlay": (
        "s1",
        ["ip link set flannel.1 down"],
        ["link_down overlay -> s1", "flannel.1 is down"],
    ),
    "the overlay, taken away": (
        "s3",
        ["ip link delete flannel.1"],
        ["link_down overlay -> s3", "flannel.1 does not exist"],
    ),
    "the bridge of the pods": (
        "a1",
        ["ip link set cni0 down"],
        ["link_down link -> a1", "cni0 is switched off"],
    ),
    "a blackhole in the place of a route": (
        "s2",
        ["ip route replace blackhole 10.42.1.0/24"],
        ["no_route pods s2 -> s1 (10.42.1.0/24)", "blackhole 10.42.1.0/24"],
    ),
    "a blackhole for a part of a peer's pods": (
        "s2",
        ["ip route add blackhole 10.42.3.128/25"],
        ["no_route pods s2 -> s3 (10.42.3.0/24)", "blackhole 10.42.3.128/25"],
    ),
    "a route for a part of a peer's pods to elsewhere": (
        "s3",
        ["ip route add 10.42.2.64/26 via 192.0.2.10"],
        ["wrong_route pods s3 -> s2 (10.42.2.0/24)", "10.42.2.64/26 via 192.0.2.10"],
    ),
    "a blackhole for a node": (
        "a2",
        ["ip route add prohibit 192.0.2.11/32"],
        ["no_route node a2 -> s1 (192.0.2.11)", "prohibit 192.0.2.11/32"],
    ),
    "a blackhole for services": (
        "s1",
        ["ip route add blackhole 10.43.0.0/16"],
        ["no_route refusing routes -> s1 (10.43.0.0/16)", "service network"],
    ),
    "a detour to a node": (
        "s3",
        ["ip route add 192.0.2.12/32 via 192.0.2.10"],
        ["wrong_route node s3 -> s2 (192.0.2.12)", "via 192.0.2.10"],
    ),
    "a source address that no peer knows": (
        "s1",
        [
            "ip address add 192.0.2.199/24 dev eth0",
            "ip route replace 192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.199",
        ],
        ["src_mismatch node s1 -> a1 a2 s2 s3", "192.0.2.199"],
    ),
    "a source address of the overlay that no peer knows": (
        "a1",
        ["ip link set flannel.1 type vxlan id 1 local 192.0.2.199"],
        ["src_mismatch overlay -> a1", "192.0.2.199"],
    ),
    "the route to the node's own network": (
        "s2",
        ["ip route del 192.0.2.0/24 dev eth0"],
        ["no_route own network -> s2 (192.0.2.0/24)"],
    ),
    "the route to the node's own network in IPv6": (
        "a2",
        ["ip -6 route del 2001:db8::/64 dev eth0"],
        ["no_route own network -> a2 (2001:db8::/64)"],
    ),
    "a source address in IPv6 that no peer knows": (
        "s2",
        [
            "ip address add 2001:db8::199/64 dev eth0 nodad",
            "ip -6 route replace 2001:db8::/64 dev eth0 proto kernel metric 256 src 2001:db8::199",
        ],
        ["src_mismatch node s2 -> a1 a2 s1 s3", "2001:db8::199"],
    ),
    "the default route": (
        "a1",
        ["ip route del default"],
        ["no_route default route -> a1 (10.43.0.0/16)"],
    ),
    "an MTU of the overlay": (
        "s3",
        ["ip link set flannel.1 mtu 1300"],
        ["bad_mtu MTU -> s3", "flannel.1 1300 + 50 and eth0 1500: flannel.1 is too small"],
    ),
    "forwarding": (
        "s1",
        ["echo 0 > /proc/sys/net/ipv4/ip_forward"],
        ["bad_setting net.ipv4.ip_forward -> s1"],
    ),
    "forwarding for one interface": (
        "a2",
        ["echo 0 > /proc/sys/net/ipv4/conf/flannel.1/forwarding"],
        ["bad_setting net.ipv4.conf.flannel/1.forwarding -> a2"],
    ),
    "forwarding for the node's own link": (
        "s2",
        ["echo 0 > /proc/sys/net/ipv4/conf/eth0/forwarding"],
        ["bad_setting net.ipv4.conf.eth0.forwarding -> s2"],
    ),
    "the bridge's way into the firewall": (
        "a1",
        ["echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables"],
        ["bad_setting net.bridge.bridge-nf-call-iptables -> a1"],
    ),
    "an address of a peer taken by the node": (
        "s3",
        ["ip address add 192.0.2.12/32 dev eth0"],
        ["conflict node s3 -> s2 (192.0.2.12)", "this node itself has 192.0.2.12, on eth0"],
    ),
    "a route to a peer by the overlay": (
        "a2",
        ["ip route add 192.0.2.21/32 dev flannel.1"],
        ["wrong_route node a2 -> a1 (192.0.2.21)", "by flannel.1, which has only pods behind it"],
    ),
    "a network of the pods led elsewhere": (
        "s1",
        ["ip route add 10.42.77.0/24 via 192.0.2.10"],
        ["overlap overlap -> s1 (10.42.0.0/16)", "10.42.77.0/24 via 192.0.2.10"],
    ),
    "another firewall": (
        "a2",
        [
            "nft add table inet theirs",
            "nft 'add chain inet theirs f { type filter hook forward priority 0; policy drop; }'",
        ],
        ["conflict other firewalls -> a2", "table inet theirs closes chain f (forward)"],
    ),
    "a policy of iptables": (
        "s2",
        ["iptables --new-chain KUBE-FORWARD", "iptables --policy FORWARD DROP"],
        ["conflict other firewalls -> s2", "table ip filter closes chain FORWARD (forward)"],
    ),
    "a zone that accepts everything": (
        "s3",
        ["firewall-cmd --zone=trusted --change-interface=eth0"],
        ["exposed zone -> s3", "zone trusted"],
    ),
}
# Decisions for the operator: the fix says so, and its commands, if any, take nothing away.
FOR_PEOPLE = {
    "another firewall",
    "an address of a peer taken by the node",
    "a network of the pods led elsewhere",
}


# After these, answers to a peer are lost, so the peer reports that the node does not answer.
SILENCING = {
    "a blackhole for a node": ["s1"],
    "a detour to a node": ["s2"],
    "an address of a peer taken by the node": ["s2"],
    "a route to a peer by the overlay": ["a1"],
    "the route to the node's own network": ["s1", "s3", "a1", "a2"],
    "the route to the node's own network in IPv6": ["s1", "s2", "s3", "a1"],
}


# The others are found by the same judgement as another kind that is listed.
VARIANTS = {
    "a forwarding entry to a stranger",
    "a neighbour with the wrong MAC",
    "the overlay, taken away",
    "a blackhole in the place of a route",
    "a blackhole for a part of a peer's pods",
    "a blackhole for a node",
    "a source address in IPv6 that no peer knows",
    "the route to the node's own network in IPv6",
    "forwarding for the node's own link",
    "a detour to a node",
    "a route to a peer by the overlay",
    "a policy of iptables",
}


@pytest.mark.parametrize(
    "cut",
    [pytest.param(cut, marks=pytest.mark.exhaustive if cut in VARIANTS else []) for cut in CUTS],
)
def test_one_cut_is_found_on_its_node_and_nothing_else_is_reported_and_the_fix_fixes_it(
    overlay, cut
):
    name, commands, words = CUTS[cut]
    if "/bridge/" in commands[0] and not Path("/proc/sys/net/bridge").exists():
        pytest.skip("this kernel has no br_netfilter")
    with overlay.cut(name, *commands):
        found = overlay.problems()
        (problem,) = found.pop(name)
        for word in words:
            assert word in problem
        assert list(found) == SILENCING.get(cut, [])
        for peer, (other,) in found.items():
            assert other.startswith(f"unproven path MTU {peer} -> {name} ")
        if cut not in FOR_PEOPLE:
            overlay.type(problem)
            assert overlay.problems() == {}
            assert overlay.cut_off(name) == []


LOST = [
    "ip route del 10.42.3.0/24",
    "ip neighbour del 10.42.3.0 dev flannel.1",
    f"bridge fdb del {mac(3)} dev flannel.1 dst 192.0.2.13",
]


def test_a_peer_that_flannel_lost_is_recognised_by_its_own_pod_network(applied, overlay):
    with Routes(applied, known=NUMBERS) as knowing:
        assert knowing.problems() == {}
        with overlay.cut("a1", *LOST):
            ((name, (problem,)),) = overlay.problems().items()
            assert name == "a1"
            assert problem.startswith("unproven pods a1 -> s3: flannel.1 has no entry for it")
            ((name, (problem,)),) = knowing.problems().items()
            assert name == "a1"
            assert problem.startswith("no_route pods a1 -> s3 (10.42.3.0/24): flannel.1 has no rou")
            knowing.type(problem)
            assert knowing.problems() == overlay.problems() == {}


def test_a_link_with_a_smaller_mtu_is_found_by_its_node_and_its_peers(applied, overlay):
    with ExitStack() as stack:
        # Every node will send less.
        for host in applied.nodes.values():
            stack.callback(put_back, host, NUMBERS[host.name], peers_of(applied, host))
        stack.enter_context(overlay.cut("s2", "ip link set eth0 mtu 1400"))
        found = overlay.problems()
        assert set(found) == set(NUMBERS)
        (own,) = found.pop("s2")
        assert (
            "bad_mtu MTU -> s2" in own
            and "flannel.1 1450 + 50 and eth0 1400: 100 bytes too many" in own
        )
        for name, (problem,) in found.items():
            assert f"bad_mtu path MTU {name} -> s2 (192.0.2.12, 2001:db8::12)" in problem
            assert "1500 bytes get no answer, 1400 do" in problem
        # Which MTU is right only the operator knows: until then every node sends less.
        for problem in (own, *(problem for (problem,) in found.values())):
            overlay.type(problem)
        assert overlay.problems() == {}
        assert "mtu 1400" in overlay.host("s2").run(["ip", "link", "show", "eth0"]).stdout
        assert overlay.cut_off("s2") == []


def test_a_leftover_drop_table_is_blamed_on_its_node(overlay):
    with overlay.cut("a1", f"nft '{DROP}'"):
        found = overlay.problems()
        (own,) = found.pop("a1")
        assert "local_block firewalld's drop table -> a1" in own
        assert set(found) == set(NUMBERS) - {"a1"}
        for name, (problem,) in found.items():
            assert problem.startswith(f"unproven path MTU {name} -> a1 (192.0.2.21, 2001:db8::21)")
        overlay.type(own)
        assert overlay.problems() == {}


def test_a_node_whose_link_is_down_is_blamed_by_itself_and_by_its_peers(overlay):
    with overlay.cut("s3", "ip link set eth0 down"):
        found = overlay.problems()
        (own,) = found.pop("s3")
        assert own.startswith("link_down link -> s3: eth0 is switched off")
        for name, (problem,) in found.items():
            assert problem.startswith(f"unproven path MTU {name} -> s3")
            # Which one the kernel reports depends on the age of its neighbour entry.
            assert "does not answer" in problem or "no answer to an echo" in problem
        overlay.type(own)
        assert not [p for each in overlay.problems().values() for p in each if "link_down" in p]


def test_a_highstate_fails_if_the_check_fails_and_changes_nothing(applied, overlay):
    with overlay.cut("s1", "ip route del 10.42.2.0/24"):
        for test in (False, True):
            state = routes_state(applied, "s1", test=test)
            assert (state["result"], state["changes"]) == (False, {})
            assert state["comment"].startswith("FAIL: ")
            assert "no_route pods s1 -> s2 (10.42.2.0/24)" in state["comment"]


def test_the_check_answers_through_salt_with_its_return_code(applied, overlay):
    with overlay.cut("s1", "ip route del 10.42.2.0/24"):
        report, code = applied.salt_call("s1", "k3sfw.check_routes", full=True)
        assert (report["status"], len(report["problems"]), code) == ("FAIL", 1, 2)
        assert report["summary"].endswith("(4 of 4 peers)")
        assert {row["to"] for row in report["checks"]} == set(NUMBERS)

        report, code = applied.salt_call("s1", "k3sfw.check_routes", to=["s3", "a1"])
        assert (report["status"], report["problems"], code) == ("OK", [], 0)
        assert report["summary"].endswith("(2 of 4 peers)")

    refused = json.dumps(applied.salt("s1", "k3sfw.check_routes", to="s9"))
    assert "s9: no such node in this cluster" in refused
    with applied.site({"k3s": {"pod_cidrs": ["10.42.0.1/16"]}}):
        report, code = applied.salt_call("s1", "k3sfw.check_routes")
        assert (report["status"], report["summary"], code) == (
            "UNKNOWN",
            "the tables were refused",
            4,
        )


def test_a_network_manager_that_manages_the_cni_is_named_and_the_fix_makes_it_stop(overlay):
    host = overlay.host("a2")
    with network_manager(host):
        assert managed(host) >= {"cni0", "flannel.1", "eth0"}
        found = overlay.problems()
        assert set(found) == {"a2"}
        (problem,) = found["a2"]
        assert problem.startswith("conflict NetworkManager -> a2: NetworkManager manages cni0")
        overlay.type(problem)
        assert managed(host) & {"cni0", "flannel.1", "eth0"} == {"eth0"}
        assert overlay.problems() == {}


def test_a_later_file_of_networkmanager_that_wins_is_named(overlay):
    host = overlay.host("a2")
    host.path("/etc/NetworkManager/conf.d").mkdir(exist_ok=True)
    with network_manager(host):
        for name, words in (
            ("rke2-canal.conf", "unmanaged-devices=interface-name:cali*"),
            ("zzz-site.conf", "unmanaged-devices=interface-name:site*"),
        ):
            host.path(f"/etc/NetworkManager/conf.d/{name}").write_text(f"[keyfile]\n{words}\n")
        (problem,) = overlay.problems()["a2"]
        assert "/etc/NetworkManager/conf.d/zzz-site.conf replaces the list" in problem
        host.path("/etc/NetworkManager/conf.d/zzz-site.conf").unlink()
        (problem,) = overlay.problems()["a2"]
        overlay.type(problem)
        # What is read before ours is kept.
        assert managed(host) & {"cni0", "flannel.1", "eth0"} == {"eth0"}
        assert overlay.problems() == {}
        host.path("/etc/NetworkManager/conf.d/rke2-canal.conf").unlink()


def test_tcp_that_is_lost_in_the_tunnel_is_found_although_echoes_pass(overlay):
    lost = [
        "nft add table inet theirs",
        "nft 'add chain inet theirs in { type filter hook prerouting priority raw; }'",
        "nft add rule inet theirs in iifname flannel.1 meta l4proto tcp drop",
    ]
    with overlay.cut("s2", *lost):
        found = overlay.problems()
        # s2 asks as well, and its answers are lost.
        assert set(found) == set(NUMBERS)
        (problem,) = found["a1"]
        assert problem.startswith(
            "no_answer overlay a1 -> s2 (10.42.2.0): echoes pass through flannel.1, and TCP does "
        )
    assert overlay.problems() == {}


def test_an_enabled_ufw_is_one_conflict_and_the_fix_disables_it(overlay):
    host = overlay.host("s2")
    with overlay.cut("s2", "ufw --force enable"):
        (problem,) = overlay.problems().pop("s2")
        assert problem.startswith("conflict other firewalls -> s2: ufw is enabled beside firewalld")
        overlay.type(problem)
        assert overlay.problems() == {}
        assert "Status: inactive" in host.run(["ufw", "status"]).stdout


def test_routes_of_host_gw_are_judged_by_their_target_nodes(applied, overlay):
    with ExitStack() as stack:
        for host in applied.nodes.values():
            host.run(["ip", "link", "delete", "flannel.1"])
            stack.callback(put_back, host, NUMBERS[host.name], peers_of(applied, host))
            stack.enter_context(flannel.host_gw(host, peers_of(applied, host)))
            ip(host, "link set cni0 mtu 1500")
        routes = stack.enter_context(Routes(applied, "host-gw"))
        assert routes.problems() == {}

        routes.host("s1").run(["ip", "route", "replace", "10.42.2.0/24", "via", "192.0.2.10"])
        ((name, (problem,)),) = routes.problems().items()
        assert name == "s1"
        assert problem.startswith("no_route pods s1 -> s2 (10.42.2.0/24): no route by 192.0.2.12")
        routes.type(problem)
        assert routes.problems() == {}

        routes.host("a1").run(["ip", "route", "del", "10.42.3.0/24"])
        ((name, (problem,)),) = routes.problems().items()
        assert name == "a1"
        assert problem.startswith("unproven pods a1 -> s3: no route to pods by 192.0.2.13")

        knowing = stack.enter_context(Routes(applied, "host-gw", known=NUMBERS))
        ((name, (problem,)),) = knowing.problems().items()
        assert name == "a1"
        assert problem.startswith("no_route pods a1 -> s3 (10.42.3.0/24): no route by 192.0.2.13")
        knowing.type(problem)
        assert knowing.problems() == routes.problems() == {}
