"""Another firewalld takes the place of one that runs, on a node with rules; and the way back.

``K3SFW_NEW_FIREWALLD`` names the folder of the newer one; ``K3SFW_OLD_FIREWALLD`` that of the
older one, if it is not the machine's. Both are laid out as ``dpkg --extract`` does it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.spec import HostSpec
from lab.wait import wait_until
from tests.compatibility import firewalld_package
from tests.compatibility.watched_packets import Way, watched
from tests.functional.hosts import SERVER, standing
from tests.functional.transactions import DRIVER, TransactionNode

NEWER, OLDER = os.environ.get("K3SFW_NEW_FIREWALLD"), os.environ.get("K3SFW_OLD_FIREWALLD")

pytestmark = [
    pytest.mark.functional,
    pytest.mark.exhaustive,
    pytest.mark.skipif(not NEWER, reason="a cell of the matrix names another firewalld"),
]

OUTSIDER = HostSpec("out", "plain", 99, firewalld=False)
PEER = HostSpec("a1", "agent", 21, firewalld=False)
WAYS = (
    Way("out", "s1", 6379, is_open=True),
    Way("a1", "s1", 10250, is_open=True),
    Way("out", "s1", 2379, is_open=False),
    Way("a1", "s1", 2379, is_open=False),
    Way("out", "s1", 7001, is_open=False),
)
RETRIES = 8
STATE = "/var/lib/k3sfw"
POLICY = "/etc/firewalld/policies/k3s-rows.xml"
# A port that the operator opens, in both layers.
OPERATORS = "8443/tcp"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The older firewalld and the newer one: their folders."""
    if OLDER:
        return Path(OLDER), Path(NEWER)
    return firewalld_package.of_this_machine(tmp_path_factory.mktemp("own")), Path(NEWER)


@pytest.fixture(scope="module")
def raised():
    with standing("firewalld", (SERVER, PEER, OUTSIDER)) as lab:
        yield lab


@pytest.fixture
def node(raised, packages, pillar):
    """A node with rules, which runs the older firewalld with its own settings."""
    node = TransactionNode(raised.host("s1"))
    node.hosts = raised.hosts
    node.host.stop_firewalld()
    node.run("rm", "-rf", STATE, "/etc/firewalld")
    node.run("mkdir", "-p", "/etc/firewalld/zones", "/etc/firewalld/policies")
    configuration = node.path(f"/{firewalld_package.CONFIGURATION}")
    configuration.write_bytes((packages[0] / firewalld_package.CONFIGURATION).read_bytes())
    firewalld_package.unpack(node.host, *reversed(packages))
    node.host.start_firewalld()
    for option in ((), ("--permanent",)):
        firewall_cmd(node, *option, "--zone=public", f"--add-port={OPERATORS}")
    assert node.call("apply", pillar)["changes"] != {}
    return node


def firewall_cmd(node, *options):
    """What the client says that is installed now, and not one that was loaded before."""
    return node.run("firewall-cmd", *options).strip()


def set_option(node, option):
    """The operator has changed the configuration: a package does not replace it then."""
    file = node.path(f"/{firewalld_package.CONFIGURATION}")
    name = option.partition("=")[0]
    kept = [line for line in file.read_text().splitlines() if not line.startswith(f"{name}=")]
    file.write_text("\n".join([*kept, option]) + "\n")


def assert_whole(node, pillar):
    """Everything is as the tables say, in all layers, and the operator's own is there."""
    for test in (True, False):
        assert node.call("apply", pillar, test=test)["changes"] == {}
    for option in ((), ("--permanent",)):
        assert OPERATORS in firewall_cmd(node, *option, "--zone=public", "--list-ports")
    with watched(node.hosts, WAYS) as packets:
        pass
    assert packets.wrong() == {}


@pytest.mark.parametrize("cleanup", ["yes", "no"])
def test_the_rules_hold_over_the_upgrade_and_over_the_way_back(node, packages, pillar, cleanup):
    """Whether it removes its rules when it ends, ``CleanupOnExit``, is the operator's choice.

    Without that, an older one that starts adds its rules to those that are there: an apply finds
    each of them once more in the kernel.
    """
    if cleanup == "no":
        set_option(node, "CleanupOnExit=no")
        node.host.restart_firewalld()
    old = firewall_cmd(node, "--version")
    replace(node, packages)
    assert firewall_cmd(node, "--version") != old
    if cleanup == "no":
        assert set(node.call("apply", pillar)["changes"]) <= {"kernel"}
    assert_whole(node, pillar)
    replace(node, reversed(packages))
    assert firewall_cmd(node, "--version") == old
    if cleanup == "no":
        assert set(node.call("apply", pillar)["changes"]) <= {"kernel"}
    assert_whole(node, pillar)


def replace(node, packages):
    """Nothing that is allowed is refused, and nothing else gets in, but while it is restarted."""
    with watched(node.hosts, WAYS) as packets:
        firewalld_package.unpack(node.host, *packages)
        stopped = time.time()
        node.host.restart_firewalld()
        running = time.time()
    print(f"restarted in {running - stopped:.1f} s: {packets.wrong()}")
    # A packet that is dropped before is sent again for some seconds.
    assert all(stopped - RETRIES < at < running for at in packets.wrong_at())


def test_an_apply_between_the_new_files_and_the_restart_is_as_any_other(
    node, packages, pillar, new_row
):
    firewalld_package.unpack(node.host, *packages)
    with watched(node.hosts, WAYS) as packets:
        assert node.call("apply", new_row)["changes"] != {}
    assert packets.wrong() == {}
    node.host.restart_firewalld()
    assert node.call("apply", new_row)["changes"] == {}
    node.call("apply", pillar)
    assert_whole(node, pillar)


def test_what_was_broken_off_before_the_upgrade_is_undone_before_the_new_one_reads_it(
    node, packages, pillar, new_row
):
    broken_off(node, pillar, new_row)
    firewalld_package.unpack(node.host, *packages)
    node.host.stop_firewalld()
    # As k3sfw-recover.service does, before firewalld starts.
    node.run(f"{STATE}/program/python", "-I", f"{STATE}/program", STATE, "any", "boot")
    assert not node.path(f"{STATE}/transaction").exists()
    node.host.start_firewalld()
    assert "9100" not in firewall_cmd(node, "--policy=k3s-rows", "--list-rich-rules")
    assert "was undone by the boot" in " ".join(node.call("apply", pillar)["notices"])
    assert_whole(node, pillar)


def test_what_was_broken_off_before_the_upgrade_is_undone_by_the_next_run_too(
    node, packages, pillar, new_row
):
    broken_off(node, pillar, new_row)
    firewalld_package.upgrade(node.host, *packages)
    notices = node.call("apply", pillar)["notices"]
    assert "undone first" in " ".join(notices)
    assert_whole(node, pillar)


def broken_off(node, pillar, new_row):
    """Leave what a run leaves that is killed after it wrote files, and its watchdog with it."""
    steps = node.drive(99, "kill", new_row)["steps"]
    node.call("apply", pillar)
    written = max(at for at, step in enumerate(steps) if step == "put_files")
    command = [sys.executable, str(DRIVER), str(written), "freeze"]
    with node.host.popen(command, stdin=subprocess.PIPE) as run:
        run.stdin.write(json.dumps({"pillar": new_row, "role": "server", "within": 120}))
        run.stdin.close()
        wait_until(lambda: "9100" in node.path(POLICY).read_text(), "no file", timeout=60)
        # As the out-of-memory killer of their control group does.
        watchdogs = [each.pid for each in node.host.processes() if "k3sfw-watchdog" in words(each)]
        assert watchdogs
        for pid in watchdogs:
            os.killpg(os.getpgid(pid), signal.SIGKILL)
        run.kill()
    assert node.path(f"{STATE}/transaction").exists()


def words(process):
    return Path(f"/proc/{process.pid}/cmdline").read_text()


def test_a_change_that_waits_for_confirmation_does_not_outlive_the_restart(
    node, packages, pillar, new_row
):
    node.call("apply", new_row, confirm_within=20)
    assert "9100" in firewall_cmd(node, "--policy=k3s-rows", "--list-rich-rules")
    firewalld_package.upgrade(node.host, *packages)
    assert "9100" not in firewall_cmd(node, "--policy=k3s-rows", "--list-rich-rules")
    (sentence,) = node.try_call("confirm")["refused"]
    assert "not in force" in sentence
    node.wait_until_ended(within=90)
    assert_whole(node, pillar)


def test_damage_is_healed_under_the_new_one(node, packages, pillar):
    firewalld_package.upgrade(node.host, *packages)
    file = node.path("/etc/firewalld/policies/k3s-rows.xml")
    whole = file.read_bytes()
    file.write_text("<")
    assert node.call("heal")["changes"] != {}
    assert file.read_bytes() == whole
    firewall_cmd(node, "--reload")
    wait_until(lambda: firewall_cmd(node, "--state") == "running", "no firewalld", timeout=20)
    assert_whole(node, pillar)
