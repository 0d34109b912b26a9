"""Foreign iptables rules survive our only reload, which flushes them on older firewalld."""

import os
import time

import pytest

MADE = """\
*filter
:FORWARD DROP [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
COMMIT
*nat
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-DN-0123456789abcdef - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat \\"cbr0\\" id: \\"ab\\"" -m multiport \
--dports 80,443 -j CNI-DN-0123456789abcdef
-A CNI-DN-0123456789abcdef -p tcp -m tcp --dport 80 -j DNAT --to-destination {backend}
COMMIT
*mangle
-A POSTROUTING -o eth9 -j MARK --set-xmark 0x1/0xffffffff
COMMIT
"""


@pytest.fixture
def kubernetes(node):
    """A node with the rules of kube-proxy and of a pod with a hostPort."""
    for program, backend in (("iptables", "10.42.0.7:80"), ("ip6tables", "[fd42::7]:80")):
        node.host.run([f"{program}-restore", "--noflush"], input=MADE.format(backend=backend))
    return node


def rules(node):
    """All rules of both families, without comments and counters."""
    lines = node.run("iptables-save") + node.run("ip6tables-save")
    return [line.partition(" [")[0] for line in lines.splitlines() if not line.startswith("#")]


def test_iptables_rules_survive_the_first_apply_and_the_removal(kubernetes, pillar):
    node = kubernetes
    before = rules(node)
    assert sum("CNI-DN-0123456789abcdef" in line for line in before) == 6
    assert len(node.call("apply", pillar)["reloads"]) == 1
    assert rules(node) == before
    assert len(node.call("remove")["changes"]) > 0
    assert rules(node) == before


def test_iptables_rules_survive_a_first_start_of_firewalld(kubernetes, pillar):
    node = kubernetes
    node.host.stop_firewalld()
    for program, backend in (("iptables", "10.42.0.7:80"), ("ip6tables", "[fd42::7]:80")):
        node.host.run([f"{program}-restore"], input=MADE.format(backend=backend))
    before = rules(node)
    node.call("prepare", pillar, masters=["192.0.2.10"], master_ports=[4505, 4506])
    node.host.start_firewalld()
    if rules(node) == before:
        pytest.skip("this firewalld flushes nothing")
    node.call("apply", pillar)
    assert rules(node) == before
    assert not list(node.host.path("/run/k3sfw-iptables").iterdir())
    # What happens to them later is up to their owner.
    node.host.run(["iptables", "--table=nat", "--flush", "OUTPUT"])
    after = rules(node)
    node.call("apply", pillar)
    assert rules(node) == after


def test_rules_that_were_kept_too_long_ago_are_reported_once_and_not_restored(kubernetes, pillar):
    node = kubernetes
    node.call("apply", pillar)
    kept = node.path("/run/k3sfw-iptables/iptables")
    kept.write_text(node.run("iptables-save"))
    long_ago = time.time() - 3600
    os.utime(kept, (long_ago, long_ago))
    node.host.run(["iptables", "--table=nat", "--flush", "OUTPUT"])
    left = rules(node)
    (notice,) = node.call("apply", pillar)["notices"]
    assert "could not be restored (they were saved too long ago" in notice
    assert "Fix: restart the programs that made them" in notice
    assert rules(node) == left
    assert node.call("apply", pillar)["notices"] == []


def test_direct_rules_of_firewalld_are_not_duplicated(kubernetes, pillar):
    node = kubernetes
    direct = ("ipv4", "filter", "INPUT", "0", "-p", "tcp", "--dport", "9", "-j", "DROP")
    node.firewall_cmd("--direct", "--add-rule", *direct)
    before = rules(node)
    node.call("apply", pillar)
    assert sorted(rules(node)) == sorted(before)
    node.firewall_cmd("--direct", "--remove-rule", *direct)
    assert not any("--dport 9 " in line for line in rules(node))
