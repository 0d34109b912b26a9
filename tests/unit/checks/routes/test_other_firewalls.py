"""What else filters packets on this host is named, and opened without taking more."""

from __future__ import annotations

import pytest

from k3sfw_engine.checks.routes.route_check import judge_routes
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.host_facts import BaseChain
from tests.unit.checks.routes.node_situations import drop, host, only, problems, situation, zones


def test_a_left_over_drop_table_is_deleted():
    left = drop("filter_input", "filter_forward", "filter_output")
    check = only(situation(host=host(chains=left)))
    assert check.status is Status.LOCAL_BLOCK
    assert check.hint == "salt s1 cmd.run 'nft delete table inet firewalld_policy_drop'"


def test_panic_mode_is_not_lifted_by_deleting_its_table():
    check = only(situation(host=host(chains=drop("raw_prerouting", "raw_output"))))
    assert check.hint == (
        "salt s1 cmd.run 'firewall-cmd --panic-off', once the reason for it is gone"
    )


@pytest.mark.parametrize(
    ("changes", "description", "words"),
    [
        ({"ufw": True}, "other firewalls", "ufw is enabled"),
        ({"chains": drop("INPUT_input", table="ip filter")}, "other firewalls", "table ip filter"),
        ({"managed": ("cni0", "flannel.1")}, "NetworkManager", "manages cni0, flannel.1"),
        ({"cloud_setup": True}, "nm-cloud-setup", "routing rules take precedence"),
    ],
)
def test_anything_else_that_filters_packets_is_a_conflict(changes, description, words):
    check = only(situation(host=host(**changes)))
    assert (check.status, check.description) == (Status.CONFLICT, description)
    assert words in check.evidence


def test_a_policy_of_iptables_is_opened_without_taking_what_kubernetes_has_in_its_table():
    chain = BaseChain("ip6 filter", "FORWARD", "forward", "drop")
    check = only(situation(host=host(chains=(chain,))))
    opened = 'nft "add chain ip6 filter FORWARD { policy accept; }"'
    assert check.hint == f"salt s1 cmd.run '{opened}'"
    check = only(situation(host=host(chains=drop("f_forward", table="inet theirs"))))
    assert "move its rules to firewalld, then salt s1 cmd.run 'nft delete table" in check.hint


def test_ufw_and_its_chains_are_one_conflict():
    chains = drop("INPUT_input", "FORWARD_forward", table="ip filter")
    check = only(situation(host=host(ufw=True, chains=chains)))
    assert check.hint == "salt s1 cmd.run 'ufw disable'"


def test_tables_that_drop_nothing_are_no_other_firewalls():
    chains = (
        BaseChain("ip filter", "INPUT", "input", "accept"),
        BaseChain("ip mangle", "KUBE", "postrouting", "drop"),
        BaseChain("inet firewalld", "filter_INPUT", "input", "accept"),
    )
    assert problems(situation(host=host(chains=chains))) == []


def zone_checks(found, at=None):
    return [c for c in judge_routes(at or situation(), {}, found) if c.description == "zone"]


def test_a_node_link_in_a_zone_of_the_operators_is_fine():
    (check,) = zone_checks(zones())
    assert (check.status, check.evidence) == (Status.OK, "eth0 is in zone public")


def test_a_node_link_in_the_zone_of_pods_is_exposed():
    (check,) = zone_checks(zones(k3s={}))
    assert (check.status, check.fix) == (Status.EXPOSED, "salt s1 state.apply k3s.firewall")


def test_a_node_link_in_a_zone_that_accepts_everything_is_exposed():
    (check,) = zone_checks(zones(trusted={"target": "ACCEPT"}))
    assert (check.status, check.fix) == (
        Status.EXPOSED,
        "salt s1 cmd.run 'firewall-cmd --zone=public --change-interface=eth0 && firewall-cmd "
        "--permanent --zone=public --change-interface=eth0'",
    )


def test_what_could_not_be_read_is_unproven_with_its_fix():
    unread = Problem("firewalld is not running", "systemctl enable --now firewalld")
    check = only(situation(host=host(unread=(unread,))))
    assert (check.status, check.problem) == (Status.UNPROVEN, unread)
