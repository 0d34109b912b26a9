"""Every path of packets in a cluster, in any zone set-up of the operator, both allowed and denied.

Two nodes with two pods each, dual stack, an overlay, and what kube-proxy and the CNI redirect. One
of the nodes has a second link, in a zone of the operator's own.
"""

import itertools
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from lab.k3s import flannel, kube_proxy, pods
from lab.k3s.addresses import ALL_PODS, POD, addresses, ip, no_wait
from lab.k3s.kube_proxy import Redirection
from lab.wait import wait_until
from tests.cluster.packets import reach
from tests.cluster.packets.reach import Question, Source, Target
from tests.cluster.salt_views import not_ours

pytestmark = pytest.mark.cluster

NUMBERS = {"s1": 1, "a1": 2}
PODS = ("pod", "pod2")
KUBELET, API, ETCD, UNLISTED, INGRESS, REDIS = 10250, 6443, 2379, 4000, 443, 6379
NODE_PORTS = (KUBELET, API, ETCD, UNLISTED, REDIS)
POD_PORTS = (53, 443, 5432)
NODE_PORT = {"pod on s1": 30001, "pod on a1": 30002}
OUTSIDE = 9000
# The second link of a1, and the host behind it.
SECOND = {4: ("198.51.100.1", "198.51.100.99"), 6: ("2001:db8:5::1", "2001:db8:5::99")}

# What each zone set-up makes of the operator's firewall, on both nodes. CNI stands for each of the
# interfaces of pods.
CNI = ("cni0", "flannel.1", "flannel-v6.1", *flannel.WIREGUARD)
NETWORKS = ("10.42.0.0/16", "10.43.0.0/16", "fd42::/64", "fd43::/64")
DROPPING = (("--new-zone=dropping",), ("--zone=dropping", "--set-target=DROP"))
# The operator's zone for the second link, and what it forwards.
LET_THROUGH, NOT_THROUGH = 22, 4505
SECOND_ZONE = (
    ("--new-zone=second",),
    ("--zone=second", "--add-service=ssh"),
    ("--zone=second", "--add-interface=eth1"),
    ("--new-policy=second-out",),
    ("--policy=second-out", "--add-ingress-zone=second"),
    ("--policy=second-out", "--add-egress-zone=ANY"),
    ("--policy=second-out", f"--add-port={LET_THROUGH}/tcp"),
)


def bound(zone, interfaces=CNI):
    return tuple((f"--zone={zone}", f"--add-interface={each}") for each in interfaces)


@dataclass(frozen=True)
class SetUp:
    """An operator's firewall, and what it means for a spoofed pod address."""

    commands: tuple = ()
    default_zone: str = "public"
    # The operator's own binding treats any host with a pod's address as a pod.
    claims_count: bool = False
    # The operator forwards within a zone that has both the second link and the pods' interfaces.
    forwards_to_pods: bool = False
    backend: str = "vxlan"
    make_pods: object = staticmethod(partial(pods.behind_a_bridge, names=PODS))
    nat: str = "nftables"
    # As the guides for hardened hosts demand it: every zone in use drops, and denials are logged.
    hardened: bool = False


SET_UPS = {
    "pods' interfaces in no zone": SetUp(),
    "in the default zone with the node's link": SetUp(
        (*bound("public"), *bound("public", ["eth0"])), claims_count=True, forwards_to_pods=True
    ),
    "in trusted": SetUp(bound("trusted"), nat="iptables"),
    "in a zone that drops": SetUp((*DROPPING, *bound("dropping"))),
    "pods' networks as sources of trusted, as K3s's documentation has it": SetUp(
        tuple(("--zone=trusted", f"--add-source={each}") for each in NETWORKS), claims_count=True
    ),
    "a zone that drops takes a node by its address": SetUp(
        (
            *DROPPING,
            *(
                ("--zone=dropping", f"--add-source={each}")
                for each in ("192.0.2.11", "192.0.2.21", "2001:db8::11", "2001:db8::21")
            ),
        )
    ),
    "the default zone drops, and no zone forwards within": SetUp(
        (("--zone=public", "--remove-forward"), ("--zone=trusted", "--remove-forward")),
        default_zone="drop",
        make_pods=partial(pods.by_cni_plugins, names=PODS),
        nat="iptables",
    ),
    "every zone in use drops, and what is denied is logged": SetUp(
        (("--zone=public", "--remove-forward"),), default_zone="drop", hardened=True
    ),
    "no overlay": SetUp(backend="host-gw"),
    "through WireGuard": SetUp(backend="wireguard-native"),
}


# The pods, the NAT and the zones that differ most from Debian's own; ``make test`` runs this one.
REPRESENTATIVE = "the default zone drops, and no zone forwards within"


@pytest.fixture(
    params=[
        pytest.param(
            set_up, id=name, marks=[] if name == REPRESENTATIVE else pytest.mark.exhaustive
        )
        for name, set_up in SET_UPS.items()
    ]
)
def paths(request, applied):
    set_up = request.param
    if set_up.backend == "wireguard-native" and not Path("/dev/net/tun").exists():
        pytest.skip("this machine has no tun devices, which WireGuard in user space needs")
    with ExitStack() as stack:
        stack.enter_context(applied.site(site(set_up)))
        standing = stack.enter_context(Paths(applied, set_up).up())
        yield standing


def site(set_up):
    networks = {"pod_cidrs": ["10.42.0.0/16", "fd42::/64"]}
    networks["service_cidrs"] = ["10.43.0.0/16", "fd43::/64"]
    return {"k3s": {**networks, "flannel_backend": set_up.backend}}


def test_every_path_is_correct_in_every_zone_set_up(paths):
    foreign = paths.foreign()
    forwarded = paths.between_zones_of_the_operator()
    assert forwarded == [True, False]
    paths.apply()
    assert paths.foreign() == foreign
    paths.check("after the apply")
    assert paths.between_zones_of_the_operator() == forwarded

    if paths.set_up.nat == "iptables":
        # Otherwise it does no more than a restart, and removes nothing of others.
        paths.on_both(lambda host: host.run(["firewall-cmd", "--reload"]))
        paths.redirect_again()
        paths.check("after a reload")
    paths.on_both(lambda host: host.restart_firewalld())
    paths.redirect_again()
    paths.check("after a restart")
    paths.flap()
    paths.check("after every link was down")
    assert paths.foreign() == foreign
    assert paths.between_zones_of_the_operator() == forwarded
    assert paths.apply() == {}, "a second apply has nothing to do"


class Paths:
    """The two nodes, their pods and what is redirected to them."""

    def __init__(self, cluster, set_up):
        self.cluster = cluster
        self.set_up = set_up
        self.hosts = {name: cluster.host(name) for name in NUMBERS}
        self.out = cluster.host("out")
        # By "pod on s1": the place and its addresses.
        self.pods = {}
        self.redirections = {}

    @contextmanager
    def up(self):
        with ExitStack() as stack:
            removed = self.cluster.salt(list(self.hosts), "k3sfw.remove")
            assert [each["result"] for each in removed.values()] == [True] * len(self.hosts), (
                removed
            )
            self._zones(stack)
            stack.enter_context(self._second_link())
            if self.set_up.backend == "wireguard-native":
                hosts = {NUMBERS[name]: host for name, host in self.hosts.items()}
                stack.enter_context(flannel.wireguard(hosts))
            for name, host in self.hosts.items():
                stack.enter_context(self._forwarding(host))
                made = stack.enter_context(self.set_up.make_pods(host, NUMBERS[name]))
                # Without a querier, neighbour discovery waits a minute after an interface was down.
                ip(host, "link set cni0 type bridge mcast_snooping 0")
                for pod, addresses in made.items():
                    inside = ("ip", "netns", "exec", pod)
                    place = Source(f"{pod} on {name}", "pod", host, addresses, inside)
                    self.pods[place.name] = place
                    stack.enter_context(
                        reach.responding_as(place.name, host, addresses, POD_PORTS, inside)
                    )
                stack.callback(self._no_overlay, host)
                self._overlay(name)
                stack.enter_context(reach.responding(host, NODE_PORTS))
            second = [each[0] for each in SECOND.values()]
            stack.enter_context(
                reach.responding_as("a1", self.hosts["a1"], second, (KUBELET, REDIS, UNLISTED))
            )
            stack.enter_context(reach.responding(self.out, [OUTSIDE]))
            for name, host in self.hosts.items():
                self.redirections[name] = list(self._redirections(name))
                kube_proxy.redirect(host, self.redirections[name], how=self.set_up.nat)
                stack.callback(kube_proxy.stop_redirecting, host, how=self.set_up.nat)
            yield self

    # --- what is done to them ---

    def apply(self):
        """Apply on both nodes; the changes."""
        returned = self.cluster.apply(list(self.hosts))
        for minion, state in returned.items():
            assert state["result"] is True, f"{minion}: {state['comment']}"
        return {name: state["changes"] for name, state in returned.items() if state["changes"]}

    def flap(self):
        """Every link of both nodes goes down and comes up, and flannel does its part again."""
        for name, host in self.hosts.items():
            links = [link for link in CNI if self.has(host, link)] + ["eth0"]
            links += ["eth1"] if name == "a1" else []
            routes = host.run(["ip", "route", "show", "default"]).stdout.splitlines()
            routes6 = host.run(["ip", "-6", "route", "show", "default"]).stdout.splitlines()
            ip(host, *(f"link set {link} down" for link in links))
            ip(host, *(f"link set {link} up" for link in links))
            ip(host, *(f"route replace {route}" for route in routes))
            ip(host, *(f"route replace {route}" for route in routes6 if "via" in route))
            self._overlay(name)
        wait_until(self._neighbours_are_found, "Pods do not come back", timeout=30)

    def _neighbours_are_found(self):
        asked = [
            question
            for pod in self.pods.values()
            for question in self._asks(pod, self._node(pod.host.name), (KUBELET,), ("udp",))
        ]
        return set(reach.ask(asked, lambda _question: False).values()) == {"open"}

    def redirect_again(self):
        """What kube-proxy does when its rules are gone: firewalld 1.3 flushes those of iptables."""
        for name, host in self.hosts.items():
            kube_proxy.stop_redirecting(host, how=self.set_up.nat)
            kube_proxy.redirect(host, self.redirections[name], how=self.set_up.nat)

    def on_both(self, act):
        """Do the same with both hosts at once; the results by name."""
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            return dict(zip(self.hosts, pool.map(act, self.hosts.values())))

    def foreign(self):
        """What is not ours of both firewalls, on disk and at runtime."""
        return self.on_both(not_ours)

    # --- what is asked ---

    def check(self, when):
        asked = dict(self._paths())
        verdicts = reach.ask(list(asked), asked.get)
        found = reach.differences(verdicts, asked.get)
        assert not found, "\n".join(
            [f"{when}, these packets went otherwise than they should:", *found]
        )

    def between_zones_of_the_operator(self):
        """Whether a1 forwards between zones of the operator: what it allows, and what not."""
        master = self.cluster.host("m")
        back = [f"route replace {SECOND[4][1]}/32 via {self.hosts['a1'].ipv4}"]
        ip(master, *back)
        ip(self.out, f"route replace {master.ipv4}/32 via {SECOND[4][0]} src {SECOND[4][1]}")
        try:
            source = Source("out", "outsider", self.out, (SECOND[4][1],))
            target = Target("m", "master", (master.ipv4,))
            asked = [
                Question(source, target, SECOND[4][1], master.ipv4, "tcp", port)
                for port in (LET_THROUGH, NOT_THROUGH)
            ]
            with reach.responding(master, [LET_THROUGH]):
                verdicts = reach.ask(asked, lambda question: question.port == LET_THROUGH)
            # An answer of Salt's master is not one of ours.
            return [verdict.startswith(("open", "a wrong")) for verdict in verdicts.values()]
        finally:
            ip(self.out, f"route delete {master.ipv4}/32")
            ip(master, f"route delete {SECOND[4][1]}/32")

    def _paths(self):
        """Each probe, and whether it must get through."""
        for what, is_open in itertools.chain(self._of_pods(), self._of_nodes(), self._of_out()):
            for question in what:
                yield question, is_open

    def _of_pods(self):
        for pod in self.pods.values():
            node = pod.host.name
            other = next(each for each in self.hosts if each != node)
            target = self._node(node)
            yield self._asks(pod, target, (KUBELET, UNLISTED)), True
            # At another node it arrives with the address of its own node.
            yield self._asks(pod, self._node(other), (KUBELET,), ("tcp",)), True
            yield self._asks(pod, self._node(other), (UNLISTED,)), False
            if node == "a1":
                yield self._asks(pod, self._node("s1"), (ETCD,), ("tcp",)), False
            for peer in self.pods.values():
                if peer != pod:
                    yield self._asks(pod, Target(peer.name, "pod", peer.addresses), (5432,)), True
            yield self._asks(pod, Target("out", "outsider", _both(self.out)), (OUTSIDE,)), True
            yield self._redirected(pod, self.redirections[node]), True
            yield self._node_ports(pod, node), True
            yield self._node_ports(pod, other), True

    def _of_nodes(self):
        for name, host in self.hosts.items():
            source = reach.host_as_source(host)
            for peer in self.pods.values():
                yield self._asks(source, Target(peer.name, "pod", peer.addresses), (5432,)), True
            yield self._redirected(source, self.redirections[name]), True
            other = next(each for each in self.hosts if each != name)
            yield self._asks(source, self._node(other), (KUBELET,), ("tcp",)), True
            yield self._asks(source, self._node(other), (UNLISTED,)), False
            yield self._node_ports(source, other), True

    def _of_out(self):
        out = reach.host_as_source(self.out)
        for name in self.hosts:
            yield self._node_ports(out, name), True
            yield self._asks(out, self._node(name), (REDIS,), ("tcp",)), True
            yield self._asks(out, self._node(name), (KUBELET, API, ETCD, UNLISTED)), False
        for pod in self.pods.values():
            target = Target(pod.name, "pod", pod.addresses)
            yield self._asks(out, target, (5432,)), self.set_up.forwards_to_pods
        second = Source("out behind the second link", "outsider", self.out, _ends(1))
        target = Target("a1", "agent", _ends(0))
        yield self._asks(second, target, (REDIS,), ("tcp",)), True
        yield self._asks(second, target, (KUBELET, UNLISTED)), False
        claiming = Source("out as a pod", "outsider", self.out, addresses(POD, 200, 7))
        for name in self.hosts:
            opened = self.set_up.claims_count
            yield self._asks(claiming, self._node(name), (UNLISTED,)), opened

    @staticmethod
    def _asks(source, target, ports, protocols=reach.PROTOCOLS):
        questions = reach.questions([(source, target)], ports)
        return [each for each in questions if each.protocol in protocols]

    def _redirected(self, source, redirections):
        """Of services, by their own addresses."""
        for each in redirections:
            if each.address:
                yield from self._by(source, Target("a service", "", (each.address,)), each)

    def _node_ports(self, source, node):
        for each in self.redirections[node]:
            if not each.address:
                yield from self._by(source, self._node(node), each)

    def _by(self, source, target, each):
        backend = next(
            (pod.name for pod in self.pods.values() if each.backend in pod.addresses), "s1"
        )
        for from_address in source.addresses:
            for address in target.addresses:
                if len({":" in text for text in (from_address, address, each.backend)}) == 1:
                    for protocol in each.protocols:
                        answer = f"{backend} {protocol}/{each.backend_port}"
                        yield Question(
                            source, target, from_address, address, protocol, each.port, answer
                        )

    def _node(self, name):
        host = self.hosts[name]
        return Target(name, host.role, _both(host))

    # --- how they are made ---

    def _redirections(self, node):
        """Services with a backend here and there, the API's own, DNS, and the node's ports."""
        own = self.pods[f"pod on {node}"]
        for family in (4, 6):
            place = ("10.43.100.{}", "fd43::100:{}")[family == 6].format
            for number, pod in enumerate(("pod on s1", "pod on a1"), 2):
                backend = self.pods[pod].addresses[family == 6]
                yield Redirection(place(number), 80, backend, 5432)
                masked = pod != own.name
                yield Redirection("", NODE_PORT[pod], backend, 5432, masked)
            yield Redirection(place(10), 53, self.pods["pod2 on s1"].addresses[family == 6], 53)
            api = _both(self.hosts["s1"])[family == 6]
            yield Redirection(place(1), 443, api, API, protocols=("tcp",))
            yield Redirection("", INGRESS, own.addresses[family == 6], 443)

    def _zones(self, stack):
        for host in self.hosts.values():
            stack.enter_context(_firewall_put_back(host))
        self.on_both(self._make_zones)

    def _make_zones(self, host):
        # firewalld notices files that were removed some seconds later.
        zones = ["firewall-cmd", "--permanent", "--get-zones"]
        wait_until(
            lambda: "k3s" not in host.run(zones).stdout.split(), "Zone k3s does not go", timeout=30
        )
        commands = [*(SECOND_ZONE if host.name == "a1" else ()), *self.set_up.commands]
        if self.set_up.hardened:
            commands += [("--zone=second", "--set-target=DROP")] if host.name == "a1" else []
            host.run(["firewall-cmd", "--set-log-denied=all"])
        for command in commands:
            host.run(["firewall-cmd", "--permanent", *command])
        host.run(["firewall-cmd", f"--set-default-zone={self.set_up.default_zone}"])
        host.run(["firewall-cmd", "--reload"])

    @contextmanager
    def _second_link(self):
        host, out = self.hosts["a1"], self.out
        # The network namespace only: process ids stay the machine's.
        words = ("nsenter", f"--target={host.pid}", "--net", "--", "ip", "link", "add", "eth1")
        peer = ("type", "veth", "peer", "name", "eth1", "netns", str(out.pid))
        subprocess.run([*words, *peer], check=True)
        for place, end in enumerate((host, out)):
            addresses = (f"{SECOND[4][place]}/24", f"{SECOND[6][place]}/64")
            ip(end, *(f"address add {a} dev eth1 {no_wait(a)}" for a in addresses))
            ip(end, "link set eth1 up")
        try:
            yield
        finally:
            host.run(["ip", "link", "delete", "eth1"])

    @contextmanager
    def _forwarding(self, host):
        """A router's settings, with a way to everywhere, and to the claimed pod address at out."""
        settings = {
            "net/ipv4/ip_forward": "1",
            "net/ipv6/conf/all/forwarding": "1",
            "net/ipv6/conf/all/keep_addr_on_down": "1",
        }
        _set(host, settings)
        claimed = addresses(POD, 200, 7)
        ip(host, *(f"route add default via {address}" for address in _both(self.out)))
        if not self.has(self.out, claimed[0], "address"):
            ip(self.out, *(f"address add {a} dev eth0 {no_wait(a)}" for a in claimed))
        number = NUMBERS[host.name]
        ways = (f"10.42.{number}.0/24 via {host.ipv4}", f"fd42::{number}:0/112 via {host.ipv6}")
        ip(self.out, *(f"route add {way}" for way in ways))
        try:
            yield
        finally:
            ip(self.out, *(f"route delete {way}" for way in ways))
            if self.has(self.out, claimed[0], "address"):
                ip(self.out, *(f"address delete {a} dev eth0" for a in claimed))
            for family, network in (("-4", "10.42.0.0/16"), ("-6", "fd42::/64")):
                host.run(["ip", family, "route", "flush", "root", network])
            ip(host, *(f"route delete default via {address}" for address in _both(self.out)))
            _set(host, dict.fromkeys(settings, "0"))

    def _overlay(self, name):
        host, number = self.hosts[name], NUMBERS[name]
        peers = {NUMBERS[other]: peer for other, peer in self.hosts.items() if other != name}
        if self.set_up.backend == "vxlan":
            host.run(["sh", "-ec", flannel.vxlan_script(host, number, peers)])
            host.run(["sh", "-ec", flannel.vxlan_v6_script(host, number, peers)])
        elif self.set_up.backend == "wireguard-native":
            for device, (family, _port) in flannel.WIREGUARD.items():
                ip(host, f"route replace {ALL_PODS[family]} dev {device}")
        else:
            for other, peer in peers.items():
                ip(
                    host,
                    f"route replace 10.42.{other}.0/24 via {peer.ipv4}",
                    f"route replace fd42::{other}:0/112 via {peer.ipv6}",
                )

    def _no_overlay(self, host):
        for device in ("flannel.1", "flannel-v6.1"):
            if self.has(host, device):
                host.run(["ip", "link", "delete", device])

    @staticmethod
    def has(host, what, kind="link"):
        return f" {what}" in host.run(["ip", "-oneline", kind, "show"]).stdout


def _both(host):
    return (host.ipv4, host.ipv6)


def _ends(place):
    return (SECOND[4][place], SECOND[6][place])


def _set(host, settings):
    for name, value in settings.items():
        host.run(["sh", "-c", f"echo {value} > /proc/sys/{name}"])


@contextmanager
def _firewall_put_back(host):
    """The operator's part of the firewall, as it was."""
    copy = "/var/tmp/firewalld-before"
    host.run(["cp", "-a", "/etc/firewalld", copy])
    try:
        yield
    finally:
        host.run(["sh", "-ec", f"rm -rf /etc/firewalld/*; cp -a {copy}/. /etc/firewalld"])
        host.run(["rm", "-rf", copy])
        host.run(["firewall-cmd", "--complete-reload"])
