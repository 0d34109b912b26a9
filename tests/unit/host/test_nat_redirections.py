"""Which ports a node redirects before INPUT, read out of kube-proxy's and portmap's rules.

``data/nat_*`` are such rules as iptables-save 1.8.9 and nft 1.0.6 print them, of a node 192.0.2.11:
a LoadBalancer service at its address, NodePorts (one of which leads outsiders nowhere, as it has no
pod here), a LoadBalancer with source ranges, and hostPorts (one of them on loopback).
"""

from __future__ import annotations

import json

import netaddr
import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.host.nat_iptables import read_iptables_nat
from k3sfw_engine.host.nat_nft import read_nft_nat
from k3sfw_engine.model.nat import LocalAddresses
from k3sfw_engine.model.port_ranges import EVERY_PORT, in_common, parse_span, without
from k3sfw_engine.model.rows import PortRange
from tests.paths import UNIT_DATA

DATA = UNIT_DATA
HERE = LocalAddresses(
    own=frozenset(map(netaddr.IPAddress, ("192.0.2.11", "2001:db8::11"))),
    pods=(netaddr.IPNetwork("10.42.0.0/16"),),
)
# The columns: port, family, redirected by, service, and the only source.
TRAEFIK, WEB = "kube-system/traefik:websecure", "shop/web:http"


def seen(found):
    return sorted(
        (f"{each.protocol.value}/{each.ports}", each.family, str(each), each.source)
        for each in found
    )


def saved(*rules):
    return "\n".join(["*nat", ":PREROUTING ACCEPT [0:0]", *(f"-A {rule}" for rule in rules)])


def test_kube_proxys_and_portmaps_rules_of_iptables_are_read():
    text = (DATA / "nat_iptables.txt").read_text()
    assert seen(read_iptables_nat(text, 4, HERE)) == [
        ("tcp/30080", 4, f"NodePort of {WEB}", ""),
        ("tcp/31443", 4, f"NodePort of {TRAEFIK}", ""),
        ("tcp/443", 4, f"ServiceLB of {TRAEFIK}", ""),
        ("tcp/6379", 4, "hostPort", ""),
        ("tcp/80", 4, "hostPort", ""),
        ("tcp/9093", 4, "ServiceLB of shop/ranged:api", "203.0.113.0/25"),
    ]


def test_kube_proxys_table_of_nftables_is_read():
    assert seen(read_nft_nat((DATA / "nat_kube_proxy.json").read_bytes(), HERE)) == [
        ("tcp/30080", 4, f"NodePort of {WEB}", ""),
        ("tcp/31443", 4, f"NodePort of {TRAEFIK}", ""),
        ("tcp/443", 4, f"ServiceLB of {TRAEFIK}", ""),
    ]


def test_portmaps_table_of_nftables_is_read():
    assert seen(read_nft_nat((DATA / "nat_portmap.json").read_bytes(), HERE)) == [
        ("tcp/6379", 4, "hostPort", ""),
        ("tcp/7000-7002", 4, "hostPort", ""),
        ("tcp/80", 4, "hostPort", ""),
        ("udp/514", 4, "hostPort", ""),
    ]


@pytest.mark.parametrize("own", ["192.0.2.77", "2001:db8::11"])
def test_what_is_redirected_at_another_address_is_not_redirected_here(own):
    here = LocalAddresses(frozenset({netaddr.IPAddress(own)}))
    assert seen(read_nft_nat((DATA / "nat_kube_proxy.json").read_bytes(), here)) == []


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (["PREROUTING -p udp -m udp --dport 53 -j DNAT --to-destination 10.42.1.2"], ["udp/53"]),
        (["PREROUTING -p tcp -m tcp --dport 81:83 -j REDIRECT --to-ports 9"], ["tcp/81-83"]),
        (
            ["PREROUTING -p tcp -m multiport --dports 80,90:91 -j NETMAP --to 10.42.0.0/16"],
            ["tcp/80", "tcp/90-91"],
        ),
        (
            ["PREROUTING -p tcp -m tcp ! --dport 22 -j REDIRECT --to-ports 9"],
            ["tcp/1-21", "tcp/23-65535"],
        ),
        (
            ["PREROUTING ! -p tcp -j DNAT --to-destination 10.42.1.2"],
            ["sctp/1-65535", "udp/1-65535"],
        ),
        # Docker's, and Podman's without an address.
        (
            [
                "PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
                "DOCKER -i docker0 -j RETURN",
                "DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.1.1",
            ],
            ["tcp/8080"],
        ),
        # Ports narrow each other on the way.
        (
            [
                "PREROUTING -p tcp -m tcp --dport 80:90 -j A",
                "A -p tcp -m tcp --dport 85:99 -j DNAT --to-destination 10.42.1.2",
            ],
            ["tcp/85-90"],
        ),
        # A comment that looks like a rule is a comment.
        (
            ['PREROUTING -p tcp -m comment --comment "-j \\"DNAT\\" --dport 1" --dport 2 -j A'],
            [],
        ),
        (["PREROUTING -d 127.0.0.1/32 -p tcp --dport 80 -j DNAT --to-destination 10.42.1.2"], []),
        (["PREROUTING -d 10.43.0.1/32 -p tcp --dport 443 -j DNAT --to-destination 10.1.1.1"], []),
        (["PREROUTING ! -d 192.0.2.11/32 -p tcp -j DNAT --to-destination 10.42.1.2"], []),
        (["PREROUTING -s 10.42.0.0/16 -p tcp -j DNAT --to-destination 10.42.1.2"], []),
        (["PREROUTING -i cni0 -p tcp -j DNAT --to-destination 10.42.1.2"], []),
        (["PREROUTING -m addrtype --src-type LOCAL -j DNAT --to-destination 10.42.1.2"], []),
        (["PREROUTING -m addrtype ! --dst-type LOCAL -j DNAT --to-destination 10.42.1.2"], []),
        (["OUTPUT -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.1.2"], []),
        (["PREROUTING -p tcp -m tcp --dport 80 -j A", "A -j B", "B -j A"], []),
        (["PREROUTING -p icmp -j DNAT --to-destination 10.42.1.2"], []),
    ],
)
def test_a_rule_of_anybody_is_followed_as_the_kernel_does(rules, found):
    ports = [port for port, *_more in seen(read_iptables_nat(saved(*rules), 4, HERE))]
    assert ports == found


def test_a_rule_of_nobody_known_is_named_by_its_chain():
    rule = "PREROUTING -p tcp -m tcp --dport 81 -j REDIRECT --to-ports 9"
    assert seen(read_iptables_nat(saved(rule), 4, HERE)) == [("tcp/81", 4, "chain PREROUTING", "")]
    rule = "PREROUTING -s 198.51.100.0/24 -p tcp -m tcp --dport 81 -j REDIRECT --to-ports 9"
    assert seen(read_iptables_nat(saved(rule), 4, HERE))[0][3] == "198.51.100.0/24"


def test_the_rules_of_ip6tables_are_of_their_family():
    rule = "PREROUTING -d 2001:db8::11/128 -p udp --dport 514 -j DNAT --to-destination [fd42::9]:9"
    assert seen(read_iptables_nat(saved(rule), 6, HERE)) == [("udp/514", 6, "chain PREROUTING", "")]
    assert read_iptables_nat(saved(rule), 4, HERE) == frozenset()


def inet(*expressions):
    rule = {"family": "inet", "table": "theirs", "chain": "pre", "expr": list(expressions)}
    hook = {"type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"}
    return json.dumps(
        {
            "nftables": [
                {"metainfo": {"version": "1.0.6"}},
                {"table": {"family": "inet", "name": "theirs"}},
                {"chain": {"family": "inet", "table": "theirs", "name": "pre", **hook}},
                {"rule": rule},
            ]
        }
    )


def match(left, right, op="=="):
    return {"match": {"op": op, "left": left, "right": right}}


DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
DNAT = {"dnat": {"addr": "10.42.1.9", "port": 80}}


def test_a_table_of_both_families_redirects_in_both():
    found = seen(read_nft_nat(inet(match(DPORT, 81), DNAT), HERE))
    assert [each[:3] for each in found] == [
        ("tcp/81", 4, "table theirs"),
        ("tcp/81", 6, "table theirs"),
    ]


@pytest.mark.parametrize(
    ("left", "right", "op"),
    [
        ({"payload": {"protocol": "ip", "field": "daddr"}}, "127.0.0.1", "=="),
        ({"payload": {"protocol": "ip", "field": "daddr"}}, {"set": ["10.43.0.1"]}, "=="),
        (
            {"payload": {"protocol": "ip", "field": "saddr"}},
            {"prefix": {"addr": "10.42.0.0", "len": 16}},
            "==",
        ),
        ({"meta": {"key": "iifname"}}, "lo", "=="),
        ({"fib": {"result": "type", "flags": ["saddr"]}}, "local", "=="),
        ({"fib": {"result": "type", "flags": ["daddr"]}}, "local", "!="),
    ],
)
def test_what_outsiders_cannot_meet_is_left_out_of_nft_too(left, right, op):
    assert read_nft_nat(inet(match(left, right, op), match(DPORT, 81), DNAT), HERE) == frozenset()


ports = st.integers(1, 65535)


@given(st.sets(ports, max_size=20), st.integers(0, 3))
def test_every_nodeport_is_found_however_many_pods_serve_it(numbers, pods):
    rules = ["PREROUTING -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"]
    for number in numbers:
        rules.append(f"KUBE-NODEPORTS -p tcp -m tcp --dport {number} -j KUBE-EXT-{number}")
        rules += [f"KUBE-EXT-{number} -j KUBE-SEP-{number}-{pod}" for pod in range(pods)]
        rules += [
            f"KUBE-SEP-{number}-{pod} -p tcp -j DNAT --to-destination 10.42.1.{pod}:80"
            for pod in range(pods)
        ]
    found = {each.ports for each in read_iptables_nat(saved(*rules), 4, HERE)}
    assert found == ({PortRange(number, number) for number in numbers} if pods else set())


spans = st.tuples(ports, ports).map(lambda pair: PortRange(*sorted(pair)))


@given(spans, st.lists(spans, max_size=5), ports)
def test_what_is_left_of_a_range_is_what_nobody_took(span, taken, port):
    left = port in span and not any(port in each for each in taken)
    assert any(port in each for each in without(span, taken)) is left


@given(st.lists(spans, max_size=4), st.lists(spans, max_size=4), ports)
def test_a_port_is_common_if_it_is_on_both_sides(ones, others, port):
    both = any(port in each for each in ones) and any(port in each for each in others)
    assert any(port in each for each in in_common(ones, others)) is both


@given(spans)
def test_a_range_is_read_as_it_is_written(span):
    assert parse_span(str(span)) == span
    assert without(span, [EVERY_PORT]) == ()
