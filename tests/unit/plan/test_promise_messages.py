"""What an operator is told about a promise that is not kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import netaddr
import pytest

from k3sfw_engine.model.address_set import everyone, set_of_networks
from k3sfw_engine.model.port_ranges import ZonePort
from k3sfw_engine.model.rows import PortRange, Protocol, Role
from k3sfw_engine.plan.defaults import PARTS_OF_A_PROMISE
from k3sfw_engine.plan.promise_messages import promise_problems
from k3sfw_engine.plan.promises import judge_promises
from k3sfw_engine.plan.reach import compute_reach
from k3sfw_engine.plan.source_names import name_sources
from tests.unit.samples import NODES, changed, parsed, pillar

ETCD = {
    "from": "anyone",
    "except": ["server", "pods", "services"],
    "to": "server",
    "deny": "tcp/2379-2380",
    "why": "A token from etcd is the whole cluster",
}


def told(it: Any, tree: Any = None, roles: Any = tuple(Role), redirected: Any = None) -> list[str]:
    tables = parsed({**(tree or pillar()), "tests": {"it": it}})
    (verdict,) = judge_promises(tables, compute_reach(tables, roles), redirected)
    return list(map(str, promise_problems(verdict, tables)))


def test_agents_that_would_reach_etcd_are_named_with_the_row_and_both_ways_out():
    assert told(ETCD, changed("ports:cluster:etcd:source", "any")) == [
        "test it: 192.0.2.21 (a1), 192.0.2.22 (a2), 2001:db8::21 (a1) would reach tcp/2379-2380 of "
        "s1, s2, s3 by row etcd (source any). A token from etcd is the whole cluster. Fix: narrow "
        "k3s:ports:cluster:etcd:source, or change k3s:tests:it, in k3s/site.sls"
    ]


def test_all_sources_are_named_as_the_promise_names_them():
    tree = changed("ports:cluster:etcd:source", "clients")
    assert told(ETCD, tree)[0].startswith(
        "test it: anyone except pods, server, services would reach tcp/2379-2380 of s1, s2, s3 by "
        "row etcd (source clients)."
    )
    assert (
        "anyone except pods, server, services (IPv4) would"
        in told(ETCD, changed("ports:cluster:etcd:source", "0.0.0.0/0"))[0]
    )


def test_ports_of_which_the_same_is_true_share_a_sentence():
    it = {"from": "admins", "to": "agent", "accept": ["tcp/22", "udp/53", "tcp/443"]}
    assert told(it) == [
        "test it: admins would not reach tcp/22, udp/53 of a1, a2: no row lets them in. Fix: give "
        "k3s:ports a row that lets them in, or change k3s:tests:it, in k3s/site.sls"
    ]


def test_other_reasons_have_their_sentences():
    it = {"from": "admins", "to": "agent", "deny": "tcp/80"}
    redirected = {"a1": (ZonePort(Protocol.TCP, PortRange(80, 80)),)}
    assert told(it, redirected=redirected) == [
        "test it: tcp/80 of a1 is redirected by Kubernetes before any rule of k3sfw is asked"
    ]
    assert told({**it, "to": "server"}, roles=(Role.AGENT,)) == [
        "test it: s1, s2, s3 cannot be judged here: the rows of role server are not in this pillar"
    ]
    ssh = {"from": "admins", "to": "agent", "accept": "tcp/22", "opened_by": "zones"}
    assert told(ssh) == [
        "test it: admins may reach tcp/22 of a1, a2 by a zone; no row lets them in"
    ]


def test_what_tests_nothing_is_told_unless_it_is_optional():
    it = {"from": "mgmt", "to": "agent", "accept": "tcp/443"}
    assert told(it) == [
        "test it names mgmt, but it is neither a node nor a group. Fix: correct k3s:tests:it, or "
        "set expect: optional there",
        "test it tests nothing: no packet goes from mgmt to agent. Fix: correct k3s:tests:it, or "
        "set expect: optional there",
    ]
    assert told({**it, "expect": "optional"}) == []


def test_the_sentences_about_one_promise_are_bounded():
    ports = list(range(8000, 8010))
    tree = pillar()
    for port in ports:
        tree["ports"]["manager"][f"r{port}"] = {"protocol": "tcp", "port": port}
    sentences = told({"from": "admins", "to": "agent", "deny": "tcp/8000-8010"}, tree)
    assert len(sentences) == PARTS_OF_A_PROMISE + 1
    assert sentences[-1] == "test it: 6 more parts of it are not kept"


@pytest.mark.parametrize(
    ("networks", "names"),
    [
        (["192.0.2.21"], ("192.0.2.21 (a1)",)),
        (["192.0.2.20/30"], ("192.0.2.21 (a1)", "192.0.2.22 (a2)", "192.0.2.20", "192.0.2.23")),
        (["198.51.100.0/27"], ("group admins", "198.51.100.16/28")),
        (["10.42.0.0/15"], ("pods", "services")),
        (["203.0.113.1", "203.0.113.2", "203.0.113.3"], ("203.0.113.1-203.0.113.3",)),
        (["203.0.113.8/29", "203.0.113.7"], ("203.0.113.7-203.0.113.15",)),
        ([f"203.0.113.{last}" for last in range(1, 99, 2)], None),
    ],
)
def test_addresses_are_named_as_an_operator_knows_them(networks, names):
    found = name_sources((set_of_networks(4, map(netaddr.IPNetwork, networks)),), parsed())
    if names is None:
        assert len(found) == 6
        assert found[-1] == "44 more"
    else:
        assert found == names


def test_everyone_is_anyone():
    assert name_sources((everyone(4), everyone(6)), parsed()) == ("anyone",)
    assert name_sources((everyone(6),), parsed()) == ("anyone (IPv6)",)
    assert name_sources((), parsed()) == ()


def test_a_role_without_nodes_is_named_by_those_that_join():
    nodes = {name: each for name, each in NODES.items() if each["role"] == "server"}
    tree = changed("ports:cluster:kubelet:source", "clients", pillar(nodes=nodes))
    tree["ports"]["cluster"]["kubelet"]["destination"] = "agent"
    (sentence,) = told({"from": "admins", "to": "any", "deny": "tcp/10250"}, tree)
    assert "admins would reach tcp/10250 of every agent that joins by row kubelet" in sentence


def test_former_nodes_are_told_with_the_reason():
    tables = replace(parsed({**pillar(), "tests": {"it": ETCD}}), unsure=("a9 is not in it",))
    (verdict,) = judge_promises(tables, compute_reach(tables))
    (problem,) = promise_problems(verdict, tables)
    assert problem.text == (
        "test it: former nodes may still reach tcp/2379-2380 of s1, s2, s3 by row etcd (source "
        "server): no node is removed from any ipset, because the list of nodes may be incomplete "
        "(a9 is not in it). A token from etcd is the whole cluster"
    )
    assert problem.fix == "see that k3sfw.nodes lists all of them"
