"""What nodes have in force is compared with tables, whatever single nodes answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.cluster_pillar.pillar_source import Origin
from k3sfw_engine.errors import EngineError
from k3sfw_engine.fleet.forms.markdown import difference_as_markdown
from k3sfw_engine.fleet.text.difference_lines import SAME, SAME_WHERE_COMPARED
from k3sfw_engine.fleet.text.render import render
from k3sfw_engine.fleet.text.style import Style
from k3sfw_engine.master.diff import diff, diff_of_nodes
from tests.unit.master_nodes import AnsweringNodes
from tests.unit.samples import changed, parsed, pillar

ETCD_FOR_ALL = changed("ports:cluster:etcd:source", "Any")
# As a server has them: the rows of both roles are in the samples.
TABLES = parsed()
EXTRA = 'rule family="ipv4" source address="203.0.113.0/24" port port="2379" protocol="tcp" accept'


@pytest.fixture
def nodes():
    return AnsweringNodes(TABLES)


def compare(nodes, new=TABLES, origin=Origin.LIVE):
    returned = diff_of_nodes(origin, ClusterTables(new, "base", "s1"), nodes.ask)
    json.dumps(returned.as_dict())
    assert render(returned.data, Style())
    return returned


def test_converged_nodes_do_not_differ_and_one_of_each_role_is_asked_in_full(nodes):
    found = compare(nodes)
    assert found.retcode == 0
    assert found.data["drift"] == {"opened": [], "closed": []}
    assert [minions for _function, minions in nodes.asked[1:]] == [("s1",), ("a1",)]


@pytest.mark.parametrize("origin", [Origin.LIVE, Origin.KEPT])
def test_a_change_of_the_tables_is_told_as_between_two_pillars(nodes, origin):
    found = compare(nodes, parsed(ETCD_FOR_ALL), origin)
    assert found.retcode == 2
    (change,) = found.data["opened"]
    assert (change["from"], change["to"]) == (["agent"], ["server"])
    assert change["causes"][0]["text"] == "row etcd: source server -> any"
    assert found.data["closed"] == []


def test_a_change_that_breaks_a_promise_says_so_on_its_own_line():
    deny = {"from": "anyone", "except": ["server", "pods"], "to": "server", "deny": ["tcp/2380"]}
    accept = {"from": "admins", "to": "any", "accept": ["tcp/3000"]}
    tests = {"etcd": deny, "grafana": accept}
    tree = changed("ports:manager:grafana:source", "any", changed("tests", tests, pillar()))
    tree = changed("ports:cluster:etcd:source", "Any", tree)
    old = ClusterTables(parsed(changed("tests", tests)), "base", "s1")
    found = diff(old, ClusterTables(parsed(tree), "new", "s1"))
    (opened,), (closed,) = found.data["opened"], found.data["closed"]
    assert (opened["breaks"], closed["breaks"]) == (["etcd"], ["grafana"])
    assert "!! breaks etcd" in render(found.data, Style())
    back = diff(ClusterTables(parsed(tree), "new", "s1"), old)
    assert {name for each in back.data["opened"] for name in each["breaks"]} == set()


def test_pods_that_are_told_by_their_addresses_are_a_difference_though_the_sets_are_the_same():
    by_address = changed("firewall:pods_from", "addresses")
    old = ClusterTables(TABLES, "base", "s1")
    found = diff(old, ClusterTables(parsed(by_address), "new", "s1"))
    assert (found.retcode, found.data["opened"]) == (2, [])
    assert "spoofs" in found.data["pods"] and "!! pods" in render(found.data, Style())
    assert diff(old, old).data["pods"] == ""


def test_a_rule_that_was_added_on_one_node_is_drift_and_closes_with_the_next_apply(nodes):
    nodes.full["s2"] = {**nodes.full["s2"], "rules": [*nodes.full["s2"]["rules"], EXTRA]}
    found = compare(nodes)
    assert found.retcode == 2
    (closed,) = found.data["closed"]
    assert (closed["from"], closed["to"]) == (["203.0.113.0/24"], ["s2"])
    assert closed["ports"] == ["tcp/2379"]
    assert EXTRA in closed["causes"][0]["text"]
    (drift,) = found.data["drift"]["opened"]
    assert drift["to"] == ["s2"]
    assert found.data["drift"]["closed"] == []


def test_a_rule_that_went_missing_is_drift_and_opens_with_the_next_apply(nodes):
    rules = [rule for rule in nodes.full["a1"]["rules"] if '"10250"' not in rule]
    nodes.full["a1"] = {**nodes.full["a1"], "rules": rules}
    found = compare(nodes)
    (opened,) = found.data["opened"]
    assert (opened["to"], opened["ports"]) == (["a1"], ["tcp/10250"])
    assert [each["to"] for each in found.data["drift"]["closed"]] == [["a1"]]
    assert compare(nodes, origin=Origin.KEPT).retcode == 0


def test_an_ipset_that_lacks_a_node_is_drift(nodes):
    entries = {**nodes.full["s3"]["ipsets"], "k3s-server-4": ["192.0.2.11", "192.0.2.13"]}
    nodes.full["s3"] = {**nodes.full["s3"], "ipsets": entries}
    found = compare(nodes)
    assert {tuple(each["to"]) for each in found.data["opened"]} == {("s3",)}
    assert {tuple(each["from"]) for each in found.data["opened"]} == {("s2 (IPv4)",)}


def test_a_node_without_zone_k3s_lets_no_pod_in(nodes):
    nodes.full["a2"] = {**nodes.full["a2"], "zone_interfaces": []}
    found = compare(nodes)
    assert {each["to"][0] for each in found.data["opened"]} == {"a2"}
    assert {name for each in found.data["opened"] for name in each["from"]} == {"pods", "services"}


def test_nodes_that_do_not_answer_are_named_and_the_others_are_compared(nodes):
    del nodes.full["a2"]
    nodes.full["s3"] = "The minion function caused an exception"
    found = compare(nodes, parsed(ETCD_FOR_ALL))
    assert found.data["opened"][0]["to"] == ["s1", "s2"]
    silent = " ".join(found.data["silent"])
    assert "a2 (no answer)" in silent and "s3 (no usable answer)" in silent


def test_nothing_is_said_to_be_the_same_where_a_node_is_silent(nodes):
    assert SAME in render(compare(nodes).data, Style())
    del nodes.full["a2"]
    found = compare(nodes)
    assert (found.retcode, found.data["opened"], found.data["closed"]) == (1, [], [])
    text = render(found.data, Style())
    assert SAME not in text and SAME_WHERE_COMPARED in text
    assert text.splitlines()[2] == "!! not compared: a2 (no answer)"
    markdown = difference_as_markdown(found.data)
    assert SAME not in markdown and "not compared: a2" in markdown


@pytest.mark.parametrize(
    "rule",
    [
        'rule family="ipv4" source address="999.1.1.1" port port="1" protocol="tcp" accept',
        'rule family="ipv4" source address="a host" accept',
        'rule family="ipv6" source address="::/999" port port="1" protocol="tcp" accept',
    ],
)
def test_a_rule_that_no_firewalld_has_costs_one_node(nodes, rule):
    nodes.full["a2"] = {**nodes.full["a2"], "rules": [*nodes.full["a2"]["rules"], rule]}
    found = compare(nodes, parsed(ETCD_FOR_ALL))
    assert found.data["silent"] == ["not compared: a2 (its rules could not be read)"]
    assert found.data["opened"][0]["to"] == ["server"]


def test_a_minion_cannot_speak_for_others_with_tables_that_are_not_theirs(nodes):
    honest = nodes.ask(["s1"], "k3sfw.in_force", {"digests": True})["s1"]
    other = AnsweringNodes(parsed(ETCD_FOR_ALL)).full["s1"]["tables"]
    nodes.digests["s1"] = honest
    nodes.full["s1"] = {**nodes.full["s1"], "tables": other}
    found = compare(nodes, origin=Origin.KEPT)
    assert (found.retcode, found.data["opened"], found.data["closed"]) == (0, [], [])
    assert ("k3sfw.in_force", ("s2",)) in nodes.asked


def test_without_any_answer_nothing_is_compared():
    nodes = AnsweringNodes(TABLES)
    nodes.full.clear()
    with pytest.raises(EngineError):
        compare(nodes)


def test_a_minion_cannot_speak_for_others_with_rules_that_are_not_theirs(nodes):
    honest = AnsweringNodes(TABLES).full["s1"]
    nodes.digests["s1"] = AnsweringNodes(TABLES).ask(["s1"], "k3sfw.in_force", {"digests": True})[
        "s1"
    ]
    nodes.full["s1"] = {**honest, "rules": []}
    assert compare(nodes).retcode == 0
    assert ("k3sfw.in_force", ("s2",)) in nodes.asked


def test_without_proven_tables_rules_are_told_as_they_are_in_force(nodes):
    for name, full in nodes.full.items():
        nodes.full[name] = {**full, "digest": "", "tables": {}}
    found = compare(nodes, parsed(ETCD_FOR_ALL))
    (change,) = found.data["opened"]
    assert (change["from"], change["ports"]) == (["agent"], ["tcp/2379-2380"])
    assert any("no node has tables that were proven" in note for note in found.data["notes"])


def test_live_connections_that_would_be_refused_are_counted(nodes):
    tree = changed("ports:manager:grafana:source", "admins")
    nodes.connections = {
        "a1": [
            {"place": "tcp/3000", "peer": "203.0.113.7", "process": "grafana"},
            {"place": "tcp/3000", "peer": "203.0.113.7", "process": "grafana"},
            {"place": "tcp/3000", "peer": "198.51.100.3", "process": "grafana"},
            {"place": "tcp/22", "peer": "203.0.113.7", "process": "sshd"},
            {"place": "tcp/x", "peer": "203.0.113.7"},
            {"place": 3000, "peer": "anyone"},
            "text",
        ],
        "a2": "an error",
    }
    (closed,) = compare(nodes, parsed(tree)).data["closed"]
    (lost,) = closed["lost"]
    assert lost.startswith("2 live connections from 203.0.113.7 to tcp/3000 of a1")


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
)


@given(st.sampled_from(["digest", "tables", "rules", "ipsets", "zone_interfaces"]), json_data)
def test_whatever_a_minion_answers_the_others_are_compared(key, value):
    nodes = AnsweringNodes(TABLES)
    digests = nodes.ask(["a1"], "k3sfw.in_force", {"digests": True})["a1"]
    nodes.digests["a1"] = {**digests, "digest": "another"}
    nodes.full["a1"] = {**nodes.full["a1"], key: value}
    found = compare(nodes, parsed(ETCD_FOR_ALL))
    assert ["server"] in [each["to"] for each in found.data["opened"]]
