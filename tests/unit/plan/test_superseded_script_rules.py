"""Which ports and rules of the source document's script are removed, and why others stay."""

from __future__ import annotations

import re

import pytest

from k3sfw_engine.model.difference import as_changes
from k3sfw_engine.model.firewall_objects import Kind, make_object
from k3sfw_engine.model.port_ranges import parse_port
from k3sfw_engine.model.rows import Role
from k3sfw_engine.plan.superseded_script_rules import AdoptionContext, find_adoptable
from tests.unit.samples import as_read, changed, parsed, pillar, row

# As the document has them.
SCRIPT = (
    *("2379-2380/tcp", "6443/tcp", "8472/udp", "10250/tcp", "5001/tcp", "9500/tcp", "8500/tcp"),
    *("80/tcp", "443/tcp", "3000/tcp", "9095/tcp", "9093/tcp", "9090/tcp", "6379/tcp"),
)
RULES = (
    'rule family="ipv4" source address="10.42.0.0/16" accept',
    'rule family="ipv4" source address="10.43.0.0/16" accept',
)
# What pillar holds of the document's tables for an agent that asks for the rows of servers too.
FOR_SERVERS = ("etcd", "api", "spegel")


def agents(tree=None, *, asks=True):
    tree = pillar() if tree is None else tree
    cluster = tree["ports"]["cluster"]
    elsewhere = {name: cluster.pop(name) for name in FOR_SERVERS}
    return {**tree, "peer_ports": {"cluster": elsewhere}} if asks else tree


def servers(tree=None):
    return {**(pillar() if tree is None else tree), "peer_ports": {}}


def judge(ports=(), rules=(), tree=None, role="server", permanent=None, **grounds):
    """What becomes of a zone with these ports and rules, the same in both layers."""
    zone = as_read(Kind.ZONE, "public", {"ports": tuple(ports), "rules_str": tuple(rules)})
    tables = parsed(servers() if tree is None else tree, role)
    layers = {"permanent": zone if permanent is None else permanent, "runtime": zone}
    return find_adoptable("public", layers, AdoptionContext(tables, Role(role), **grounds))


def gone(found, layer="runtime"):
    elements = found.going[layer]
    return {str(item) for items in elements.values() for item in items}


def test_the_whole_script_is_removed_where_the_documents_tables_are_in_force():
    found = judge(SCRIPT, RULES)
    assert gone(found) == gone(found, "permanent") == {*SCRIPT, *RULES}
    assert found.notices == ()
    changes = as_changes(found.differences)
    (zone,) = changes["runtime"].items()
    assert zone[0] == "zone public"
    assert zone[1]["rich_rules"] == {"old": [*RULES], "new": []}
    assert sorted(zone[1]["ports"]["old"]) == sorted(SCRIPT)
    assert changes["runtime"] == changes["permanent"]


def test_a_zone_without_anything_of_the_script_has_no_changes():
    found = judge(["22/tcp", "8443/tcp"])
    assert (found.differences, found.notices, found.access) == ((), (), ())


def test_each_layer_loses_only_what_is_in_it():
    permanent = make_object(Kind.ZONE, "public", {"ports": ("6443/tcp",)})
    found = judge(["443/tcp", "6443/tcp"], permanent=permanent)
    assert gone(found, "permanent") == {"6443/tcp"}
    assert gone(found) == {"443/tcp", "6443/tcp"}


@pytest.mark.parametrize(
    "port",
    [
        *("22/tcp", "2381/tcp", "2379/udp", "2379-2380/udp", "8472/tcp", "16443/tcp", "644/tcp"),
        *("6443/sctp", "6443/dccp", "https/tcp", "51820/udp", "4505-4506/tcp", "9094/tcp"),
    ],
)
def test_a_port_that_only_resembles_one_of_the_script_is_not_reported(port):
    found = judge([port])
    assert (found.differences, found.notices) == ((), ())


@pytest.mark.parametrize("port", ["2379/tcp", "2380/tcp", "2379-2380/tcp"])
def test_a_part_of_the_scripts_range_is_removed(port):
    assert gone(judge([port])) == {port}


@pytest.mark.parametrize(
    ("port", "parts"),
    [
        ("2379-2381/tcp", ["2379-2380/tcp"]),
        ("2380-2400/tcp", ["2379-2380/tcp"]),
        ("9000-9999/tcp", ["9500/tcp", "9095/tcp", "9093/tcp", "9090/tcp"]),
    ],
)
def test_a_range_wider_than_the_scripts_stays_as_a_whole(port, parts):
    found = judge([port, "443/tcp"])
    assert gone(found) == {"443/tcp"}
    (notice,) = found.notices
    options = " ".join(f"--remove-port={part}" for part in parts)
    assert f"{port} is wider than the script's {', '.join(parts)}" in notice
    assert notice.endswith(
        f"if that part is not needed, firewall-cmd --permanent --zone=public {options}; "
        f"firewall-cmd --zone=public {options}"
    )


def test_a_port_within_such_a_range_stays_because_firewalld_would_split_the_range():
    found = judge(["2379-2380/tcp", "2300-2400/tcp"])
    assert found.differences == ()
    assert len(found.notices) == 2


# --- covered by rows ---


def etcd(*ports):
    return changed("ports:cluster:etcd:port", list(ports))


@pytest.mark.parametrize(
    ("tree", "goes"),
    [
        (etcd("2379-2380"), True),
        (etcd("2300-2400"), True),
        (etcd(2379, 2380), True),
        (etcd("2370-2379", "2380-2390"), True),
        (changed("ports:manager:more", {"protocol": "tcp", "port": 2380}, etcd(2379)), True),
        (changed("ports:manager:more", {"protocol": "udp", "port": 2380}, etcd(2379)), False),
        (etcd(2379), False),
        (etcd(2380), False),
        (etcd("2381-2390"), False),
        (changed("ports:cluster:etcd:protocol", "udp"), False),
        (changed("ports:cluster:etcd:enabled", False), False),
        # A row for every protocol names no port.
        (changed("ports:cluster:etcd", row("any", None, "server", "server")), False),
    ],
)
def test_a_range_is_removed_only_if_rows_open_all_of_it(tree, goes):
    found = judge(["2379-2380/tcp"], tree=servers(tree))
    assert (gone(found) == {"2379-2380/tcp"}) is goes
    assert bool(found.notices) is not goes


def test_a_port_of_a_disabled_row_stays_and_is_reported_with_its_fix():
    tree = servers(changed("ports:manager:kafka", {"enabled": False}))
    found = judge(SCRIPT, tree=tree)
    assert gone(found) == {*SCRIPT} - {"9095/tcp"}
    assert found.notices == (
        "zone public: 9095/tcp stays open to every source: no enabled row opens it. Fix: if it is "
        "not needed, firewall-cmd --permanent --zone=public --remove-port=9095/tcp; firewall-cmd "
        "--zone=public --remove-port=9095/tcp",
    )


def test_a_port_that_stays_in_one_layer_is_closed_in_that_layer_only():
    tree = servers(changed("ports:manager:kafka", {"enabled": False}))
    nothing = make_object(Kind.ZONE, "public", {})
    (notice,) = judge(["9095/tcp"], tree=tree, permanent=nothing).notices
    assert notice.endswith("is not needed, firewall-cmd --zone=public --remove-port=9095/tcp")


def test_the_port_of_vxlan_stays_with_another_backend():
    tree = changed("ports:cluster:vxlan:flannel_backend", "vxlan")
    tree["flannel_backend"] = "host-gw"
    assert gone(judge(SCRIPT, tree=servers(tree))) == {*SCRIPT} - {"8472/udp"}


# --- the other role ---


def test_on_an_agent_the_ports_of_servers_are_removed_and_reported_as_closed():
    found = judge(SCRIPT, RULES, tree=agents(), role="agent")
    assert gone(found) == {*SCRIPT, *RULES}
    assert "no row opens on this node: 2379-2380/tcp, 5001/tcp, 6443/tcp" in found.access
    assert not any("servers" in each for each in found.access)


def test_ports_that_only_unknown_rows_could_cover_stay_and_are_reported():
    found = judge(SCRIPT, tree=agents(asks=False), role="agent")
    assert gone(found) == {*SCRIPT} - {"2379-2380/tcp", "6443/tcp", "5001/tcp"}
    assert len(found.notices) == 3
    for notice in found.notices:
        assert "were not in the pillar that the master compiled for this run" in notice
        assert "--remove" not in notice


def test_a_server_without_the_rows_of_agents_needs_none_of_them():
    assert gone(judge(SCRIPT, RULES, tree=pillar())) == {*SCRIPT, *RULES}


def test_the_result_names_the_sources_that_keep_access():
    assert judge(SCRIPT, RULES).access == (
        "still open to any node: 80/tcp, 5001/tcp, 6443/tcp, 8500/tcp, 9500/tcp, 10250/tcp, "
        "8472/udp",
        "still open to any node, clients: 443/tcp",
        "still open to clients: 3000/tcp, 6379/tcp, 9090/tcp, 9093/tcp, 9095/tcp",
        "still open to servers: 2379-2380/tcp",
        "still accepted as pods and services: 10.42.0.0/16, 10.43.0.0/16",
    )


# --- rich rules ---


@pytest.mark.parametrize(
    "text",
    [
        'rule priority="1" family="ipv4" source address="10.42.0.0/16" accept',
        'rule family="ipv4" source NOT address="10.42.0.0/16" accept',
        'rule family="ipv4" source address="10.42.0.0/16" log prefix="pods" accept',
        'rule family="ipv4" source address="10.42.0.0/16" audit accept',
        'rule family="ipv4" source address="10.42.0.0/16" accept limit value="9/m"',
        'rule family="ipv4" source address="10.42.0.0/16" drop',
        'rule family="ipv4" source address="10.42.0.0/16" destination address="192.0.2.1" accept',
        'rule family="ipv4" source address="10.42.0.0/16" port port="80" protocol="tcp" accept',
        'rule family="ipv4" source address="10.42.0.0/16" service name="http" accept',
        'rule family="ipv4" source ipset="10.42.0.0/16" accept',
        'rule family="ipv4" source address="10.42.0.0/17" accept',
        'rule family="ipv4" source address="10.42.0.0/15" accept',
        'rule family="ipv4" source address="10.42.0.0" accept',
        'rule family="ipv6" source address="fd42::/56" accept',
        'rule family="ipv4" source address="no address" accept',
        'rule family="ipv4" accept',
        "",
    ],
)
def test_a_rule_that_only_resembles_one_of_the_script_is_not_reported(text):
    found = judge(rules=[text])
    assert (found.differences, found.notices) == ((), ())


@pytest.mark.parametrize("mask", ["16", "255.255.0.0"])
def test_a_rule_is_removed_in_either_spelling_of_its_network(mask):
    text = f'rule family="ipv4" source address="10.42.0.0/{mask}" accept'
    assert gone(judge(rules=[text])) == {text}


def test_the_rules_of_an_adjusted_script_are_those_of_the_sites_networks():
    tree = servers(changed("pod_cidrs", ["10.100.0.0/16", "fd42::/56"]))
    tree["service_cidrs"] = ["10.101.0.0/16", "fd43::/112"]
    rules = [
        f'rule family="ipv{family}" source address="{network}" accept'
        for family, network in ((4, "10.100.0.0/16"), (4, "10.101.0.0/16"))
        + ((6, "fd42::/56"), (6, "fd43::/112"))
    ]
    found = judge(rules=[*rules, RULES[0]], tree=tree)
    assert gone(found) == {*rules}
    # It is the script's, but not a pod network here.
    (notice,) = found.notices
    assert "10.42.0.0/16" in notice and "no enabled row accepts everything from there" in notice
    assert f"--zone=public --remove-rich-rule='{RULES[0]}'" in notice


@pytest.mark.parametrize(
    ("source", "goes"),
    [
        (["pods", "services"], True),
        ("10.42.0.0/16", True),
        ("10.0.0.0/8", True),
        ("inside", True),
        ("services", False),
        ("10.42.0.0/17", False),
        ("any", False),
    ],
)
def test_a_rule_is_removed_only_if_a_row_accepts_its_whole_network(source, goes):
    tree = servers(changed("ports:cluster:services", {"enabled": False}))
    tree["groups"]["inside"] = ["10.40.0.0/13"]
    tree["ports"]["cluster"]["pods"] = row("any", None, source, "any")
    assert (gone(judge(rules=RULES[:1], tree=tree)) == {RULES[0]}) is goes


# --- what is never touched ---


def test_a_guarded_port_stays_even_if_a_row_opens_it():
    guarded = {22: "ssh", 443: "sshd is there", 2380: "sshd is there too"}
    found = judge(SCRIPT, guarded=guarded)
    assert gone(found) == {*SCRIPT} - {"443/tcp", "2379-2380/tcp"}
    assert [re.search("sshd is there", notice) is not None for notice in found.notices] == [
        True
    ] * 2
    assert not any("--remove" in notice for notice in found.notices)


def test_only_tcp_ports_are_guarded():
    assert gone(judge(["8472/udp"], guarded={8472: "sshd is there"})) == {"8472/udp"}


def test_a_service_that_opens_the_same_port_is_reported_and_stays():
    services = {"http": (parse_port("80/tcp"),), "ssh": (parse_port("22/tcp"),)}
    found = judge(SCRIPT, services=services)
    assert gone(found) == {*SCRIPT}
    (notice,) = found.notices
    assert notice.startswith("zone public: 80/tcp stays open to every source: the service http of")
    assert notice.endswith("firewall-cmd --zone=public --remove-service=http")
