"""Wherever an apply dies, it ends in the old or the new state, never in between."""

import pytest

from tests.functional.hosts import standing
from tests.functional.transactions import TransactionNode
from tests.selection import exhaustive


@pytest.fixture(scope="module")
def shared():
    """One host for all tests that leave it unchanged: starting firewalld takes most of the time."""
    with standing("trans") as raised:
        yield TransactionNode(raised.host("s1"))


# Every failpoint, or every third of them.
STRIDES = [3, exhaustive(1)]


@pytest.mark.parametrize("stride", STRIDES)
def test_wherever_an_apply_is_killed_the_node_is_old_or_new_and_converges(shared, pillar, stride):
    one = {
        **pillar,
        "nodes": {**pillar["nodes"], "a2": {"role": "agent", "addresses": ["192.0.2.22"]}},
    }
    shared.call("apply", pillar)
    for first, second in ((pillar, one), (one, pillar)):
        steps = shared.drive(99, "kill", second)["steps"]
        assert len(steps) > 5
        new = shared.state()
        shared.call("apply", first)
        old = shared.state()
        for at in range(0, len(steps), stride):
            assert "died" in shared.drive(at, "kill", second), (at, steps)
            if at > 0:  # Nothing watches yet, and nothing is changed.
                shared.wait_until_ended()
            now = shared.state()
            assert now in (old, new), (at, first is one)
            shared.assert_nothing_is_left()
            if now == new:
                shared.call("apply", first)
        shared.call("apply", second)
        assert shared.state() == new


@pytest.mark.parametrize("stride", STRIDES)
def test_wherever_a_first_apply_is_killed_the_node_is_old_or_new(shared, pillar, stride):
    shared.call("remove")
    shared.firewall_cmd("--zone=public", "--add-port=8443/tcp")
    shared.firewall_cmd("--zone=work", "--add-interface=dummy7")
    shared.firewall_cmd(
        "--direct",
        "--add-rule",
        "ipv4",
        "filter",
        "OUTPUT",
        "0",
        "-p",
        "tcp",
        "--dport",
        "9",
        "-j",
        "DROP",
    )
    shared.run("iptables", "-t", "nat", "-N", "CNI-HOSTPORT-DNAT")
    shared.run("iptables", "-t", "nat", "-A", "PREROUTING", "-j", "CNI-HOSTPORT-DNAT")
    before = shared.others()
    old = shared.state()
    steps = shared.drive(99, "kill", pillar)["steps"]
    assert len(steps) > 8
    shared.call("remove")
    assert (shared.others(), shared.state()) == (before, old)
    for at in range(0, len(steps), stride):
        assert "died" in shared.drive(at, "kill", pillar), (at, steps)
        if at > 0:
            shared.wait_until_ended()
        assert shared.others() == before, at
        shared.assert_nothing_is_left()
        if shared.state() != old:
            assert shared.call("compare", pillar)["changes"] == {}, at
            shared.call("remove")
    shared.call("apply", pillar)
    assert shared.others() == before
    assert shared.call("compare", pillar)["changes"] == {}
    shared.run("iptables", "-t", "nat", "-F", "PREROUTING")
    shared.run("iptables", "-t", "nat", "-X", "CNI-HOSTPORT-DNAT")


def test_wherever_a_prepare_is_killed_the_files_are_old_or_new_and_the_next_converges(
    shared, pillar
):
    shared.call("remove")
    shared.host.stop_firewalld()
    old = permanent_files(shared)
    at, answer = 0, {"died": 1}
    while "died" in answer:
        assert permanent_files(shared) == old, at
        answer = shared.drive(at, "kill", pillar, function="prepare")
        if "died" in answer:
            if at > 0:
                shared.wait_until_ended()
            shared.assert_nothing_is_left()
            if permanent_files(shared) != old:  # It was killed after its last step.
                break
        at += 1
    assert at > 3
    assert shared.drive(99, "kill", pillar, function="prepare")["changes"] == {}
    shared.host.start_firewalld()
    assert shared.call("apply", pillar)["changes"] == {}
    assert [entry["what"] for entry in shared.call("history")[:1]] == ["prepare"]
    shared.call("rollback")
    assert permanent_files(shared) == old


def permanent_files(node):
    """The content of every file, without the copies that firewalld keeps of removed ones."""
    files = {name: content for name, (content, _time, _inode) in node.files().items()}
    return {name: content for name, content in files.items() if not name.endswith(".old")}
