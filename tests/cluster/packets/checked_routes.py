"""A cluster with pods, asked by check_routes; every printed fix is typed, and nothing may be cut.

The overlay is flannel's, made by the commands of its source; K3s itself is not there. In the place
of its start stands a script that does what flannel does then.
"""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from lab.k3s import flannel
from lab.k3s.addresses import ip
from lab.k3s.pods import INSIDE
from tests.typed_fixes import commands_of

DRIVER = Path(__file__).with_name("route_driver.py")
NUMBERS = {"s1": 1, "s2": 2, "s3": 3, "a1": 4, "a2": 5}
SYSTEMCTL = "/usr/local/bin/systemctl"

# Connects to each address and port; refused by the address itself is reached as well.
WAYS = """
import errno, json, socket, sys
lost = []
for address, port in json.loads(sys.argv[1]):
    with socket.socket() as asked:
        asked.settimeout(2)
        error = asked.connect_ex((address, port))
    if error not in (0, errno.ECONNREFUSED):
        lost.append([address, port, errno.errorcode.get(error, "silent")])
print(json.dumps(lost))
"""


class Routes:
    """The cluster with pods and an overlay, asked by check_routes.

    ``known`` are the nodes of which pillar has the network of their pods, ``claims`` more addresses
    that it has of a node.
    """

    def __init__(self, cluster, backend="vxlan", known=(), claims=None):
        self._cluster = cluster
        self._pillar = {
            "flannel_backend": backend,
            "ports": {"cluster": {}, "manager": {}},
            "nodes": {
                host.name: {"role": host.role, "addresses": [host.ipv4, host.ipv6]}
                for host in cluster.nodes.values()
            },
        }
        for name, addresses in (claims or {}).items():
            self._pillar["nodes"][name]["addresses"] += addresses
        for name in known:
            self._pillar["nodes"][name]["pod_cidrs"] = [f"10.42.{NUMBERS[name]}.0/24"]

    def __enter__(self):
        self._drivers = {name: self._driver(host) for name, host in self._cluster.nodes.items()}
        return self

    def __exit__(self, *_error):
        for driver in self._drivers.values():
            driver.stdin.close()
            driver.wait(10)
            driver.stdout.close()

    def _driver(self, host):
        command = [sys.executable, str(DRIVER), host.name, json.dumps(self._pillar)]
        return host.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1)

    def host(self, name):
        return self._cluster.host(name)

    def ask(self):
        """The report of every node, all of them asked at once."""
        for driver in self._drivers.values():
            driver.stdin.write("\n")
        return {name: json.loads(each.stdout.readline()) for name, each in self._drivers.items()}

    def problems(self):
        """The problems of every node that has any."""
        return {name: each["problems"] for name, each in self.ask().items() if each["problems"]}

    def type(self, problem):
        """Type every command of a problem's fix, as it stands."""
        commands = commands_of(problem)
        assert commands, problem
        for node, function, *arguments in commands:
            if function == "cmd.run":
                self.host(node).run(["sh", "-ec", *arguments])
                continue
            (answer,) = self._cluster.salt(node, function, *arguments).values()
            assert answer and not isinstance(answer, str), answer

    def cut_off(self, name):
        """The ways that a node must keep, as far as they are lost.

        To the master, for ssh, to every peer, and from its pod to the pods of every peer.
        """
        host, nodes = self.host(name), self._cluster.nodes
        peers = [other for other in nodes if other != name]
        return [
            *_lost(self.host("m"), [[host.ipv4, 22]]),
            *_lost(host, [["192.0.2.10", 4505], *([nodes[each].ipv4, 10250] for each in peers)]),
            *_lost(host, [[f"10.42.{NUMBERS[each]}.2", 80] for each in peers], *INSIDE),
        ]

    @contextmanager
    def cut(self, name, *commands):
        """The node as these commands make it; put back whatever the test did."""
        host = self.host(name)
        before = _kernel(host)
        host.run(["sh", "-ec", "\n".join(commands)])
        assert _kernel(host) != before, "nothing was cut"
        try:
            yield
        finally:
            put_back(host, NUMBERS[name], peers_of(self._cluster, host))
            assert _kernel(host) == before


def _lost(host, ways, *inside):
    command = [*inside, sys.executable, "-I", "-S", "-c", WAYS, json.dumps(ways)]
    return [(host.name, each) for each in json.loads(host.run(command).stdout)]


def peers_of(cluster, host):
    return {NUMBERS[n]: peer for n, peer in cluster.nodes.items() if n != host.name}


def _kernel(host):
    """What a cut changes, to see that it did and that it was put back."""
    listing = [
        "ip -4 route",
        "ip -6 route show dev eth0",
        "ip -o -4 address | sed 's/^[0-9]*: //'",
        "ip -o -6 address show dev eth0 scope global",
        "ip -d link | grep -oE 'mtu [0-9]+|<[A-Z,_]*>|local [0-9.]+'",
        "ip neighbour show nud permanent | sort",
        "bridge fdb show dev flannel.1 | grep dst | sort",
        "nft list tables",
        "nft list chain inet firewalld filter_INPUT_ZONES",
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv?/conf/*/forwarding",
        "cat /proc/sys/net/bridge/* 2>/dev/null || true",
    ]
    return host.run(["sh", "-c", "\n".join(listing)]).stdout


def put_back(host, number, peers):
    """Everything that a cut here can take away or add, as the fixture made it."""
    script = f"""
    ip link set eth0 up mtu 1500
    for extra in 192.0.2.199/24 192.0.2.12/32 192.0.2.100/32; do
        [ $extra = {host.ipv4}/32 ] || ip address del $extra dev eth0 2>/dev/null || true
    done
    ip address del 2001:db8::199/64 dev eth0 2>/dev/null || true
    ip address replace {host.ipv6}/64 dev eth0 nodad
    ip -6 route flush 2001:db8::/64 dev eth0
    ip -6 route add 2001:db8::/64 dev eth0 proto kernel metric 256
    ip route flush type blackhole
    ip route flush type prohibit
    ip route flush 192.0.2.0/24
    ip route add 192.0.2.0/24 dev eth0 proto kernel scope link src {host.ipv4}
    ip route replace default via 192.0.2.10
    for extra in 10.43.0.0/16 10.42.77.0/24 192.0.2.99/32 192.0.2.12/32 192.0.2.21/32; do
        ip route flush $extra
    done
    ip link delete flannel.1 2>/dev/null || true
    {flannel.vxlan_script(host, number, peers)}
    ip link set cni0 up mtu 1450
    for family in ip ip6; do
        nft "add table $family filter; delete table $family filter"
    done
    for name in $(nft list tables | grep -oE 'firewalld_policy_drop|theirs' || true); do
        nft delete table inet $name
    done
    echo 1 > /proc/sys/net/ipv4/ip_forward
    cat /proc/sys/net/ipv6/conf/all/forwarding > /proc/sys/net/ipv6/conf/eth0/forwarding
    for each in eth0 flannel.1 cni0; do echo 1 > /proc/sys/net/ipv4/conf/$each/forwarding; done
    ! [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] ||
        echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
    rm -f /etc/sysctl.d/90-k3sfw.conf
    """
    host.run(["sh", "-ec", script])
    if (
        "eth0"
        in host.run(["nft", "list", "chain", "inet", "firewalld", "filter_INPUT_ZONES"]).stdout
    ):
        for zone in ("trusted", "public"):
            for options in ([], ["--permanent"]):
                remove = [f"--zone={zone}", "--remove-interface=eth0"]
                host.run(["firewall-cmd", *options, *remove], check=False)


@contextmanager
def as_a_node(host, number, peers):
    """What a node has beside the overlay: a way out, pods of the overlay's size, a K3s to start."""
    ip(host, "route add default via 192.0.2.10", "link set cni0 mtu 1450")
    start = host.path(SYSTEMCTL)
    unit = "k3s" if host.role == "server" else "k3s-agent"
    start.write_text(
        f'#!/bin/sh\n[ "$*" = "restart {unit}" ] || exit 1\nset -e\n'
        # flannel replaces a device that has another address.
        f"ip -d link show flannel.1 2>/dev/null | grep -q 'local {host.ipv4} ' || "
        "ip link delete flannel.1 2>/dev/null || true\n"
        f"{flannel.vxlan_script(host, number, peers)}\n"
    )
    start.chmod(0o755)
    try:
        yield
    finally:
        start.unlink()
        ip(host, "route delete default via 192.0.2.10")
