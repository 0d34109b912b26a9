"""The difference of two tables is what single packets, asked in both, would find."""

from __future__ import annotations

from hypothesis import given, strategies as st

from k3sfw_engine.model.rows import Protocol, Role, Tables
from k3sfw_engine.plan.reach import compute_reach
from k3sfw_engine.plan.reach_difference import (
    ChangeKind,
    ReachChange,
    RoleReach,
    reach_changes,
)
from tests.unit.samples import changed, parsed, pillars
from tests.unit.single_packets import kinds_of, lets_in, sources_worth_asking

PORTS = (1, 22, 79, 80, 81, 443, 2378, 2379, 2380, 2381, 6443, 8000, 8010, 8011, 10250, 65535)
PROTOCOLS = ("tcp", "udp", "sctp", "vrrp", "esp", "253", "icmp", "any")


def difference(old: Tables, new: Tables, role: Role) -> tuple[ReachChange, ...]:
    return reach_changes(*(RoleReach(compute_reach(tables), role) for tables in (old, new)))


@given(
    pillars(),
    pillars(),
    st.sampled_from(Role),
    st.sampled_from(PROTOCOLS).map(Protocol),
    st.sampled_from(PORTS),
)
def test_the_difference_is_what_single_packets_find_in_both_tables(
    one, other, role, protocol, port
):
    old, new = parsed(one), parsed(other)
    found = difference(old, new, role)
    asked = port if protocol.has_ports else None
    for source in sources_worth_asking(old, new):
        if source.version not in protocol.families:
            continue
        before = lets_in(old, role, source, protocol, asked)
        now = lets_in(new, role, source, protocol, asked)
        expected = {
            (False, True): {ChangeKind.OPENED},
            (True, False): {ChangeKind.CLOSED},
        }.get((before, now), set())
        kinds = kinds_of(found, source, protocol, asked)
        # Of two protocols without ports only one may be named by a change.
        if protocol.has_ports or protocol in {change.protocol for change in found}:
            assert kinds == expected, (source, protocol, asked)


@given(pillars(), st.sampled_from(Role))
def test_tables_do_not_differ_from_themselves(tree, role):
    assert difference(parsed(tree), parsed(tree), role) == ()


@given(pillars(), pillars(), st.sampled_from(Role))
def test_what_one_way_opens_the_other_way_closes(one, other, role):

    old, new = parsed(one), parsed(other)
    there, back = difference(old, new, role), difference(new, old, role)
    ports_apart = {(each.family, each.protocol) for each in there}
    for family, protocol in ports_apart:
        opened = spread(there, ChangeKind.OPENED, family, protocol)
        assert opened == spread(back, ChangeKind.CLOSED, family, protocol)


def spread(changes, kind, family, protocol):
    """The sources at each interesting port, however the ports were joined."""
    return {
        port: {
            span
            for each in changes
            if (each.kind, each.family, each.protocol) == (kind, family, protocol)
            and (each.ports is None or port in each.ports)
            for span in each.sources.ranges
        }
        for port in PORTS
    }


def test_a_wider_source_opens_exactly_the_new_addresses_and_names_the_row():
    new = parsed(changed("ports:cluster:etcd:source", "Any"))
    four, six = difference(parsed(), new, Role.SERVER)
    assert (four.kind, four.protocol, str(four.ports)) == (
        ChangeKind.OPENED,
        Protocol.TCP,
        "2379-2380",
    )
    assert [str(each) for each in four.sources.networks()] == ["192.0.2.21/32", "192.0.2.22/32"]
    assert [str(each) for each in six.sources.networks()] == ["2001:db8::21/128"]
    assert [row.name for row in four.rows] == ["etcd"]
    assert not four.to_everyone
    assert difference(parsed(), new, Role.AGENT) == ()


def test_a_port_opened_to_everyone_is_marked():
    row = {"protocol": "tcp", "port": 3100, "source": "clients", "destination": "agent"}
    found = difference(parsed(), parsed(changed("ports:cluster:loki", row)), Role.AGENT)
    assert {change.to_everyone for change in found} == {True}
