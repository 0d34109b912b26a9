"""A lost or wrong route, neighbour or forwarding entry of VXLAN is named and set right."""

from __future__ import annotations

import shlex
from dataclasses import replace

import netaddr
import pytest

from k3sfw_engine.checks.routes.route_check import judge_routes
from k3sfw_engine.checks.suggested_commands import restart_k3s, route_in_words
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.echo import Echo, EchoResult, PathEchoes
from k3sfw_engine.model.interfaces_and_routes import Forwarding, Interface, Neighbour
from k3sfw_engine.model.overlay import OverlayDevice, OverlayFacts
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.unit.checks.routes.node_situations import (
    NODES,
    answering,
    by,
    host,
    linked,
    network,
    only,
    problems,
    route,
    situation,
    with_routes,
    without_forwarding,
    without_neighbours,
    without_overlay_entries,
    without_routes,
)


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
        "salt s1 cmd.run 'systemctl restart k3s'; if it stays so, 192.0.2.99 is an address from "
        "which flannel of a1 sends: set flannel-iface there, or add it to "
        "k3s:nodes:a1:addresses; or it is a node that k3s:nodes lacks"
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
    unreachable = PathEchoes(Echo(96, EchoResult.UNREACHABLE))
    check = only(at, {"2001:db8::21": unreachable})
    words = shlex.split(check.hint.partition(" if its minion answers")[0])
    assert words == ["salt", "a';reboot;'1", "k3sfw.heal"]


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
        (route("10.42.3.128/25", kind="prohibit"), Status.NO_ROUTE),
        (route("10.42.3.64/26", "eth0", "192.0.2.10"), Status.WRONG_ROUTE),
    ],
)
def test_a_route_beside_flannels_is_removed(wrong, status):
    check = only(situation(with_routes(network(), wrong)))
    assert (check.status, check.to) == (status, "a1")
    assert check.hint.endswith(f"ip route del {route_in_words(wrong)}'")


def test_a_route_beside_flannels_that_the_kernel_does_not_take_is_not_wrong():
    net = with_routes(network(), route("10.42.3.0/24", kind="blackhole", metric=5))
    assert problems(situation(net)) == []


@pytest.mark.parametrize(
    "kept",
    [
        {"protocol": "bird"},
        {"protocol": "dhcp"},
    ],
)
def test_a_route_that_a_daemon_would_set_again_is_not_deleted(kept):
    check = only(
        situation(with_routes(network(), route("10.42.3.128/25", kind="prohibit", **kept)))
    )
    assert check.hint == "remove the route prohibit 10.42.3.128/25 where it is set"


def test_a_route_over_which_something_is_connected_is_not_deleted():
    wrong = route("10.42.3.64/26", "eth0", "192.0.2.10")
    connected = host(connected=frozenset({netaddr.IPAddress("10.42.3.70")}))
    check = only(situation(with_routes(network(), wrong), host=connected))
    assert check.hint == "remove the route 10.42.3.64/26 via 192.0.2.10 dev eth0 where it is set"
    net = with_routes(without_routes(network(), "10.42.3.0/24"), wrong)
    assert "ip route" not in only(situation(net, host=connected)).hint


def test_a_route_in_the_place_of_flannels_is_replaced_in_one_problem():
    net = without_routes(network(), "10.42.3.0/24")
    check = only(situation(with_routes(net, route("10.42.3.0/24", kind="blackhole"))))
    assert "instead there is blackhole 10.42.3.0/24" in check.evidence
    assert check.hint == (
        "salt s1 cmd.run 'ip route replace 10.42.3.0/24 via 10.42.3.0 dev flannel.1 onlink'"
    )


def direct(net, peer="192.0.2.21"):
    """flannel leads to the pods of a neighbour by its node address, and has no entries for it."""
    net = without_forwarding(without_neighbours(net, "10.42.3.0"), "192.0.2.21")
    net = without_routes(net, "10.42.3.0/24")
    return with_routes(
        answering(net, **{"10.42.3.1": by("eth0", "192.0.2.11", peer)}),
        route("10.42.3.0/24", "eth0", peer),
    )


def test_a_direct_route_to_the_pods_of_a_neighbour_is_flannels():
    assert problems(situation(direct(network()))) == []
    (check,) = (
        c
        for c in judge_routes(situation(direct(network())), {})
        if (c.to, c.address) == ("a1", "10.42.3.0/24")
    )
    assert check.evidence == "via 192.0.2.21 dev eth0"


def test_a_direct_route_to_an_unknown_neighbour_is_not_deleted():
    found = [
        c
        for c in judge_routes(situation(direct(network(), "192.0.2.77")), {})
        if c.status is not Status.OK
    ]
    assert {c.status for c in found} == {Status.UNPROVEN, Status.CONFLICT}
    assert not [c for c in found if "ip route" in c.hint]


def test_a_blackhole_for_a_part_of_a_direct_route_is_found():
    net = with_routes(direct(network()), route("10.42.3.128/25", kind="blackhole"))
    check = only(situation(net))
    assert (check.status, check.to) == (Status.NO_ROUTE, "a1")
    assert "ip route del blackhole 10.42.3.128/25" in check.hint


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
    # The address has gone: flannel takes the present one when it starts.
    assert check.hint == "salt s1 cmd.run 'systemctl restart k3s'"


def test_an_overlay_that_sends_by_another_card_is_set_by_flannel_iface_and_not_by_ip():
    net = network()
    overlay = net.interfaces["flannel.1"]
    second = Interface("eth1", True, True, 1500, "", (netaddr.IPNetwork("203.0.113.11/24"),))
    net = replace(net, interfaces={**net.interfaces, "eth1": second})
    details = {**overlay.details, "local": "203.0.113.11"}
    check = only(situation(linked(net, "flannel.1", details=details)))
    assert check.evidence.startswith("flannel.1 sends from 203.0.113.11, the address of eth1; ")
    assert check.hint == (
        "set flannel-iface in K3s's configuration of every node to the interface of its node-ip, "
        "and restart K3s; or add 203.0.113.11 to k3s:nodes:s1:addresses in pillar"
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


def test_k3s_is_restarted_by_the_name_that_its_service_has_here():
    net = linked(network(), "flannel.1", up=False)
    net = without_routes(net, "10.42.2.0/24", "10.42.3.0/24")
    check = only(situation(net, host=host(k3s_service="k3s-edge")))
    assert check.hint == "salt s1 cmd.run 'systemctl restart k3s-edge'"
    check = only(situation(net, host=host(openrc=True)))
    assert check.hint == "salt s1 cmd.run 'rc-service k3s restart'"


def test_a_device_with_another_number_is_the_overlay_here():
    """flannel.1 is not missed on a node whose flannel uses number 42."""
    net = network()
    renamed = {"flannel.1": "flannel.42"}
    links = {
        renamed.get(name, name): replace(link, name=renamed.get(name, name))
        for name, link in net.interfaces.items()
    }

    def there(each):
        return replace(each, device=renamed.get(each.device, each.device))

    routes = [
        replace(r, hops=tuple(there(hop) for hop in r.hops)) if r.hops else r for r in net.routes
    ]
    net = replace(
        net,
        interfaces=links,
        routes=tuple(routes),
        neighbours=tuple(map(there, net.neighbours)),
        forwarding=tuple(map(there, net.forwarding)),
        lookups={target: there(each) for target, each in net.lookups.items()},
    )
    device = OverlayDevice("flannel.42", "vxlan", 42, 4789, netaddr.IPAddress("192.0.2.11"))
    at = replace(situation(net), overlay=OverlayFacts(devices=(device,)))
    assert problems(at) == []
    down = replace(at, network=linked(net, "flannel.42", up=False))
    (check,) = (c for c in judge_routes(down, {}) if c.status is Status.LINK_DOWN)
    assert check.evidence.startswith("flannel.42 is down")


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
