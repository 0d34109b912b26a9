"""Both tables are read as the source document writes them, and bad rows refused with their path."""

from __future__ import annotations

import pytest

from k3sfw_engine.model.rows import Protocol
from tests.unit.port_tables.reading import PORT, faults, found
from tests.unit.samples import (
    CLUSTER_TABLE,
    MANAGER_TABLE,
    changed,
    parsed,
    pillar,
    row,
)


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


def test_clients_are_everyone_unless_pillar_narrows_them():
    silent = pillar()
    del silent["groups"]
    assert [str(network) for network in parsed(silent).groups["clients"]] == ["0.0.0.0/0", "::/0"]
    narrowed = parsed(changed("groups:clients", ["192.0.2.0/24"]))
    assert [str(network) for network in narrowed.groups["clients"]] == ["192.0.2.0/24"]


def test_a_row_that_is_switched_off_opens_nothing():
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
    ("given", "read"),
    [
        ("vrrp", "vrrp"),
        ("VRRP", "vrrp"),
        (112, "vrrp"),
        ("112", "vrrp"),
        (4, "ipip"),
        ("ipencap", "ipip"),
        ("icmpv6", "ipv6-icmp"),
        (58, "ipv6-icmp"),
        (50, "esp"),
        (253, "253"),
        ("41", "41"),
    ],
)
def test_an_ip_protocol_is_given_by_its_name_or_number_and_has_one_form(given, read):
    protocol = found(changed("ports:cluster:x", row(given, None, "any", "any")), "x").protocol
    assert protocol.value == read
    assert protocol is Protocol(read)


@pytest.mark.parametrize("protocol", ["vrrp", 253, "icmp", "any"])
def test_a_protocol_without_ports_is_refused_with_one(protocol):
    tree = changed("ports:cluster:etcd:protocol", protocol)
    assert faults(tree) == {PORT: f"protocol {protocol} has no port"}


def test_the_same_protocol_by_name_and_by_number_is_the_same_row():
    tree = changed("ports:cluster:vrrp", row("vrrp", None, "server", "server"))
    tree["ports"]["cluster"]["vrrp2"] = row(112, None, "server", "server")
    assert faults(tree) == {"k3s:ports:cluster:vrrp2": "opens the same as row vrrp"}


@pytest.mark.parametrize(
    ("protocol", "source", "refused"),
    [
        ("icmp", "2001:db8::/32", True),
        ("igmp", "fe80::/10", True),
        ("ipv6-icmp", "192.0.2.0/24", True),
        ("icmp", "v6", True),
        ("icmp", "192.0.2.0/24", False),
        ("icmp", "clients", False),
        ("icmp", "any", False),
        ("vrrp", "fe80::/10", False),
    ],
)
def test_a_source_that_can_never_send_the_protocol_is_refused(protocol, source, refused):
    tree = changed("ports:cluster:x", row(protocol, None, source, "any"))
    tree["groups"]["v6"] = ["2001:db8:6::/48"]
    assert not refused or list(faults(tree)) == ["k3s:ports:cluster:x:source"]
    assert refused or found(tree, "x")


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
