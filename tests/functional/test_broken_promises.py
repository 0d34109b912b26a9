"""A change of the tables that breaks a promise is refused on a real host, with nothing touched."""

from __future__ import annotations

import copy
import json

import pytest

from k3sfw_engine.model.tables_digest import digest_of_rules, digest_of_tree
from lab.spec import HostSpec
from tests.functional.hosts import SERVER, Node, standing

AGENT = HostSpec("a1", "agent", 21)

ETCD = {
    "from": "anyone",
    "except": ["server", "pods", "services"],
    "to": "server",
    "deny": "tcp/2379-2380",
}
KEPT = "/var/lib/k3sfw/tables.json"


@pytest.fixture(scope="module")
def raised():
    with standing("prom", (SERVER, AGENT)) as lab:
        yield lab


@pytest.fixture
def shared(raised):
    """The host of the module without anything of k3sfw."""
    node = Node(raised.host("s1"))
    node.call("remove")
    assert not node.path(KEPT).exists()
    return node


@pytest.fixture
def promised(pillar):
    return {**pillar, "tests": {"etcd": ETCD}}


def broken(pillar, source="any"):
    tree = copy.deepcopy(pillar)
    tree["ports"]["cluster"]["etcd"]["source"] = source
    return tree


def test_a_node_that_has_nothing_in_force_is_told_and_not_refused(shared, promised):
    predicted = shared.call("apply", broken(promised), test=True)
    outcome = shared.call("apply", broken(promised))
    assert outcome == predicted and outcome["changes"]
    (sentence,) = (each for each in outcome["notices"] if each.startswith("test etcd"))
    assert (
        "192.0.2.21 (a1) would reach tcp/2379-2380 of s1, s2 by row etcd (source any)" in sentence
    )
    assert shared.path(KEPT).exists()


def test_a_first_start_of_firewalld_is_never_refused_by_a_promise(shared, promised):
    starting = {"masters": ["192.0.2.10"], "master_ports": [4505, 4506]}
    shared.host.stop_firewalld()
    try:
        predicted = shared.call("prepare", broken(promised), test=True, **starting)
        outcome = shared.call("prepare", broken(promised), **starting)
        assert outcome == predicted and outcome["changes"]
        assert "would reach tcp/2379-2380 of s1, s2" in " ".join(outcome["notices"])
    finally:
        shared.host.start_firewalld()
    assert shared.call("apply", broken(promised))["changes"] == {}


def test_a_node_that_gets_another_role_is_told_and_not_refused(shared, promised):
    """The row of agents that breaks the promise is not in the pillar of a server."""
    promised["tests"]["x"] = {"from": "198.51.100.0/24", "to": "any", "deny": "tcp/9999"}
    shared.call("apply", promised)
    row = {"protocol": "tcp", "port": 9999, "source": "198.51.100.0/24", "destination": "agent"}
    promised["ports"]["cluster"]["x"] = row
    promised["nodes"]["s1"] = {**promised["nodes"]["s1"], "role": "agent"}
    outcome = shared.call("apply", promised, role="agent")
    assert outcome["changes"]
    assert "198.51.100.0/24 would reach tcp/9999" in " ".join(outcome["notices"])
    assert shared.call("apply", promised, role="agent")["changes"] == {}


def test_a_change_that_breaks_a_promise_is_refused_and_the_rules_stay(shared, promised):
    shared.call("apply", promised)
    before = shared.everything()
    predicted = shared.try_call("apply", broken(promised), test=True)
    (sentence,) = predicted["refused"]
    assert "k3s:ports:cluster:etcd:source" in sentence
    assert "set k3s:firewall:allow_broken_tests: true for this one apply" in sentence
    assert shared.try_call("apply", broken(promised)) == predicted
    assert shared.everything() == before


def test_one_apply_may_break_a_promise_if_the_pillar_allows_it(shared, promised):
    shared.call("apply", promised)
    allowed = {**broken(promised), "firewall": {"allow_broken_tests": True}}
    outcome = shared.call("apply", allowed)
    assert outcome["changes"]
    assert any("k3s:firewall:allow_broken_tests allows it" in each for each in outcome["notices"])


def test_a_promise_that_was_broken_before_is_told_and_refuses_nothing(shared, pillar, promised):
    shared.call("apply", broken(pillar))
    told = shared.call("apply", broken(promised))
    assert told["changes"] == {}
    assert "would reach tcp/2379-2380" in " ".join(told["notices"])
    more = broken(promised)
    more["ports"]["manager"]["loki"] = {"protocol": "tcp", "port": 3100}
    outcome = shared.call("apply", more)
    assert outcome["changes"] and "would reach tcp/2379-2380" in " ".join(outcome["notices"])


def test_rules_that_went_missing_come_back_although_a_promise_is_broken(shared, pillar, promised):
    shared.call("apply", broken(pillar))
    shared.firewall_cmd("--policy=k3s-rows", "--remove-rich-rule", etcd_rule(shared))
    assert shared.call("apply", broken(promised))["changes"]
    assert etcd_rule(shared)


def etcd_rule(node):
    rules = node.firewall_cmd("--policy=k3s-rows", "--list-rich-rules").splitlines()
    return next(rule for rule in rules if "2379-2380" in rule)


def test_a_node_that_joins_or_leaves_is_never_refused(shared, promised):
    # Any row for nodes breaks this promise as soon as a node has such an address.
    test = {"from": "192.0.2.64/26", "to": "any", "deny": "tcp/10250"}
    promised["tests"]["kubelet"] = test
    shared.call("apply", promised)
    joined = copy.deepcopy(promised)
    joined["nodes"]["a2"] = {"role": "agent", "addresses": ["192.0.2.70"]}
    outcome = shared.call("apply", joined)
    assert outcome["changes"]
    assert "192.0.2.70 (a2) would reach tcp/10250" in " ".join(outcome["notices"])
    assert shared.call("apply", promised)["changes"]


def test_while_a_change_is_refused_nodes_still_join_and_leave(shared, promised):
    shared.call("apply", promised)
    later = broken(promised)
    del later["nodes"]["s2"]
    later["nodes"]["a2"] = {"role": "agent", "addresses": ["192.0.2.22"]}
    before = shared.everything()
    predicted = shared.try_call("apply", later, test=True)["refused"]
    assert shared.everything() == before
    refused = shared.try_call("apply", later)["refused"]
    assert refused[:1] == predicted[:1] and "would reach tcp/2379-2380" in refused[0]
    assert predicted[1].startswith("the last proven tables stay in force, with the nodes of today")
    found = shared.call("in_force", full=True)
    assert found["tables"]["ports"]["cluster"]["etcd"]["source"] == ["server"]
    assert set(found["tables"]["nodes"]) == {"s1", "a1", "a2"}
    assert found["ipsets"]["k3s-server-4"] == ["192.0.2.11"]
    assert "192.0.2.22" in found["ipsets"]["k3s-node-4"]
    before = shared.everything()
    assert len(shared.try_call("apply", later)["refused"]) == 1
    assert shared.everything() == before


def test_a_refused_change_that_is_to_be_confirmed_follows_no_nodes(shared, promised):
    shared.call("apply", promised)
    before = shared.everything()
    later = broken(promised)
    del later["nodes"]["s2"]
    assert len(shared.try_call("apply", later, confirm_within=600)["refused"]) == 1
    assert shared.everything() == before


def test_a_group_that_is_widened_against_a_promise_is_refused(shared, promised):
    promised["groups"] = {"backup": ["198.51.100.0/28"]}
    promised["ports"]["cluster"]["etcd"]["source"] = ["server", "backup"]
    promised["tests"]["etcd"]["except"] = [*ETCD["except"], "198.51.100.0/28"]
    shared.call("apply", promised)
    wider = copy.deepcopy(promised)
    wider["groups"]["backup"] = ["198.51.100.0/27"]
    (sentence,) = shared.try_call("apply", wider)["refused"]
    assert "198.51.100.16/28 would reach tcp/2379-2380" in sentence


def test_a_promise_of_severity_warn_is_told_alone(shared, promised):
    promised["tests"]["etcd"] = {**ETCD, "severity": "warn"}
    shared.call("apply", {**promised, "tests": {}})
    outcome = shared.call("apply", broken(promised))
    assert outcome["changes"] and "would reach" in " ".join(outcome["notices"])


def test_without_kept_tables_a_change_is_compared_with_the_rules_in_force(shared, pillar, promised):
    shared.call("apply", broken(pillar))
    shared.path(KEPT).unlink()
    outcome = shared.call(
        "apply", broken(promised, source=["any", "203.0.113.0/24"]) | {"tests": {}}
    )
    assert outcome["changes"]
    shared.path(KEPT).unlink()
    (sentence,) = shared.try_call("apply", broken(promised, source="clients"))["refused"]
    assert "except" not in sentence.split(" would ")[0]


def test_proven_tables_are_kept_and_shown_with_the_rules_in_force(shared, promised):
    assert shared.call("in_force") == {
        "digest": "",
        "tables": {},
        "rules": [],
        "ipsets": {},
    }
    shared.call("apply", promised)
    first = shared.path(KEPT).stat().st_mtime_ns
    shared.call("apply", promised)
    assert shared.path(KEPT).stat().st_mtime_ns == first
    assert shared.path(KEPT).stat().st_mode & 0o777 == 0o600
    found = shared.call("in_force", full=True)
    assert found["tables"]["ports"]["cluster"]["etcd"]["source"] == ["server"]
    assert found["digest"] == json.loads(shared.path(KEPT).read_text())["digest"]
    assert found["ipsets"]["k3s-server-4"] == ["192.0.2.11", "192.0.2.12"]
    assert etcd_rule(shared) in found["rules"]
    digests = shared.call("in_force")["ipsets"]
    assert set(digests) == set(found["ipsets"])
    assert all(isinstance(each, str) for each in digests.values())
    assert shared.call("in_force", digests=True) == {
        "digest": found["digest"],
        "kept": digest_of_tree(found["tables"]),
        "in_force": digest_of_rules(
            found["rules"], found["ipsets"], bool(found["zone_interfaces"])
        ),
    }


def test_tables_are_not_kept_before_they_are_confirmed(shared, promised, new_row):
    shared.call("apply", promised)
    before = shared.path(KEPT).read_text()
    shared.call("apply", {**new_row, "tests": promised["tests"]}, confirm_within=600)
    assert shared.path(KEPT).read_text() == before
    shared.call("rollback")
    assert shared.path(KEPT).read_text() == before


def test_tables_are_kept_as_soon_as_they_are_confirmed(shared, promised):
    """Later changes are compared with them: what was allowed once and confirmed stays so."""
    shared.call("apply", promised)
    allowed = {**broken(promised), "firewall": {"allow_broken_tests": True}}
    shared.call("apply", allowed, confirm_within=600)
    shared.call("confirm")
    assert shared.call("in_force")["tables"]["ports"]["cluster"]["etcd"]["source"] == ["any"]
    more = broken(promised)
    more["ports"]["manager"]["loki"] = {"protocol": "tcp", "port": 3100}
    assert shared.call("apply", more)["changes"]


def test_tables_that_differ_without_effect_are_kept_without_confirmation(shared, promised):
    shared.call("apply", promised)
    promised["ports"]["manager"]["redis"]["description"] = "Redis"
    outcome = shared.call("apply", promised, confirm_within=600)
    assert (outcome["changes"], outcome["notices"]) == ({}, [])
    kept = shared.call("in_force")["tables"]["ports"]
    assert kept["manager"]["redis"]["description"] == "Redis"


def test_a_rollback_forgets_the_tables_that_are_no_longer_in_force(shared, promised, new_row):
    shared.call("apply", promised)
    shared.call("apply", {**new_row, "tests": promised["tests"]})
    shared.call("rollback")
    assert not shared.path(KEPT).exists()
    assert len(shared.try_call("apply", broken(promised))["refused"]) == 1


# -- packets --------------------------------------------------------------------------------------


@pytest.fixture
def agent(raised, shared, promised):
    """An agent beside the server; both have the same tables in force."""
    agent = Node(raised.host("a1"))
    shared.call("apply", promised)
    agent.call("apply", promised, role="agent")
    yield agent
    shared.firewall_cmd("--reload")


def asked(node, pillar, **tests):
    """What check_ports of an agent says, with the rows of both roles known."""
    # s2 does not exist in this lab.
    nodes = {name: each for name, each in pillar["nodes"].items() if name != "s2"}
    whole = {**pillar, "nodes": nodes, "peer_ports": {}, "tests": {**pillar["tests"], **tests}}
    return node.call("check_ports", whole, role="agent", peers=8)


def test_a_promise_is_kept_by_the_packets_that_are_rejected(agent, promised):
    report = asked(agent, promised)
    assert report["promises"] == {"etcd": "kept (2 packets)"}


def test_a_promise_is_broken_by_a_packet_that_a_zone_lets_in(agent, shared, promised):
    telnet = {"from": "agent", "to": "server", "deny": "tcp/23", "why": "It is not encrypted"}
    assert asked(agent, promised, telnet=telnet)["promises"]["telnet"] == "kept (1 packet)"
    shared.firewall_cmd("--add-port=23/tcp")
    report = asked(agent, promised, telnet=telnet)
    assert report["promises"]["telnet"].startswith("broken: tcp/23 of s1 answered a1 as open")
    assert report["status"] == "FAIL"
    (check,) = [each for each in report["checks"] if each["port"] == "23"]
    assert (check["status"], check["description"]) == ("exposed", "test telnet")


def test_a_promise_is_not_kept_where_a_zone_of_the_node_opens_what_it_denies(agent, promised):
    """No node has an address of this network, so no packet can show it."""
    web = {"from": "203.0.113.0/24", "to": "agent", "deny": "tcp/8088"}
    assert asked(agent, promised, web=web)["promises"]["web"] == "kept by the tables, not asked"
    agent.firewall_cmd("--add-port=8088/tcp")
    try:
        found = asked(agent, promised, web=web)["promises"]["web"]
    finally:
        agent.firewall_cmd("--remove-port=8088/tcp")
    assert found.startswith("unproven: tcp/8088 of a1 may be reached by zone ")
    assert "(8088/tcp)" in found


def test_a_promise_to_accept_is_broken_by_a_rule_that_went_missing(agent, shared, promised):
    kubelet = {"from": "agent", "to": "server", "accept": "tcp/10250"}
    assert asked(agent, promised, kubelet=kubelet)["promises"]["kubelet"] == "kept (1 packet)"
    rules = shared.firewall_cmd("--policy=k3s-rows", "--list-rich-rules").splitlines()
    for rule in rules:
        if "10250" in rule:
            shared.firewall_cmd("--policy=k3s-rows", "--remove-rich-rule", rule)
    report = asked(agent, promised, kubelet=kubelet)
    assert report["promises"]["kubelet"].startswith("broken: tcp/10250 of s1 answered a1 as closed")
    # The row says so already.
    assert [each["description"] for each in report["checks"] if each["port"] == "10250"] == [
        "kubelet",
        "kubelet",
    ]


def test_a_port_that_a_node_redirects_is_not_enforceable(agent, shared, promised):
    web = {"from": "203.0.113.0/24", "to": "agent", "deny": "tcp/8088"}
    assert asked(agent, promised, web=web)["promises"]["web"] == "kept by the tables, not asked"
    redirect = (
        "add table ip shop; "
        "add chain ip shop PREROUTING { type nat hook prerouting priority -100; }; "
        "add rule ip shop PREROUTING tcp dport 8088 dnat to 10.42.0.9:80"
    )
    agent.run("nft", redirect)
    try:
        report = asked(agent, promised, web=web)
    finally:
        agent.run("nft", "delete", "table", "ip", "shop")
    assert report["promises"]["web"].startswith("not enforceable: test web: tcp/8088 of a1")


def test_a_host_sends_the_packets_that_it_is_asked_to_send(agent):
    packets = ["tcp/2379 192.0.2.11", "tcp/10250 192.0.2.11", "tcp/2379 2001:db8::11"]
    answers = agent.call("ask", packets=packets)["answers"]
    assert [(each["packet"], each["result"], each["source"]) for each in answers] == [
        (packets[0], "rejected", "192.0.2.21"),
        (packets[1], "nothing listens", "192.0.2.21"),
        (packets[2], "rejected", "2001:db8::21"),
    ]


def test_a_zone_of_the_operator_keeps_a_promise_that_is_left_to_zones(agent, promised):
    promised["groups"] = {"mgmt": ["198.51.100.0/24"]}
    ssh = {"from": "mgmt", "to": "any", "accept": "tcp/22", "opened_by": "zones"}
    assert asked(agent, promised, ssh=ssh)["promises"]["ssh"] == "kept by a zone, not asked"
    agent.firewall_cmd("--remove-service=ssh")
    assert asked(agent, promised, ssh=ssh)["promises"]["ssh"].startswith("unproven: test ssh")
    rule = (
        'rule family="ipv4" source address="198.51.100.0/24" port port="22" protocol="tcp" accept'
    )
    agent.firewall_cmd("--add-rich-rule", rule)
    assert asked(agent, promised, ssh=ssh)["promises"]["ssh"] == "kept by a zone, not asked"
    agent.firewall_cmd("--reload")
