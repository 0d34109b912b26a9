"""check_zones with a real firewalld: a change by hand is found, and the fix, as typed, fixes it.

The host has pods' interfaces and is applied; the tests share it, and each leaves it as it was.
"""

import copy
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.hosts import Node, standing

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests/unit/data"
PODS = (
    "ip link add cni0 type bridge",
    "ip link add flannel.1 type vxlan id 1 local 192.0.2.11 dev eth0 dstport 8472",
    *(f"ip link add veth{n} type veth peer name peer{n}" for n in range(3)),
    *(f"ip link set veth{n} master cni0" for n in range(3)),
    *(f"ip link set peer{n} master cni0" for n in range(3)),
)


@pytest.fixture(scope="module")
def host():
    with standing("zones") as raised:
        yield Checked(raised)


class Checked(Node):
    """The applied host, asked by check_zones."""

    def __init__(self, lab):
        super().__init__(lab.host("s1"))
        self.outsider = lab.host("out")
        self.pillar = copy.deepcopy(TABLES)
        self.shell(*PODS)
        self.call("apply", self.pillar)

    def shell(self, *commands):
        self.host.run(["sh", "-ec", "\n".join(commands)])

    def ask(self):
        options = {"masters": ["192.0.2.10"]}
        return self.call("check_zones", self.pillar, **options)

    def problems(self):
        return self.ask()["problems"]

    def type(self, fix):
        """Type a fix on the master."""
        words = shlex.split(fix)
        while words:
            assert words[:2] == ["salt", "s1"], fix
            if words[2] == "cmd.run":
                self.shell(words[3])
            else:
                assert words[2:4] == ["state.apply", "k3s.firewall"], fix
                assert "refused" not in self.call("apply", self.pillar)
            assert words[4:5] in ([], ["&&"]), fix
            words = words[5:]


TABLES = {
    "ports": {
        "cluster": {
            "etcd": {
                "protocol": "tcp",
                "port": "2379-2380",
                "source": "server",
                "destination": "server",
                "description": "Etcd Service",
            },
            "http": {"protocol": "tcp", "port": 80, "source": "any", "destination": "any"},
            "pods": {"protocol": "any", "source": "pods", "destination": "any"},
            "services": {"protocol": "any", "source": "services", "destination": "any"},
        },
        "manager": {"redis": {"protocol": "tcp", "port": 6379}},
    },
    "peer_ports": {"cluster": {}, "manager": {}},
    "nodes": {
        "s1": {"role": "server", "addresses": ["192.0.2.11", "2001:db8::11"]},
        "s2": {"role": "server", "addresses": ["192.0.2.12"]},
        "a1": {"role": "agent", "addresses": ["192.0.2.21"]},
    },
}


def in_both(*options):
    return [f"firewall-cmd -q {layer} {' '.join(options)}" for layer in ("", "--permanent")]


# The change by hand, how the problems begin, and what restores the rest after the fix.
DEEDS = {
    "an uplink in the pods' zone": (
        in_both("--zone=k3s", "--add-interface=eth0"),
        ["exposed zone -> s1: eth0 is in zone k3s (at runtime and permanently)"],
        [],
    ),
    "pods in the zone of the uplink": (
        in_both("--zone=public", "--change-interface=cni0"),
        ["conflict zone -> s1: cni0 is in zone public (at runtime and permanently)"],
        [],
    ),
    "pods in no zone": (
        in_both("--zone=k3s", "--remove-interface=flannel.1"),
        ["conflict zone -> s1: flannel.1 is in no zone (at runtime and permanently)"],
        [],
    ),
    "a source that matches nodes and the master": (
        ["firewall-cmd -q --zone=home --add-source=192.0.2.0/24"],
        ["conflict sources -> s1: source 192.0.2.0/24 of zone home (at runtime) matches a1, s1, "],
        [],
    ),
    "an ipset that matches a node": (
        [
            "firewall-cmd -q --permanent --new-ipset=friends --type=hash:ip",
            "firewall-cmd -q --permanent --ipset=friends --add-entry=192.0.2.21",
            "firewall-cmd -q --permanent --zone=home --add-source=ipset:friends",
            "firewall-cmd -q --reload",
        ],
        ["conflict sources -> s1: source ipset:friends of zone home (at runtime and permanently)"],
        ["firewall-cmd -q --permanent --delete-ipset=friends"],
    ),
    "pods as a source of trusted, as K3s documents it": (
        in_both("--zone=trusted", "--add-source=10.42.0.0/16"),
        ["exposed sources -> s1: source 10.42.0.0/16 of zone trusted (at runtime and permanently)"],
        [],
    ),
    "a trusted uplink": (
        in_both("--zone=trusted", "--change-interface=eth0"),
        ["exposed zone -> s1: eth0 is in zone trusted (at runtime and permanently), which acc"],
        in_both("--zone=public", "--remove-interface=eth0"),
    ),
    "ports, a service and rules in a zone of the operator": (
        [
            *in_both("--zone=work", "--change-interface=eth0"),
            *in_both("--zone=work", "--add-port=2000-3000/tcp"),
            *in_both("--zone=work", "--add-service=http"),
            *in_both(
                "--zone=work",
                "--add-rich-rule='rule family=ipv4 source NOT address=198.51.100.7 port port=2380 "
                'protocol=tcp log prefix="a b" level=info limit value=1/m accept\'',
            ),
        ],
        ["exposed tcp/2379-2380,2380 server, tcp/80 any -> s1: zone work (eth0) opens these po"],
        in_both("--zone=work", "--remove-interface=eth0")
        + in_both("--zone=work", "--remove-port=2000-2378/tcp", "--remove-port=2381-3000/tcp"),
    ),
    "two interfaces that pods left": (
        in_both("--zone=work", "--add-interface=veth77", "--add-interface=cali99"),
        ["conflict leftovers -> s1: zone work has 2 interfaces of pods that no longer exist (at"],
        [],
    ),
    "many interfaces that pods left": (
        [
            f"firewall-cmd -q --permanent --zone=work --add-interface=veth0 "
            f"{' '.join(f'--add-interface=veth{number}' for number in range(100, 140))}"
        ],
        ["conflict leftovers -> s1: zone work has 40 interfaces of pods that no longer exist (per"],
        ["firewall-cmd -q --permanent --zone=work --remove-interface=veth0"],
    ),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_what_an_operator_changed_is_found_and_the_fix_fixes_it(host, deed):
    commands, begins, rest = DEEDS[deed]
    host.shell(*commands)
    try:
        problems = host.problems()
        assert [problem[: len(words)] for problem, words in zip(problems, begins)] == begins
        assert len(problems) == len(begins), problems
        for problem in problems:
            host.type(problem.partition(". Fix: ")[2])
        assert host.problems() == []
    finally:
        host.shell(*rest)


def test_what_the_documents_script_opened_is_reported_with_its_fix(host):
    # As it will be after the reload at the end.
    host.shell("firewall-cmd -q --reload")
    before = host.runtime()
    host.shell((ROOT / "bench/source_script.sh").read_text())
    try:
        problems = host.problems()
        assert [problem.partition(". Fix: ")[2] for problem in problems] == [
            "salt s1 k3sfw.adopt"
        ] * 2
        assert problems[0].startswith(
            "exposed tcp/2379-2380 server, tcp/80 any -> s1: zone public (eth0) opens these "
            "ports to everyone (at runtime and permanently); rows etcd, http allow fewer sources"
        )
        assert "accepts everything from 10.42.0.0/16, 10.43.0.0/16" in problems[1]
    finally:
        host.shell("rm /etc/firewalld/zones/public.xml*", "firewall-cmd -q --reload")
    assert host.runtime() == before
    assert host.problems() == []


def test_every_interface_has_its_zone_and_pods_share_a_line(host):
    interfaces = host.ask()["interfaces"]
    assert interfaces["cni0"] == {
        "runtime": "k3s",
        "permanent": "k3s",
        "network_manager": "",
        "meaning": "pods come in by it",
    }
    assert interfaces["eth0"] == {
        "runtime": "public",
        "permanent": "",
        "network_manager": "",
        "meaning": "the rows, then zone public",
    }
    assert "3 veth* on cni0" in interfaces


# -- what is redirected past the rows -------------------------------------------------------------


@pytest.fixture
def listening(host):
    """A service on a port of no row, by which a redirection can be seen to work."""
    code = "import socket, time; s = socket.create_server(('', 7777)); print(flush=True)"
    command = [sys.executable, "-c", f"{code}; time.sleep(600)"]
    listener = host.host.popen(command, stdout=subprocess.PIPE)
    try:
        listener.stdout.readline()
        yield 7777
    finally:
        listener.terminate()
        listener.wait(10)
        listener.stdout.close()


def reaches(outsider, port):
    code = f"import socket; socket.create_connection(('192.0.2.11', {port}), 2)"
    return outsider.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def redirecting(host, listening):
    """The port of a row for servers alone, redirected to that service."""
    host.shell(
        "nft add table ip theirs",
        "nft 'add chain ip theirs pre { type nat hook prerouting priority -100; }'",
        f"nft add rule ip theirs pre tcp dport 2379 dnat to 192.0.2.11:{listening}",
    )
    yield
    host.shell("nft delete table ip theirs")


def test_a_row_cannot_deny_what_is_redirected_and_that_is_reported(host, redirecting):
    assert reaches(host.outsider, 2379)
    (problem,) = host.problems()
    assert problem.startswith(
        "conflict tcp/2379 server -> s1: row etcd cannot restrict these ports: table theirs "
        "redirects them before any rule of this host; see docs/limits.md"
    )
    host.shell("nft delete rule ip theirs pre handle 2")
    assert not reaches(host.outsider, 2379)
    assert host.problems() == []


def test_with_strict_forward_ports_firewalld_decides_and_that_is_reported(host, redirecting):
    conf = host.path("/etc/firewalld/firewalld.conf")
    before = conf.read_text()
    if "StrictForwardPorts=no" not in before:
        pytest.skip("this firewalld has no StrictForwardPorts")
    conf.write_text(before.replace("StrictForwardPorts=no", "StrictForwardPorts=yes"))
    host.host.restart_firewalld()
    try:
        assert not reaches(host.outsider, 2379)
        refused, problem = host.problems()
        assert refused.startswith("bad_setting StrictForwardPorts -> s1: is yes: firewalld rejects")
        assert problem.startswith(
            "unproven tcp/2379 server -> s1: table theirs redirects the ports of row etcd: "
            "firewalld's forwarding rules decide, and no row does (StrictForwardPorts=yes)"
        )
    finally:
        conf.write_text(before)
        host.host.restart_firewalld()


REDIRECTED = (
    "conflict tcp/80 any -> s1: row http cannot restrict these ports: hostPort redirects them"
)


def test_what_kube_proxy_and_portmap_do_with_iptables_is_reported(host):
    host.host.run(["iptables-restore"], input=(DATA / "nat_iptables.txt").read_text())
    rule = "-p udp --dport 514 -j DNAT --to-destination [fd42::9]:514"
    host.shell(f"ip6tables -t nat -A PREROUTING -d 2001:db8::11 {rule}")
    try:
        row, others = host.problems()
        assert row.startswith(REDIRECTED)
        assert others.startswith(
            "conflict redirections -> s1: 443/tcp (ServiceLB of kube-system/traefik:websecure), "
            "9093/tcp (ServiceLB of shop/ranged:api), 514/udp (chain PREROUTING), 30080/tcp "
            "(NodePort of shop/web:http), 31443/tcp (NodePort of kube-system/traefik:websecure) "
            "are open to everyone: NAT redirects"
        )
        fine = [check for check in host.ask()["checks"] if check["port"] == "6379"]
        assert [check["status"] for check in fine] == ["ok"]
        rows = host.call("check_ports", host.pillar)["checks"]
        assert [row["evidence"] for row in rows if row["port"] == "80"] == [
            "in force in every layer; served by redirection (hostPort)"
        ]
    finally:
        host.shell("nft delete table ip nat", "nft delete table ip6 nat")
    assert host.problems() == []


def test_what_kube_proxy_and_portmap_do_with_nftables_is_reported(host):
    for name in ("nat_kube_proxy", "nat_portmap"):
        items = json.loads((DATA / f"{name}.json").read_text())["nftables"]
        # In the order in which they can refer to each other.
        order = ["metainfo", "table", "chain", "set", "map", "rule"]
        items.sort(key=lambda item: order.index(next(iter(item))))
        host.host.run(["nft", "-j", "-f", "-"], input=json.dumps({"nftables": items}))
    try:
        row, others = host.problems()
        assert row.startswith(REDIRECTED)
        assert re.findall(r"[0-9-]+/[a-z]+ \([A-Za-z]+", others) == [
            "443/tcp (ServiceLB",
            "7000-7002/tcp (hostPort",
            "514/udp (hostPort",
            "30080/tcp (NodePort",
            "31443/tcp (NodePort",
        ]
    finally:
        host.shell("nft delete table ip kube-proxy", "nft delete table ip cni_hostport")
    assert host.problems() == []


def test_iptables_rules_that_no_program_can_show_are_reported_as_unread(host):
    host.shell("iptables -t nat -A PREROUTING -p tcp --dport 81 -j REDIRECT --to-ports 82")
    programs = ("iptables-nft-save", "xtables-nft-multi", "iptables-save")
    paths = [f"/usr/sbin/{name}" for name in programs]
    host.shell(*(f"mv {path} {path}.away" for path in paths))
    try:
        (problem,) = host.problems()
        assert problem == (
            "unproven redirections -> s1: iptables-save is not installed, so the ports that "
            "iptables' table nat redirects are not known. Fix: install the package iptables"
        )
    finally:
        host.shell(*(f"mv {path}.away {path}" for path in paths), "nft delete table ip nat")


def test_nothing_is_changed_by_looking(host):
    before = host.everything()
    host.ask()
    assert host.everything() == before
