"""The way to nodes, services and clients, and the whole report of check_routes."""

from __future__ import annotations

import json
from dataclasses import replace

import netaddr
import pytest

from k3sfw_engine.checks.report import Report
from k3sfw_engine.checks.routes.route_check import echo_sizes, judge_routes, targets
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.echo import Echo, EchoResult, PathEchoes
from k3sfw_engine.model.interfaces_and_routes import Forwarding, Neighbour
from tests.unit.checks.routes.node_situations import (
    IPV4,
    NODES,
    answering,
    by,
    failed,
    host,
    linked,
    network,
    only,
    passing,
    problems,
    route,
    situation,
    without_overlay_entries,
    without_routes,
    zones,
)

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


# -- services and clients -------------------------------------------------------------------------


def no_default():
    net = without_routes(network(), "0.0.0.0/0")
    return answering(net, **{"10.43.0.1": failed("10.43.0.1", "Network is unreachable")})


def test_a_node_without_a_route_to_services_is_reported():
    check = only(situation(no_default()))
    assert (check.status, check.description) == (Status.NO_ROUTE, "default route")
    assert check.hint.endswith(
        "until then: salt s1 cmd.run 'ip route add 10.43.0.0/16 dev eth0 src 192.0.2.11'"
    )


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
        (by("flannel.1", "10.42.1.0"), "conflict"),
    ],
)
def test_clients_without_a_route_back_are_named_by_their_group(lookup, status):
    at = situation(answering(network(), **{"198.51.100.1": lookup}), **ADMINS)
    assert problems(at) == [(status, "s1", "clients admins")]


def test_clients_behind_a_pod_keep_their_route():
    check = only(
        situation(answering(network(), **{"198.51.100.1": by("cni0", "10.42.1.1")}), **ADMINS)
    )
    assert "ip route" not in check.hint


def test_a_group_of_pods_is_reached_as_pods_are():
    net = answering(network(), **{"10.42.2.1": by("flannel.1", "10.42.1.0", "10.42.2.0")})
    assert problems(situation(net, groups={"inner": ["10.42.2.0/24"]})) == []


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
