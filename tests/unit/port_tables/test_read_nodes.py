"""The nodes of the cluster are believed as far as they can be, and never more."""

from __future__ import annotations

import copy

import pytest

from k3sfw_engine.errors import BadTables
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.unit.port_tables.reading import faults
from tests.unit.samples import (
    NODES,
    changed,
    parsed,
    pillar,
)


def test_a_single_server_with_no_other_node_is_complete():
    tree = pillar(nodes={"s1": NODES["s1"]}, firewall={})
    assert parsed(tree).unsure == ()


# -- the node and its role ------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["server", "Server", "SERVER"])
def test_the_grain_is_read_in_upper_and_lower_case(role):
    assert parsed(role=role, minion_id="s1") == parsed()


def test_a_node_without_the_grain_is_refused_with_the_fix():
    with pytest.raises(BadTables, match="minion s1 has no grain k3s_role.*Fix: install K3s"):
        parse_tables(pillar(), minion_id="s1", role=None)


@pytest.mark.parametrize("role", ["", "master", "server ", 5, True, ["server"], {"server": 1}])
def test_a_grain_that_is_not_a_role_is_refused(role):
    assert "the grain k3s_role of minion s1 is" in faults(pillar(), role=role)["k3s"]


def test_a_role_that_pillar_and_grain_disagree_on_is_refused():
    assert faults(pillar(), role="agent") == {
        "k3s:nodes:s1:role": "pillar says server and the grain k3s_role of the node says agent"
    }


def test_a_node_that_is_not_among_the_nodes_is_refused():
    assert faults(pillar(), minion_id="s9") == {
        "k3s:nodes:s9": "this node is not among the nodes (a1, a2, s1, s2, s3)"
    }


def test_no_nodes_is_not_an_unknown_membership():
    assert faults(pillar(nodes={}, firewall={})) == {
        "k3s:nodes": "no node is known, not even this one"
    }
    silent = pillar(firewall={})
    del silent["nodes"]
    assert faults(silent) == {"k3s:nodes": "the nodes of the cluster are not known"}


# -- what minions claim of themselves -------------------------------------------------------------


def claiming(addresses, role="agent", name="a9", **more):
    """The good pillar with a minion that is known by its grains only."""
    claimed = {"role": role, "addresses": addresses}
    entry = {**claimed, "claimed": copy.deepcopy(claimed), **more}
    return pillar(nodes={**NODES, name: entry})


@pytest.mark.parametrize(
    ("addresses", "role"),
    [
        (["192.0.2.29"], "master"),
        (["192.0.2.29"], None),
        (["192.0.2.29"], ["agent"]),
        (["nonsense"], "agent"),
        (["127.0.0.1"], "agent"),
        (["192.0.2.29/24"], "agent"),
        ([], "agent"),
        ([""], "agent"),
        ([5], "agent"),
        ([None], "agent"),
        (None, "agent"),
        ("192.0.2.29, 192.0.2.30", "agent"),
        ({"eth0": "192.0.2.29"}, "agent"),
        (5, "agent"),
    ],
)
def test_a_minion_that_claims_nonsense_does_not_break_the_others(addresses, role):
    tables = parsed(claiming(addresses, role))
    assert {node.name for node in tables.nodes} == set(NODES)
    assert any("minion a9 claims so itself" in notice for notice in tables.notices)
    assert any("a9" in reason for reason in tables.unsure)


def test_a_claim_outside_of_node_cidrs_is_refused_and_reported():
    tree = claiming(["192.0.2.29", "198.51.100.9"])
    tree["node_cidrs"] = ["192.0.2.0/24", "2001:db8::/64"]
    tables = parsed(tree)
    assert [str(address) for address in tables.nodes[2].addresses] == ["192.0.2.29"]
    (notice,) = tables.notices
    assert "a9 claims 198.51.100.9, which is in none of k3s:node_cidrs" in notice


@pytest.mark.parametrize("spelling", ["2001:DB8:66::9", "2001:0db8:66::9", "2001:db8:66:0::9"])
def test_a_claim_in_another_spelling_does_not_slip_past_node_cidrs(spelling):
    tree = claiming([spelling])
    tree["node_cidrs"] = ["192.0.2.0/24", "2001:db8::/64"]
    tables = parsed(tree)
    assert "2001:db8:66::9" not in [str(ip) for node in tables.nodes for ip in node.addresses]


def test_an_address_pinned_by_hand_counts_also_outside_of_node_cidrs():
    tree = claiming(["192.0.2.29"])
    tree["nodes"]["a9"]["addresses"] = ["198.51.100.9"]
    tree["node_cidrs"] = ["192.0.2.0/24", "2001:db8::/64"]
    tables = parsed(tree)
    assert [str(address) for address in tables.nodes[2].addresses] == ["198.51.100.9"]
    assert tables.notices == ()


def test_a_wrong_entry_by_hand_is_a_fault_not_a_notice():
    assert faults(changed("nodes:a9", {"role": "agent", "addresses": ["nonsense"]}))


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (pillar(firewall={"expected_nodes": 6}), "5 nodes are known and k3s:firewall"),
        (pillar(unheard_minions=["a9", "a8"]), "accepted minions a8, a9"),
    ],
)
def test_a_membership_that_may_lack_nodes_is_known_to_be_so(tree, reason):
    (doubt,) = parsed(tree).unsure
    assert reason in doubt


@pytest.mark.parametrize(
    "tree",
    [
        pillar(firewall={"expected_nodes": 5}),
        pillar(firewall={"expected_nodes": 3}),
        pillar(unheard_minions=[]),
        pillar(unheard_minions=["a1", "s1"]),
    ],
)
def test_a_membership_that_is_complete_leaves_no_doubt(tree):
    assert parsed(tree).unsure == ()


def test_an_unknown_key_does_not_hide_what_is_wrong_with_the_known_ones():
    nodes = {**NODES, "s2": {**NODES["s2"], "role": "master", "zone": "public"}}
    assert set(faults(pillar(nodes=nodes))) == {"k3s:nodes:s2:role", "k3s:nodes:s2:zone"}
