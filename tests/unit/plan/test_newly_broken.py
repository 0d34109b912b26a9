"""Only what a change breaks counts as newly broken, packet by packet."""

from __future__ import annotations

from typing import Any

import netaddr
from hypothesis import given, strategies as st

from k3sfw_engine.model.rows import PortRange, Protocol, Role
from k3sfw_engine.plan.newly_broken import broken_by_change, newly_broken
from k3sfw_engine.plan.promises import PromisePart, PromiseVerdict, judge_promises
from k3sfw_engine.plan.reach import Reach, compute_reach
from tests.unit.samples import changed, networks, parsed, pillar, pillars

ETCD = {"from": "anyone", "except": ["server", "pods", "services"], "to": "server"}
ETCD["deny"] = "tcp/2379-2380"
ADMINS = {"from": "admins", "to": "server", "accept": ["tcp/443", "tcp/6443"]}
TESTS = {"etcd": ETCD, "admins": ADMINS}


def judged(tree: Any) -> tuple[PromiseVerdict, ...]:
    tables = parsed({**tree, "tests": TESTS})
    return judge_promises(tables, compute_reach(tables))


def broken_by(before: Any, after: Any) -> dict[str, list[tuple[str, list[str]]]]:
    return {
        verdict.promise.name: [
            (str(part.ports), list(map(str, part.sources.networks()))) for part in verdict.parts
        ]
        for verdict in newly_broken(judged(before), judged(after))
    }


def etcd(*sources: str, **columns: Any) -> Any:
    tree = changed("ports:cluster:etcd:source", ["server", *sources])
    tree["ports"]["cluster"]["etcd"].update(columns)
    tree["ports"]["cluster"]["api"]["source"] = ["any", "admins"]
    return tree


def test_what_a_change_opens_is_newly_broken():
    assert broken_by(etcd(), etcd("203.0.113.0/24")) == {
        "etcd": [("2379-2380", ["203.0.113.0/24"])]
    }


def test_what_was_open_before_is_not():
    was_open = etcd("203.0.113.0/24")
    assert broken_by(was_open, was_open) == {}
    assert broken_by(was_open, etcd("203.0.113.0/25")) == {}


def test_of_what_grows_only_the_growth_is_newly_broken():
    assert broken_by(etcd("203.0.113.0/25"), etcd("203.0.113.0/24")) == {
        "etcd": [("2379-2380", ["203.0.113.128/25"])]
    }
    assert broken_by(etcd("203.0.113.0/24", port=2379), etcd("203.0.113.0/24")) == {
        "etcd": [("2380", ["203.0.113.0/24"])]
    }


def test_another_row_that_opens_the_same_breaks_nothing_more():
    was_open = etcd("203.0.113.0/24")
    other = etcd()
    other["ports"]["manager"]["x"] = {
        "protocol": "tcp",
        "port": "2379-2380",
        "source": "203.0.113.0/24",
    }
    assert broken_by(was_open, other) == {}


def test_what_a_change_takes_away_from_a_promise_to_accept_is_newly_broken():
    narrowed = etcd()
    narrowed["ports"]["cluster"]["api"]["source"] = ["any", "198.51.100.0/29"]
    assert broken_by(etcd(), narrowed) == {"admins": [("6443", ["198.51.100.8/29"])]}
    assert broken_by(narrowed, narrowed) == {}


def test_without_anything_before_all_that_is_broken_is_new():
    after = judged(etcd("203.0.113.0/24"))
    assert [verdict.promise.name for verdict in newly_broken((), after)] == ["etcd"]


def test_a_node_that_is_missing_is_not_broken_by_the_change():
    tree = pillar(tests={"gone": {**ETCD, "to": "s9", "expect": "present"}})
    tables = parsed(tree)
    verdicts = judge_promises(tables, compute_reach(tables))
    assert verdicts[0].value.value == "broken"
    assert newly_broken((), verdicts) == ()


def test_a_protocol_that_a_change_names_first_is_not_newly_broken_by_an_older_row():
    tree = pillar(tests={"admins": {"from": "admins", "to": "server", "deny": "any"}})
    tree["ports"]["manager"] = {"all": {"protocol": "any", "source": "admins"}}
    before = compute_reach(parsed(tree))
    tree["ports"]["cluster"]["vrrp"] = {
        "protocol": "vrrp",
        "source": "server",
        "destination": "server",
    }
    after = compute_reach(parsed(tree))
    assert Protocol.VRRP in after.protocols and Protocol.VRRP not in before.protocols
    assert broken_by_change(parsed(tree), before, after) == ()
    assert broken_by_change(parsed(tree), after, before) == ()


@given(pillars(), pillars(), st.lists(networks(), min_size=2, max_size=2))
def test_of_every_protocol_only_what_gets_in_after_and_not_before_is_broken(before, after, opened):
    for tree, source in zip((before, after), opened):
        tree["nodes"] = before["nodes"]
        tree["ports"]["manager"]["all"] = {"protocol": "any", "source": source}
    tables = parsed({**after, "tests": {"all": {"from": "anyone", "to": "any", "deny": "any"}}})
    old, new = compute_reach(parsed(before)), compute_reach(tables)
    broken = broken_by_change(tables, old, new)
    for text in ("192.0.2.21", "203.0.113.7", *(each.partition("/")[0] for each in opened)):
        address = netaddr.IPAddress(text)
        for protocol in {*old.protocols, *new.protocols}:
            for role in Role:
                packet = (role, address, protocol, 6443 if protocol.has_ports else None)
                expected = gets_in(new, *packet) and not gets_in(old, *packet)
                assert any(has_packet(each, *packet) for each in broken) == expected


def gets_in(
    reach: Reach, role: Role, address: netaddr.IPAddress, protocol: Protocol, port: int | None
) -> bool:
    return address.version in protocol.families and any(
        (port is None or span.ports is None or port in span.ports) and address in span.sources
        for span in reach.spans_of(role, address.version, protocol)
    )


def has_packet(
    verdict: PromiseVerdict,
    role: Role,
    address: netaddr.IPAddress,
    protocol: Protocol,
    port: int | None,
) -> bool:
    return any(
        part.protocol is protocol
        and (port is None or part.ports is None or port in part.ports)
        and is_broken_by(part, role, address)
        for part in verdict.parts
    )


def is_broken_by(part: PromisePart, role: Role, address: netaddr.IPAddress) -> bool:
    return part.role is role and address in part.sources


@given(pillars(), pillars())
def test_newly_broken_is_what_is_broken_after_and_not_before(before, after):
    for tree in (before, after):
        tree["groups"]["admins"] = ["198.51.100.0/28"]
        tree["nodes"] = before["nodes"]
    old, new = judged(before), judged(after)
    found = {verdict.promise.name: verdict for verdict in newly_broken(old, new)}
    sources = ("192.0.2.1", "192.0.2.21", "198.51.100.3", "203.0.113.7", "2001:db8::1", "8.8.8.8")
    for was, now in zip(old, new):
        for address in map(netaddr.IPAddress, sources):
            for port in (443, 2379, 6443):
                for role in Role:
                    packet = (role, address, port)
                    name = now.promise.name
                    expected = is_broken(now, *packet) and not is_broken(was, *packet)
                    assert (name in found and is_broken(found[name], *packet)) == expected


def is_broken(verdict: PromiseVerdict, role: Role, address: netaddr.IPAddress, port: int) -> bool:
    return any(
        is_broken_by(part, role, address) and port in (part.ports or PortRange(0, 0))
        for part in verdict.parts
    )
