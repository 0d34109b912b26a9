"""With systemd: the first start of firewalld stops nftables.service, which flushes every table."""

import pytest

from lab.booted.booted_host import BootedHost
from tests.functional.hosts import Node

STARTING = {"masters": ["192.0.2.10"], "master_ports": [4505, 4506]}
# As Debian's package has it, with a file that it includes.
FILE = """\
#!/usr/sbin/nft -f
flush ruleset
include "/etc/nftables.d/*.nft"
table inet site {
    chain input {
        type filter hook input priority filter;
        tcp dport 8081 drop
    }
}
"""
INCLUDED = "add table ip included\n"
# What kube-proxy (backend nftables) and CNI's portmap make, shortened.
OTHERS = """\
table ip kube-proxy {
    map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
    chain services {
        ip daddr . meta l4proto . th dport vmap @service-ips
    }
    chain nat {
        type nat hook prerouting priority dstnat;
        jump services
    }
}
table inet cni_hostport {
    chain hostports {
        tcp dport 8080 dnat ip to 10.42.0.5:80
    }
}
"""
OURS_AND_OTHERS = ("inet site", "ip included", "inet cni_hostport", "ip kube-proxy")


@pytest.fixture
def node(lab):
    """A host on which firewalld was never started, and nftables.service runs."""
    host = Node(lab)
    host.run("sh", "-ec", "mkdir -p /etc/nftables.d")
    host.path("/etc/nftables.conf").write_text(FILE)
    host.path("/etc/nftables.d/more.nft").write_text(INCLUDED)
    host.run("systemctl", "start", "nftables")
    host.path("/run/others.nft").write_text(OTHERS)
    host.nft("-f", "/run/others.nft")
    return host


@pytest.fixture
def lab():
    with BootedHost() as machine:
        for path in machine.path("/etc/systemd/system").rglob("*firewalld*.service"):
            path.unlink()
        machine.boot()
        yield machine


def tables(node):
    listed = [line.partition(" ")[2] for line in node.nft("list", "tables").splitlines()]
    return [name for name in OURS_AND_OTHERS if name in listed]


def test_tables_of_others_survive_the_first_start_and_the_files_own_are_named(node, pillar):
    others = [node.nft("list", "table", *name.split()) for name in OURS_AND_OTHERS[2:]]
    foretold = node.call("prepare", pillar, **STARTING, test=True)["notices"]
    notices = node.call("prepare", pillar, **STARTING)["notices"]
    assert notices == foretold
    going, kept = [each for each in notices if "nftables.service" in each]
    assert "inet site, ip included, which /etc/nftables.conf makes, will be gone" in going
    assert kept.endswith("restores those of other programs: inet cni_hostport, ip kube-proxy")
    assert tables(node) == list(OURS_AND_OTHERS)
    node.run("systemctl", "start", "firewalld")
    node.firewall_cmd("--state")
    assert tables(node) == []
    assert node.call("apply", pillar)["notices"] == []
    assert tables(node) == ["inet cni_hostport", "ip kube-proxy"]
    assert [node.nft("list", "table", *name.split()) for name in OURS_AND_OTHERS[2:]] == others
    assert not list(node.path("/run/k3sfw-nft").iterdir())


def test_nothing_is_said_where_nftables_service_does_not_run(node, pillar):
    node.run("systemctl", "stop", "nftables")
    notices = node.call("prepare", pillar, **STARTING, test=True)["notices"]
    assert [each for each in notices if "nftables.service" in each] == []
