"""Who is a member of the cluster, by what the master holds of its minions."""

import shutil
from contextlib import ExitStack, contextmanager

import pytest

from lab.wait import wait_until
from tests.cluster.claims import claimed

pytestmark = pytest.mark.cluster

KEYS = "/etc/salt/pki/master/minions"
SHARED_ADDRESS = "10.0.2.15"


def entries(host, role):
    """The addresses of a role's ipset in the kernel, with those that stand for themselves."""
    return host.run(["firewall-cmd", f"--ipset=k3s-{role}-4", "--get-entries"]).stdout.split()


@contextmanager
def accepted_key(cluster, name):
    """A key that was accepted, of a machine that is gone."""
    keys = cluster.host("m").path(KEYS)
    shutil.copy(keys / "s1", keys / name)
    try:
        yield
    finally:
        (keys / name).unlink()


def test_a_demoted_server_leaves_the_servers_though_a_dead_key_is_accepted(applied):
    s1, s2 = applied.host("s1"), applied.host("s2")
    assert s2.ipv4 in entries(s1, "server")
    with accepted_key(applied, "ghost"), claimed(applied, "s2", "k3s_role", "agent"):
        applied.converge("s1")
        assert s2.ipv4 not in entries(s1, "server")
        assert s2.ipv4 in entries(s1, "agent")


def test_a_cleared_grains_cache_takes_no_node_out(applied):
    s1 = applied.host("s1")
    before = entries(s1, "server"), entries(s1, "node")
    applied.salt_run("cache.clear_grains", "*")
    try:
        state = applied.apply(["s1"])["s1"]
        assert state["result"] is True and state["changes"] == {}
        assert "holds no grains of the accepted minions a1, a2, s2" in state["comment"]
        assert (entries(s1, "server"), entries(s1, "node")) == before
    finally:
        applied.salt("*", "saltutil.refresh_pillar")
        wait_until(lambda: are_heard(applied), "The master hears no grains", timeout=30, every=0.5)


def are_heard(cluster):
    grains = cluster.salt_run("cache.grains", "*")
    return all("k3s_role" in grains.get(name, {}) for name in cluster.nodes)


def test_an_address_of_several_nodes_is_let_in_nowhere_and_named_once(applied):
    with ExitStack() as stack:
        for name in ("s2", "a1", "a2"):
            host = applied.host(name)
            addresses = [host.ipv4, host.ipv6, SHARED_ADDRESS]
            stack.enter_context(claimed(applied, name, "k3s_node_ips", addresses))
        state = applied.apply(["s1"])["s1"]
        assert state["result"] is True and state["changes"] == {}
        assert state["comment"].count(SHARED_ADDRESS) == 1
        assert f"{SHARED_ADDRESS} is claimed by a1, a2, s2" in state["comment"]
        found = applied.salt(["s1"], "k3sfw.check_ports", peers="all", full=True)["s1"]
        assert SHARED_ADDRESS not in {check["address"] for check in found["checks"]}
        assert any(SHARED_ADDRESS in problem for problem in found["problems"])


def test_only_a_node_of_several_masters_is_told_to_expect_a_number_of_nodes(applied):
    a1 = applied.host("a1")
    another_master = applied.host("out").ipv4
    applied.stop_minion(a1)
    applied.start_minion(a1, master=[applied.host("m").ipv4, another_master])
    try:
        plans = applied.salt(["a1", "s1"], "k3sfw.plan")
        assert plans["s1"]["notices"] == []
        (told,) = plans["a1"]["notices"]
        assert "set k3s:firewall:expected_nodes" in told
    finally:
        applied.stop_minion(a1)
        applied.start_minion(a1)
