"""Every message of a check or of heal that prints a fix is typed by a test, or says why it is not.

A message that is new, or a test that goes away, makes this file fail: a printed fix that no test
has typed may cut a node off. ``tests/cluster/packets/checked_routes`` says what the tests prove:
after the command, master, ssh, peers and pods are still reached.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.typed_fixes import commands_of

ENGINE = ROOT / "_utils/k3sfw_engine"
MODULES = (
    "checks/routes/messages.py",
    "checks/routes/pod_messages.py",
    "checks/ports/messages.py",
    "checks/zones/messages.py",
    "checks/zone_of_interface.py",
    "healing/messages.py",
)

ROUTES = "tests/cluster/checks/test_check_routes.py"
ODD = "tests/cluster/checks/test_what_only_looks_wrong.py"
PORTS = "tests/cluster/checks/test_check_ports.py"
WIREGUARD = "tests/cluster/checks/test_wireguard.py"
ZONES = "tests/functional/test_zones_of_others.py"
SSH = "tests/functional/test_fixes_keep_ssh.py"
HEALING = "tests/functional/test_healing.py"
HOST_PORTS = "tests/functional/test_host_ports.py"

# The test that types it: the file, and words of the test or of its case.
TYPED = {
    "uplink_switched_off": (ROUTES, "test_a_node_whose_link_is_down_is_blamed"),
    "bridge_switched_off": (ROUTES, "the bridge of the pods"),
    "own_address_missing": (ODD, "only_its_old_claim_is_refreshed"),
    "no_connected_route": (ROUTES, "the route to the node's own network in IPv6"),
    "refused_by_route": (ROUTES, "a blackhole for a node"),
    "peer_address_is_ours": (ODD, "only_its_old_claim_is_refreshed"),
    "wrong_source": (ROUTES, "a source address in IPv6 that no peer knows"),
    "no_service_route": (ROUTES, "the default route"),
    "node_by_pod_interface": (ROUTES, "a route to a peer by the overlay"),
    "not_by_its_link": (ROUTES, "a detour to a node"),
    "no_way_back": (ROUTES, "a blackhole for a node"),
    "route_discards": (ROUTES, "a blackhole for services"),
    "sysctl_off": (ROUTES, "forwarding"),
    "forwarding_off": (ROUTES, "forwarding for the node's own link"),
    "strict_reverse_path": (ROUTES, "test_k3s_routes_sets_missing_values_once"),
    "mtu_too_large": (ROUTES, "test_a_link_with_a_smaller_mtu_is_found"),
    "mtu_wrong": (ROUTES, "an MTU of the overlay"),
    "path_too_small": (ROUTES, "test_a_link_with_a_smaller_mtu_is_found"),
    "peer_link_too_small": (ROUTES, "test_a_link_with_a_smaller_mtu_is_found"),
    "echo_unreachable": (ROUTES, "test_a_leftover_drop_table_is_blamed"),
    "leftover_drop_table": (ROUTES, "test_a_leftover_drop_table_is_blamed"),
    "ufw_enabled": (ROUTES, "test_an_enabled_ufw_is_one_conflict"),
    "chain_closes": (ODD, "test_dockers_policy_without_flannels_rules"),
    "managed_by_nm": (ROUTES, "test_a_network_manager_that_manages_the_cni"),
    "cloud_setup_enabled": ("tests/functional/test_cloud_setup.py", "the_fix_disables_it"),
    "overlay_link_down": (ROUTES, "the overlay, taken away"),
    "pillar_contradicts_flannel": (ODD, "only_its_old_claim_is_refreshed"),
    "pod_route_missing": (ROUTES, "a blackhole in the place of a route"),
    "pod_route_contested": (ROUTES, "a blackhole for a part of a peer's pods"),
    "no_device_route": (WIREGUARD, "test_routes_into_wireguard_are_judged"),
    "no_gateway_route": (ROUTES, "the overlay, taken away"),
    "no_entry": (ROUTES, "test_a_peer_that_flannel_lost"),
    "all_entries_lost": (ROUTES, "test_a_peer_that_flannel_lost"),
    "entries_not_paired": (ROUTES, "the overlay, taken away"),
    "no_neighbour": (ROUTES, "the overlay, taken away"),
    "wrong_mac": (ROUTES, "a neighbour with the wrong MAC"),
    "frames_to_unknown_node": (ROUTES, "a forwarding entry to a stranger"),
    "no_forwarding_entry": (ROUTES, "a forwarding entry"),
    "wrong_sender": (ROUTES, "a source address of the overlay that no peer knows"),
    "rejected_by_peer": (PORTS, "test_a_lost_rule_is_blamed_on_its_node_and_the_printed"),
    "pods_rejected": (PORTS, "test_a_lost_rule_is_blamed_on_its_node_and_the_printed"),
    "not_in_force": (PORTS, "test_a_lost_rule_is_blamed_on_its_node_and_the_printed"),
    "beyond_the_rows": (PORTS, "test_a_lost_rule_is_blamed_on_its_node_and_the_printed"),
    "pods_in_default_zone": (ZONES, "pods in no zone"),
    "pods_by_address": (ZONES, "pods in the zone of the uplink"),
    "source_accepts_all": (ZONES, "pods as a source of trusted"),
    "source_of_pods": (ZONES, "pods as a source of trusted"),
    "ipset_source_of_pods": (ZONES, "an ipset that matches a node"),
    "source_of_hosts": (SSH, "test_a_source_that_leaves_its_zone"),
    "leftover_interfaces": (ZONES, "many interfaces that pods left"),
    "allowed_by_source": (SSH, "test_a_source_that_leaves_its_zone"),
    "opened_to_more": (ZONES, "ports, a service and rules in a zone"),
    "opened_to_spoofed_pods": (ZONES, "test_what_the_documents_script_opened"),
    "judge_pod_zone": (ZONES, "an uplink in the pods' zone"),
    "judge_open_zone": (SSH, "test_an_uplink_that_leaves_an_open_zone"),
    "left_by_dead_reload": (HEALING, "test_a_host_cut_off_by_a_firewalld_killed_in_a_reload"),
    "started_on_stock_rules": (HEALING, "test_a_firewalld_failed_by_our_file_runs_again"),
    "host_ports_lost": (HOST_PORTS, "test_a_client_reaches_traefik_again_after_the_next_heal"),
    "unreadable": (HEALING, "test_a_damaged_file_of_ours_is_restored"),
}

# Advice in words: which hosts, files or cables are right only the operator knows.
ADVICE = {
    "no_carrier",
    "no_route",
    "back_by_pod_interface",
    "pods_overlap_services",
    "link_overlaps",
    "route_leads_out",
    "by_unknown_neighbour",
    "route_contains",
    "echoes_need_root",
    "echo_refused_by_router",
    "echo_rejected",
    "k3s_not_running",
    "unknown_node_has_pods",
    "nothing_listens",
    "guests_by_source",
    "rejected_on_the_way",
    "rows_of_peer_unknown",
    "no_listener_here",
    "rows_of_other_role_unknown",
    "unknown_drop_table",
    "would_not_load",
    "unreadable_without_copy",
}

# A line for site.sls: it changes no host until the next apply, which is guarded.
SITE = {
    "other_pod_networks",
    "other_service_network",
    "other_backend",
    "moved",
    "tunnel_without_a_row",
    "listens_without_a_row",
    "service_without_a_row",
    "registry_on_agent",
    "no_etcd",
    "plugin_without_a_row",
    "ipvs_without_a_row",
}

# A command that no test types, and why.
NOT_TYPED = {
    "broken_by_packets": "it repeats the fix of the packet, which is one of these messages",
    "echo_not_sent": "it only lists the rules",
    "pod_route_overruled": "it only lists the routing rules",
    "networkd_drops_routes": "it writes a file that networkd reads at its next start",
    "panic_mode": "it lifts what an operator wants, once the reason for it is gone",
    "forgotten_panic": "it lifts what an operator wants, once the reason for it is gone",
    "no_tailnet_route": "there is no tailnet here; K3s sets the same when it starts",
    "only_echoes_pass": "no machine here computes wrong checksums; it only switches an offload off",
    "host_down": "it forgets the key of a machine that has left for good",
    "strict_forward_ports": "firewalld has the setting from 2.3 on",
    "own_rules_are_gone": "firewalld is dead or has no rules; starting it is all that is left",
    "host_ports_stay_lost": "the rules of the host keep changing while they are written",
    "drop_table_stays": "the rules of the host keep changing while it is read",
    "not_tried": "firewalld does not load; its log has to be read first",
    "nothing_of_ours": "firewalld does not load; its log has to be read first",
    "reload_failed": "firewalld does not load; its log has to be read first",
}

# What a healthy host may need: an address, a policy, what others set.
FORBIDDEN = (
    "address del",
    "addr del",
    "link del",
    "rule del",
    "route flush",
    "policy accept",
    "flush",
    "iptables -D",
    "iptables -F",
    "iptables -P",
    "type vxlan",
    "systemctl stop",
    "systemctl mask",
)


def messages():
    """The functions of the messages that give a problem a fix, by their names."""
    found = {}
    for module in MODULES:
        for each in ast.parse((ENGINE / module).read_text()).body:
            if isinstance(each, ast.FunctionDef) and any(map(_has_fix, ast.walk(each))):
                found[each.name] = each
    return found


def _has_fix(node):
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Problem"
        and (len(node.args) > 1 or any(each.arg == "fix" for each in node.keywords))
    )


def test_every_message_with_a_fix_is_typed_or_says_why_not():
    known = [*TYPED, *ADVICE, *SITE, *NOT_TYPED]
    assert sorted(known) == sorted(messages())


@pytest.mark.parametrize("name", TYPED)
def test_the_test_that_types_it_exists(name):
    file, words = TYPED[name]
    assert words in (ROOT / file).read_text()


# What makes a command, as against a route in words.
MAKES_A_COMMAND = {"salt", "run_on", "heal", "refresh_grains", "apply_firewall", "apply_routes"}


@pytest.mark.parametrize("name", sorted(ADVICE | SITE))
def test_advice_and_lines_for_pillar_hide_no_command(name):
    called = {
        getattr(node.func, "id", "")
        for node in ast.walk(messages()[name])
        if isinstance(node, ast.Call)
    }
    assert not called & MAKES_A_COMMAND


def test_no_command_takes_what_a_healthy_host_may_need():
    sources = [*ENGINE.glob("checks/**/*.py"), *ENGINE.glob("healing/*.py")]
    found = {
        (path.name, words)
        for path in sources
        for words in FORBIDDEN
        for text in _texts(path)
        if words in text
    }
    assert found == set()


def _texts(path: Path):
    """The texts of a file that are not documentation."""
    tree = ast.parse(path.read_text())
    documentation = {
        id(each.value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        for each in node.body
        if isinstance(each, ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documentation
    ]


@pytest.mark.parametrize(
    ("problem", "commands"),
    [
        ("a. Fix: salt s1 cmd.run 'ip a && ip b'", [("s1", "cmd.run", "ip a && ip b")]),
        (
            "a. Fix: correct it; until then: salt 's 1' k3sfw.heal if its minion answers",
            [("s 1", "k3sfw.heal")],
        ),
        (
            "a. Fix: salt s1 state.apply k3s.routes && salt s2 cmd.run 'x'\"'\"'y', then reboot",
            [("s1", "state.apply", "k3s.routes"), ("s2", "cmd.run", "x'y")],
        ),
        (
            "link_down link -> s1: eth0 is off. Fix: ip link set eth0 up, on the node itself",
            [("s1", "cmd.run", "ip link set eth0 up")],
        ),
        ("a; see salt s1 k3sfw.check_ports", []),
    ],
)
def test_commands_are_found_as_an_operator_reads_them(problem, commands):
    assert commands_of(problem) == commands
