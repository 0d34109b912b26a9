"""A node on another distribution: from the first start of its firewalld to the removal.

Only ``make matrix`` runs it: it makes the root that ``K3SFW_ROOT`` names.
"""

import os

import pytest

from tests.compatibility.distribution_node import OUTSIDE, PEER, standing

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif("K3SFW_ROOT" not in os.environ, reason="only make matrix has the roots"),
]

# Where no program listens the kernel resets the connection: the packet passed the firewall.
PASSED = "ECONNREFUSED"
REJECTED = "EHOSTUNREACH"
# A row for nodes, and a port that no row names.
KUBELET, UNNAMED = 10250, 7001
# A route to pods of the peer, as flannel's backend host-gw makes it.
FOREIGN = ("10.42.1.0/24", "via", PEER, "dev", "eth0")


@pytest.fixture(scope="module")
def new():
    with standing() as node:
        node.predicted = node.apply("test=True")
        node.first = node.apply()
        yield node


@pytest.fixture
def node(new):
    """The node with all rules in force."""
    new.apply()
    return new


def changed(states):
    return {name for name, state in states.items() if state["changes"]}


def failed(states):
    return {name: state["comment"] for name, state in states.items() if state["result"] is False}


def test_a_first_apply_starts_firewalld_with_the_rules(new):
    assert failed(new.predicted) == failed(new.first) == {}
    assert new.run("systemctl", "is-active", "firewalld") == "active\n"
    assert new.run("systemctl", "is-enabled", "firewalld") == "enabled\n"
    assert "k3s-rows" in new.run("firewall-cmd", "--get-policies")
    assert new.call("k3sfw.status")["in_step"]


def test_the_dry_run_predicts_what_the_first_apply_changes(new):
    # Whether the package or the next state starts the service is the distribution's.
    service = {"k3s_firewalld_service"}
    assert changed(new.predicted) - service == changed(new.first) - service


def test_a_second_apply_changes_nothing(node):
    before = node.kernel_rules()
    for arguments in ((), ("test=True",)):
        states = node.apply(*arguments)
        assert (failed(states), changed(states)) == ({}, set())
    assert node.kernel_rules() == before


def test_a_peer_passes_and_a_host_outside_does_not(node):
    assert node.answers(PEER, KUBELET) == PASSED
    assert node.answers(OUTSIDE, KUBELET) == REJECTED
    assert node.answers(PEER, UNNAMED) == REJECTED


def test_drift_is_predicted_and_corrected(node):
    before = node.run("firewall-cmd", "--info-policy=k3s-rows")
    rule = next(line.strip() for line in before.splitlines() if "10250" in line)
    node.run("firewall-cmd", "--policy=k3s-rows", f"--remove-rich-rule={rule}")
    assert node.answers(PEER, KUBELET) == REJECTED
    predicted = node.apply("test=True")
    assert node.answers(PEER, KUBELET) == REJECTED
    corrected = node.apply()
    assert changed(predicted) == changed(corrected) == {"k3s_firewall"}
    assert predicted["k3s_firewall"]["changes"] == corrected["k3s_firewall"]["changes"]
    assert node.answers(PEER, KUBELET) == PASSED


def test_the_checks_can_read_all_of_the_system(node):
    assert node.call("k3sfw.check_zones")["status"] == "OK"
    for check in ("check_routes", "check_ports"):
        # K3s and the peer's programs are missing here, and are reported.
        assert node.call(f"k3sfw.{check}")["status"] in ("OK", "WARN", "FAIL")


def test_the_rules_are_there_after_a_reboot(node):
    node.reboot()
    node.run("firewall-cmd", "--state")
    assert node.answers(PEER, KUBELET) == PASSED
    assert node.answers(OUTSIDE, KUBELET) == REJECTED
    states = node.apply()
    assert (failed(states), changed(states)) == ({}, set())


def test_networkd_leaves_a_foreign_route_alone_once_the_state_was_applied(node):
    start_networkd(node)
    states = node.states("k3s.routes")
    assert states["k3s_networkd"]["result"] is True
    # It reads its settings when it starts.
    restart_networkd(node)
    node.run("ip", "route", "add", *FOREIGN)
    restart_networkd(node)
    assert PEER in node.run("ip", "route", "show", FOREIGN[0])


def start_networkd(node):
    """Let networkd manage eth0 with the addresses that it has; the lab has masked it."""
    lines = ["[Match]", "Name=eth0", "[Network]", "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
    lines += [f"Address={address}" for address in node.host.spec.all_cards[0].addresses]
    node.host.path("/etc/systemd/network").mkdir(exist_ok=True)
    node.host.path("/etc/systemd/network/eth0.network").write_text("\n".join(lines) + "\n")
    node.run("rm", "/etc/systemd/system/systemd-networkd.service")
    node.run("systemctl", "daemon-reload")
    # That of systemd 252 cannot take over the IPv4 address of the lab, which has no broadcast.
    node.run("ip", "address", "flush", "dev", "eth0")
    restart_networkd(node)


def restart_networkd(node):
    """Restart it and wait until it has configured eth0."""
    node.run("systemctl", "stop", "systemd-networkd")
    # What it says of the link outlives it.
    node.run("sh", "-c", "rm -f /run/systemd/netif/links/*")
    node.run("systemctl", "start", "systemd-networkd")
    node.run("/usr/lib/systemd/systemd-networkd-wait-online", "--interface=eth0", "--timeout=30")


def test_a_removal_leaves_nothing_behind(node):
    assert failed(node.states("k3s.remove")) == {}
    assert "k3s" not in node.kernel_rules()
    for folder in ("/etc/firewalld", "/etc/systemd", "/var/lib", "/etc/sysctl.d"):
        found = node.run("find", folder, "-path", "*k3s*", "-not", "-path", "*rancher*")
        left = [file for file in found.splitlines() if "/k3s.service" not in file]
        assert left == [], folder
    assert node.answers(PEER, KUBELET) == REJECTED
