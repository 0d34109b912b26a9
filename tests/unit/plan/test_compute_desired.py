"""The firewalld objects of a node follow from the tables, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import netaddr
import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.errors import BadTables
from k3sfw_engine.model.firewall_objects import Kind, digest, is_ours, make_object
from k3sfw_engine.model.overlay import FlannelConfig, OverlayDevice, OverlayFacts, PodRoute
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import Role
from k3sfw_engine.plan.desired.bound_interfaces import leave_bound_interfaces
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.desired.ipsets import keep_members
from k3sfw_engine.plan.desired.kept_paths import keep_paths_of_pods
from k3sfw_engine.plan.desired.return_path import with_return_path
from tests.unit.samples import (
    CLUSTER_TABLE,
    MANAGER_TABLE,
    NODES,
    RULE,
    changed,
    free_addresses,
    networks,
    parsed,
    pillar,
    pillars,
    row,
    wanted,
)

EVERYONE = "everyone"
ROLES = st.sampled_from(["server", "agent"])


def rules(objects, policy="k3s-rows"):
    return tuple(map(str, objects.objects[Kind.POLICY, policy].rules))


def entries(objects, name):
    return list(objects.objects[Kind.IPSET, name].items("entries"))


def with_column(setting, objects):
    return {name: each.items(setting) for (_kind, name), each in objects.objects.items()}


# -- the document's rows, on both roles -----------------------------------------------------------

# name in the table, ipsets of the rules (none: everyone), protocol and ports, on which roles.
OPENS = {
    "etcd": ("server", "2379-2380", "tcp", {"server"}),
    "api": ("node", "6443", "tcp", {"server"}),
    "vxlan": ("node", "8472", "udp", {"server", "agent"}),
    "kubelet": ("node", "10250", "tcp", {"server", "agent"}),
    "spegel": ("node", "5001", "tcp", {"server"}),
    "longhorn-api": ("node", "9500", "tcp", {"server", "agent"}),
    "longhorn-agent": ("node", "8500", "tcp", {"server", "agent"}),
    "http": ("node", "80", "tcp", {"server", "agent"}),
    "https": ("node", "443", "tcp", {"server", "agent"}),
}


def rule_text(family, by, source, port, protocol="tcp", element="port"):
    return (
        f'rule family="ipv{family}" source {by}="{source}" '
        f'{element} port="{port}" protocol="{protocol}" accept'
    )


def rule_texts(ipset, port, protocol):
    source = {4: f' source ipset="k3s-{ipset}-4"', 6: f' source ipset="k3s-{ipset}-6"'}
    return {
        f'rule family="ipv{family}"{source[family] if ipset else ""} '
        f'port port="{port}" protocol="{protocol}" accept'
        for family in (4, 6)
    }


def test_the_rules_of_each_role_are_the_rows_of_the_document_and_no_more():
    for role in ("server", "agent"):
        expected = set()
        for ipset, port, protocol, roles in OPENS.values():
            if role in roles:
                expected |= rule_texts(ipset, port, protocol)
        for _name, protocol, port, _description in MANAGER_TABLE:
            expected |= rule_texts("", port, protocol.lower())
        assert set(rules(wanted(role=role))) == expected
    assert set(OPENS) | {"pods", "services"} == {name for name, *_ in CLUSTER_TABLE}


def test_an_agent_never_gets_a_rule_for_etcd():
    assert not [rule for rule in rules(wanted(role="agent")) if "2379" in rule]


def test_only_servers_reach_etcd():
    (four, six) = [rule for rule in rules(wanted()) if "2379-2380" in rule]
    assert 'source ipset="k3s-server-4"' in four and 'source ipset="k3s-server-6"' in six
    assert entries(wanted(), "k3s-server-4") == ["192.0.2.11", "192.0.2.12", "192.0.2.13"]
    assert entries(wanted(), "k3s-server-6") == ["2001:db8::11", "2001:db8::12"]


def test_the_ipsets_hold_the_nodes_of_each_role_and_family():
    objects = wanted()
    assert {name: entries(objects, name) for kind, name in objects.objects if kind == "ipset"} == {
        "k3s-server-4": ["192.0.2.11", "192.0.2.12", "192.0.2.13"],
        "k3s-server-6": ["2001:db8::11", "2001:db8::12"],
        "k3s-agent-4": ["192.0.2.21", "192.0.2.22"],
        "k3s-agent-6": ["2001:db8::21"],
        "k3s-node-4": ["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.21", "192.0.2.22"],
        "k3s-node-6": ["2001:db8::11", "2001:db8::12", "2001:db8::21"],
        "k3s-group-admins-4": ["198.51.100.0/28"],
        "k3s-group-admins-6": [],
        "k3s-group-clients-4": [],
        "k3s-group-clients-6": [],
    }


@pytest.mark.parametrize(
    ("source", "sources"),
    [
        ("any", {'ipset="k3s-node-4"', 'ipset="k3s-node-6"'}),
        ("server", {'ipset="k3s-server-4"', 'ipset="k3s-server-6"'}),
        ("agent", {'ipset="k3s-agent-4"', 'ipset="k3s-agent-6"'}),
        ("pods", {'address="10.42.0.0/16"'}),
        ("services", {'address="10.43.0.0/16"'}),
        ("admins", {'ipset="k3s-group-admins-4"'}),
        ("clients", {EVERYONE}),
        ("0.0.0.0/0", {EVERYONE}),
        ("203.0.113.7", {'address="203.0.113.7"'}),
        ("2001:DB8::/48", {'address="2001:db8::/48"'}),
        (["admins", "203.0.113.7"], {'ipset="k3s-group-admins-4"', 'address="203.0.113.7"'}),
    ],
)
def test_each_kind_of_source_becomes_its_own_rules(source, sources):
    only = pillar(ports={"cluster": {"r": row("tcp", 22, source, "any")}, "manager": {}})
    found = opening(wanted(only))
    written = {f'ipset="{rule.ipset}"' for rule in found if rule.ipset}
    written |= {f'address="{rule.address}"' for rule in found if rule.address}
    written |= {EVERYONE for rule in found if not rule.ipset and not rule.address}
    assert written == sources


def opening(objects):
    """The rules that allow any source: one with an empty ipset allows none."""
    found = objects.objects[Kind.POLICY, "k3s-rows"].rules
    return [rule for rule in found if not rule.ipset or entries(objects, rule.ipset)]


def test_clients_narrowed_to_one_family_lose_the_other():
    narrowed = opening(wanted(changed("groups:clients", ["203.0.113.0/24"])))
    grafana = [str(rule) for rule in narrowed if 3000 in (rule.port.low, rule.port.high)]
    assert grafana == [rule_text(4, "ipset", "k3s-group-clients-4", "3000")]


def test_a_row_with_several_ports_gets_a_rule_for_each():
    tree = changed("ports:cluster:etcd:port", [22, "8000-8010"])
    assert [rule for rule in rules(wanted(tree)) if "server-4" in rule] == [
        rule_text(4, "ipset", "k3s-server-4", "22"),
        rule_text(4, "ipset", "k3s-server-4", "8000-8010"),
    ]


@pytest.mark.parametrize("source", ["clients", "0.0.0.0/0", "::/0", ["admins", "::/0"]])
def test_any_protocol_from_everyone_is_refused_or_written_validly(source):
    # firewalld 1.3.3: INVALID_RULE: no element, no source, no destination
    tree = changed("ports:manager:all", {"protocol": "any", "source": source})
    try:
        written = rules(wanted(tree))
    except BadTables:
        return
    assert [rule for rule in written if not RULE.fullmatch(rule)] == []


# -- pods and services ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "interfaces"),
    [
        ("vxlan", {"cni0", "flannel.1", "flannel-v6.1"}),
        ("wireguard-native", {"cni0", "flannel-wg", "flannel-wg-v6"}),
        ("host-gw", {"cni0"}),
        ("tailscale", {"cni0"}),
        ("none", set()),
    ],
)
def test_pods_are_accepted_on_the_interfaces_of_the_backend(backend, interfaces):
    objects = wanted(pillar(flannel_backend=backend))
    zone = objects.objects[Kind.ZONE, "k3s"]
    assert set(zone.items("interfaces")) == interfaces
    assert zone.settings["target"] == "DROP"
    by_address = {rule for rule in rules(objects) if 'address="10.42.0.0/16"' in rule}
    assert bool(by_address) == (not interfaces)


def test_a_packet_that_spoofs_a_pod_address_is_not_accepted():
    assert not [rule for rule in rules(wanted()) if "10.42" in rule or "10.43" in rule]
    assert rules(wanted(), "k3s-nodes-to-pods") == ()


def test_without_a_backend_pods_and_services_are_accepted_by_address():
    tree = pillar(flannel_backend="none", pod_cidrs=["10.42.0.0/16", "fd42::/56"])
    assert [rule for rule in rules(wanted(tree)) if "port" not in rule] == [
        'rule family="ipv4" source address="10.42.0.0/16" accept',
        'rule family="ipv4" source address="10.43.0.0/16" accept',
        'rule family="ipv6" source address="fd42::/56" accept',
    ]


def test_host_gw_forwards_to_pods_from_nodes_and_from_remote_pods():
    assert rules(wanted(pillar(flannel_backend="host-gw")), "k3s-nodes-to-pods") == (
        'rule family="ipv4" source address="10.42.0.0/16" accept',
        'rule family="ipv4" source address="10.43.0.0/16" accept',
        'rule family="ipv4" source ipset="k3s-node-4" accept',
        'rule family="ipv6" source ipset="k3s-node-6" accept',
    )


def test_tailscales_device_is_never_trusted_and_remote_pods_come_by_address():
    objects = wanted(pillar(flannel_backend="tailscale"))
    assert "tailscale0" not in objects.objects[Kind.ZONE, "k3s"].items("interfaces")
    host_gw = wanted(pillar(flannel_backend="host-gw"))
    assert rules(objects, "k3s-nodes-to-pods") == rules(host_gw, "k3s-nodes-to-pods")


def test_another_plugin_has_pods_forwarded_by_address_and_nodes_only_to_pods():
    tree = pillar(flannel_backend="none", pod_cidrs=["10.42.0.0/16", "fd42::/56"])
    objects = wanted(tree)
    assert objects.objects[Kind.POLICY, "k3s-bound-to-any"].items("ingress_zones") == ("ANY",)
    assert rules(objects, "k3s-bound-to-any") == (
        'rule family="ipv4" source address="10.42.0.0/16" accept',
        'rule family="ipv4" source ipset="k3s-node-4" destination address="10.42.0.0/16" accept',
        'rule family="ipv6" source address="fd42::/56" accept',
        'rule family="ipv6" source ipset="k3s-node-6" destination address="fd42::/56" accept',
    )
    tree["ports"]["cluster"]["pods"]["enabled"] = False
    assert rules(wanted(tree), "k3s-bound-to-any") == ()


# -- what the node itself has ---------------------------------------------------------------------


def route(destination, gateway, device="eth0"):
    return PodRoute(netaddr.IPNetwork(destination), netaddr.IPAddress(gateway), device)


TUNNEL = route("10.42.2.0/24", "10.42.2.0", "flannel.1")


def here(overlay, tree=None):
    return compute_desired(parsed(tree), Role.SERVER, overlay)


def interfaces(objects):
    return set(objects.objects[Kind.ZONE, "k3s"].items("interfaces"))


def test_flannels_devices_are_bound_whatever_their_number_and_others_are_not():
    devices = (
        OverlayDevice("flannel.42", "vxlan", 42, 4789),
        OverlayDevice("vxlan7", "vxlan", 42, 4789),
        OverlayDevice("wg0", "wireguard", port=51820),
    )
    usual = {"cni0", "flannel.1", "flannel-v6.1"}
    assert interfaces(here(OverlayFacts(devices))) == usual | {"flannel.42"}
    assert interfaces(here(OverlayFacts(devices), pillar(flannel_backend="none"))) == set()


def test_devices_that_flannel_will_create_are_bound_before_they_exist():
    config = FlannelConfig(kind="vxlan", vni=4096)
    usual = {"cni0", "flannel.1", "flannel-v6.1"}
    assert interfaces(here(OverlayFacts(config=config))) == usual | {
        "flannel.4096",
        "flannel-v6.4096",
    }


@pytest.mark.parametrize(
    ("overlay", "routed"),
    [
        (OverlayFacts(routes=(TUNNEL, route("10.42.3.0/24", "192.0.2.13"))), True),
        (OverlayFacts(config=FlannelConfig(kind="vxlan", vni=1, direct_routing=True)), True),
        (OverlayFacts(routes=(TUNNEL,)), False),
        # No node of the cluster, no pod network, or a tunnel of flannel's.
        (OverlayFacts(routes=(TUNNEL, route("10.42.3.0/24", "198.51.100.1"))), False),
        (OverlayFacts(routes=(TUNNEL, route("10.9.3.0/24", "192.0.2.13"))), False),
        (OverlayFacts(routes=(TUNNEL, route("10.42.3.0/24", "192.0.2.13", "flannel.1"))), False),
        (OverlayFacts(), False),
    ],
)
def test_routed_pods_are_accepted_only_where_flannel_routes_to_a_node_directly(overlay, routed):
    assert bool(rules(here(overlay), "k3s-nodes-to-pods")) == routed


def test_paths_of_pods_stay_until_something_proves_that_they_are_gone():
    direct = OverlayFacts(
        (OverlayDevice("flannel.42", "vxlan", 42),), routes=(route("10.42.3.0/24", "192.0.2.13"),)
    )
    before = here(direct).objects
    # After a boot, before K3s has started.
    booted = keep_paths_of_pods(here(OverlayFacts((), routes=())), before)
    assert booted.objects == before
    tunnelled = keep_paths_of_pods(here(OverlayFacts((), routes=(TUNNEL,))), before)
    assert rules(tunnelled, "k3s-nodes-to-pods") == ()
    assert keep_paths_of_pods(here(OverlayFacts()), wanted().objects).objects == wanted().objects


@pytest.mark.parametrize("listed", [True, False], ids=["unsure list", "unlisted gateway"])
def test_a_doubtful_node_list_takes_no_direct_route_of_pods_away(listed):
    gateway = "192.0.2.13" if listed else "198.51.100.1"
    overlay = OverlayFacts(routes=(TUNNEL, route("10.42.3.0/24", gateway)))
    tables = parsed()
    known = compute_desired(
        tables, Role.SERVER, OverlayFacts(routes=(route("10.42.3.0/24", "192.0.2.13"),))
    )
    assert rules(known, "k3s-nodes-to-pods")
    if listed:
        overlay = replace(overlay, routes=(TUNNEL,))
        tables = replace(tables, unsure=("the master holds no grains of x1",))
    after = compute_desired(tables, Role.SERVER, overlay)
    assert rules(after, "k3s-nodes-to-pods") == ()
    kept = keep_paths_of_pods(after, known.objects)
    assert rules(kept, "k3s-nodes-to-pods") == rules(known, "k3s-nodes-to-pods")


def test_nothing_of_pods_stays_when_their_row_is_gone():
    before = here(OverlayFacts((OverlayDevice("flannel.42", "vxlan", 42),))).objects
    without = changed("ports:cluster:pods:enabled", False)
    assert interfaces(keep_paths_of_pods(here(OverlayFacts(), without), before)) == set()


def test_routes_of_another_plugin_open_nothing_that_flannels_would():
    overlay = OverlayFacts(routes=(route("10.42.3.0/24", "192.0.2.13"),))
    objects = here(overlay, pillar(flannel_backend="none"))
    assert rules(objects, "k3s-nodes-to-pods") == ()
    assert objects == wanted(pillar(flannel_backend="none"))


def test_without_the_rows_of_pods_no_interface_is_trusted():
    tree = changed("ports:cluster:pods:enabled", False)
    tree["ports"]["cluster"]["services"]["enabled"] = False
    assert wanted(tree).objects[Kind.ZONE, "k3s"].items("interfaces") == ()


def test_disabling_the_row_of_pods_closes_the_host_to_pods():
    # Nothing ever comes in with a service's address, so the other row alone must not open cni0.
    tree = changed("ports:cluster:pods:enabled", False)
    assert wanted(tree).objects[Kind.ZONE, "k3s"].items("interfaces") == ()


# -- the shape of the objects ---------------------------------------------------------------------


@given(pillars(), ROLES)
def test_every_object_is_ours_and_has_a_valid_name(tree, role):
    longest = {Kind.POLICY: 18, Kind.ZONE: 17, Kind.IPSET: 32}
    for (kind, name), each in wanted(tree, role).objects.items():
        assert name.startswith("k3s")
        assert len(name) <= longest[kind]
        assert is_ours(each)


def test_the_longest_group_name_still_fits_into_an_ipset():
    tree = pillar(groups={"x" * 20: ["192.0.2.0/24"]})
    assert max(len(name) for _kind, name in wanted(tree).objects) <= 32


def test_the_order_of_items_does_not_make_another_object():
    one, other = (
        make_object(Kind.ZONE, "k3s", {"interfaces": names})
        for names in (("cni0", "flannel.1"), ("flannel.1", "cni0", "cni0"))
    )
    assert one == other


def test_an_object_of_others_with_the_same_name_is_not_ours():
    stranger = make_object(Kind.ZONE, "k3s", {"description": "K3s zone of the platform team"})
    assert not is_ours(stranger)
    assert not is_ours(make_object(Kind.ZONE, "k3s", {}))
    borrowed = {"description": f"copied from ({digest(Kind.POLICY, 'k3s')})"}
    assert not is_ours(make_object(Kind.ZONE, "k3s", borrowed))


@given(pillars(), ROLES)
def test_no_node_address_is_ever_bound_to_a_zone(tree, role):
    for each in wanted(tree, role).objects.values():
        if each.kind is Kind.ZONE:
            assert each.items("sources") == ()
            assert each.settings["target"] == "DROP"


@given(pillars(), ROLES)
def test_policies_are_judged_before_every_zone(tree, role):
    for each in wanted(tree, role).objects.values():
        if each.kind is Kind.POLICY:
            assert each.settings["priority"] < 0
            # The policies for pods in foreign zones wait for such a zone; only with another plugin
            # than flannel are pods forwarded from every zone.
            ingress = each.items("ingress_zones")
            if each.name == "k3s-bound-to-any":
                assert ingress in ((), ("ANY",))
            else:
                assert len(ingress) == (each.name != "k3s-bound-to-host")
            assert len(each.items("egress_zones")) == 1


@given(pillars(), ROLES)
def test_every_rule_fits_the_grammar_and_names_an_ipset_of_its_family(tree, role):
    objects = wanted(tree, role)
    for (_kind, name), each in objects.objects.items():
        for rule in each.rules:
            assert RULE.fullmatch(str(rule)), (name, rule)
            if rule.ipset:
                assert (Kind.IPSET, rule.ipset) in objects.objects
                assert rule.ipset.endswith(f"-{rule.family}")
            if rule.address:
                assert netaddr.IPNetwork(rule.address).version == rule.family


@given(pillars(), ROLES)
def test_every_rule_has_its_row(tree, role):
    objects = wanted(tree, role)
    assert {str(each.rule) for each in objects.rules} == set(rules(objects))
    assert {each.row for each in objects.rules} <= set(objects.rows)


@given(st.lists(networks(), min_size=1, max_size=8), st.lists(free_addresses(), min_size=1))
def test_entries_of_an_ipset_never_overlap_and_are_of_its_family(members, node_addresses):
    tree = changed("groups:admins", members)
    tree["nodes"]["a9"] = {"role": "agent", "addresses": node_addresses}
    for (kind, name), each in wanted(tree).objects.items():
        if kind is Kind.IPSET:
            held = [netaddr.IPNetwork(entry) for entry in each.items("entries")]
            assert not [pair for pair in combinations(held, 2) if pair[0] in pair[1]]
            assert not [pair for pair in combinations(held, 2) if pair[1] in pair[0]]
            assert {network.version for network in held} <= {int(name[-1])}
            assert all(network.prefixlen for network in held)
            family = "inet" if name.endswith("4") else "inet6"
            assert each.items("options") == (f"family={family}",)


# -- the same tables give the same objects --------------------------------------------------------


def in_another_order(tree, random):
    if isinstance(tree, dict):
        items = [(key, in_another_order(value, random)) for key, value in tree.items()]
        random.shuffle(items)
        return dict(items)
    if isinstance(tree, list):
        return random.sample(tree, len(tree))
    return tree


@given(pillars(), ROLES, st.randoms(use_true_random=False))
def test_the_objects_do_not_depend_on_the_order_of_the_pillar(tree, role, random):
    assert repr(wanted(in_another_order(tree, random), role)) == repr(wanted(tree, role))


def test_the_description_does_not_change_with_the_tables():
    other = pillar(nodes={"s1": NODES["s1"]}, firewall={}, flannel_backend="none")
    before, after = wanted(), wanted(other)
    for key, each in after.objects.items():
        assert each.settings["description"] == before.objects[key].settings["description"]


def differing(before, after):
    """``{(object, setting): (lost, gained)}``; both must have the same objects."""
    assert set(before.objects) == set(after.objects)
    found = {}
    for key, each in after.objects.items():
        for setting, value in each.settings.items():
            old = before.objects[key].settings[setting]
            if old != value:
                lost, gained = set(old) - set(value), set(value) - set(old)
                found[key[1], setting] = (lost, gained)
    return found


@given(st.lists(free_addresses(), min_size=1, max_size=3), st.sampled_from(["server", "agent"]))
def test_a_node_that_joins_changes_exactly_its_entries(joining, role):
    tree = pillar()
    after = changed("nodes:n9", {"role": role, "addresses": joining})
    expected = {}
    for family in (4, 6):
        gained = {each for each in joining if netaddr.IPAddress(each).version == family}
        if gained:
            expected[f"k3s-node-{family}", "entries"] = (set(), gained)
            expected[f"k3s-{role}-{family}", "entries"] = (set(), gained)
    assert differing(wanted(tree), wanted(after)) == expected
    left = {setting: (gained, lost) for setting, (lost, gained) in expected.items()}
    assert differing(wanted(after), wanted(tree)) == left


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ports:cluster:kubelet:port", 10260),
        ("ports:cluster:kubelet:source", ["server", "203.0.113.7"]),
        ("ports:cluster:http:enabled", False),
        ("ports:cluster:pods:enabled", False),
        ("ports:manager:loki", {"protocol": "tcp", "port": 3100}),
        ("groups:clients", ["192.0.2.0/24"]),
        ("groups:admins", ["198.51.100.16/28", "2001:db8:a::/48"]),
        ("pod_cidrs", ["10.44.0.0/16", "fd42::/56"]),
        ("flannel_backend", "host-gw"),
        ("flannel_backend", "none"),
        ("nodes:s2", {"role": "agent", "addresses": ["192.0.2.12"]}),
        ("nodes:a9", {"role": "agent", "addresses": ["2001:db8::29"]}),
    ],
)
def test_a_change_of_the_tables_needs_no_new_object(path, value):
    for role in ("server", "agent"):
        before, after = wanted(role=role).objects, wanted(changed(path, value), role).objects
        assert set(before) == set(after)
        fixed = ("type", "options", "target", "priority", "ingress_zones", "egress_zones")
        for key, each in after.items():
            for setting in fixed:
                if key == (Kind.POLICY, "k3s-bound-to-any") and setting == "ingress_zones":
                    continue  # firewalld changes it without a reload.
                assert each.settings.get(setting) == before[key].settings.get(setting)


def test_servers_and_agents_have_the_same_objects_so_a_change_of_role_needs_no_reload():
    assert set(wanted().objects) == set(wanted(role="agent").objects)


# -- memberships that may lack nodes --------------------------------------------------------------


def test_an_unsure_node_list_keeps_every_present_entry():
    alone = wanted(pillar(nodes={"s1": NODES["s1"]}, firewall={}))
    kept = keep_members(alone, wanted().objects)
    for name in ("k3s-server-4", "k3s-server-6", "k3s-agent-4", "k3s-agent-6", "k3s-node-4"):
        assert entries(kept, name) == entries(wanted(), name)


def test_an_unsure_node_list_still_adds_new_nodes():
    both = keep_members(
        wanted(pillar(nodes={"s1": {"role": "server", "addresses": ["192.0.2.99"]}}, firewall={})),
        wanted().objects,
        {},
    )
    assert "192.0.2.99" in entries(both, "k3s-server-4")
    assert "192.0.2.11" in entries(both, "k3s-server-4")


@pytest.mark.parametrize("role", ["server", "agent"])
def test_an_unsure_node_list_keeps_the_rules_for_its_entries(role):
    # Only this node is left in the list: no agent or no server is known, and no IPv6 address.
    name = f"{role[0]}1"
    nodes = {name: {"role": role, "addresses": NODES[name]["addresses"][:1]}}
    tree = changed("ports:cluster:agents-only", row("tcp", 7946, "agent", "any"))
    alone = wanted({**tree, "nodes": nodes, "firewall": {}}, role)
    before = wanted(tree, role)
    assert set(rules(before)) - set(rules(keep_members(alone, before.objects))) == set()


def test_groups_are_narrowed_even_if_the_node_list_is_unsure():
    narrowed = wanted(changed("groups:admins", ["198.51.100.0/30"]))
    assert entries(keep_members(narrowed, wanted().objects), "k3s-group-admins-4") == [
        "198.51.100.0/30"
    ]


def test_kept_entries_never_overlap_with_wanted_ones():
    observed = (
        wanted().objects[Kind.IPSET, "k3s-node-4"].with_settings({"entries": ("192.0.2.0/28",)})
    )
    kept = keep_members(wanted(), {observed.key: observed})
    assert entries(kept, "k3s-node-4") == ["192.0.2.0/28", "192.0.2.21", "192.0.2.22"]


# -- the rest -------------------------------------------------------------------------------------


def test_pods_are_accepted_in_the_other_zone_of_their_interface():
    found = replace(
        wanted(), objects=leave_bound_interfaces(wanted().objects, ["cni0"], ["office", "lab"])
    )
    assert differing(wanted(), found) == {
        ("k3s", "interfaces"): ({"cni0"}, set()),
        ("k3s-bound-to-host", "ingress_zones"): (set(), {"lab", "office"}),
        ("k3s-bound-to-any", "ingress_zones"): (set(), {"lab", "office"}),
    }


def test_packets_routed_to_pods_are_accepted_in_the_other_zone():
    objects = wanted(pillar(flannel_backend="host-gw")).objects
    found = leave_bound_interfaces(objects, ["cni0"], ["office"])
    assert found[Kind.POLICY, "k3s-nodes-to-pods"].items("egress_zones") == ("k3s", "office")


def test_pods_in_other_zones_are_accepted_by_their_address():
    for name in ("k3s-bound-to-host", "k3s-bound-to-any"):
        assert rules(wanted(), name) == tuple(
            f'rule family="ipv4" source address="{network}" accept'
            for network in ("10.42.0.0/16", "10.43.0.0/16")
        )
    assert rules(wanted(changed("ports:cluster:pods:enabled", False)), "k3s-bound-to-host") == ()


def test_pods_are_accepted_on_every_interface_if_the_operator_prefers_addresses():
    extra = differing(wanted(), wanted(pillar(firewall={"pods_from": "addresses"})))
    assert extra == {
        ("k3s-rows", "rich_rules"): (
            set(),
            {RichRule(4, address=network) for network in ("10.42.0.0/16", "10.43.0.0/16")},
        )
    }


def test_the_return_path_accepts_the_masters_and_is_a_policy_of_its_own():
    masters = [netaddr.IPAddress("203.0.113.5"), netaddr.IPAddress("2001:db8:5::5")]
    objects = with_return_path(wanted(), masters, [4505, 4506])
    assert rules(objects, "k3s-return-path") == tuple(
        rule_text(family, "address", address, port, element="source-port")
        for family, address in ((4, "203.0.113.5"), (6, "2001:db8:5::5"))
        for port in (4505, 4506)
    )
    assert set(objects.objects) - set(wanted().objects) == {(Kind.POLICY, "k3s-return-path")}


def test_without_a_master_there_is_no_return_path():
    assert with_return_path(wanted(), [], [4505, 4506]) == wanted()


def test_the_role_decides_which_rows_open_a_node():
    tables = parsed()
    assert {each.name for each in compute_desired(tables, Role.SERVER).rows} - {
        each.name for each in compute_desired(tables, Role.AGENT).rows
    } == {"etcd", "api", "spegel"}
