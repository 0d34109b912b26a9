"""Drift in any layer is found, reported and repaired, even in the kernel, unseen by firewalld."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import daemons
from lab.wait import wait_until
from tests.selection import exhaustive


def runtime_rule_removed(node):
    rule = 'rule family="ipv4" port port="6379" protocol="tcp" accept'
    node.firewall_cmd("--policy=k3s-rows", f"--remove-rich-rule={rule}")


def runtime_rule_added(node):
    rule = 'rule family="ipv4" port port="2379" protocol="tcp" accept'
    node.firewall_cmd("--policy=k3s-rows", f"--add-rich-rule={rule}")


def runtime_port_added(node):
    node.firewall_cmd("--policy=k3s-rows", "--add-port=2379/tcp")


def runtime_interface_moved(node):
    node.firewall_cmd("--zone=k3s", "--remove-interface=cni0")


def runtime_entry_lost(node):
    node.firewall_cmd("--ipset=k3s-node-4", "--remove-entry=192.0.2.21")


def runtime_entry_added(node):
    node.firewall_cmd("--ipset=k3s-server-4", "--add-entry=192.0.2.21")


def permanent_file_deleted(node):
    node.path("/etc/firewalld/policies/k3s-rows.xml").unlink()


def permanent_file_truncated(node):
    node.path("/etc/firewalld/ipsets/k3s-node-4.xml").write_bytes(b"")


def permanent_file_edited(node):
    file = node.path("/etc/firewalld/policies/k3s-rows.xml")
    file.write_text(file.read_text().replace('port="2379-2380"', 'port="2379"'))


def permanent_target_changed(node):
    node.firewall_cmd("--permanent", "--policy=k3s-rows", "--set-target=ACCEPT")


def permanent_target_changed_and_loaded(node):
    permanent_target_changed(node)
    node.firewall_cmd("--reload")


def permanent_object_deleted_and_loaded(node):
    node.firewall_cmd("--permanent", "--delete-policy=k3s-pods-to-any")
    node.firewall_cmd("--reload")


def kernel_element_lost(node):
    node.nft("delete", "element", "inet", "firewalld", "k3s-node-4", "{ 192.0.2.21 }")


def kernel_element_added(node):
    node.nft("add", "element", "inet", "firewalld", "k3s-server-4", "{ 192.0.2.21 }")


def kernel_rule_lost(node):
    ((chain, handle),) = node.rule_handles("accept", "ip saddr @k3s-server-4 tcp dport 2379-2380")
    node.nft("delete", "rule", "inet", "firewalld", chain, "handle", handle)


def kernel_rule_added(node):
    chain = "filter_IN_policy_k3s-rows_allow"
    node.nft("add", "rule", "inet", "firewalld", chain, "tcp", "dport", "2379", "accept")


def kernel_jump_lost(node):
    # Which chains jump to those of a policy depends on the version of firewalld.
    for chain, handle in node.rule_handles("jump filter_IN_policy_k3s-rows"):
        node.nft("delete", "rule", "inet", "firewalld", chain, "handle", handle)


def kernel_flushed(node):
    node.nft("flush", "ruleset")


def kernel_rules_twice(node):
    node.signal_firewalld(signal.SIGKILL)
    wait_until(lambda: "firewalld" not in node.host.daemons(), "firewalld does not end", timeout=10)
    node.host.start_firewalld()
    if len(node.rule_handles("accept", "ip saddr @k3s-server-4 tcp dport 2379-2380")) == 1:
        pytest.skip("this firewalld removes what one that was killed left")


@pytest.mark.parametrize(
    ("drift", "layer"),
    [
        (runtime_rule_removed, "runtime"),
        exhaustive(runtime_rule_added, "runtime"),
        exhaustive(runtime_port_added, "runtime"),
        exhaustive(runtime_interface_moved, "runtime"),
        exhaustive(runtime_entry_lost, "runtime"),
        (runtime_entry_added, "runtime"),
        exhaustive(permanent_file_deleted, "permanent"),
        exhaustive(permanent_file_truncated, "permanent"),
        exhaustive(permanent_file_edited, "permanent"),
        exhaustive(permanent_target_changed, "permanent"),
        (permanent_target_changed_and_loaded, "runtime"),
        exhaustive(permanent_object_deleted_and_loaded, "runtime"),
        (kernel_element_lost, "kernel"),
        exhaustive(kernel_element_added, "kernel"),
        (kernel_rule_lost, "kernel"),
        exhaustive(kernel_rule_added, "kernel"),
        exhaustive(kernel_jump_lost, "kernel"),
        (kernel_flushed, "kernel"),
        (kernel_rules_twice, "kernel"),
    ],
)
def test_drift_is_seen_in_its_layer_and_fixed(node, pillar, drift, layer):
    node.call("apply", pillar)
    drift(node)
    seen = node.call("compare", pillar)
    assert layer in seen["changes"]
    assert node.call("check_ports", pillar)["status"] == "FAIL"
    with node.reload_counter() as reloads:
        assert node.call("apply", pillar)["changes"] == seen["changes"]
        # Only a kernel that lost more than addresses, and settings that firewalld cannot
        # change at runtime, need a reload.
        expected = drift.__name__.endswith("_loaded") or (
            layer == "kernel" and "element" not in drift.__name__
        )
        assert reloads.count() == expected
    assert node.call("compare", pillar)["changes"] == {}
    node.firewall_cmd("--reload")
    assert node.call("compare", pillar)["changes"] == {}


def test_a_firewalld_that_still_starts_has_not_lost_its_rules(node, pillar):
    node.call("apply", pillar)
    _freeze_while_it_starts(node)
    with ThreadPoolExecutor() as beside:
        seen = beside.submit(node.call, "compare", pillar)
        time.sleep(1)
        node.signal_firewalld(signal.SIGCONT)
        assert seen.result()["changes"] == {}


def _freeze_while_it_starts(node):
    """Stop a firewalld that is on the bus and has no rules in the kernel yet."""
    for _try in range(10):
        node.host.stop_firewalld()
        node.host.spawn(["firewalld", "--nofork", "--nopid"], "/var/log/firewalld.out")
        wait_until(
            lambda: daemons.firewalld_is_on_bus(node.host),
            "firewalld is not on the bus",
            timeout=20,
            every=0.005,
        )
        node.freeze_firewalld()
        if not node.run("nft", "list", "tables"):
            return
        node.signal_firewalld(signal.SIGCONT)
    pytest.skip("this firewalld has its rules as soon as it is on the bus")


def test_check_ports_names_the_listener_and_what_has_none(node, pillar):
    node.call("apply", pillar)
    server = node.host.popen(["python3", "-m", "http.server", "6379"])
    try:
        node.run("sh", "-c", "until ss -ltn | grep -q :6379; do sleep 0.05; done")
        report = node.call("check_ports", pillar)
    finally:
        server.kill()
        server.wait()
    by_port = {check["port"]: check for check in report["checks"]}
    assert report["status"] == "WARN"
    assert by_port["6379"]["status"] == "ok"
    assert "python3 on 6379" in by_port["6379"]["evidence"]
    assert by_port["2379-2380"]["status"] == "no_listener"
    assert by_port[""]["status"] == "ok"
