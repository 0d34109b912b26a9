"""A node whose address changes tells its master, and its peers let it in, with nothing but runs."""

import os

import pytest

from lab.wait import wait_until
from tests.paths import ROOT

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

NODE, PEER = "a1", "s1"
NEW = "192.0.2.77"
CONFIGURATION = "/etc/rancher/k3s/config.yaml"
HELPER = "salt/_grains/_k3s_addresses.py"


@pytest.fixture
def moved(applied):
    """The agent with a new address in the place of its old one, and grains that are still old."""
    host = applied.host(NODE)
    configuration = host.path(CONFIGURATION).read_text()
    host.run(["ip", "address", "add", f"{NEW}/24", "dev", "eth0"])
    host.path(CONFIGURATION).write_text(configuration.replace(host.ipv4, NEW))
    try:
        yield applied
    finally:
        host.path(CONFIGURATION).write_text(configuration)
        host.run(["ip", "address", "del", f"{NEW}/24", "dev", "eth0"])
        applied.salt(NODE, "saltutil.refresh_grains")
        wait_until(lambda: NEW not in known(applied), "the master keeps the address", timeout=30)
        applied.converge()


def known(cluster):
    """The addresses of the node that the master knows."""
    return cluster.salt_run("cache.grains", NODE)[NODE]["k3s_node_ips"]


def allowed(cluster):
    """The addresses of agents that the peer lets in."""
    return cluster.host(PEER).run(["nft", "list", "set", "inet", "firewalld", "k3s-agent-4"]).stdout


def test_a_run_on_the_node_and_one_on_a_peer_let_the_new_address_in(moved):
    assert NEW not in known(moved)
    dry = moved.apply(NODE, test=True)[NODE]
    assert "k3s_node_ips changed" in dry["comment"]
    assert NEW not in known(moved)

    state = moved.apply(NODE)[NODE]
    assert state["result"] is True
    assert "k3s_node_ips changed" in state["comment"]
    wait_until(lambda: NEW in known(moved), "the master does not know the address", timeout=30)
    assert NEW not in allowed(moved)
    moved.converge(PEER)
    assert NEW in allowed(moved)
    # And that was all: the next run has nothing to tell the master.
    assert "k3s_node_ips changed" not in moved.apply(NODE)[NODE]["comment"]


def test_doubts_of_a_node_reach_its_operator(applied):
    broken = applied.host(NODE).path(f"{CONFIGURATION}.d/90-broken.yaml")
    broken.parent.mkdir(exist_ok=True)
    broken.write_text("node-ip: [")
    try:
        applied.salt(NODE, "saltutil.refresh_grains")
        wait_until(
            lambda: applied.salt(NODE, "grains.get", "k3s_doubts")[NODE], "no doubts", timeout=30
        )
        (doubt,) = applied.salt(NODE, "k3sfw.nodes")[NODE][NODE]["doubts"]
        assert doubt in applied.salt(NODE, "k3sfw.plan")[NODE]["notices"]
        for check in ("check_ports", "check_routes", "check_zones"):
            assert doubt in applied.salt(NODE, f"k3sfw.{check}")[NODE]["problems"], check
        # Peers need the result, not its reasons.
        assert "doubts" not in applied.salt(PEER, "k3sfw.nodes")[PEER][NODE]
    finally:
        broken.unlink()
        applied.salt(NODE, "saltutil.refresh_grains")


def test_a_minion_that_lives_reads_what_a_sync_changed_beside_the_grain(applied):
    changed = applied.lab.srv / HELPER
    changed.parent.mkdir(parents=True, exist_ok=True)
    before = applied.salt(NODE, "grains.get", "k3s_node_ips")
    living = pid_of_minion(applied)
    text = (ROOT / HELPER.removeprefix("salt/")).read_text()
    changed.write_text(text.replace("[str(each) for each in ordered]", "['192.0.2.78']"))
    try:
        synced = applied.salt(NODE, "saltutil.sync_grains")
        assert synced == {NODE: ["grains._k3s_addresses"]}
        wait_until(
            lambda: applied.salt(NODE, "grains.get", "k3s_node_ips") == {NODE: ["192.0.2.78"]},
            "the minion keeps the old file",
            timeout=30,
        )
        assert pid_of_minion(applied) == living
    finally:
        changed.unlink()
        applied.salt_run("fileserver.clear_file_list_cache")
        applied.salt(NODE, "saltutil.sync_grains")
        wait_until(
            lambda: applied.salt(NODE, "grains.get", "k3s_node_ips") == before,
            "the minion keeps the changed file",
            timeout=30,
        )


def pid_of_minion(cluster):
    """The minion that started with the host."""
    return cluster.host(NODE).path("/run/salt-minion.pid").read_text()
