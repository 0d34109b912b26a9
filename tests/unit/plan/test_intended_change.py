"""A change is the intended one if all that was meant is let in, and no other packet changes."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.errors import EngineError
from k3sfw_engine.fleet.asked_of_tables import parse_intended
from k3sfw_engine.model.rows import PortRange, Protocol, Role
from k3sfw_engine.plan.intended_change import Covered, besides, covered
from k3sfw_engine.plan.reach import compute_reach
from k3sfw_engine.plan.reach_difference import RoleReach, reach_changes
from tests.unit.samples import changed, parsed, pillars
from tests.unit.single_packets import kinds_of, lets_in, sources_worth_asking

PORTS = (79, 80, 81, 443, 2379, 2381, 8000, 8005, 8010, 65535)
LOKI = {"protocol": "tcp", "port": 3100, "source": "admins", "destination": "agent"}
MEANT = {"from": "admins", "to": "agent", "port": 3100}


def of(tree, role=Role.AGENT):
    return RoleReach(compute_reach(parsed(tree)), role)


@pytest.mark.parametrize(
    ("row", "now"),
    [
        (LOKI, Covered.ALL),
        ({**LOKI, "source": "198.51.100.0/29"}, Covered.PART),
        ({**LOKI, "port": 3101}, Covered.NONE),
        ({**LOKI, "destination": "server"}, Covered.NONE),
    ],
)
def test_all_of_it_or_a_part_or_nothing_is_open(row, now):
    tree = changed("ports:cluster:loki", row)
    intended = parse_intended(MEANT, parsed(tree))
    assert covered([of(None)], intended) is Covered.NONE
    assert covered([of(tree)], intended) is now


def test_a_part_of_the_ports_is_a_part():
    tree = changed("ports:cluster:loki", LOKI)
    intended = parse_intended({**MEANT, "port": "3100-3101"}, parsed(tree))
    assert covered([of(tree)], intended) is Covered.PART


@given(pillars(), pillars(), st.sampled_from(PORTS), st.integers(0, 20))
def test_besides_what_is_meant_is_every_other_packet_that_changes(one, other, port, width):
    old, new = parsed(one), parsed(other)
    changes = reach_changes(*(RoleReach(compute_reach(each), Role.SERVER) for each in (old, new)))
    high = min(port + width, 65535)
    meant = parse_intended({"from": "a*,pods", "to": "any", "port": f"{port}-{high}"}, new)
    others = tuple(besides(changes, meant))
    for source in sources_worth_asking(old, new):
        for asked in PORTS:
            is_meant = (
                asked in PortRange(port, high)
                and source in meant.sources[source.version]
                and lets_in(new, Role.SERVER, source, Protocol.TCP, asked)
            )
            found = kinds_of(others, source, Protocol.TCP, asked)
            all_of_them = kinds_of(changes, source, Protocol.TCP, asked)
            assert found == (set() if is_meant else all_of_them), (source, asked)


@pytest.mark.parametrize(
    "value",
    [
        "text",
        {"from": "admins", "to": "agent"},
        {**MEANT, "more": 1},
        {**MEANT, "from": "stranger"},
        {**MEANT, "to": "stranger"},
        {**MEANT, "port": 0},
    ],
)
def test_what_is_not_an_intention_is_refused(value):
    with pytest.raises(EngineError):
        parse_intended(value, parsed())
