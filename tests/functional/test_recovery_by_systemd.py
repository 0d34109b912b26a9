"""With systemd: a timer undoes a run that died, and a unit at boot what a power cut left."""

import shutil
import time
from pathlib import Path

import pytest

from lab.booted.booted_host import BootedHost
from tests.functional.transactions import TransactionNode

UNIT = Path(__file__).parents[2] / "salt/k3s/files/k3sfw-recover.service"


@pytest.fixture(scope="module")
def booted():
    with BootedHost() as machine:
        # As in k3s.firewall.
        shutil.copy(UNIT, machine.path("/etc/systemd/system"))
        wants = machine.path("/etc/systemd/system/firewalld.service.wants")
        wants.mkdir(exist_ok=True)
        (wants / UNIT.name).symlink_to(f"/etc/systemd/system/{UNIT.name}")
        machine.boot()
        yield machine


@pytest.fixture
def node(booted, pillar):
    """The applied host."""
    host = TransactionNode(booted)
    host.firewall_cmd("--state")
    host.call("apply", pillar)
    return host


@pytest.fixture
def more(pillar):
    more = {"a2": {"role": "agent", "addresses": ["192.0.2.22"]}}
    return {**pillar, "nodes": {**pillar["nodes"], **more}}


def timers(node):
    listing = node.run("systemctl", "list-units", "--all", "k3sfw-undo-*")
    return [line for line in listing.splitlines() if "k3sfw-undo" in line]


def test_an_apply_that_ends_leaves_no_timer(node, more):
    node.call("apply", more)
    assert timers(node) == []


def test_a_timer_that_was_stopped_does_not_spoil_a_change_that_ended(node, more):
    steps = node.drive(99, "kill", more)["steps"]
    node.call("rollback", more)
    answer = node.drive(steps.index("permanent"), "stop-timer", more)
    assert answer["notices"] == []
    assert node.call("compare", more)["changes"] == {}


def test_a_run_that_dies_is_undone_by_a_timer_armed_before_the_first_change(node, more):
    old = node.state()
    steps = node.drive(99, "kill", more)["steps"]
    node.call("rollback", more)
    assert steps.index("armed") < steps.index("runtime")
    node.drive(steps.index("execute"), "kill", more, within=2)
    assert timers(node) != []
    assert node.state() != old
    node.wait_until_ended(within=20)
    assert node.state() == old
    time.sleep(0.5)
    assert timers(node) == []


def test_a_timer_undoes_an_unconfirmed_change(node, more):
    old = node.state()
    began = time.monotonic()
    node.call("apply", more, confirm_within=36)
    node.wait_until_ended(within=60)
    # At the announced time, although the run itself would have had half a minute more.
    assert 36 < time.monotonic() - began < 45
    assert node.state() == old


@pytest.mark.parametrize("step", ["put_files", "execute", "permanent"])
def test_a_power_cut_in_a_first_apply_leaves_the_node_old_or_new(booted, node, pillar, step):
    node.call("remove")
    old = node.state()
    steps = node.drive(99, "kill", pillar)["steps"]
    node.call("remove")
    before = booted.pid
    node.drive(steps.index(step), "kill", pillar)
    booted.power_cut()
    assert booted.pid != before
    node.firewall_cmd("--state")
    assert not node.path("/var/lib/k3sfw/transaction").exists()
    assert node.state() == old
    assert "was undone by the boot" in node.call("apply", pillar)["notices"][0]


def test_a_restart_of_firewalld_undoes_a_change_that_waits_for_confirmation(node, more):
    old = node.state()
    node.call("apply", more, confirm_within=60)
    node.run("systemctl", "restart", "firewalld")
    node.firewall_cmd("--state")
    assert not node.path("/var/lib/k3sfw/transaction").exists()
    assert node.state() == old


def test_kernel_rules_of_a_killed_firewalld_are_undone_after_its_restart(node, more):
    old = node.state()
    node.call("apply", more, confirm_within=5)
    node.run("pkill", "-KILL", "-x", "firewalld")
    node.run("systemctl", "restart", "firewalld")
    node.firewall_cmd("--state")
    node.wait_until_ended(within=60)
    assert node.state() == old


def test_systemd_accepts_the_unit(booted):
    unit = "/etc/systemd/system/k3sfw-recover.service"
    assert booted.run(["systemd-analyze", "verify", unit]).stderr == ""
