"""A difference is told as a reviewer would tell it: by names, causes, and what has no effect."""

from __future__ import annotations

import pytest

from k3sfw_engine.fleet.tables_difference import TablesDifference
from k3sfw_engine.fleet.text.render import render
from k3sfw_engine.fleet.text.style import Style
from tests.unit.samples import NODES, changed, parsed, pillar

ROW_FOR_AGENTS = {"protocol": "tcp", "port": 99, "source": "clients", "destination": "agent"}
MANAGER_PORTS = (443, 3000, 6379, 9090, 9093, 9095)


def difference(new, old=None):
    return TablesDifference(parsed(old), parsed(new)).as_plain()


def test_roles_are_named_and_not_their_members():
    (change,) = difference(changed("ports:cluster:etcd:source", "Any"))["opened"]
    assert (change["from"], change["to"]) == (["agent"], ["server"])
    assert change["ports"] == ["tcp/2379-2380"]
    assert change["causes"] == [
        {"path": "k3s:ports:cluster:etcd", "text": "row etcd: source server -> any"}
    ]
    assert change["example"] in (
        "192.0.2.21:40000 -> 192.0.2.11:2379, tcp",
        "192.0.2.22:40000 -> 192.0.2.11:2379, tcp",
    )
    assert change["everyone"] is False


def test_a_node_that_joins_is_one_line_and_not_one_for_each_row():
    nodes = {**NODES, "a9": {"role": "agent", "addresses": ["192.0.2.29"]}}
    found = difference(changed("nodes", nodes))
    assert found["joined_nodes"] == ["a9"]
    assert {tuple(change["from"]) for change in found["opened"]} == {("a9",)}
    assert {cause["text"] for change in found["opened"] for cause in change["causes"]} == {
        "node a9 is new"
    }
    assert found["closed"] == []
    # One for what servers alone open, and one for what all nodes open.
    assert len(found["opened"]) == 2


def test_a_group_that_changes_says_with_and_without_which_networks():
    tree = changed("ports:cluster:api:source", ["any", "admins"])
    new = changed(
        "groups:admins", ["203.0.113.0/28"], changed("ports:cluster:api:source", ["any", "admins"])
    )
    found = difference(new, tree)
    (opened,), (closed,) = found["opened"], found["closed"]
    assert (opened["from"], closed["from"]) == (["admins"], ["admins"])
    assert opened["causes"] == closed["causes"]
    text = "group admins: with 203.0.113.0/28, without 198.51.100.0/28"
    assert opened["causes"][0]["text"] == text


def test_the_whole_internet_is_marked_and_comes_first():
    tree = changed("ports:cluster:etcd:source", "Any")
    loki = {"protocol": "tcp", "port": 3100, "source": "clients", "destination": "agent"}
    found = difference(changed("ports:cluster:loki", loki, tree))
    assert [change["everyone"] for change in found["opened"]] == [True, False]


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("ports:cluster:http:description", "Web", "row http (description)"),
        (
            "ports:cluster:more",
            {"protocol": "tcp", "port": 80, "source": "agent", "destination": "any"},
            "row more (new, others let in the same)",
        ),
        ("groups:unused", ["192.0.2.0/24"], "group unused"),
    ],
)
def test_what_lets_in_the_same_is_said_and_is_not_a_difference(path, value, text):
    found = difference(changed(path, value))
    assert (found["opened"], found["closed"]) == ([], [])
    assert [each["text"] for each in found["without_effect"]] == [text]


def test_a_row_for_a_role_that_no_node_has_is_not_said_to_be_covered():
    nodes = {name: each for name, each in NODES.items() if each["role"] == "server"}
    old = pillar(nodes=nodes)
    new = changed("ports:cluster:x", ROW_FOR_AGENTS, pillar(nodes=nodes))
    for before, after, word in ((old, new, "new"), (new, old, "removed")):
        found = difference(after, before)
        assert found["opened"] == found["closed"] == []
        text = f"row x ({word}, no node with the role agent is compared)"
        assert [each["text"] for each in found["without_effect"]] == [text]


def test_a_row_that_another_one_covers_can_go_without_effect():
    row = {"protocol": "tcp", "port": "79-81", "source": "any", "destination": "any"}
    old = changed("ports:cluster:wide", row)
    new = changed("ports:cluster:wide", row)
    del new["ports"]["cluster"]["http"]
    found = difference(new, old)
    assert (found["opened"], found["closed"]) == ([], [])
    assert found["without_effect"][0]["text"] == "row http (removed, others let in the same)"


def test_a_node_that_becomes_a_server_opens_what_servers_open():
    nodes = {**NODES, "a2": {"role": "server", "addresses": ["192.0.2.22"]}}
    found = difference(changed("nodes", nodes))
    to_a2 = [change for change in found["opened"] if change["to"] == ["a2"]]
    assert {port for change in to_a2 for port in change["ports"]} >= {"tcp/2379-2380", "tcp/6443"}
    assert all(
        "node a2: agent -> server" in [cause["text"] for cause in change["causes"]]
        for change in to_a2
    )


def test_pods_that_get_every_port_are_one_line():
    old = pillar()
    del old["ports"]["cluster"]["services"]
    found = difference(pillar(), old)
    (ports,) = [change["ports"] for change in found["opened"]]
    # Everyone, and so services, reached the ports of the manager application before.
    assert ports == ["any except " + ", ".join(f"tcp/{port}" for port in MANAGER_PORTS)]
    assert found["opened"][0]["from"] == ["services"]


def test_the_text_is_narrow_whatever_changes():
    nodes = {f"node-{n}": {"role": "agent", "addresses": [f"192.0.2.{n}"]} for n in range(1, 90)}
    nodes["s1"] = {"role": "server", "addresses": ["192.0.2.200"]}
    old = changed("firewall", {}, changed("nodes", {**nodes, "s1": nodes["s1"]}))
    new = changed(
        "ports:cluster:etcd:source",
        ["server", "192.0.2.0/27", "203.0.113.0/24"],
        changed("firewall", {}, changed("nodes", nodes)),
    )
    data = TablesDifference(parsed(old, minion_id="s1"), parsed(new, minion_id="s1")).as_plain()
    empty = {"counts": {}, "tests": []}
    data = {
        "view": "diff",
        "old": "a",
        "new": "b",
        "summary": "",
        "promises": empty,
        "notes": [],
        **data,
    }
    text = render(data, Style())
    assert max(map(len, text.splitlines())) <= 80
    assert "more" in text
