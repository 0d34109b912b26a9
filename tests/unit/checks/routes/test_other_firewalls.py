"""What else filters packets on this host is named, and opened without taking more."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from k3sfw_engine.checks.routes.route_check import judge_routes
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.errors import Problem
from k3sfw_engine.host.filter_chains import parse_iptables_filter, parse_nft_filter
from k3sfw_engine.model.filter_chains import chain_end
from k3sfw_engine.model.host_facts import BaseChain
from tests.unit.checks.routes.node_situations import (
    IPV4,
    drop,
    host,
    network,
    only,
    problems,
    route,
    situation,
    with_routes,
    zones,
)


def test_a_left_over_drop_table_is_healed():
    left = drop("filter_input", "filter_forward", "filter_output")
    check = only(situation(host=host(chains=left)))
    assert check.status is Status.LOCAL_BLOCK
    assert check.hint == "salt s1 k3sfw.heal"


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


FLANNEL = """
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-USER - [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-USER -j RETURN
-A FLANNEL-FWD -s 10.42.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.42.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
"""
ACCEPT_PODS = "iptables -I FORWARD -s 10.42.0.0/16 -j ACCEPT && iptables -I FORWARD -d 10.42.0.0/16"


def chains(saved, table="ip filter", policy="accept"):
    """The base chains of iptables with these rules."""
    rules = parse_iptables_filter(saved)
    hooks = {"INPUT": "input", "FORWARD": "forward", "OUTPUT": "output"}
    return tuple(
        BaseChain(table, name, hook, policy, chain_end(rules, name)) for name, hook in hooks.items()
    )


def test_dockers_policy_with_flannels_rules_before_it_is_fine():
    forward = replace(chains(FLANNEL)[1], policy="drop")
    assert problems(situation(host=host(chains=(forward,)))) == []


@pytest.mark.parametrize(
    "saved",
    [
        # As docker leaves it where flannel's rules are lost.
        FLANNEL.replace("-A FLANNEL-FWD -s", "-A DOCKER-USER -s"),
        # flannel appends its jump: behind a rule that rejects everything it is never reached.
        FLANNEL.replace("-A FORWARD -j DOCKER-USER", "-A FORWARD -j REJECT --reject-with x"),
        # Some pods only.
        FLANNEL.replace("10.42.0.0/16", "10.42.1.0/24"),
    ],
)
def test_a_forward_chain_that_drops_pods_is_opened_for_pods_and_for_nothing_else(saved):
    saved = saved.replace("-A DOCKER-USER -j RETURN\n", "") if "DOCKER-USER -s" in saved else saved
    saved = saved.replace("-A DOCKER-USER -s 10.42.0.0/16", "-A DOCKER-USER -s 10.9.0.0/16")
    forward = replace(chains(saved)[1], policy="drop")
    check = only(situation(host=host(chains=(forward,))))
    assert check.status is Status.CONFLICT
    assert f"until then: salt s1 cmd.run '{ACCEPT_PODS} -j ACCEPT'" in check.hint
    assert "policy accept" not in check.hint


def test_the_forward_chain_of_another_plugin_is_its_own_affair():
    chain = BaseChain("ip filter", "FORWARD", "forward", "drop")
    assert problems(situation(host=host(chains=(chain,)), flannel_backend="none")) == []


def test_a_family_without_pods_is_not_forwarded():
    chain = BaseChain("ip6 filter", "FORWARD", "forward", "drop")
    assert problems(situation(host=host(chains=(chain,)), **IPV4)) == []


ORACLE = """
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
"""
CSF = """
:INPUT ACCEPT [0:0]
:LOCALINPUT - [0:0]
:LOGDROPIN - [0:0]
-A INPUT ! -i lo -j LOCALINPUT
-A INPUT -i lo -j ACCEPT
-A INPUT ! -i lo -g LOGDROPIN
-A LOCALINPUT -s 192.0.2.9/32 ! -i lo -j ACCEPT
-A LOGDROPIN -p tcp -m tcp --dport 67 -j DROP
-A LOGDROPIN -p tcp -m limit --limit 30/min -j LOG --log-prefix "Firewall: *TCP_IN Blocked* "
-A LOGDROPIN -j DROP
"""


@pytest.mark.parametrize(("saved", "closed"), [(ORACLE, ["FORWARD", "INPUT"]), (CSF, ["INPUT"])])
def test_a_chain_whose_last_rule_rejects_is_found_with_the_file_that_holds_it(saved, closed):
    file = "/etc/iptables/rules.v4 (netfilter-persistent.service)"
    at = situation(host=host(chains=chains(saved), rule_files=(file,)))
    found = [c for c in judge_routes(at, {}) if c.status is not Status.OK]
    assert {c.status for c in found} == {Status.CONFLICT}
    assert sorted(c.evidence.split()[5] for c in found) == closed
    for check in found:
        assert "by its last rule" in check.evidence
        assert check.hint.startswith(f"allow in {file} what the rows allow, or ")
        assert " -D " not in check.hint and "delete" not in check.hint


@pytest.mark.parametrize(
    "rule",
    [
        "! -s 192.0.2.0/24 -j DROP",
        "-m set --match-set blocked src -j DROP",
        '-p tcp -m comment --comment "-j DROP" -j ACCEPT',
        "-s 192.0.2.0/24 -j DROP",
        "-j NOWHERE",
        "-j LOOP",
        "-s nonsense -j",
        "",
    ],
)
def test_a_rule_for_some_packets_does_not_close_a_chain(rule):
    saved = f":INPUT ACCEPT [0:0]\n-A INPUT {rule}\n-A LOOP -j LOOP\n"
    assert problems(situation(host=host(chains=chains(saved)[:1]))) == []


def test_a_set_of_nftables_is_not_every_source():
    match = {
        "op": "==",
        "left": {"payload": {"protocol": "ip", "field": "saddr"}},
        "right": "@blocked",
    }
    listing = {"rule": {"chain": "in", "expr": [{"match": match}, {"drop": None}]}}
    rules = parse_nft_filter(json.dumps({"nftables": [listing]}))
    assert chain_end(rules, "in").verdict == ""


def test_a_table_of_nftables_that_rejects_at_its_end_is_found_too():
    def rule(*expressions):
        return {"rule": {"chain": "in", "expr": expressions}}

    match = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "established"}}
    listing = [
        {"chain": {"name": "in", "hook": "input"}},
        rule(match, {"accept": None}),
        rule({"counter": {"packets": 1, "bytes": 1}}, {"reject": {"type": "icmpx"}}),
    ]
    end = chain_end(parse_nft_filter(json.dumps({"nftables": listing})), "in")
    chain = BaseChain("inet site", "in", "input", "accept", end)
    assert "by its last rule" in only(situation(host=host(chains=(chain,)))).evidence
    end = chain_end(parse_nft_filter(json.dumps({"nftables": listing[:2]})), "in")
    assert problems(situation(host=host(chains=(replace(chain, end=end),)))) == []


def test_a_file_that_wins_over_ours_is_named():
    override = "/etc/NetworkManager/conf.d/zzz.conf"
    check = only(situation(host=host(managed=("cni0",), nm_override=override)))
    assert override in check.evidence and override in check.hint
    assert check.sls == ""


def test_networkd_concerns_routes_by_the_nodes_own_link_only():
    at = situation(host=host(networkd=True))
    assert problems(at) == []
    direct = with_routes(network(), route("10.42.9.0/24", "eth0", "192.0.2.12"))
    found = [
        c
        for c in judge_routes(situation(direct, host=host(networkd=True)), {})
        if c.description == "systemd-networkd"
    ]
    assert [(c.status, c.fix) for c in found] == [
        (Status.CONFLICT, "salt s1 state.apply k3s.routes")
    ]


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
    unread = Problem("firewalld is not running", "salt MINION state.apply k3s.firewall")
    check = only(situation(host=host(unread=(unread,))))
    assert (check.status, check.problem) == (Status.UNPROVEN, unread)
