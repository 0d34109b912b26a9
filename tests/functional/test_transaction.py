"""An apply ends in the new state or in the old one, wherever it dies, and never in between."""

import pytest

from tests.functional.hosts import standing
from tests.functional.transactions import TransactionNode


@pytest.fixture(scope="module")
def shared():
    """One host for all that leave it as it was: a firewalld that runs is most of a test's time."""
    with standing("trans") as raised:
        yield TransactionNode(raised.host("s1"))


def test_wherever_an_apply_is_killed_the_node_is_old_or_new_and_the_next_converges(shared, pillar):
    one = {
        **pillar,
        "nodes": {**pillar["nodes"], "a2": {"role": "agent", "addresses": ["192.0.2.22"]}},
    }
    shared.call("apply", pillar)
    for first, second in ((pillar, one), (one, pillar)):
        shared.call("apply", second)
        new = shared.state()
        shared.call("apply", first)
        old = shared.state()
        at, answer = 0, {"died": 1}
        while "died" in answer:
            answer = shared.drive(at, "kill", second)
            if "died" in answer:
                if at > 0:  # Nobody watches yet, and nothing is changed.
                    shared.wait_until_ended()
                assert shared.state() in (old, new), (at, first is one)
                shared.assert_nothing_is_left()
            at += 1
        assert at > 5
        assert shared.state() == new


def test_wherever_a_first_apply_is_killed_the_node_is_old_or_new_and_others_keep_theirs(
    shared, pillar
):
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
    at, answer, killed = 0, {"died": 1}, 0
    while "died" in answer:
        answer = shared.drive(at, "kill", pillar)
        if "died" in answer:
            if at > 0:
                shared.wait_until_ended()
            assert shared.others() == before, at
            assert shared.state() == old or shared.call("compare", pillar)["changes"] == {}, at
            shared.assert_nothing_is_left()
            killed += 1
        at += 1
    assert killed > 8
    assert shared.others() == before
    assert shared.call("compare", pillar)["changes"] == {}
