"""What the master says before a change is what nodes then do: asked of real minions."""

import json
import os
import re
from contextlib import contextmanager

import pytest

from tests import forked
from tests.live_sockets import served

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

CHANGE = {
    "groups": {"admins": ["198.51.100.0/28"]},
    "ports": {"cluster": {"etcd": {"source": "any"}}, "manager": {"grafana": {"source": "admins"}}},
}
STRAY = 'rule family="ipv4" source address="203.0.113.0/24" port port="2379" protocol="tcp" accept'


@pytest.fixture(scope="module")
def reviewed(applied):
    """The applied cluster, with what runs on the master synced to it."""
    applied.salt_run("saltutil.sync_all")
    return applied


def diff(cluster, *words):
    """What ``salt-run k3sfw.diff`` shows, and its exit code."""
    done = forked.salt(cluster.lab.master, "salt-run", ["--out=json", "k3sfw.diff", *words])
    return json.loads(done.stdout)["data"], done.returncode


@pytest.mark.parametrize("old", ["live", "kept"])
def test_applied_nodes_do_not_differ_from_the_pillar(reviewed, old):
    found, code = diff(reviewed, f"old={old}")
    assert (found["opened"], found["closed"], code) == ([], [], 0), found
    assert not any("not compared" in note for note in found["notes"])


def test_a_change_is_told_before_it_is_made_with_the_connections_that_it_refuses(reviewed):
    agent, outside = reviewed.host("a1"), reviewed.host("out")
    with served(agent, outside, "tcp/3000"), reviewed.site({"k3s": CHANGE}):
        found, code = diff(reviewed)
    assert code == 2
    (opened,) = found["opened"]
    assert (opened["from"], opened["to"]) == (["agent"], ["server"])
    assert opened["ports"] == ["tcp/2379-2380"]
    (closed,) = found["closed"]
    assert (closed["to"], closed["ports"]) == (["every node"], ["tcp/3000"])
    (lost,) = closed["lost"]
    assert lost.startswith(f"1 live connection from {outside.ipv4} to tcp/3000 of a1")
    assert found["drift"] == {"opened": [], "closed": []}
    assert found["promises"]["tests"][0]["name"] == "etcd_is_for_servers"
    assert found["promises"]["tests"][0]["value"] == "broken"


def test_what_was_changed_by_hand_on_a_node_is_drift(reviewed):
    with stray_rule(reviewed.host("s2")):
        found, code = diff(reviewed)
        kept, kept_code = diff(reviewed, "old=kept")
    assert code == 2
    (closed,) = found["closed"]
    assert (closed["from"], closed["to"]) == (["203.0.113.0/24"], ["s2"])
    (drift,) = found["drift"]["opened"]
    assert STRAY in drift["causes"][0]["text"]
    assert (kept["closed"], kept_code) == ([], 0)


@contextmanager
def stray_rule(host):
    command = ["firewall-cmd", "--quiet", "--policy=k3s-rows"]
    host.run([*command, f"--add-rich-rule={STRAY}"])
    try:
        yield
    finally:
        host.run([*command, f"--remove-rich-rule={STRAY}"])


def test_a_node_that_is_down_is_named_and_the_others_are_compared(reviewed):
    reviewed.stop_minion(reviewed.host("a1"))
    found, code = diff(reviewed, "timeout=10")
    assert code == 1
    assert any(re.search(r"a1 \(no answer\)", silent) for silent in found["silent"])


def test_the_text_of_the_default_is_readable_on_a_terminal(reviewed):
    done = forked.salt(reviewed.lab.master, "salt-run", ["k3sfw.diff"])
    assert done.stdout.startswith("From live to base.")
    assert max(map(len, done.stdout.splitlines())) <= 80
