"""The nodes of the cluster are believed as far as they can be, and never more."""

from __future__ import annotations

import copy
import time

import pytest

from k3sfw_engine.errors import BadTables
from k3sfw_engine.model.firewall_objects import Kind
from k3sfw_engine.model.rows import Role
from k3sfw_engine.plan.desired.compute import compute_desired
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


@pytest.mark.parametrize(
    ("several", "firewall", "told"),
    [(True, {}, True), (True, {"expected_nodes": 5}, False), (False, {}, False)],
)
def test_several_masters_are_told_of_unless_the_number_of_nodes_is_known(several, firewall, told):
    tables = parse_tables(
        pillar(firewall=firewall), minion_id="s1", role="server", several_masters=several
    )
    assert any("k3s:firewall:expected_nodes" in notice for notice in tables.notices) is told
    assert tables.unsure == ()


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("silent_minions", ["s2"], "k3s:silent_minions"),
        ("silent_minions", {"s2": "40"}, "k3s:silent_minions:s2"),
        ("other_masters", "yes", "k3s:other_masters"),
    ],
)
def test_what_the_master_cannot_have_said_is_refused(key, value, path):
    assert set(faults(pillar(**{key: value}))) == {path}


def test_an_unknown_key_does_not_hide_what_is_wrong_with_the_known_ones():
    nodes = {**NODES, "s2": {**NODES["s2"], "role": "master", "zone": "public"}}
    assert set(faults(pillar(nodes=nodes))) == {"k3s:nodes:s2:role", "k3s:nodes:s2:zone"}


# -- an address identifies one node, or none ------------------------------------------------------


def claims(**by_name):
    """The good pillar, plus nodes that are known by their grains: ``name=(role, addresses)``."""
    entries = {}
    for name, (role, addresses) in by_name.items():
        claimed = {"role": role, "addresses": addresses}
        entries[name] = {**claimed, "claimed": copy.deepcopy(claimed)}
    return pillar(nodes={**NODES, **entries}, firewall={})


def known(tables):
    """``{name: [address, …]}`` of the nodes that are not in the good pillar."""
    return {
        node.name: list(map(str, node.addresses)) for node in tables.nodes if node.name not in NODES
    }


def members(tables, role="server"):
    """Every entry of every ipset of ours, by the ipset's name."""
    objects = compute_desired(tables, Role(role)).objects
    return {
        name: set(each.items("entries"))
        for (kind, name), each in objects.items()
        if kind is Kind.IPSET
    }


def test_an_address_that_two_nodes_claim_is_an_address_of_neither():
    tree = claims(
        x1=("server", ["10.0.2.15", "192.0.2.31"]), x2=("agent", ["10.0.2.15", "192.0.2.32"])
    )
    tables = parsed(tree)
    assert known(tables) == {"x1": ["192.0.2.31"], "x2": ["192.0.2.32"]}
    assert not any("10.0.2.15" in entries for entries in members(tables).values())
    (notice,) = tables.notices
    assert "10.0.2.15 is claimed by x1, x2" in notice
    assert "node-ip" in notice and "k3s:nodes:x1:addresses" in notice
    # Who the nodes are is as sure as before: else a demoted server would keep its access.
    assert tables.unsure == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.77", "192.0.2.77"),
        ("2001:db8::77", "2001:DB8:0::0077"),
        ("2001:db8:0:0:0:0:0:77", "2001:db8::77"),
    ],
)
@pytest.mark.parametrize("role", ["server", "agent"])
def test_an_address_of_an_agent_is_never_one_of_the_servers(one, other, role):
    by_claim = parsed(claims(x1=("server", [one]), x2=(role, [other])))
    assert known(by_claim) == {"x1": [], "x2": []}
    plain = claims(x2=("agent", [other, "192.0.2.32"]), x1=("server", [one]))
    for pinned in ("x1", "x2"):
        tree = copy.deepcopy(plain)
        del tree["nodes"][pinned]["claimed"]
        sets = members(parsed(tree))
        for family in (4, 6):
            assert not sets[f"k3s-server-{family}"] & sets[f"k3s-agent-{family}"]


def test_a_pinned_address_stays_with_its_node_whoever_claims_it():
    tree = claims(x1=("agent", ["192.0.2.11", "192.0.2.31"]), x2=("server", ["192.0.2.11"]))
    tables = parsed(tree)
    assert known(tables) == {"x1": ["192.0.2.31"], "x2": []}
    assert "192.0.2.11" in members(tables)["k3s-server-4"]
    pinned, lost = tables.notices
    assert "x1 claims 192.0.2.11, which is pinned to s1" in pinned and "x2 claims" in pinned
    assert "no address is left of x2" in lost


def test_a_pin_that_equals_the_claim_is_a_pin():
    # The claim of a pinned column says nothing more, so the merge of the pillar leaves it out.
    tree = claims(x1=("server", ["192.0.2.31"]), x2=("agent", ["192.0.2.31"]))
    del tree["nodes"]["x1"]["claimed"]["addresses"]
    assert known(parsed(tree)) == {"x1": ["192.0.2.31"], "x2": []}


def test_two_pins_of_one_address_contradict_each_other():
    nodes = {**NODES, "x1": {"role": "agent", "addresses": ["192.0.2.11", "192.0.2.31"]}}
    assert faults(pillar(nodes=nodes)) == {
        "k3s:nodes:x1:addresses": "192.0.2.11 is pinned to s1 as well"
    }


def test_a_node_without_any_address_is_named_and_remains_a_node():
    tables = parsed(claims(x1=("agent", ["10.0.2.15"]), x2=("server", ["10.0.2.15"])))
    assert known(tables) == {"x1": [], "x2": []}
    assert "no address is left of x1, x2" in tables.notices[1]
    assert tables.unsure == ()


@pytest.mark.parametrize("address", ["10.42.3.1", "10.43.0.10", "fd42::1"])
def test_an_address_of_pods_or_services_is_not_one_of_a_node(address):
    tree = claims(x1=("server", [address, "192.0.2.31"]))
    tree["pod_cidrs"] = ["10.42.0.0/16", "fd42::/56"]
    tables = parsed(tree)
    assert known(tables) == {"x1": ["192.0.2.31"]}
    (notice,) = tables.notices
    assert f"x1 claims {address}, which is an address of pods or services" in notice


def test_an_address_shared_by_all_nodes_is_one_notice_in_which_each_finds_itself():
    many = {f"n{number:03}": ("agent", ["10.0.2.15", "172.18.0.1"]) for number in range(500)}
    tree = claims(**many)
    started = time.process_time()
    tables = parse_tables({**tree, "nodes": {**tree["nodes"]}}, minion_id="n400", role="agent")
    # Comparing each node with each other one would take many times that.
    assert time.process_time() - started < 2
    shared, lost = tables.notices
    assert "10.0.2.15 is claimed by n400, n000, n001, n002, n003 and 495 more" in shared
    assert "172.18.0.1 is claimed by n400" in shared
    assert "and 495 more" in lost
    assert len(shared) < 600 and len(lost) < 300


def test_what_concerns_this_node_is_named_first():
    pairs = {f"p{n}{side}": ("agent", [f"198.51.100.{n}"]) for n in range(9) for side in "ab"}
    tables = parse_tables(claims(**pairs), minion_id="p8b", role="agent")
    assert tables.notices[0].startswith("k3s:nodes: 198.51.100.8 is claimed by p8b, p8a; ")
    assert "and 4 more addresses" in tables.notices[0]


# -- a pin and a claim that disagree about the role -----------------------------------------------


@pytest.mark.parametrize(
    ("pin", "claim"),
    [("server", "agent"), ("agent", "server"), ("Server", "AGENT")],
)
def test_of_two_roles_the_lesser_right_wins(pin, claim):
    tree = claims(x1=(claim, ["192.0.2.31"]))
    tree["nodes"]["x1"]["role"] = pin
    tables = parsed(tree)
    sets = members(tables)
    assert "192.0.2.31" in sets["k3s-agent-4"]
    assert "192.0.2.31" not in sets["k3s-server-4"]
    (notice,) = tables.notices
    assert f"k3s:nodes:x1: the pin says {pin.lower()} and the grain k3s_role says" in notice
    assert "correct k3s:nodes:x1:role in pillar, or the grain on x1" in notice
    assert tables.unsure == ()


def test_a_claim_that_cannot_be_read_lets_no_pinned_server_in_and_takes_none_out():
    tree = claims(x1=(["server"], ["192.0.2.31"]))
    tree["nodes"]["x1"]["role"] = "server"
    tables = parsed(tree)
    assert "192.0.2.31" not in members(tables)["k3s-server-4"]
    assert tables.unsure == ("what minion x1 claims as its role cannot be read",)


def test_a_pin_and_a_claim_that_agree_are_no_matter():
    tree = claims(x1=("SERVER", ["192.0.2.31"]))
    tree["nodes"]["x1"]["role"] = "server"
    assert parsed(tree).notices == ()
    assert "192.0.2.31" in members(parsed(tree))["k3s-server-4"]


@pytest.mark.parametrize("pin", ["server", "agent"])
def test_a_node_whose_own_pin_contradicts_its_grain_is_refused_on_itself(pin):
    grain = {"server": "agent", "agent": "server"}[pin]
    tree = claims(x1=(grain, ["192.0.2.31"]))
    tree["nodes"]["x1"]["role"] = pin
    assert faults(tree, role=grain, minion_id="x1") == {
        "k3s:nodes:x1:role": f"pillar says {pin} and the grain k3s_role of the node says {grain}"
    }
