"""The pillar is read whole or refused whole, with every fault and its path."""

from __future__ import annotations

import random

import pytest

from k3sfw_engine.errors import BadTables
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.unit.port_tables.reading import CLIENTS, NESTED, QUOTES, SOURCE, faults
from tests.unit.samples import (
    NODES,
    changed,
    parsed,
    pillar,
    row,
)


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("cluster", "default"),
        ("flannel_backend", "vxlan"),
        ("pod_cidrs", ["10.42.0.0/16"]),
        ("service_cidrs", ["10.43.0.0/16"]),
        ("firewall", {}),
    ],
)
def test_what_pillar_does_not_say_is_as_k3s_has_it(key, default):
    silent = pillar()
    del silent[key]
    assert parsed(silent) == parsed(pillar(**{key: default}))


# -- bad values, each with its path ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("ports:cluster:etcd:protocol", "icmpx", "'icmpx' is not one of tcp, udp, sctp, any"),
        ("ports:cluster:etcd:protocol", "tcp ", "is not one of"),
        ("ports:cluster:etcd:protocol", "tcp/udp", "is not one of"),
        ("ports:cluster:etcd:protocol", 6, "6 is tcp, which has ports: write tcp, and the port"),
        ("ports:cluster:etcd:protocol", "17", "'17' is udp, which has ports"),
        ("ports:cluster:etcd:protocol", 132, "132 is sctp, which has ports"),
        ("ports:cluster:etcd:protocol", 0, "0 is not the number of a protocol"),
        ("ports:cluster:etcd:protocol", 256, "256 is not the number of a protocol"),
        ("ports:cluster:etcd:protocol", -1, "-1 is not the number of a protocol"),
        ("ports:cluster:etcd:protocol", 10**20, "is not the number of a protocol"),
        ("ports:cluster:etcd:protocol", "44", "'44' is not the number of a protocol"),
        ("ports:cluster:etcd:protocol", 112.0, "112.0 is not one of"),
        ("ports:cluster:etcd:protocol", "0112", "'0112' is not one of"),
        ("ports:cluster:etcd:protocol", "\u0661", "is not one of"),
        ("ports:cluster:etcd:protocol", True, "True is not one of"),
        ("ports:cluster:etcd:protocol", "ipv4", "can be understood in two ways: write ipip"),
        ("ports:cluster:etcd:protocol", None, "None is not one of"),
        ("ports:cluster:etcd:protocol", ["tcp", "udp"], "is not one of"),
        ("ports:cluster:etcd:destination", "pods", "is not one of server, agent, any"),
        ("ports:cluster:etcd:destination", ["server"], "is not one of"),
        ("ports:cluster:etcd:description", 5, "5 is not a text"),
        ("ports:cluster:etcd:description", "a\nb", "not printable"),
        ("ports:cluster:etcd:description", "x" * 201, "longer than 200"),
        ("ports:cluster:etcd:enabled", "no", "'no' is not true or false"),
        ("ports:cluster:etcd:enabled", 0, "0 is not true or false"),
        ("ports:cluster:etcd:enabled", None, "None is not true or false"),
        ("ports:cluster:etcd:flannel_backend", "ipip", "is not one of vxlan"),
        ("ports:cluster:etcd:source", "servers", "is not server, agent, any, pods"),
        ("ports:cluster:etcd:source", "node", "is not server, agent, any, pods"),
        ("ports:cluster:etcd:source", "group", "is not server, agent, any, pods"),
        ("ports:cluster:etcd:source", "friends", "a group (admins, clients)"),
        ("ports:cluster:etcd:source", "server, agent", "is not server, agent, any, pods"),
        ("ports:cluster:etcd:source", "", "is not server, agent, any, pods"),
        ("ports:cluster:etcd:source", None, "None is not server"),
        ("ports:cluster:etcd:source", True, "True is not server"),
        ("ports:cluster:etcd:source", 10, "10 is not server"),
        ("ports:cluster:etcd:source", {"server": 1}, "is not server"),
        ("ports:cluster:etcd:source", [], "is empty"),
        ("ports:cluster:etcd:source", ["server", "Server"], "names a source twice"),
        ("ports:cluster:etcd:source", "192.0.2.1/24", "the network is 192.0.2.0/24"),
        ("ports:cluster:etcd:source", "192.0.2.0/33", "is not an address or CIDR"),
        ("ports:cluster:etcd:source", "192.0.2", "is not an address or CIDR"),
        ("ports:cluster:etcd:source", "2001:db8::/129", "is not an address or CIDR"),
        ("ports:cluster:etcd:source", '192.0.2.0/24" accept', "is not an address or CIDR"),
        ("ports:cluster:etcd:source", 'server" accept', "is not server, agent"),
        ("ports:cluster:etcd:source", "k3s-node-4", "is not server, agent"),
        ("ports:cluster:etcd:src", "any", "is not known"),
        ("ports:cluster:pods:port", 443, "protocol any has no port"),
        ("ports:cluster:pods:port", None, "protocol any has no port"),
        ("ports:extra", {}, "is not known"),
        ("groups:clients", [], "is empty"),
        ("groups:clients", None, "type NoneType is not an address or CIDR"),
        ("groups:clients", {"a": "0.0.0.0/0"}, "type dict is not an address or CIDR"),
        ("groups:server", ["192.0.2.1"], "is a keyword of the source column"),
        ("groups:node", ["192.0.2.1"], "is a keyword of the source column"),
        ("groups:Admins", ["192.0.2.1"], "a group's name has"),
        ("groups:" + "x" * 21, ["192.0.2.1"], "a group's name has"),
        ('groups:a" accept', ["192.0.2.1"], "a group's name has"),
        ("groups:", ["192.0.2.1"], "a group's name has"),
        ("pod_cidrs", "10.42.0.1/16", "the network is 10.42.0.0/16"),
        ("pod_cidrs", [], "is empty"),
        ("service_cidrs", "10.43.0.0/99", "is not an address or CIDR"),
        ("node_cidrs", [], "is empty"),
        ("cluster", "", "is not a text"),
        ("cluster", 5, "5 is not a text"),
        ("cluster", "a\x1b[31mb", "not printable"),
        (
            "flannel_backend",
            "calico",
            "is not one of vxlan, wireguard-native, host-gw, tailscale, none",
        ),
        ("flannel_backend", None, "None is not one of"),
        ("firewall:expected_nodes", 0, "0 is not a number of nodes"),
        ("firewall:expected_nodes", "5", "'5' is not a number of nodes"),
        ("firewall:expected_nodes", True, "True is not a number of nodes"),
        ("firewall:expected_nodes", 2.5, "2.5 is not a number of nodes"),
        ("firewall:allow_lockout", "true", "'true' is not true or false"),
        ("firewall:allow_lockout", 1, "1 is not true or false"),
        ("firewall:allow_lockout", None, "None is not true or false"),
        ("firewall:min_nodes", 5, "is not known"),
        ("nodes:s2:role", "master", "'master' is not one of server, agent"),
        ("nodes:s2:role", None, "None is not one of server, agent"),
        ("nodes:s2:adresses", [], "is not known"),
        ("nodes:s2:addresses", [], "is empty"),
        ("nodes:s2:addresses", None, "type NoneType is not an address"),
        ("nodes:s2:addresses", "192.0.2.0/24", "is a network; a node has single addresses"),
        ("nodes:s2:addresses", "127.0.0.1", "not an address at which peers can reach a node"),
        ("nodes:with space", {"role": "server", "addresses": ["192.0.2.9"]}, "not a minion id"),
        ("typo", 1, "is not known"),
    ],
)
def test_a_bad_value_is_refused_with_its_pillar_path(path, value, problem):
    listed = faults(changed(path, value))
    assert list(listed) == [f"k3s:{path}"]
    assert problem in listed[f"k3s:{path}"]


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("ports:cluster:etcd:source", ["server", "friends"], f"{SOURCE}:1"),
        ("groups:clients", ["0.0.0.0/0", "::1/64"], f"{CLIENTS}:1"),
        ("pod_cidrs", ["10.42.0.0/16", 5], "k3s:pod_cidrs:1"),
        ("nodes:s2:addresses", ["192.0.2.12", "fe80::1"], "k3s:nodes:s2:addresses:1"),
    ],
)
def test_the_path_of_a_bad_list_item_ends_with_its_place(path, value, fault):
    assert list(faults(changed(path, value))) == [fault]


@pytest.mark.parametrize("value", [None, True, 5, 1.5, "words", b"bytes", [], ["x"], NESTED])
@pytest.mark.parametrize(
    "path",
    [
        "ports",
        "ports:cluster",
        "ports:manager",
        "ports:cluster:etcd",
        "ports:manager:redis",
        "groups",
        "nodes",
        "nodes:s1",
        "nodes:a2",
        "firewall",
    ],
)
def test_what_is_not_a_map_where_a_map_belongs_is_refused_with_its_path(path, value):
    with pytest.raises(BadTables) as refused:
        parsed(changed(path, value))
    listed = [(fault.path, fault.problem) for fault in refused.value.faults]
    assert any(where == f"k3s:{path}" and "is not a map" in problem for where, problem in listed)


@pytest.mark.parametrize("value", [True, 5, 1.5, "words", [], ["x"], NESTED])
def test_a_pillar_that_is_not_a_map_is_refused(value):
    assert "is not a map" in faults(value)["k3s"]


@pytest.mark.parametrize("value", [True, 5, 1.5, "words", {"a": 1}, [5], NESTED])
@pytest.mark.parametrize(
    "path",
    [
        "pod_cidrs",
        "service_cidrs",
        "node_cidrs",
        "groups:clients",
        "nodes:s2:addresses",
        "unheard_minions",
    ],
)
def test_what_is_not_a_list_of_texts_where_one_belongs_is_refused_with_its_path(path, value):
    assert all(where.startswith(f"k3s:{path}") for where in faults(changed(path, value)))


@pytest.mark.parametrize("text", QUOTES)
@pytest.mark.parametrize(
    "path",
    [
        "ports:cluster:etcd:protocol",
        "ports:cluster:etcd:port",
        "ports:cluster:etcd:source",
        "ports:cluster:etcd:destination",
        "groups:clients",
        "pod_cidrs",
        "node_cidrs",
        "flannel_backend",
        "nodes:s2:role",
        "nodes:s2:addresses",
    ],
)
def test_quotes_and_rule_text_inside_of_a_value_are_refused(path, text):
    assert list(faults(changed(path, text))) == [f"k3s:{path}"]


@pytest.mark.parametrize("text", QUOTES)
def test_quotes_and_rule_text_as_a_key_are_refused_in_printable_sentences(text):
    for tree in (
        changed(text, 1),
        changed(f"ports:{text}", {}),
        pillar(groups={text: ["192.0.2.1"]}),
        pillar(ports={"cluster": {text: row("tcp", 22, "any", "any")}, "manager": {}}),
    ):
        with pytest.raises(BadTables) as refused:
            parse_tables(tree, minion_id="s1", role="server")
        assert all(sentence.isprintable() for sentence in refused.value.sentences)


def test_a_minion_id_that_cannot_be_printed_is_refused():
    for text in ("\u202e", "\ud800", "a\u200bb", "x\x85"):
        assert faults(pillar(nodes={**NODES, text: NODES["s2"]}))


# -- the whole pillar -----------------------------------------------------------------------------


def test_a_missing_pillar_names_the_minion_and_the_fix():
    with pytest.raises(BadTables) as refused:
        parse_tables(None, minion_id="s1", role="server")
    (sentence,) = refused.value.sentences
    assert "pillar k3s: there is no such key for minion s1" in sentence
    assert "Fix: target pillar/k3s at this minion" in sentence


def test_a_missing_table_is_not_an_empty_one():
    tree = pillar(ports={"cluster": {}})
    assert faults(tree) == {"k3s:ports:manager": "is missing"}
    assert parsed(pillar(ports={"cluster": {}, "manager": {}})).rows == ()
    silent = pillar()
    del silent["ports"]
    assert faults(silent) == {"k3s:ports": "is missing"}


def test_all_faults_are_listed_at_once_each_with_its_path():
    tree = pillar(cluster=5, typo=True, pod_cidrs=["10.42.0.1/16"])
    tree["ports"]["cluster"]["etcd"].update(port=70000, protocol="icmpx", source="friends")
    tree["ports"]["cluster"]["http"] = "open"
    tree["ports"]["manager"]["redis"]["enabled"] = "no"
    tree["groups"]["Admins"] = []
    tree["nodes"]["a1"]["role"] = "worker"
    tree["nodes"]["a2"]["addresses"] = ["192.0.2.22", "nowhere"]
    tree["firewall"]["expected_nodes"] = 0
    with pytest.raises(BadTables) as refused:
        parse_tables(tree, minion_id="s1", role="server")
    paths = [fault.path for fault in refused.value.faults]
    assert paths == sorted(paths)
    assert list(dict.fromkeys(paths)) == [
        "k3s:cluster",
        "k3s:firewall:expected_nodes",
        "k3s:groups:Admins",
        "k3s:nodes:a1:role",
        "k3s:nodes:a2:addresses:1",
        "k3s:pod_cidrs:0",
        "k3s:ports:cluster:etcd:port",
        "k3s:ports:cluster:etcd:protocol",
        "k3s:ports:cluster:etcd:source",
        "k3s:ports:cluster:http",
        "k3s:ports:manager:redis:enabled",
        "k3s:typo",
    ]
    assert str(refused.value).splitlines() == list(refused.value.sentences)


def test_one_mistake_is_one_fault():
    assert len(faults(changed("ports:cluster:etcd", "open"))) == 1
    with pytest.raises(BadTables) as refused:
        parsed(changed("ports:cluster:etcd", "open"))
    assert len(refused.value.faults) == 1


def test_the_same_faults_come_in_the_same_order_whatever_the_order_of_the_pillar():
    tree = pillar(cluster=5, typo=True)
    tree["ports"]["cluster"]["etcd"].update(port=0, source="friends")
    backwards = dict(reversed(list(tree.items())))
    assert list(faults(tree).items()) == list(faults(backwards).items())


def test_a_name_that_cannot_be_printed_is_not_printed():
    tree = changed("nodes", {"\x1f": None, "s2": NODES["s2"]})
    with pytest.raises(BadTables) as refused:
        parse_tables(tree, minion_id="s1", role="server")
    assert "not among the nodes ('\\x1f', s2)" in str(refused.value)
    assert all(sentence.isprintable() for sentence in refused.value.sentences)


def test_shuffled_keys_give_the_same_tables():
    tree = pillar()
    shuffled = random.Random(1)

    def shuffle(value):
        if not isinstance(value, dict):
            return value
        items = [(key, shuffle(item)) for key, item in value.items()]
        shuffled.shuffle(items)
        return dict(items)

    for _ in range(20):
        assert parsed(shuffle(tree)) == parsed(tree)


def test_more_networks_than_firewalld_can_load_are_refused_before_they_are_read():
    many = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32" for number in range(100_000)]
    with pytest.raises(BadTables) as refused:
        parse_tables({**pillar(), "groups": {"office": many}}, minion_id="s1", role="server")
    assert "pillar k3s:groups: 100000 networks are more than the 20000" in str(refused.value)
