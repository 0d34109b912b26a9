"""A promise is judged exactly as single packets, asked one by one, would judge it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import netaddr
import pytest
from hypothesis import given, settings, strategies as st

from k3sfw_engine.commands.explain import explain
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.port_ranges import ZonePort
from k3sfw_engine.model.rows import (
    EndpointKind,
    Node,
    PortRange,
    Promise,
    PromisedPorts,
    Protocol,
    Role,
    Tables,
)
from k3sfw_engine.model.rule_matches_packet import Packet
from k3sfw_engine.plan.promises import (
    PartReason,
    PromisePart,
    PromiseValue,
    PromiseVerdict,
    judge_promises,
)
from k3sfw_engine.plan.reach import compute_reach
from tests.unit.samples import NODES, changed, networks, parsed, pillar, pillars


def judged(
    it: Any, *, tree: Any = None, roles: Any = tuple(Role), redirected: Any = None
) -> PromiseVerdict:
    tables = parsed({**(tree or pillar()), "tests": {"it": it}})
    (verdict,) = judge_promises(tables, compute_reach(tables, roles), redirected)
    return verdict


def value(it: Any, **options: Any) -> str:
    return judged(it, **options).value.value


def promise(sources: Any, to: Any, **columns: Any) -> dict[str, Any]:
    return {"from": sources, "to": to, **columns}


# -- against single packets -----------------------------------------------------------------------


def addresses_at_borders(tables: Tables, promise: Promise) -> list[netaddr.IPAddress]:
    """One address of every region in which all addresses are in the same networks."""
    named = [
        *(netaddr.IPNetwork(address) for node in tables.nodes for address in node.addresses),
        *(network for members in tables.groups.values() for network in members),
        *tables.pod_cidrs,
        *tables.service_cidrs,
        *(
            netaddr.IPNetwork(each.value)
            for row in tables.every_row
            for each in row.sources
            if each.kind.value == "cidr"
        ),
        *(
            netaddr.IPNetwork(each.value)
            for each in (*promise.sources, *promise.exceptions)
            if each.kind is EndpointKind.CIDR
        ),
    ]
    last = {4: 2**32 - 1, 6: 2**128 - 1}
    return [
        netaddr.IPAddress(value, family)
        for family in FAMILIES
        for value in sorted(
            {0}
            | {each.first for each in named if each.version == family}
            | {
                each.last + 1
                for each in named
                if each.version == family and each.last < last[family]
            }
        )
    ]


def is_named(endpoints: Any, address: netaddr.IPAddress, tables: Tables) -> bool:
    for each in endpoints:
        nodes = [
            node
            for node in tables.nodes
            if each.kind is EndpointKind.ANY
            or node.role.value == each.kind.value
            or (each.kind is EndpointKind.NODE and node.name == each.value)
        ]
        inside = {
            EndpointKind.ANYONE: [netaddr.IPNetwork("0.0.0.0/0"), netaddr.IPNetwork("::/0")],
            EndpointKind.PODS: tables.pod_cidrs,
            EndpointKind.SERVICES: tables.service_cidrs,
            EndpointKind.GROUP: tables.groups.get(each.value, ()),
            EndpointKind.CIDR: [netaddr.IPNetwork(each.value)]
            if each.kind is EndpointKind.CIDR
            else [],
        }.get(each.kind, [])
        if any(address in node.addresses for node in nodes):
            return True
        if any(address in network for network in inside):
            return True
    return False


def protocols_of(ports: PromisedPorts, tables: Tables) -> list[tuple[Protocol, PortRange | None]]:
    if ports.protocol is not Protocol.ANY:
        return [(ports.protocol, ports.ports)]
    every = PortRange(1, 65535)
    named = {row.protocol for row in tables.every_row if row.protocol.is_whole}
    with_ports = [(Protocol(name), every) for name in ("tcp", "udp", "sctp")]
    return [*with_ports, *((each, None) for each in (*named, Protocol.ANY))]


def ports_at_borders(span: PortRange | None, tables: Tables) -> list[int | None]:
    if span is None:
        return [None]
    borders = {span.low} | {
        port
        for row in tables.every_row
        for each in row.ports
        for port in (each.low, each.high + 1)
        if port in span
    }
    return sorted(borders)


def packets_that_break(
    tables: Tables, promise: Promise, role: Role, nodes: list[Node]
) -> tuple[list[Packet], list[Packet]]:
    """The packets of the promise, asked one by one: those that break it, and all others."""
    bad: list[Packet] = []
    good: list[Packet] = []
    sources = [
        address
        for address in addresses_at_borders(tables, promise)
        if is_named(promise.sources, address, tables)
        and not is_named(promise.exceptions, address, tables)
    ]
    for ports in (*promise.accept, *promise.deny):
        accept = ports in promise.accept
        for address in sources:
            to = [
                node
                for node in nodes
                if not accept or any(each.version == address.version for each in node.addresses)
            ]
            for protocol, span in protocols_of(ports, tables):
                if not to or address.version not in protocol.families:
                    continue
                for port in ports_at_borders(span, tables):
                    packet = Packet(address, protocol, port)
                    gets_in = bool(explain(packet, tables, role).rows)
                    (good if gets_in == accept else bad).append(packet)
    return bad, good


def is_in(part: PromisePart, packet: Packet) -> bool:
    return (
        part.protocol is packet.protocol
        and packet.source in part.sources
        and (part.ports is None or packet.port in part.ports)
    )


ENDS = ["server", "agent", "any", "pods", "services", "clients", "admins", "anyone", "s1", "a2"]


@st.composite
def promises(draw: Any) -> dict[str, Any]:
    ends = st.one_of(st.sampled_from(ENDS), networks())
    ports = st.sampled_from(
        ["tcp/22", "tcp/443", "tcp/2379-2380", "tcp/2300-2380", "tcp/8000-8010", "tcp/8005"]
        + ["udp/8472", "udp/8000-9000", "tcp", "vrrp", "ip/253", "any", "tcp/6443-6444"]
    )
    result = {
        "from": draw(st.lists(ends, min_size=1, max_size=3, unique=True)),
        "to": draw(st.sampled_from(["server", "agent", "any", ["s1", "a1"], "s2"])),
        draw(st.sampled_from(["accept", "deny"])): draw(ports),
    }
    excepted = draw(st.lists(ends, max_size=3, unique=True))
    return {**result, "except": excepted} if excepted else result


@settings(max_examples=max(60, settings().max_examples // 2))
@given(pillars(), promises())
def test_a_promise_is_kept_exactly_if_no_single_packet_breaks_it(tree, test):
    tree["groups"].setdefault("admins", ["198.51.100.0/28"])
    tables = parsed({**tree, "tests": {"it": test}})
    (verdict,) = judge_promises(tables, compute_reach(tables))
    broken = False
    for role in Role:
        named = {str(each) for each in verdict.promise.destinations}
        nodes = [
            node
            for node in tables.nodes
            if node.role is role
            and (
                {node.name} & named
                or {role.value, "any"} & {str(e) for e in verdict.promise.destinations}
            )
        ]
        bad, good = packets_that_break(tables, verdict.promise, role, nodes) if nodes else ([], [])
        parts = [part for part in verdict.parts if part.role is role]
        for packet in bad:
            assert any(is_in(part, packet) for part in parts), packet
        for packet in good:
            assert not any(is_in(part, packet) for part in parts), packet
        broken = broken or bool(bad)
    assert (verdict.value is PromiseValue.BROKEN) == broken
    assert not (verdict.tests_nothing and broken)


# -- one part is enough ---------------------------------------------------------------------------

ETCD = promise(
    "anyone", "server", deny="tcp/2379-2380", **{"except": ["server", "pods", "services"]}
)


def test_etcd_of_the_document_is_for_servers_alone():
    assert value(ETCD) == "kept"


def test_half_of_a_group_that_gets_in_breaks_a_promise_to_deny():
    tree = changed(
        "ports:manager:loki", {"protocol": "tcp", "port": 3100, "source": "192.0.2.0/25"}
    )
    verdict = judged(promise("192.0.2.0/24", "agent", deny="tcp/3100"), tree=tree)
    assert verdict.value is PromiseValue.BROKEN
    (part,) = verdict.parts
    assert (part.reason, part.nodes) == (PartReason.LET_IN, ("a1", "a2"))
    assert part.sources.networks() == (netaddr.IPNetwork("192.0.2.0/25"),)
    assert [row.name for row in part.rows] == ["loki"]


def test_one_port_of_a_range_that_is_open_breaks_a_promise_to_deny():
    tree = changed("ports:manager:x", {"protocol": "tcp", "port": 8005, "source": "admins"})
    verdict = judged(promise("admins", "agent", deny="tcp/8000-8010"), tree=tree)
    assert [(part.ports, part.value) for part in verdict.parts] == [
        (PortRange(8005, 8005), PromiseValue.BROKEN)
    ]


def test_half_of_a_network_that_gets_in_does_not_keep_a_promise_to_accept():
    tree = changed("ports:manager:x", {"protocol": "tcp", "port": 8005, "source": "192.0.2.0/25"})
    verdict = judged(promise("192.0.2.0/24", "agent", accept="tcp/8005"), tree=tree)
    (part,) = verdict.parts
    assert part.reason is PartReason.NOT_LET_IN
    assert part.sources.networks() == (netaddr.IPNetwork("192.0.2.128/25"),)


def test_a_promise_to_accept_needs_every_role_of_its_destination():
    verdict = judged(promise("any", "any", accept="tcp/6443"))
    assert verdict.value is PromiseValue.BROKEN
    assert {part.role for part in verdict.parts} == {Role.AGENT}


def test_adjacent_ports_of_which_the_same_is_true_are_one_part():
    verdict = judged(promise("admins", "agent", accept="tcp/8000-8010"))
    assert [part.ports for part in verdict.parts] == [PortRange(8000, 8010)]


def test_a_promise_may_accept_some_ports_and_deny_others():
    both = promise("admins", "server", accept="tcp/443", deny=["tcp/2379-2380", "udp"])
    assert value(both) == "kept"
    assert value({**both, "accept": "tcp/6443"}) == "broken"


def test_a_row_of_any_protocol_breaks_the_denial_of_every_port():
    tree = changed(
        "ports:cluster:backup", {"protocol": "any", "source": "admins", "destination": "agent"}
    )
    verdict = judged(promise("admins", "any", deny=["tcp/22", "vrrp"]), tree=tree)
    assert {(part.role, part.protocol.value) for part in verdict.parts} == {
        (Role.AGENT, "tcp"),
        (Role.AGENT, "vrrp"),
    }


def test_denying_any_protocol_finds_a_single_whole_protocol():
    tree = changed(
        "ports:cluster:vip", {"protocol": "vrrp", "source": "admins", "destination": "server"}
    )
    tree["ports"]["manager"] = {}
    verdict = judged(promise("admins", "any", deny="any"), tree=tree)
    assert {(part.role, part.protocol.value) for part in verdict.parts} == {(Role.SERVER, "vrrp")}


# -- families -------------------------------------------------------------------------------------


def test_a_promise_to_accept_needs_an_address_at_which_the_packet_can_arrive():
    tree = changed("ports:manager:x", {"protocol": "tcp", "port": 8005, "source": "192.0.2.0/24"})
    both = promise(["192.0.2.0/24", "2001:db8:1::/64"], "s3", accept="tcp/8005")
    assert value(both, tree=tree) == "kept"
    assert value({**both, "to": "s1"}, tree=tree) == "broken"


def test_a_promise_to_deny_holds_in_a_family_in_which_the_node_claims_no_address():
    tree = changed("ports:manager:x", {"protocol": "tcp", "port": 8005, "source": "::/0"})
    assert value(promise("anyone", "s3", deny="tcp/8005"), tree=tree) == "broken"


def test_a_protocol_of_one_family_is_asked_in_that_family_alone():
    assert (
        value(promise("anyone", "agent", deny="icmp", **{"except": ["pods", "services"]})) == "kept"
    )


# -- what the tables cannot say -------------------------------------------------------------------


def test_a_redirected_port_is_not_enforceable():
    redirected = {"a1": (ZonePort(Protocol.TCP, PortRange(80, 80)),)}
    verdict = judged(promise("admins", "agent", deny="tcp/22-80"), redirected=redirected)
    assert verdict.value is PromiseValue.NOT_ENFORCEABLE
    assert [(part.nodes, part.ports) for part in verdict.parts] == [
        (("a1",), PortRange(80, 80)),
    ]


def test_a_redirected_port_does_not_hide_what_is_broken_elsewhere():
    redirected = {"a1": (ZonePort(Protocol.TCP, PortRange(443, 443)),)}
    verdict = judged(promise("admins", "agent", deny="tcp/443"), redirected=redirected)
    assert verdict.value is PromiseValue.BROKEN
    assert {(part.reason, part.nodes) for part in verdict.parts} == {
        (PartReason.REDIRECTED, ("a1",)),
        (PartReason.LET_IN, ("a2",)),
    }


def test_what_zones_may_open_is_unproven_until_a_row_opens_it():
    ssh = promise("admins", "any", accept="tcp/22", opened_by="zones")
    assert value(ssh) == "unproven"
    row = {"protocol": "tcp", "port": 22, "source": "admins"}
    assert value(ssh, tree=changed("ports:manager:ssh", row)) == "kept"


def test_a_role_whose_rows_are_not_known_stays_unproven():
    verdict = judged(promise("agent", "any", deny="tcp/2379"), roles=(Role.AGENT,))
    assert {part.reason for part in verdict.parts} == {PartReason.ROWS_UNKNOWN}
    assert {part.role for part in verdict.parts} == {Role.SERVER}
    assert verdict.value is PromiseValue.UNPROVEN


# -- what tests nothing ---------------------------------------------------------------------------

SERVERS_ALONE = pillar(nodes={"s1": NODES["s1"]}, firewall={})


@pytest.mark.parametrize(
    "it",
    [
        promise("agent", "server", deny="tcp/2379"),
        promise("admins", "agent", accept="tcp/443"),
        promise("a99", "server", deny="tcp/2379"),
        promise("admins", "a99", deny="tcp/2379"),
        promise("admins", "server", deny="tcp/2379", **{"except": "198.51.100.0/24"}),
        promise("2001:db8::/32", "server", deny="icmp"),
    ],
)
def test_a_promise_that_can_never_fail_tests_nothing_and_is_told(it):
    verdict = judged(it, tree=SERVERS_ALONE)
    assert (verdict.value, verdict.tests_nothing, verdict.is_told) == (
        PromiseValue.UNPROVEN,
        True,
        True,
    )
    assert value({**it, "expect": "present"}, tree=SERVERS_ALONE) == "broken"
    optional = judged({**it, "expect": "optional"}, tree=SERVERS_ALONE)
    assert (optional.value, optional.is_told) == (PromiseValue.UNPROVEN, False)


def test_a_name_that_stands_for_nothing_is_told_and_the_rest_is_judged():
    verdict = judged(promise(["admins", "a99"], "server", deny="tcp/443"))
    assert verdict.absent == ("a99",)
    assert verdict.value is PromiseValue.BROKEN
    kept = judged(promise(["admins", "a99"], "server", deny="tcp/2379"))
    assert (kept.value, kept.is_told) == (PromiseValue.KEPT, True)
    assert (
        value(promise(["admins", "a99"], "server", deny="tcp/2379", expect="present")) == "broken"
    )


def test_an_exception_for_a_role_without_nodes_is_usual():
    verdict = judged(
        promise(
            "anyone", "server", deny="tcp/2379", **{"except": ["any", "agent", "pods", "services"]}
        ),
        tree=SERVERS_ALONE,
    )
    assert (verdict.value, verdict.is_told) == (PromiseValue.KEPT, False)


# -- nodes that are not there yet, or not any more -------------------------------------------------

KUBELET = {"protocol": "tcp", "port": 10250, "source": "clients", "destination": "agent"}


def servers_only(**rows: Any) -> dict[str, Any]:
    tree = pillar(nodes={name: each for name, each in NODES.items() if each["role"] == "server"})
    tree["firewall"]["expected_nodes"] = 3
    tree["ports"]["cluster"].update(rows)
    return tree


@pytest.mark.parametrize("to", ["any", "agent"])
def test_a_role_that_no_node_has_yet_is_judged_for_those_to_come(to):
    it = promise("198.51.100.0/24", to, deny="tcp/10250")
    verdict = judged(it, tree=servers_only(kubelet=KUBELET))
    assert verdict.value is PromiseValue.BROKEN
    (part,) = verdict.parts
    assert (part.role, part.nodes, part.reason) == (Role.AGENT, (), PartReason.LET_IN)
    kept = judged(it, tree=servers_only())
    assert kept.value is (PromiseValue.KEPT if to == "any" else PromiseValue.UNPROVEN)


def test_of_a_role_that_no_node_has_nothing_is_said_where_its_rows_are_unknown():
    it = promise("198.51.100.0/24", "any", deny="tcp/10250")
    verdict = judged(it, tree=servers_only(kubelet=KUBELET), roles=[Role.SERVER])
    assert (verdict.value, verdict.parts) == (PromiseValue.KEPT, ())


def test_what_is_to_be_accepted_needs_a_node():
    it = promise("198.51.100.0/24", "agent", accept="tcp/4444")
    assert judged(it, tree=servers_only()).parts == ()


def test_while_former_nodes_keep_their_access_a_promise_is_unproven_where_rows_let_nodes_in():
    tree = pillar()
    tree["tests"] = {
        "etcd": ETCD,
        "loki": promise("anyone", "any", deny="tcp/3100", **{"except": ["pods", "services"]}),
    }
    tables = replace(parsed(tree), unsure=("a minion does not answer",))
    etcd, loki = judge_promises(tables, compute_reach(tables))
    assert (etcd.value, loki.value) == (PromiseValue.UNPROVEN, PromiseValue.KEPT)
    assert {part.reason for part in etcd.parts} == {PartReason.FORMER_NODES}
    assert {row.name for part in etcd.parts for row in part.rows} == {"etcd"}


def test_a_promise_about_nothing_is_left_out_if_it_may_be():
    it = promise("198.51.100.0/24", "agent", deny="tcp/4444", expect="optional")
    assert judged(it, tree=servers_only()).is_left_out
    assert not judged(it).is_left_out
    assert not judged({**it, "expect": "told"}, tree=servers_only()).is_left_out
    opened = servers_only(x={**KUBELET, "port": 4444})
    assert not judged(it, tree=opened).is_left_out
