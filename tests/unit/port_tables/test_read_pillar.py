"""Bad tables are refused whole, every fault with its pillar path; good ones are read exactly."""

from __future__ import annotations

import copy
import datetime
import random

import pytest
from hypothesis import given, settings, strategies as st

from k3sfw_engine.errors import BadTables
from k3sfw_engine.model.rows import Role
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.unit.samples import (
    CLUSTER_TABLE,
    MANAGER_TABLE,
    NODES,
    RULE,
    changed,
    parsed,
    pillar,
    row,
)


def faults(tree, role="server", minion_id="s1"):
    """``{path: problem}`` of a pillar that is refused."""
    with pytest.raises(BadTables) as refused:
        parse_tables(tree, minion_id=minion_id, role=role)
    assert refused.value.sentences == tuple(map(str, refused.value.faults))
    return {fault.path: fault.problem for fault in refused.value.faults}


def found(tree, name, table="cluster"):
    """One row of a pillar that is good."""
    return next(row for row in parsed(tree).rows if (row.table, row.name) == (table, name))


# -- good tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("given_row", CLUSTER_TABLE, ids=lambda columns: columns[0])
def test_every_row_of_the_first_table_is_read_as_the_document_writes_it(given_row):
    name, protocol, port, source, destination, description = given_row
    read = found(pillar(), name)
    assert read.protocol.value == protocol.lower()
    assert ",".join(map(str, read.ports)) == str(port or "")
    assert ",".join(map(str, read.sources)) == source.lower()
    assert read.destination.value == destination.lower()
    assert read.description == description


@pytest.mark.parametrize("given_row", MANAGER_TABLE, ids=lambda columns: columns[0])
def test_every_row_of_the_second_table_lets_clients_reach_any_node(given_row):
    name, protocol, port, description = given_row
    read = found(pillar(), name, "manager")
    assert read.protocol.value == protocol.lower()
    assert ",".join(map(str, read.ports)) == str(port)
    assert ",".join(map(str, read.sources)) == "clients"
    assert read.destination.value == "any"
    assert read.description == description


def test_port_443_stands_in_both_tables_and_no_row_is_lost():
    rows = parsed().rows
    assert len(rows) == len(CLUSTER_TABLE) + len(MANAGER_TABLE) == 17
    assert [each.path for each in rows if each.name == "https"] == [
        "k3s:ports:cluster:https",
        "k3s:ports:manager:https",
    ]


@pytest.mark.parametrize(
    ("port", "read"),
    [
        (1, "1"),
        (65535, "65535"),
        ("2379-2380", "2379-2380"),
        ("1-65535", "1-65535"),
        ("443-443", "443"),
        ([443], "443"),
        ([9100, "22-23", 80], "22-23,80,9100"),
        ((80, 443), "80,443"),
    ],
)
def test_a_port_is_an_integer_a_range_or_a_list_of_them(port, read):
    assert ",".join(map(str, found(changed("ports:cluster:etcd:port", port), "etcd").ports)) == read


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("Server", ["server"]),
        ("AGENT", ["agent"]),
        ("any", ["any"]),
        ("pods", ["pods"]),
        ("services", ["services"]),
        ("admins", ["admins"]),
        ("10.42.0.0/16", ["10.42.0.0/16"]),
        ("203.0.113.7", ["203.0.113.7/32"]),
        ("2001:DB8::/48", ["2001:db8::/48"]),
        ("0.0.0.0/0", ["0.0.0.0/0"]),
        (["server", "admins", "203.0.113.0/24"], ["203.0.113.0/24", "admins", "server"]),
    ],
)
def test_a_source_is_a_role_a_keyword_a_group_a_cidr_or_a_list_of_them(source, read):
    etcd = found(changed("ports:cluster:etcd:source", source), "etcd")
    assert sorted(map(str, etcd.sources)) == read


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


def test_clients_are_everyone_unless_pillar_narrows_them():
    silent = pillar()
    del silent["groups"]
    assert [str(network) for network in parsed(silent).groups["clients"]] == ["0.0.0.0/0", "::/0"]
    narrowed = parsed(changed("groups:clients", ["192.0.2.0/24"]))
    assert [str(network) for network in narrowed.groups["clients"]] == ["192.0.2.0/24"]


def test_a_row_that_is_switched_off_is_gone():
    names = {each.name for each in parsed(changed("ports:cluster:http:enabled", False)).rows}
    assert "http" not in names
    assert {name for name, *_ in CLUSTER_TABLE} - {"http"} <= names
    assert parsed(changed("ports:cluster:http", {"enabled": False})).rows == tuple(
        each for each in parsed().rows if each.name != "http"
    )


def test_a_row_for_another_flannel_backend_does_not_count():
    tree = changed("ports:cluster:vxlan:flannel_backend", "vxlan")
    wireguard = row("UDP", [51820, 51821], "Any", "Any")
    tree["ports"]["cluster"]["wireguard"] = {**wireguard, "flannel_backend": "wireguard-native"}
    for backend, rows in {
        "vxlan": {"vxlan"},
        "wireguard-native": {"wireguard"},
        "host-gw": set(),
        "none": set(),
    }.items():
        names = {row.name for row in parsed({**tree, "flannel_backend": backend}).rows}
        assert names & {"vxlan", "wireguard"} == rows


def test_a_single_server_with_no_other_node_is_complete():
    tree = pillar(nodes={"s1": NODES["s1"]}, firewall={})
    assert parsed(tree).unsure == ()


# -- bad values, each with its path ---------------------------------------------------------------

PORT = "k3s:ports:cluster:etcd:port"
SOURCE = "k3s:ports:cluster:etcd:source"
CLIENTS = "k3s:groups:clients"
NESTED = [[[["deep"]]]]


@pytest.mark.parametrize(
    ("port", "path", "problem"),
    [
        (0, PORT, "port 0 is not in 1-65535"),
        (-1, PORT, "port -1 is not in 1-65535"),
        (65536, PORT, "port 65536 is not in 1-65535"),
        (70000, PORT, "port 70000 is not in 1-65535"),
        pytest.param(10**5000, PORT, "is not in 1-65535", id="huge"),
        ("0-80", PORT, "port 0 is not in 1-65535"),
        ("443-70000", PORT, "port 70000 is not in 1-65535"),
        ("70000-80000", PORT, "port 70000, 80000 is not in 1-65535"),
        ("2380-2379", PORT, "port range 2380-2379 is reversed"),
        ("2379 - 2380", PORT, "is not a port"),
        ("2379:2380", PORT, "is not a port"),
        ("2379-2380-2381", PORT, "is not a port"),
        ("2379,2380", PORT, "is not a port"),
        ("-2380", PORT, "is not a port"),
        ("443", PORT, "'443' is not a port"),
        ("etcd", PORT, "'etcd' is not a port"),
        ("2379-2380/tcp", PORT, "is not a port"),
        ('443" protocol="tcp" accept', PORT, "is not a port"),
        ("2379-2380\n", PORT, "is not a port"),
        ("٤٤٣-٤٤٤", PORT, "is not a port"),
        ("", PORT, "is not a port"),
        (True, PORT, "True is not a port"),
        (False, PORT, "False is not a port"),
        (443.0, PORT, "443.0 is not a port"),
        (float("nan"), PORT, "nan is not a port"),
        (None, PORT, "None is not a port"),
        ({"low": 1}, PORT, "is not a port"),
        ([], PORT, "is empty"),
        ([443, 70000], f"{PORT}:1", "port 70000 is not in 1-65535"),
        ([443, [80]], f"{PORT}:1", "[80] is not a port"),
        ([443, True], f"{PORT}:1", "True is not a port"),
        ([443, 443], PORT, "443 and 443 overlap"),
        (["1-100", 50], PORT, "1-100 and 50 overlap"),
    ],
)
def test_a_bad_port_is_refused_with_its_pillar_path(port, path, problem):
    listed = faults(changed("ports:cluster:etcd:port", port))
    assert list(listed) == [path]
    assert problem in listed[path]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("ports:cluster:etcd:protocol", "icmp", "'icmp' is not one of tcp, udp, sctp, any"),
        ("ports:cluster:etcd:protocol", "tcp ", "is not one of"),
        ("ports:cluster:etcd:protocol", "tcp/udp", "is not one of"),
        ("ports:cluster:etcd:protocol", 6, "6 is not one of"),
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
        ("flannel_backend", "calico", "is not one of vxlan, wireguard-native, host-gw, none"),
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


@pytest.mark.parametrize("missing", ["protocol", "source", "destination"])
def test_a_row_of_the_first_table_without_a_column_is_refused(missing):
    tree = pillar()
    del tree["ports"]["cluster"]["etcd"][missing]
    assert faults(tree) == {"k3s:ports:cluster:etcd": f"has no {missing}"}


def test_a_row_without_the_port_that_its_protocol_needs_is_refused():
    tree = pillar()
    del tree["ports"]["cluster"]["etcd"]["port"]
    assert faults(tree) == {PORT: "is missing; protocol tcp needs one"}


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a:b", "x" * 65, '"', "a\n", 5, None, True, (1, 2)]
)
def test_a_rows_name_is_a_plain_word(name):
    tree = pillar()
    tree["ports"]["cluster"][name] = row("tcp", 22, "any", "any")
    (path,) = faults(tree)
    assert path.startswith(("k3s:ports:cluster", "'k3s:ports:cluster"))


def test_two_rows_that_open_the_same_are_refused():
    tree = changed("ports:cluster:etcd-again", row("tcp", "2379-2380", "server", "server"))
    assert faults(tree) == {"k3s:ports:cluster:etcd-again": "opens the same as row etcd"}


QUOTES = [
    '"',
    '" accept rule family="ipv4',
    "server' accept",
    'x" port port="22" protocol="tcp" accept\nrule family="ipv4" accept',
    "</rule><rule/>",
    "$(reboot)",
    "`reboot`",
    "; reboot",
    "server\0",
    "{{ pillar }}",
    "\u202e",
    "\ud800",
]


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


def test_a_missing_pillar_names_the_minion_and_the_mend():
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
    tree["ports"]["cluster"]["etcd"].update(port=70000, protocol="icmp", source="friends")
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


# -- the node and its role ------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["server", "Server", "SERVER"])
def test_the_grain_is_read_in_upper_and_lower_case(role):
    assert parsed(role=role, minion_id="s1") == parsed()


def test_a_node_without_the_grain_is_refused_with_the_mend():
    with pytest.raises(BadTables, match="minion s1 has no grain k3s_role.*Fix: install K3s"):
        parse_tables(pillar(), minion_id="s1", role=None)


@pytest.mark.parametrize("role", ["", "master", "server ", 5, True, ["server"], {"server": 1}])
def test_a_grain_that_is_no_role_is_refused(role):
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
def test_one_minion_that_claims_nonsense_takes_the_firewall_from_nobody(addresses, role):
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


def test_an_entry_by_hand_that_is_wrong_is_a_fault_and_no_notice():
    assert faults(changed("nodes:a9", {"role": "agent", "addresses": ["nonsense"]}))


# -- the networks of the nodes' pods --------------------------------------------------------------


def with_pods(claimed=None, by_hand=None, **more):
    """The good pillar, with networks of pods by the nodes' grains or by hand, by name."""
    nodes = copy.deepcopy(NODES)
    for name, networks in (claimed or {}).items():
        nodes[name]["pod_cidrs"] = networks
        nodes[name]["claimed"] = copy.deepcopy(nodes[name])
    for name, networks in (by_hand or {}).items():
        nodes[name]["pod_cidrs"] = networks
    return pillar(nodes=nodes, **more)


def pods(tree):
    """``{name: [network, …]}`` of those nodes of which any is known."""
    found = {node.name: list(map(str, node.pod_cidrs)) for node in parsed(tree).nodes}
    return {name: networks for name, networks in found.items() if networks}


def test_networks_of_pods_are_known_by_claim_and_by_hand_and_need_not_be():
    assert pods(pillar()) == {}
    dual = ["10.42.0.0/16", "fd42::/56"]
    tree = with_pods({"s1": ["fd42:0:0:1::/64", "10.42.1.0/24"]}, {"a1": "10.42.4.0/24"})
    tree["pod_cidrs"] = dual
    assert pods(tree) == {"s1": ["10.42.1.0/24", "fd42:0:0:1::/64"], "a1": ["10.42.4.0/24"]}
    assert parsed(tree).notices == ()
    (s1,) = (node for node in parsed(tree).nodes if node.name == "s1")
    assert str(s1.pods(6)) == "fd42:0:0:1::/64"


def test_networks_of_pods_open_nothing():
    tree = with_pods({"s1": ["10.42.1.0/24"], "a2": ["10.42.5.0/24"]}, {"s2": ["10.42.2.0/24"]})
    for backend in ("vxlan", "wireguard-native", "host-gw", "none"):
        plain = pillar(flannel_backend=backend)
        known = {**tree, "flannel_backend": backend}
        assert compute_desired(parsed(known), Role.SERVER) == compute_desired(
            parsed(plain), Role.SERVER
        )


@pytest.mark.parametrize(
    ("networks", "problem"),
    [
        (["10.43.1.0/24"], "10.43.1.0/24 is in none of k3s:pod_cidrs (10.42.0.0/16)"),
        (["10.40.0.0/13"], "10.40.0.0/13 is in none of k3s:pod_cidrs"),
        (["fd42::/64"], "fd42::/64 is in none of k3s:pod_cidrs"),
        (["10.42.1.0/24", "10.42.2.0/24"], "names more than one network of a family"),
        (["10.42.1.1/24"], "has host bits set; the network is 10.42.1.0/24"),
        (["nonsense"], "is not an address or CIDR"),
        ({"a": 1}, "is not an address or CIDR"),
        ([], "is empty"),
        (None, "is not an address or CIDR"),
    ],
)
def test_networks_of_pods_that_cannot_be_are_a_notice_if_claimed_and_a_fault_by_hand(
    networks, problem
):
    tables = parsed(with_pods({"a1": networks, "s2": ["10.42.9.0/24"]}))
    (notice,) = tables.notices
    assert notice.startswith("pillar k3s:nodes:a1:pod_cidrs") and problem in notice
    assert "minion a1 claims so itself, and the checks ignore it" in notice
    # Who the nodes are is as sure as before, and they are all let in.
    assert tables.unsure == ()
    assert {node.name: node.addresses for node in tables.nodes} == {
        node.name: node.addresses for node in parsed().nodes
    }
    assert {node.name for node in tables.nodes if node.pod_cidrs} == {"s2"}
    ((path, fault),) = faults(with_pods(by_hand={"a1": networks})).items()
    assert path.startswith("k3s:nodes:a1:pod_cidrs")
    assert problem in fault


def test_of_two_nodes_that_claim_the_same_pods_neither_is_believed():
    claimed = {"s1": ["10.42.1.0/24"], "s2": ["10.42.2.0/24"], "a1": ["10.42.2.128/25"]}
    assert pods(with_pods(claimed)) == {"s1": ["10.42.1.0/24"]}
    (notice,) = parsed(with_pods(claimed)).notices
    assert notice == (
        "k3s:nodes: 10.42.2.0/24 of s2, 10.42.2.128/25 of a1 have addresses in common; the checks "
        "ignore what a1, s2 claim. Fix: salt -L a1,s2 saltutil.refresh_grains, or "
        "enter them into k3s:nodes by hand"
    )


def test_networks_in_one_family_that_are_refused_leave_those_of_the_other():
    claimed = {name: ["10.42.1.0/24", f"fd42:0:0:{name[1]}::/64"] for name in ("s1", "s2")}
    tree = with_pods(claimed, pod_cidrs=["10.42.0.0/16", "fd42::/56"])
    assert pods(tree) == {"s1": ["fd42:0:0:1::/64"], "s2": ["fd42:0:0:2::/64"]}


def test_a_network_of_pods_by_hand_wins_over_who_claims_it_and_not_over_another_by_hand():
    tree = with_pods({"a1": ["10.42.2.0/24"]}, {"s2": ["10.42.2.0/24"]})
    assert pods(tree) == {"s2": ["10.42.2.0/24"]}
    (notice,) = parsed(tree).notices
    assert "the checks ignore what a1 claim" in notice
    assert faults(with_pods(by_hand={"s2": ["10.42.2.0/24"], "a1": ["10.42.2.0/25"]})) == {
        "k3s:nodes:a1:pod_cidrs": "10.42.2.0/25 has addresses of 10.42.2.0/24, which is s2's"
    }


def test_a_wrong_network_of_the_cluster_is_one_fault_and_not_one_for_each_node():
    tree = with_pods(by_hand={"s1": ["10.42.1.0/24"], "s2": ["10.42.2.0/24"]})
    assert list(faults({**tree, "pod_cidrs": ["10.42.0.1/16"]})) == ["k3s:pod_cidrs:0"]


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


# -- anything at all ------------------------------------------------------------------------------

NEARLY_RIGHT = [
    "tcp",
    "Any",
    "server",
    "pods",
    "clients",
    "admins",
    "node",
    "vxlan",
    "none",
    "host-gw",
    443,
    "443",
    "80-90",
    "90-80",
    0,
    65536,
    True,
    443.0,
    "10.0.0.0/8",
    "10.0.0.1/8",
    "0.0.0.0/0",
    "::/0",
    "192.0.2.77",
    "2001:db8::77",
    ["192.0.2.0/24", "192.0.2.77"],
    {"enabled": False},
    {"role": "agent", "addresses": ["192.0.2.77"]},
    {"protocol": "any", "source": "any", "destination": "any"},
    {"protocol": "udp", "port": [1, "5-7"], "source": ["pods", "10.0.0.0/8"], "destination": "any"},
    datetime.date(2024, 1, 1),
]
LEAVES = st.one_of(
    st.sampled_from(NEARLY_RIGHT + QUOTES),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=4),
)
KEYS = st.one_of(
    st.sampled_from(["protocol", "port", "source", "role", "addresses", "claimed", "cluster"]),
    st.text(max_size=5),
    st.integers(),
    st.none(),
    st.tuples(st.integers()),
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=8,
)


def paths_of(tree, path=()):
    """The paths of all subtrees, the root's first."""
    yield path
    if isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from paths_of(value, (*path, key))


GOOD = pillar(
    node_cidrs=["192.0.2.0/24", "2001:db8::/32"],
    unheard_minions=["a9"],
    nodes={
        **NODES,
        "a3": {
            "role": "agent",
            "addresses": ["192.0.2.23"],
            "claimed": {"role": "agent", "addresses": ["192.0.2.23"]},
        },
    },
)
PATHS = list(paths_of(GOOD))


@st.composite
def broken_pillars(draw):
    """A good pillar with anything at all in the place of one or two subtrees, or beside them."""
    tree = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(PATHS))
        value = draw(ANYTHING)
        if not path:
            return value
        at = tree
        for key in path[:-1]:
            at = at[key] if isinstance(at, dict) and key in at else {}
        if isinstance(at, list) and isinstance(path[-1], int) and path[-1] < len(at):
            at[path[-1]] = value
        elif isinstance(at, dict):
            at[draw(KEYS) if draw(st.booleans()) and draw(st.booleans()) else path[-1]] = value
    return tree


@settings(max_examples=max(200, settings().max_examples))
@given(broken_pillars(), st.sampled_from(["server", "agent", None, "x"]))
def test_anything_at_all_is_parsed_or_refused_and_never_injects_a_rule(tree, role):
    minion_id = "a1" if role == "agent" else "s1"
    try:
        tables = parse_tables(tree, minion_id=minion_id, role=role)
    except BadTables as refused:
        assert refused.faults
        assert all(sentence.isprintable() for sentence in refused.sentences)
        return
    wanted = compute_desired(tables, Role(role))
    for each in wanted.objects.values():
        for rule in each.settings.get("rich_rules", ()):
            assert RULE.fullmatch(rule), rule


@pytest.mark.parametrize(
    "value",
    [10**5000, {10**5000: 1}, {None: 1, (1,): []}],
    ids=["a huge integer", "a huge integer as key", "odd keys"],
)
def test_odd_python_values_in_any_place_raise_nothing_but_bad_tables(value):
    raised = {}
    for *ahead, last in PATHS[1:]:
        tree = copy.deepcopy(GOOD)
        at = tree
        for key in ahead:
            at = at[key]
        at[last] = value
        try:
            parse_tables(tree, minion_id="s1", role="server")
        except BadTables:
            pass
        except Exception as error:
            raised[(*ahead, last)] = error
    assert raised == {}


def test_a_name_that_cannot_be_printed_is_not_printed():
    tree = changed("nodes", {"\x1f": None, "s2": NODES["s2"]})
    with pytest.raises(BadTables) as refused:
        parse_tables(tree, minion_id="s1", role="server")
    assert "not among the nodes ('\\x1f', s2)" in str(refused.value)
    assert all(sentence.isprintable() for sentence in refused.value.sentences)


def test_data_nested_deeper_than_python_can_print_is_refused():
    deep: list = []
    for _ in range(5_000):
        deep = [deep]
    assert list(faults(changed("ports:cluster:etcd:source", deep))) == [f"{SOURCE}:0"]


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
