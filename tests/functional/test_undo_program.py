"""The undo program with damage that it did not cause: to itself, and to iptables rules."""

from contextlib import contextmanager

import pytest

from tests.firewalld_damage import (
    MANY,
    killing_firewalld_in_the_next_reload,
    make_reloads_long,
)
from tests.functional.hosts import SERVER, standing
from tests.functional.transactions import TransactionNode


@pytest.fixture(scope="module")
def shared():
    with standing("undo", (SERVER,)) as raised:
        yield TransactionNode(raised.host("s1"))


@pytest.fixture
def more(pillar):
    more = {"a2": {"role": "agent", "addresses": ["192.0.2.22"]}}
    return {**pillar, "nodes": {**pillar["nodes"], **more}}


@pytest.mark.parametrize("damage", ["empty", "gone"])
def test_a_damaged_undo_program_is_replaced_before_it_is_needed(shared, pillar, more, damage):
    shared.call("apply", pillar)
    shared.drive(0, "kill", more)  # It has begun, without a watchdog.
    program = shared.path("/var/lib/k3sfw/program/__main__.py")
    program.unlink() if damage == "gone" else program.write_bytes(b"")
    (notice,) = shared.call("apply", more)["notices"]
    assert "was broken off; all of it was undone" in notice
    assert shared.call("compare", more)["changes"] == {}
    assert not shared.path("/var/lib/k3sfw/transaction").exists()


def test_foreign_runtime_rules_survive_a_firewalld_that_dies_during_the_undo(shared, pillar, more):
    shared.call("apply", pillar)
    old = shared.state()[0]
    make_reloads_long(shared.host)
    shared.firewall_cmd("--zone=public", "--add-port=8443/tcp")
    steps = shared.drive(99, "kill", more)["steps"]
    shared.call("rollback", more)
    # Because of that table the undo needs a reload, which it would not need otherwise.
    with killing_firewalld_in_the_next_reload(shared.host):
        shared.drive(steps.index("execute"), "kill-beside-drop-table", more)
    shared.wait_until_ended(within=60)
    assert shared.firewall_cmd("--zone=public", "--list-ports") == "8443/tcp"
    shared.path(MANY).unlink()
    shared.firewall_cmd("--reload")
    assert shared.call("compare", pillar)["changes"] == {}
    assert shared.state()[0] == old
    shared.assert_nothing_is_left()


def test_iptables_rules_that_the_undo_missed_are_restored_by_the_next_run(shared, pillar):
    shared.call("remove")
    shared.run("iptables", "-t", "nat", "-N", "CNI-HOSTPORT-DNAT")
    shared.run("iptables", "-t", "nat", "-A", "PREROUTING", "-j", "CNI-HOSTPORT-DNAT")
    before = shared.others()
    steps = shared.drive(99, "kill", pillar)["steps"]
    shared.call("remove")
    with ours_failing(shared, "iptables-restore"):
        shared.drive(steps.index("execute"), "kill", pillar)
        shared.wait_until_ended()
    lost = shared.others() != before
    (notice,) = shared.call("apply", pillar)["notices"]
    assert "was undone by the watchdog" in notice
    assert shared.others() == before
    shared.run("iptables", "-t", "nat", "-F", "PREROUTING")
    shared.run("iptables", "-t", "nat", "-X", "CNI-HOSTPORT-DNAT")
    if not lost:
        pytest.skip("a reload of this firewalld takes no rules of iptables away")


def test_undone_rules_do_not_come_back_through_iptables(shared, pillar):
    shared.call("remove")
    shared.host.stop_firewalld()
    configuration = shared.path("/etc/firewalld/firewalld.conf")
    configuration.write_text(
        configuration.read_text().replace("FirewallBackend=nftables", "FirewallBackend=iptables")
    )
    shared.host.start_firewalld()
    old = filtering(shared)
    steps = shared.drive(99, "kill", pillar)["steps"]
    shared.call("remove")
    assert filtering(shared) == old
    for at, step in enumerate(steps[:-1]):
        if step in ("execute", "permanent", "runtime"):
            shared.drive(at, "fail", pillar)
            assert filtering(shared) == old, (step, at, steps)


@contextmanager
def ours_failing(node, name):
    """Make this iptables program fail for us, and work for firewalld."""
    program = node.host.root / "etc/alternatives" / name
    target = program.readlink()
    failing = node.path("/run/failing")
    failing.write_text(f'#!/bin/sh\ncase "$*" in *--noflush*) exit 4 ;; esac\nexec {target} "$@"\n')
    failing.chmod(0o755)
    program.unlink()
    program.symlink_to("/run/failing")
    try:
        yield
    finally:
        program.unlink()
        program.symlink_to(target)


def filtering(node):
    return sorted(line for line in node.run("iptables-save").splitlines() if line[:2] == "-A")
