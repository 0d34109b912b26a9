"""check_routes judged by tables: what was read, changed in one respect, gives that verdict alone.

What was read is of a real node, s1 of a dual-stack lab with s2 and a1 (``data/network.json``).
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import netaddr
import pytest

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.report import Report
from k3sfw_engine.checks.routes.route_check import echo_sizes, judge_routes, targets
from k3sfw_engine.checks.suggested_commands import restart_k3s
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.echo import Echo, EchoResult, PathEchoes
from k3sfw_engine.model.firewall_objects import Kind, make_object
from k3sfw_engine.model.host_facts import BaseChain, HostFacts
from k3sfw_engine.model.interfaces_and_routes import (
    Forwarding,
    Hop,
    Interface,
    Lookup,
    Neighbour,
    Route,
)
from k3sfw_engine.model.zones import ObservedZones, ZoneLayer
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.unit.host.test_iproute import parsed

NODES = {
    "s1": {"role": "server", "addresses": ["192.0.2.11", "2001:db8::11"]},
    "s2": {"role": "server", "addresses": ["192.0.2.12", "2001:db8::12"]},
    "a1": {"role": "agent", "addresses": ["192.0.2.21", "2001:db8::21"]},
}
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/eth0/rp_filter": "0",
    "net/ipv4/conf/eth0/forwarding": "1",
    "net/ipv4/conf/flannel.1/forwarding": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/eth0/forwarding": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/bridge/bridge-nf-call-ip6tables": "1",
}
HOST = HostFacts(sysctls=SYSCTLS)


def tables(**changed):
    pillar = {
        "pod_cidrs": ["10.42.0.0/16", "fd42::/64"],
        "service_cidrs": ["10.43.0.0/16", "fd43::/64"],
        "ports": {"cluster": {}, "manager": {}},
        "nodes": NODES,
        **changed,
    }
    return parse_tables(pillar, minion_id="s1", role="server")


def network():
    """The captured one, with pods of the overlay's size and every answer that is asked for."""
    found = parsed()
    interfaces = dict(found.interfaces)
    for name, mtu in (("cni0", 1430), ("flannel.1", 1430), ("flannel-v6.1", 1430)):
        interfaces[name] = replace(interfaces[name], mtu=mtu)
    # The lab's nodes have services' addresses on the bridge, as pods' own.
    bridge = interfaces["cni0"]
    pods = tuple(each for each in bridge.addresses if str(each).startswith(("10.42", "fd42")))
    interfaces["cni0"] = replace(bridge, addresses=pods)
    routes = tuple(
        route
        for route in found.routes
        if not str(route.destination).startswith(("203.", "fd99", "198.", "10.43", "fd43"))
    )
    lookups = {
        "192.0.2.12": by("eth0", "192.0.2.11"),
        "192.0.2.21": by("eth0", "192.0.2.11"),
        "2001:db8::12": by("eth0", "2001:db8::11"),
        "2001:db8::21": by("eth0", "2001:db8::11"),
        "10.43.0.1": by("eth0", "192.0.2.11", "192.0.2.10"),
        "fd43::1": by("eth0", "2001:db8::11", "2001:db8::10"),
        "10.42.2.1": by("flannel.1", "10.42.1.0", "10.42.2.0"),
        "10.42.3.1": by("flannel.1", "10.42.1.0", "10.42.3.0"),
        "fd42::2:1": by("flannel-v6.1", "fd42::1:0", "fd42::2:0"),
        "fd42::3:1": by("flannel-v6.1", "fd42::1:0", "fd42::3:0"),
    }
    named = {target: replace(lookup, target=target) for target, lookup in lookups.items()}
    return replace(found, interfaces=interfaces, routes=routes, rules=(), lookups=named)


def by(device, source, gateway=""):
    return Lookup("", "unicast", device, gateway, source, "main")


def situation(net=None, host=HOST, peers=("s2", "a1"), **pillar):
    parsed_tables = tables(**pillar)
    (node,) = (each for each in parsed_tables.nodes if each.name == "s1")
    chosen = tuple(each for each in parsed_tables.nodes if each.name in peers)
    return NodeFacts(node, chosen, parsed_tables, net or network(), host)


def problems(at, paths=None):
    """``[(status, to, description)]`` of all that is not ok."""
    checks = judge_routes(at, {} if paths is None else paths)
    return [
        (check.status.value, check.to, check.description)
        for check in checks
        if check.status is not Status.OK
    ]


def only(at, paths=None):
    """The one check that is not ok."""
    (found,) = (
        c for c in judge_routes(at, {} if paths is None else paths) if c.status is not Status.OK
    )
    return found


def route(destination, device="", gateway="", kind="unicast", **more):
    hops = (Hop(device, gateway),) if kind == "unicast" else ()
    return Route(netaddr.IPNetwork(destination), kind, hops, **more)


def with_routes(net, *routes):
    return replace(net, routes=(*net.routes, *routes))


def without_routes(net, *destinations):
    kept = tuple(each for each in net.routes if str(each.destination) not in destinations)
    return replace(net, routes=kept)


def answering(net, **lookups):
    """These look-ups instead; ``_`` in a name stands for what a name cannot have."""
    return replace(net, lookups={**net.lookups, **lookups})


def linked(net, name, **changes):
    link = replace(net.interfaces[name], **changes)
    return replace(net, interfaces={**net.interfaces, name: link})


# -- a healthy cluster ----------------------------------------------------------------------------


def test_a_complete_node_is_ok_in_every_respect():
    at = situation()
    echoes = {target: passing(size) for target, size in echo_sizes(at).items()}
    checks = judge_routes(at, echoes, zones())
    assert {check.status for check in checks} == {Status.OK}
    assert {check.description for check in checks} == {
        "firewalld's drop table",
        "link",
        "own address",
        "own network",
        "node",
        "overlay",
        "pods",
        "overlap",
        "refusing routes",
        "default route",
        "net.ipv4.ip_forward",
        "net.ipv6.conf.all.forwarding",
        "net.bridge.bridge-nf-call-iptables",
        "net.bridge.bridge-nf-call-ip6tables",
        "MTU",
        "path MTU",
        "zone",
        "other firewalls",
    }


def test_every_peer_is_asked_about_in_both_families():
    checks = judge_routes(situation(), {})
    for description in ("node", "pods"):
        asked = sorted((c.to, c.address) for c in checks if c.description == description)
        assert len(asked) == 4
        assert [to for to, _address in asked] == ["a1", "a1", "s2", "s2"]


def test_a_narrowed_check_asks_only_about_those_peers():
    at = situation(peers=("a1",))
    assert {check.to for check in judge_routes(at, {})} == {"s1", "a1"}
    assert not {"192.0.2.12", "2001:db8::12"} & set(targets(at))


def test_a_family_that_the_node_does_not_have_is_not_asked_about():
    nodes = {**NODES, "s1": {"role": "server", "addresses": ["192.0.2.11"]}}
    at = situation(nodes=nodes)
    assert problems(at) == []
    assert {c.to for c in judge_routes(at, {}) if ":" in c.address} == set()
    assert not [target for target in targets(at) if ":" in target]


def test_a_node_without_peers_is_complete():
    at = situation(peers=(), nodes={"s1": NODES["s1"]})
    at = replace(at, network=without_overlay_entries(at.network))
    assert problems(at) == []


def without_overlay_entries(net):
    return replace(
        without_routes(net, "10.42.2.0/24", "10.42.3.0/24", "fd42::2:0/112", "fd42::3:0/112"),
        neighbours=(),
        forwarding=(),
    )


# -- the way to nodes -----------------------------------------------------------------------------


def failed(target, error):
    return Lookup(target, error=error)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("blackhole", "Invalid argument"),
        ("prohibit", "Permission denied"),
        ("unreachable", "No route to host"),
    ],
)
def test_a_route_that_refuses_a_node_is_named_and_removed(kind, error):
    net = with_routes(network(), route("192.0.2.12/32", kind=kind))
    check = only(situation(answering(net, **{"192.0.2.12": failed("192.0.2.12", error)})))
    assert (check.status, check.source, check.to) == (Status.NO_ROUTE, "s1", "s2")
    assert check.evidence == f"the route {kind} 192.0.2.12/32 refuses it"
    assert check.hint == f"salt s1 cmd.run 'ip route del {kind} 192.0.2.12/32'"


def test_a_node_without_a_route_is_reported():
    net = without_routes(network(), "0.0.0.0/0")
    nodes = {**NODES, "s2": {"role": "server", "addresses": ["198.51.100.12"]}}
    lost = failed("198.51.100.12", "Network is unreachable")
    net = answering(net, **{"198.51.100.12": lost})
    found = [c for c in judge_routes(situation(net, nodes=nodes), {}) if c.description == "node"]
    assert found[0].evidence == "the kernel has no route to it (Network is unreachable)"


def test_a_source_address_that_peers_do_not_allow_is_a_mismatch():
    net = answering(network(), **{"192.0.2.12": by("eth0", "192.0.2.199")})
    check = only(situation(net))
    assert check.status is Status.SRC_MISMATCH
    assert "leave with the address 192.0.2.199" in check.evidence
    assert check.hint == (
        "salt s1 cmd.run 'ip route replace 192.0.2.0/24 dev eth0 proto kernel scope link "
        "src 192.0.2.11'"
    )


def test_any_address_that_pillar_has_of_the_node_is_a_right_source():
    nodes = {**NODES, "s1": {"role": "server", "addresses": ["192.0.2.11", "192.0.2.111"]}}
    net = linked(
        network(),
        "eth0",
        addresses=tuple(map(netaddr.IPNetwork, ("192.0.2.11/24", "192.0.2.111/24"))),
    )
    net = answering(net, **{"192.0.2.12": by("eth0", "192.0.2.111")})
    assert [p for p in problems(situation(net, nodes=nodes)) if p[2] == "node"] == []


@pytest.mark.parametrize(
    ("lookup", "words"),
    [
        (by("eth0", "192.0.2.11", "192.0.2.10"), "is in 192.0.2.0/24 on eth0, but goes via 192.0"),
        (by("eth1", "192.0.2.11"), "goes by eth1"),
        (by("cni0", "10.42.1.1"), "goes by cni0, which has only pods behind it"),
        (Lookup("", "local", "lo"), "this node itself has the address of s2"),
    ],
)
def test_a_route_by_the_wrong_link_is_a_wrong_route(lookup, words):
    check = only(situation(answering(network(), **{"192.0.2.12": lookup})))
    assert (check.status, check.to) == (Status.WRONG_ROUTE, "s2")
    assert words in check.evidence


def test_a_node_behind_a_router_may_be_reached_by_it():
    nodes = {**NODES, "s2": {"role": "server", "addresses": ["198.51.100.12"]}}
    net = answering(network(), **{"198.51.100.12": by("eth0", "192.0.2.11", "192.0.2.10")})
    checks = judge_routes(situation(net, nodes=nodes), {})
    (check,) = (c for c in checks if c.address == "198.51.100.12")
    assert (check.status, check.evidence) == (Status.OK, "via 192.0.2.10 dev eth0 src 192.0.2.11")


# -- the node's own links -------------------------------------------------------------------------


def test_behind_a_link_that_is_down_nothing_else_is_judged():
    at = situation(
        linked(
            network(),
            "eth0",
            up=False,
            carrier=False,
            addresses=(netaddr.IPNetwork("192.0.2.11/24"),),
        )
    )
    check = only(at)
    assert (check.status, check.evidence.partition(":")[0]) == (
        Status.LINK_DOWN,
        "eth0 is switched off",
    )
    # The master does not reach it either.
    assert check.hint == "ip link set eth0 up, on the node itself"
    assert echo_sizes(at) == {}


def test_a_link_without_a_carrier_is_down():
    assert "has no carrier" in only(situation(linked(network(), "eth0", carrier=False))).evidence


def test_a_bridge_without_pods_has_no_carrier_and_needs_none():
    assert problems(situation(linked(network(), "cni0", carrier=False))) == []
    assert "cni0 is switched off" in only(situation(linked(network(), "cni0", up=False))).evidence


def test_an_address_of_pillar_that_no_interface_has_is_reported_once():
    net = linked(
        network(),
        "eth0",
        addresses=tuple(map(netaddr.IPNetwork, ("192.0.2.99/24", "2001:db8::11/64"))),
    )
    found = [c for c in judge_routes(situation(net), {}) if c.status is Status.SRC_MISMATCH]
    assert [c.address for c in found if c.description == "own address"] == ["192.0.2.11"]


def test_an_address_that_only_a_nat_has_is_not_missed_beside_one_of_the_nodes_own():
    addresses = [*NODES["s1"]["addresses"], "203.0.113.11"]
    assert (
        problems(situation(nodes={**NODES, "s1": {"role": "server", "addresses": addresses}})) == []
    )


def test_a_lost_route_to_the_own_network_is_one_problem_and_not_one_for_each_peer():
    gone = failed("", "Network is unreachable")
    net = without_routes(network(), "192.0.2.0/24")
    net = answering(net, **{"192.0.2.12": gone, "192.0.2.21": gone})
    check = only(situation(net))
    assert (check.description, check.address) == ("own network", "192.0.2.0/24")
    assert check.hint == (
        "salt s1 cmd.run 'ip route replace 192.0.2.0/24 dev eth0 proto kernel scope link "
        "src 192.0.2.11'"
    )


# -- the way to pods, vxlan -----------------------------------------------------------------------


def without_forwarding(net, *destinations):
    kept = tuple(each for each in net.forwarding if each.destination not in destinations)
    return replace(net, forwarding=kept)


def without_neighbours(net, *addresses):
    kept = tuple(each for each in net.neighbours if each.address not in addresses)
    return replace(net, neighbours=kept)


def test_a_lost_route_is_known_by_the_entries_behind_it():
    check = only(situation(without_routes(network(), "10.42.3.0/24")))
    assert (check.status, check.to, check.address) == (Status.NO_ROUTE, "a1", "10.42.3.0/24")
    assert check.hint == (
        "salt s1 cmd.run 'ip route replace 10.42.3.0/24 via 10.42.3.0 dev flannel.1 onlink'"
    )


def test_a_lost_route_of_ipv6_has_its_own_prefix_length():
    check = only(situation(without_routes(network(), "fd42::3:0/112")))
    assert check.hint == (
        "salt s1 cmd.run 'ip -6 route replace fd42::3:0/112 via fd42::3:0 dev flannel-v6.1 onlink'"
    )


def test_a_lost_neighbour_is_known_by_the_route_and_the_forwarding_entry_that_are_left():
    check = only(situation(without_neighbours(network(), "10.42.3.0")))
    assert (check.status, check.to) == (Status.NO_NEIGHBOUR, "a1")
    assert check.hint == (
        "salt s1 cmd.run 'ip neigh replace 10.42.3.0 lladdr 02:00:00:00:00:03 dev flannel.1 "
        "nud permanent'"
    )


def test_a_lost_forwarding_entry_is_known_by_the_neighbour_that_is_left():
    check = only(situation(without_forwarding(network(), "192.0.2.21")))
    assert (check.status, check.to, check.address) == (Status.NO_NEIGHBOUR, "a1", "10.42.3.0/24")
    assert check.hint == (
        "salt s1 cmd.run 'bridge fdb replace 02:00:00:00:00:03 dev flannel.1 dst 192.0.2.21'"
    )


def test_a_forwarding_entry_to_a_stranger_is_left_to_flannel():
    # It may be the peer's gone wrong, or that of a node which pillar does not know.
    net = without_forwarding(network(), "192.0.2.21")
    wrong = Forwarding("02:00:00:00:00:03", "flannel.1", "192.0.2.99")
    check = only(situation(replace(net, forwarding=(*net.forwarding, wrong))))
    assert (check.status, check.to) == (Status.NO_NEIGHBOUR, "a1")
    assert "go to 192.0.2.99, which is not a node in pillar" in check.evidence
    assert check.hint == (
        "salt s1 cmd.run 'systemctl restart k3s'; if it stays so, enter 192.0.2.99 into k3s:nodes"
    )


def test_a_route_without_entries_belongs_to_no_peer():
    net = without_forwarding(without_neighbours(network(), "10.42.3.0"), "192.0.2.21")
    check = only(situation(net))
    assert (check.status, check.to) == (Status.NO_NEIGHBOUR, "a1")
    assert "belong to no known peer: 10.42.3.0" in check.evidence
    assert check.hint == "salt s1 cmd.run 'systemctl restart k3s'"


def test_a_name_cannot_get_out_of_the_command_that_it_is_put_into():
    nodes = {**NODES, "a';reboot;'1": NODES["a1"]}
    del nodes["a1"]
    at = situation(nodes=nodes, peers=("a';reboot;'1",))
    silent = PathEchoes(SMALL, Echo(1480, EchoResult.SILENT), 1400)
    check = only(at, {"192.0.2.21": silent})
    words = shlex.split(check.hint)
    assert words[:3] == ["salt", "a';reboot;'1", "cmd.run"]
    assert len(words) == 4


def test_a_neighbour_with_anothers_mac_is_set_right():
    net = without_neighbours(network(), "10.42.3.0")
    wrong = Neighbour("10.42.3.0", "flannel.1", "02:00:00:00:00:77")
    check = only(situation(replace(net, neighbours=(*net.neighbours, wrong))))
    assert "has the MAC 02:00:00:00:00:77, not 02:00:00:00:00:03" in check.evidence
    assert "lladdr 02:00:00:00:00:03" in check.hint


def test_two_different_losses_are_told_apart():
    net = without_forwarding(without_neighbours(network(), "10.42.2.0"), "192.0.2.21")
    checks = [c for c in judge_routes(situation(net), {}) if c.status is not Status.OK]
    assert {(c.to, c.hint.split("'")[1].split()[0]) for c in checks} == {
        ("s2", "ip"),
        ("a1", "bridge"),
    }


def test_two_unpaired_entries_are_not_guessed_and_flannel_is_restarted():
    net = without_forwarding(network(), "192.0.2.12", "192.0.2.21")
    checks = [c for c in judge_routes(situation(net), {}) if c.status is not Status.OK]
    assert {(c.status, c.to) for c in checks} == {
        (Status.NO_NEIGHBOUR, "s2"),
        (Status.NO_NEIGHBOUR, "a1"),
    }
    assert {c.hint for c in checks} == {"salt s1 cmd.run 'systemctl restart k3s'"}


def test_a_peer_without_any_entry_is_unproven():
    net = without_forwarding(without_neighbours(network(), "10.42.3.0"), "192.0.2.21")
    check = only(situation(without_routes(net, "10.42.3.0/24")))
    assert (check.status, check.to, check.by) == (Status.UNPROVEN, "a1", "a1")


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (route("10.42.3.0/24", kind="blackhole", metric=5), Status.NO_ROUTE),
        (route("10.42.3.128/25", kind="prohibit"), Status.NO_ROUTE),
        (route("10.42.3.64/26", "eth0", "192.0.2.10"), Status.WRONG_ROUTE),
    ],
)
def test_a_route_beside_flannels_is_removed(wrong, status):
    check = only(situation(with_routes(network(), wrong)))
    assert (check.status, check.to) == (status, "a1")
    assert check.hint.startswith("salt s1 cmd.run 'ip route del ")
    assert str(wrong.destination) in check.hint


def test_a_route_in_the_place_of_flannels_is_replaced_in_one_problem():
    net = without_routes(network(), "10.42.3.0/24")
    check = only(situation(with_routes(net, route("10.42.3.0/24", kind="blackhole"))))
    assert "instead there is blackhole 10.42.3.0/24" in check.evidence
    assert " && ip route replace 10.42.3.0/24 via 10.42.3.0 dev flannel.1 onlink" in check.hint


def test_a_routing_rule_that_wins_over_the_main_table_is_seen_by_the_kernels_answer():
    elsewhere = replace(by("tailscale0", "100.64.0.1"), table="52")
    check = only(situation(answering(network(), **{"10.42.3.1": elsewhere})))
    assert (check.status, check.to) == (Status.WRONG_ROUTE, "a1")
    assert "by tailscale0 (table 52)" in check.evidence


def test_an_overlay_that_sends_from_another_address_is_a_mismatch():
    overlay = network().interfaces["flannel.1"]
    details = {**overlay.details, "local": "192.0.2.199"}
    check = only(situation(linked(network(), "flannel.1", details=details)))
    assert (check.status, check.description) == (Status.SRC_MISMATCH, "overlay")
    assert check.hint == (
        "salt s1 cmd.run 'ip link set flannel.1 type vxlan id 1 local 192.0.2.11'"
    )


@pytest.mark.parametrize("gone", [False, True])
def test_an_overlay_that_is_down_or_gone_is_one_problem(gone):
    net = linked(network(), "flannel.1", up=False)
    if gone:
        others = {n: link for n, link in net.interfaces.items() if n != "flannel.1"}
        net = replace(net, interfaces=others)
    net = without_routes(net, "10.42.2.0/24", "10.42.3.0/24")
    check = only(situation(net))
    assert (check.status, check.hint) == (
        Status.LINK_DOWN,
        "salt s1 cmd.run 'systemctl restart k3s'",
    )


def test_on_an_agent_the_unit_is_that_of_an_agent():
    nodes = {**NODES, "s1": {**NODES["s1"], "role": "agent"}}
    parsed_tables = parse_tables(
        {"ports": {"cluster": {}, "manager": {}}, "nodes": nodes}, minion_id="s1", role="agent"
    )
    (node,) = (each for each in parsed_tables.nodes if each.name == "s1")
    at = replace(situation(), node=node, tables=parsed_tables)
    assert restart_k3s(at.node) == "salt s1 cmd.run 'systemctl restart k3s-agent'"


def test_pods_behind_a_node_that_pillar_does_not_know_are_a_conflict():
    nodes = {name: NODES[name] for name in ("s1", "s2")}
    found = problems(situation(nodes=nodes, peers=("s2",)))
    assert found == [("conflict", "s1", "overlay")] * 2


def test_without_k3s_the_overlay_is_neither_fine_nor_broken():
    net = without_overlay_entries(network())
    kept = {name: net.interfaces[name] for name in ("lo", "eth0")}
    check = only(situation(replace(net, interfaces=kept)))
    assert (check.status, check.description) == (Status.UNPROVEN, "overlay")


# -- other backends -------------------------------------------------------------------------------


def host_gw():
    net = without_overlay_entries(network())
    kept = {name: net.interfaces[name] for name in ("lo", "eth0", "cni0")}
    net = replace(net, interfaces=kept)
    lookups = {"10.42.2.1": by("eth0", "192.0.2.11"), "10.42.3.1": by("eth0", "192.0.2.11")}
    return with_routes(
        answering(net, **lookups),
        route("10.42.2.0/24", "eth0", "192.0.2.12"),
        route("10.42.3.0/24", "eth0", "192.0.2.21"),
    )


def gateways(net, **pillar):
    return situation(net, flannel_backend="host-gw", pod_cidrs=["10.42.0.0/16"], **pillar)


def test_with_host_gw_pods_are_behind_the_address_of_their_node():
    assert problems(gateways(host_gw())) == []


def test_with_host_gw_a_missing_route_is_not_proven():
    check = only(gateways(without_routes(host_gw(), "10.42.3.0/24")))
    assert (check.status, check.to) == (Status.UNPROVEN, "a1")


def test_with_host_gw_a_route_to_another_gateway_is_the_one_that_is_missing():
    net = without_routes(host_gw(), "10.42.3.0/24")
    check = only(gateways(with_routes(net, route("10.42.3.0/24", "eth0", "192.0.2.10"))))
    assert (check.status, check.to) == (Status.NO_ROUTE, "a1")
    assert "ip route replace 10.42.3.0/24 via 192.0.2.21 dev eth0" in check.hint


def wireguard(*routes, **pillar):
    net = without_overlay_entries(network())
    link = Interface("flannel-wg", True, True, 1420, "wireguard")
    kept = {name: net.interfaces[name] for name in ("lo", "eth0", "cni0")}
    kept["cni0"] = replace(kept["cni0"], mtu=1420)
    net = with_routes(replace(net, interfaces={**kept, "flannel-wg": link}), *routes)
    pillar = {"flannel_backend": "wireguard-native", "pod_cidrs": ["10.42.0.0/16"], **pillar}
    return situation(net, **pillar)


def test_with_wireguard_pods_are_behind_its_device():
    assert problems(wireguard(route("10.42.0.0/16", "flannel-wg"))) == []
    assert only(wireguard()).hint == (
        "salt s1 cmd.run 'ip route replace 10.42.0.0/16 dev flannel-wg'"
    )


def test_nothing_is_reported_about_another_network_plugin():
    at = situation(flannel_backend="none")
    assert not [c for c in judge_routes(at, {}) if c.description in ("pods", "overlay", "MTU")]


# -- what a peer says of its pods -----------------------------------------------------------------


def saying(**networks):
    """The nodes, with networks of their pods by their names."""
    return {
        "nodes": {
            name: {**node, "pod_cidrs": networks[name]} if name in networks else node
            for name, node in NODES.items()
        }
    }


RIGHT = saying(s2=["10.42.2.0/24", "fd42::2:0/112"], a1=["10.42.3.0/24", "fd42::3:0/112"])


def without_a1(net):
    """Nothing of flannel's entries for the pods of a1 in IPv4 is left."""
    net = without_forwarding(without_neighbours(net, "10.42.3.0"), "192.0.2.21")
    return without_routes(net, "10.42.3.0/24")


def test_what_peers_say_changes_nothing_where_flannels_entries_are_complete():
    paths = {target: passing(size) for target, size in echo_sizes(situation()).items()}
    assert judge_routes(situation(**RIGHT), paths) == judge_routes(situation(), paths)


def test_pods_of_which_flannel_has_no_entry_at_all_have_no_route_if_the_peer_says_which():
    check = only(situation(without_a1(network()), **RIGHT))
    assert (check.status, check.to, check.by) == (Status.NO_ROUTE, "a1", "s1")
    assert check.address == "10.42.3.0/24"
    assert check.hint == "salt s1 cmd.run 'systemctl restart k3s'"


def test_two_unpaired_entries_belong_to_the_peers_that_claim_them():
    net = without_forwarding(network(), "192.0.2.12", "192.0.2.21")
    checks = [c for c in judge_routes(situation(net, **RIGHT), {}) if c.status is not Status.OK]
    assert {(c.to, c.address, c.hint) for c in checks} == {
        (
            name,
            f"10.42.{number}.0/24",
            f"salt s1 cmd.run 'bridge fdb replace 02:00:00:00:00:0{number} dev flannel.1 "
            f"dst {address}'",
        )
        for name, number, address in (("s2", 2, "192.0.2.12"), ("a1", 3, "192.0.2.21"))
    }


def test_a_route_without_entries_belongs_to_the_peer_that_claims_it():
    net = without_forwarding(without_neighbours(network(), "10.42.3.0"), "192.0.2.21")
    check = only(situation(net, **RIGHT))
    assert (check.status, check.to) == (Status.NO_NEIGHBOUR, "a1")
    assert "flannel.1 has neither the neighbour 10.42.3.0 nor" in check.evidence
    assert check.hint == "salt s1 cmd.run 'systemctl restart k3s'"


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (network(), "10.42.3.0/24 of a1"),
        # Nothing speaks of a1 itself, but the network is another's.
        (without_a1(network()), "10.42.2.0/24 of s2"),
        (without_a1(network()), "it on cni0 of s1"),
    ],
)
def test_what_a_peer_says_against_flannels_entries_is_a_warning_that_names_both(net, words):
    said = {"it on cni0 of s1": "10.42.1.0/24", "10.42.2.0/24 of s2": "10.42.2.0/25"}
    wrong = said.get(words, "10.42.9.0/24")
    checks = judge_routes(situation(net, **saying(a1=[wrong])), {})
    (check,) = (c for c in checks if c.description == "pod network")
    assert (check.status, check.to, check.by, check.address) == (
        *(Status.CONFLICT, "a1", "a1"),
        wrong,
    )
    assert check.evidence == f"pillar has {wrong} for the pods of a1, but flannel here has {words}"
    assert check.hint.startswith("salt a1 saltutil.refresh_grains; if it stays so, compare ")
    # It is not gone by: all the rest is as without it.
    assert tuple(c for c in checks if c is not check) == judge_routes(situation(net), {})


def test_with_host_gw_a_missing_route_is_known_if_the_peer_says_its_network():
    check = only(gateways(without_routes(host_gw(), "10.42.3.0/24"), **saying(a1=["10.42.3.0/24"])))
    assert (check.status, check.to, check.address) == (Status.NO_ROUTE, "a1", "10.42.3.0/24")
    assert check.hint == ("salt s1 cmd.run 'ip route replace 10.42.3.0/24 via 192.0.2.21 dev eth0'")


def test_with_host_gw_what_two_peers_lack_is_told_apart_by_what_they_say():
    net = without_routes(host_gw(), "10.42.2.0/24", "10.42.3.0/24")
    net = with_routes(net, route("10.42.3.0/24", kind="blackhole"))
    said = saying(s2=["10.42.2.0/24"], a1=["10.42.3.0/24"])
    checks = [c for c in judge_routes(gateways(net, **said), {}) if c.status is not Status.OK]
    assert {(c.to, c.address) for c in checks} == {("s2", "10.42.2.0/24"), ("a1", "10.42.3.0/24")}
    assert ["blackhole 10.42.3.0/24" in c.hint for c in checks] == [c.to == "a1" for c in checks]


def test_with_host_gw_the_routes_count_against_what_a_peer_says():
    check = only(gateways(host_gw(), **saying(a1=["10.42.9.0/24"])))
    assert (check.status, check.description) == (Status.CONFLICT, "pod network")


WG_SAID = saying(s2=["10.42.2.0/24"], a1=["10.42.3.0/24"])
TO_ALL = route("10.42.0.0/16", "flannel-wg", scope="link")


def tunnelled(*routes, wrong=None, said=WG_SAID):
    """A node of WireGuard; ``wrong`` is where the kernel sends what is for the pods of s2."""
    at = wireguard(*routes, **said)
    right = by("flannel-wg", "10.42.1.0")
    answers = {"10.42.2.1": wrong or right, "10.42.3.1": right}
    return replace(at, network=answering(at.network, **answers))


def test_with_wireguard_the_route_to_each_peer_with_a_known_network_is_judged():
    at = tunnelled(TO_ALL)
    assert problems(at) == []
    pods = [(c.to, c.address) for c in judge_routes(at, {}) if c.description == "pods"]
    assert pods == [("s1", "10.42.0.0/16"), ("a1", "10.42.3.0/24"), ("s2", "10.42.2.0/24")]


def test_with_wireguard_a_route_that_is_missing_for_all_is_one_problem():
    check = only(tunnelled(wrong=by("eth0", "192.0.2.11", "192.0.2.10")))
    assert (check.to, check.address) == ("s1", "10.42.0.0/16")


def test_with_wireguard_a_route_that_is_missing_for_one_peer_is_set():
    check = only(tunnelled(route("10.42.3.0/24", "flannel-wg"), wrong=by("eth0", "192.0.2.11")))
    assert (check.status, check.to, check.evidence) == (
        *(Status.NO_ROUTE, "s2"),
        "no route by flannel-wg",
    )
    assert check.hint == "salt s1 cmd.run 'ip route replace 10.42.2.0/24 dev flannel-wg'"


@pytest.mark.parametrize(
    ("wrong", "lookup", "status"),
    [
        (
            route("10.42.2.0/24", "eth0", "192.0.2.10"),
            by("eth0", "192.0.2.11", "192.0.2.10"),
            Status.WRONG_ROUTE,
        ),
        (route("10.42.2.0/24", "cni0"), by("cni0", "10.42.1.1"), Status.WRONG_ROUTE),
        (route("10.42.2.64/26", "eth0"), None, Status.WRONG_ROUTE),
        (
            route("10.42.2.0/24", kind="blackhole"),
            failed("10.42.2.1", "Invalid argument"),
            Status.NO_ROUTE,
        ),
    ],
)
def test_with_wireguard_a_route_by_another_device_is_removed_in_one_problem(wrong, lookup, status):
    check = only(tunnelled(TO_ALL, wrong, wrong=lookup))
    assert (check.status, check.to, check.address) == (status, "s2", "10.42.2.0/24")
    assert check.evidence.startswith("beside 10.42.0.0/16 dev flannel-wg there is ")
    assert check.hint.startswith("salt s1 cmd.run 'ip route del ")


def test_with_wireguard_a_route_for_more_than_one_peer_is_reported_once():
    wide = route("10.42.0.0/17", "eth0", "192.0.2.10")
    check = only(tunnelled(TO_ALL, wide, wrong=by("eth0", "192.0.2.11", "192.0.2.10")))
    assert (check.status, check.description) == (Status.OVERLAP, "overlap")


def test_with_wireguard_a_peer_that_says_this_nodes_own_pods_are_its_is_a_warning():
    check = only(tunnelled(TO_ALL, said=saying(s2=["10.42.1.0/24"])))
    assert (check.status, check.description, check.to) == (Status.CONFLICT, "pod network", "s2")


# -- networks that meet ---------------------------------------------------------------------------


def test_pods_and_services_in_one_network_overlap():
    at = situation(service_cidrs=["10.42.128.0/17"])
    assert ("overlap", "s1", "overlap") in problems(at)


def test_a_node_in_the_network_of_pods_overlaps():
    net = linked(
        network(),
        "eth0",
        addresses=(*network().interfaces["eth0"].addresses, netaddr.IPNetwork("10.42.200.5/24")),
    )
    net = with_routes(net, route("10.42.200.0/24", "eth0"))
    check = only(situation(net))
    assert check.status is Status.OVERLAP
    assert check.evidence.startswith("eth0 of this node is in 10.42.200.0/24")


@pytest.mark.parametrize("destination", ["10.42.77.0/24", "10.43.7.0/24"])
def test_a_route_into_the_cluster_that_leads_out_of_it_overlaps(destination):
    net = with_routes(network(), route(destination, "eth0", "192.0.2.10"))
    check = only(situation(net))
    assert check.status is Status.OVERLAP
    assert check.hint == f"salt s1 cmd.run 'ip route del {destination} via 192.0.2.10 dev eth0'"


def test_a_wider_route_is_a_warning_and_a_default_route_in_parts_is_none():
    wider = with_routes(network(), route("10.0.0.0/8", "eth0", "192.0.2.10"))
    assert {status for status, *_ in problems(situation(wider))} == {"conflict"}
    halves = with_routes(network(), route("0.0.0.0/1", "tun0"), route("128.0.0.0/1", "tun0"))
    assert problems(situation(halves)) == []


def test_a_route_to_all_services_is_no_overlap():
    net = with_routes(network(), route("10.43.0.0/16", "eth0"))
    assert problems(situation(net)) == []


@pytest.mark.parametrize(
    ("destination", "refused"),
    [
        ("10.42.0.0/16", False),
        ("10.0.0.0/8", False),
        ("10.42.77.0/24", True),
        ("10.43.0.0/16", True),
        ("10.43.0.10/32", True),
    ],
)
def test_a_route_that_refuses_a_part_of_the_cluster_is_reported(destination, refused):
    net = with_routes(network(), route(destination, kind="blackhole"))
    expected = [("no_route", "s1", "refusing routes")] if refused else []
    assert problems(situation(net)) == expected


# -- services and clients -------------------------------------------------------------------------


def no_default():
    net = without_routes(network(), "0.0.0.0/0")
    return answering(net, **{"10.43.0.1": failed("10.43.0.1", "Network is unreachable")})


def test_a_node_without_a_route_to_services_is_reported():
    check = only(situation(no_default()))
    assert (check.status, check.description) == (Status.NO_ROUTE, "default route")
    assert check.hint == ("salt s1 cmd.run 'ip route add 10.43.0.0/16 dev eth0 src 192.0.2.11'")


ADMINS = {"groups": {"admins": ["198.51.100.0/28"], "clients": ["0.0.0.0/0", "::/0"]}}


def test_groups_that_are_not_everyone_need_a_route_back():
    assert "198.51.100.1" in targets(situation(**ADMINS))
    back = answering(network(), **{"198.51.100.1": by("eth0", "192.0.2.11", "192.0.2.10")})
    assert problems(situation(back, **ADMINS)) == []
    assert "0.0.0.1" not in targets(situation(**ADMINS))


@pytest.mark.parametrize(
    ("lookup", "status"),
    [
        (failed("198.51.100.1", "Network is unreachable"), "no_route"),
        (by("flannel.1", "10.42.1.0"), "wrong_route"),
    ],
)
def test_clients_without_a_route_back_are_named_by_their_group(lookup, status):
    at = situation(answering(network(), **{"198.51.100.1": lookup}), **ADMINS)
    assert problems(at) == [(status, "s1", "clients admins")]


# -- settings -------------------------------------------------------------------------------------


def host(**changes):
    return replace(HOST, **changes)


def sysctls(**values):
    return host(sysctls={**SYSCTLS, **values})


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("net/ipv4/ip_forward", "net.ipv4.ip_forward"),
        ("net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
        ("net/bridge/bridge-nf-call-iptables", "net.bridge.bridge-nf-call-iptables"),
        ("net/bridge/bridge-nf-call-ip6tables", "net.bridge.bridge-nf-call-ip6tables"),
    ],
)
def test_a_setting_that_is_off_is_set_by_the_state(name, shown):
    check = only(situation(host=sysctls(**{name: "0"})))
    assert (check.status, check.description) == (Status.BAD_SETTING, shown)
    assert (check.fix, check.sls) == ("salt s1 state.apply k3s.routes", "k3s.routes")


def test_a_setting_of_one_interface_is_set_by_its_own_command():
    check = only(situation(host=sysctls(**{"net/ipv4/conf/flannel.1/forwarding": "0"})))
    assert check.hint == "salt s1 cmd.run 'sysctl -w net.ipv4.conf.flannel/1.forwarding=1'"


def test_ipv6_settings_concern_only_a_cluster_with_ipv6_pods():
    off = sysctls(
        **{"net/ipv6/conf/all/forwarding": "0", "net/bridge/bridge-nf-call-ip6tables": "0"}
    )
    ipv4 = {"pod_cidrs": ["10.42.0.0/16"], "service_cidrs": ["10.43.0.0/16"]}
    assert problems(situation(host=off, **ipv4)) == []


def test_a_setting_that_the_kernel_does_not_have_is_not_missed():
    kept = {name: value for name, value in SYSCTLS.items() if "bridge" not in name}
    assert problems(situation(host=host(sysctls=kept))) == []


def test_strict_reverse_paths_break_only_where_answers_leave_by_another_link():
    strict = sysctls(**{"net/ipv4/conf/all/rp_filter": "1"})
    assert problems(situation(host=strict)) == []
    nodes = {**NODES, "s2": {"role": "server", "addresses": ["198.51.100.12"]}}
    net = answering(network(), **{"198.51.100.12": by("eth1", "192.0.2.11", "203.0.113.1")})
    found = problems(situation(net, host=strict, nodes=nodes))
    assert ("bad_setting", "s1", "net.ipv4.conf.eth0.rp_filter") in found
    loose = sysctls(**{"net/ipv4/conf/all/rp_filter": "1", "net/ipv4/conf/eth0/rp_filter": "2"})
    found = problems(situation(net, host=loose, nodes=nodes))
    assert ("bad_setting", "s1", "net.ipv4.conf.eth0.rp_filter") not in found


# -- sizes ----------------------------------------------------------------------------------------

IPV4 = {"pod_cidrs": ["10.42.0.0/16"], "service_cidrs": ["10.43.0.0/16"]}


@pytest.mark.parametrize(
    ("overlay", "link", "bridge", "noted", "fix"),
    [
        (1450, 1500, 1450, 0, ""),
        (1450, 1500, 1450, 1450, ""),
        (1450, 1400, 1450, 0, "eth0 mtu 1500"),
        (1450, 1400, 1450, 1450, "eth0 mtu 1500"),
        (1500, 1500, 1450, 0, "flannel.1 mtu 1450"),
        (1000, 1500, 1450, 0, "flannel.1 mtu 1450"),
        (1000, 1500, 1450, 1450, "flannel.1 mtu 1450"),
        (1450, 1500, 1500, 0, "cni0 mtu 1450"),
        (1450, 1500, 9000, 1450, "cni0 mtu 1450"),
        (1450, 1500, 1300, 0, "cni0 mtu 1450"),
        (1350, 1500, 1350, 0, ""),
        (1450, 9000, 1450, 1450, ""),
    ],
)
def test_of_three_sizes_the_odd_one_out_gets_the_fix(overlay, link, bridge, noted, fix):
    net = linked(
        linked(linked(network(), "flannel.1", mtu=overlay), "eth0", mtu=link), "cni0", mtu=bridge
    )
    at = situation(net, host=host(flannel_mtu=noted), **IPV4)
    found = [c.hint for c in judge_routes(at, {}) if c.status is Status.BAD_MTU]
    assert found == ([f"salt s1 cmd.run 'ip link set {fix}'"] if fix else [])


def passing(size):
    return PathEchoes(Echo(96, EchoResult.ANSWERED), Echo(size, EchoResult.ANSWERED))


def test_the_echo_is_as_large_as_a_full_packet_of_the_overlay():
    assert echo_sizes(situation(**IPV4))["192.0.2.12"] == 1430 + 50
    assert echo_sizes(situation())["2001:db8::12"] == 1430 + 70


def test_no_echo_is_sent_if_the_route_is_already_wrong():
    net = answering(network(), **{"192.0.2.12": by("eth1", "192.0.2.11")})
    assert "192.0.2.12" not in echo_sizes(situation(net))
    assert echo_sizes(situation(host=host(chains=drop("filter_input")))) == {}


SMALL = Echo(96, EchoResult.ANSWERED)


@pytest.mark.parametrize(
    ("path", "status", "by", "words"),
    [
        (PathEchoes(Echo(96, EchoResult.SILENT)), "unproven", "s2", "no answer"),
        (
            PathEchoes(Echo(96, EchoResult.UNREACHABLE, "192.0.2.11")),
            "unproven",
            "s2",
            "does not answer ARP",
        ),
        (
            PathEchoes(Echo(96, EchoResult.UNREACHABLE, "192.0.2.1")),
            "no_route",
            "192.0.2.1",
            "the router",
        ),
        (
            PathEchoes(Echo(96, EchoResult.REJECTED, "192.0.2.12")),
            "unproven",
            "s2",
            "rejects echoes",
        ),
        (
            PathEchoes(Echo(96, EchoResult.REJECTED, "192.0.2.1")),
            "unproven",
            "192.0.2.1",
            "the router",
        ),
        (PathEchoes(Echo(96, EchoResult.NOT_SENT)), "local_block", "s1", "refuses to send"),
        (
            PathEchoes(SMALL, Echo(1480, EchoResult.SILENT), 1400),
            "bad_mtu",
            "s2",
            "no answer, 1400 do",
        ),
        (
            PathEchoes(SMALL, Echo(1480, EchoResult.TOO_BIG, "192.0.2.1", 1400)),
            "bad_mtu",
            "192.0.2.1",
            "192.0.2.1 takes at most 1400",
        ),
        (
            PathEchoes(SMALL, Echo(1480, EchoResult.TOO_BIG, "", 1400)),
            "bad_mtu",
            "s1",
            "s1 takes at most 1400",
        ),
        (PathEchoes(SMALL, Echo(1480, EchoResult.TOO_BIG)), "bad_mtu", "s1", "s1 takes fewer"),
    ],
)
def test_an_echo_without_a_reply_is_blamed_on_its_cause(path, status, by, words):
    check = only(situation(), {"192.0.2.12": path})
    assert (check.status.value, check.by, check.to) == (status, by, "s2")
    assert words in check.evidence


def test_without_root_the_sizes_are_not_proven():
    (check,) = (c for c in judge_routes(situation(), None) if c.status is not Status.OK)
    assert (check.status, check.description) == (Status.UNPROVEN, "path MTU")


# -- who else rules over packets ------------------------------------------------------------------


def drop(*names, table="inet firewalld_policy_drop"):
    return tuple(BaseChain(table, name, name.rpartition("_")[2], "drop") for name in names)


def test_a_left_over_drop_table_is_deleted():
    left = drop("filter_input", "filter_forward", "filter_output")
    check = only(situation(host=host(chains=left)))
    assert check.status is Status.LOCAL_BLOCK
    assert check.hint == "salt s1 cmd.run 'nft delete table inet firewalld_policy_drop'"


def test_panic_mode_is_not_lifted_by_deleting_its_table():
    check = only(situation(host=host(chains=drop("raw_prerouting", "raw_output"))))
    assert check.hint == (
        "salt s1 cmd.run 'firewall-cmd --panic-off', once the reason for it is gone"
    )


@pytest.mark.parametrize(
    ("changes", "description", "words"),
    [
        ({"ufw": True}, "other firewalls", "ufw is enabled"),
        ({"chains": drop("INPUT_input", table="ip filter")}, "other firewalls", "table ip filter"),
        ({"managed": ("cni0", "flannel.1")}, "NetworkManager", "manages cni0, flannel.1"),
        ({"cloud_setup": True}, "nm-cloud-setup", "routing rules take precedence"),
    ],
)
def test_anything_else_that_filters_packets_is_a_conflict(changes, description, words):
    check = only(situation(host=host(**changes)))
    assert (check.status, check.description) == (Status.CONFLICT, description)
    assert words in check.evidence


def test_a_policy_of_iptables_is_opened_without_taking_what_kubernetes_has_in_its_table():
    chain = BaseChain("ip6 filter", "FORWARD", "forward", "drop")
    check = only(situation(host=host(chains=(chain,))))
    opened = 'nft "add chain ip6 filter FORWARD { policy accept; }"'
    assert check.hint == f"salt s1 cmd.run '{opened}'"
    check = only(situation(host=host(chains=drop("f_forward", table="inet theirs"))))
    assert "move its rules to firewalld, then salt s1 cmd.run 'nft delete table" in check.hint


def test_ufw_and_its_chains_are_one_conflict():
    chains = drop("INPUT_input", "FORWARD_forward", table="ip filter")
    check = only(situation(host=host(ufw=True, chains=chains)))
    assert check.hint == "salt s1 cmd.run 'ufw disable'"


def test_tables_that_drop_nothing_are_no_other_firewalls():
    chains = (
        BaseChain("ip filter", "INPUT", "input", "accept"),
        BaseChain("ip mangle", "KUBE", "postrouting", "drop"),
        BaseChain("inet firewalld", "filter_INPUT", "input", "accept"),
    )
    assert problems(situation(host=host(chains=chains))) == []


def zones(**uplinks):
    """firewalld's zones, the same in both layers; by default eth0 is in public."""
    made = {"public": make_object(Kind.ZONE, "public", {"services": ("ssh",)})}
    for name, settings in uplinks.items():
        made[name] = make_object(Kind.ZONE, name, {"interfaces": ("eth0",), **settings})
    layer = ZoneLayer(made, "public")
    return ObservedZones(layer, layer)


def zone_checks(found, at=None):
    return [c for c in judge_routes(at or situation(), {}, found) if c.description == "zone"]


def test_a_node_link_in_a_zone_of_the_operators_is_fine():
    (check,) = zone_checks(zones())
    assert (check.status, check.evidence) == (Status.OK, "eth0 is in zone public")


def test_a_node_link_in_the_zone_of_pods_is_exposed():
    (check,) = zone_checks(zones(k3s={}))
    assert (check.status, check.fix) == (Status.EXPOSED, "salt s1 state.apply k3s.firewall")


def test_a_node_link_in_a_zone_that_accepts_everything_is_exposed():
    (check,) = zone_checks(zones(trusted={"target": "ACCEPT"}))
    assert (check.status, check.fix) == (
        Status.EXPOSED,
        "salt s1 cmd.run 'firewall-cmd --zone=public --change-interface=eth0 && firewall-cmd "
        "--permanent --zone=public --change-interface=eth0'",
    )


def test_what_could_not_be_read_is_unproven_with_its_fix():
    unread = Problem("firewalld is not running", "systemctl enable --now firewalld")
    check = only(situation(host=host(unread=(unread,))))
    assert (check.status, check.problem) == (Status.UNPROVEN, unread)


# -- the report -----------------------------------------------------------------------------------


def test_peers_that_suffer_from_one_cause_share_a_sentence():
    wrong = by("eth0", "192.0.2.199")
    net = answering(network(), **{"192.0.2.12": wrong, "192.0.2.21": wrong})
    result = Report(judge_routes(situation(net), {}), "2 of 2 peers").as_dict(full=True)
    (problem,) = result["problems"]
    assert problem.startswith("src_mismatch node s1 -> a1 s2: ")
    assert result["counts"]["src_mismatch"] == 2
    assert len([row for row in result["checks"] if row["status"] == "src_mismatch"]) == 2


def test_every_row_is_flat_and_every_problem_says_what_to_do():
    net = without_routes(network(), "10.42.3.0/24")
    at = situation(net, host=host(ufw=True, cloud_setup=True))
    echoes = {"192.0.2.12": PathEchoes(Echo(96, EchoResult.SILENT))}
    result = Report(judge_routes(at, echoes), "").as_dict(full=True)
    assert json.loads(json.dumps(result)) == result
    assert {type(value) for row in result["checks"] for value in row.values()} == {str}
    for problem in result["problems"]:
        assert (". Fix: " in problem or "; see " in problem) and problem.isprintable()


def test_a_thousand_peers_are_judged_each():
    count = 1000
    names = {f"n{i}": f"10.9.{i // 250}.{i % 250 + 1}" for i in range(count)}
    nodes = {name: {"role": "agent", "addresses": [a]} for name, a in names.items()}
    nodes["s1"] = {"role": "server", "addresses": ["192.0.2.11"]}
    base = without_overlay_entries(network())
    # Pod networks of 64 addresses, to fit a thousand of them into a /16.
    pods = [netaddr.IPNetwork((0x0A280000 + i * 64, 26)) for i in range(count)]
    macs = [f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}" for i in range(count)]
    overlay = [str(each.ip) for each in pods]
    lookups = {a: by("eth0", "192.0.2.11", "192.0.2.10") for a in names.values()}
    lookups |= {str(n.ip + 1): by("flannel.1", "", str(n.ip)) for n in pods}
    net = replace(
        base,
        routes=(
            *base.routes,
            *(route(str(n), "flannel.1", str(n.ip), onlink=True) for n in pods),
        ),
        neighbours=tuple(Neighbour(a, "flannel.1", m) for a, m in zip(overlay, macs)),
        forwarding=tuple(Forwarding(m, "flannel.1", a) for m, a in zip(macs, names.values())),
        lookups={**base.lookups, **lookups},
    )
    pillar = {**IPV4, "pod_cidrs": ["10.40.0.0/16"], "nodes": nodes}
    interfaces = {**net.interfaces, "cni0": replace(net.interfaces["cni0"], addresses=())}
    at = situation(replace(net, interfaces=interfaces), peers=tuple(names), **pillar)
    checks = judge_routes(at, {})
    assert len([c for c in checks if c.description == "pods" and c.status is Status.OK]) == count
    assert {c.status for c in checks} == {Status.OK}
