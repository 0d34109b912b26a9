"""Whatever a pillar holds, it is parsed or refused, and never injects a rule."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings, strategies as st

from k3sfw_engine.errors import BadTables
from k3sfw_engine.model.rows import Role
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.unit.port_tables.anything import ANYTHING, KEYS
from tests.unit.port_tables.reading import SOURCE, faults
from tests.unit.samples import (
    NODES,
    RULE,
    changed,
    pillar,
)


def paths_of(tree, path=()):
    """The paths of all subtrees, the root's first."""
    yield path
    if isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from paths_of(value, (*path, key))


GOOD = pillar(
    node_cidrs=["192.0.2.0/24", "2001:db8::/32"],
    unheard_minions=["a9"],
    tests={
        "etcd": {
            "from": "anyone",
            "except": ["server", "pods", "services", "192.0.2.77"],
            "to": ["server", "a1"],
            "accept": ["udp/53", "vrrp"],
            "deny": ["tcp/2379-2380"],
            "why": "etcd holds all secrets",
            "severity": "warn",
            "expect": "present",
            "opened_by": "zones",
            "ask_from": ["jump1"],
            "flannel_backend": "vxlan",
        }
    },
    nodes={
        **NODES,
        "a3": {
            "role": "agent",
            "addresses": ["192.0.2.23"],
            "claimed": {"role": "agent", "addresses": ["192.0.2.23"]},
        },
    },
)


PATHS = list(paths_of(GOOD))


@st.composite
def broken_pillars(draw):
    """A good pillar with anything at all in the place of one or two subtrees, or beside them."""
    tree = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(PATHS))
        value = draw(ANYTHING)
        if not path:
            return value
        at = tree
        for key in path[:-1]:
            at = at[key] if isinstance(at, dict) and key in at else {}
        if isinstance(at, list) and isinstance(path[-1], int) and path[-1] < len(at):
            at[path[-1]] = value
        elif isinstance(at, dict):
            at[draw(KEYS) if draw(st.booleans()) and draw(st.booleans()) else path[-1]] = value
    return tree


@settings(max_examples=max(200, settings().max_examples))
@given(broken_pillars(), st.sampled_from(["server", "agent", None, "x"]))
def test_anything_at_all_is_parsed_or_refused_and_never_injects_a_rule(tree, role):
    minion_id = "a1" if role == "agent" else "s1"
    try:
        tables = parse_tables(tree, minion_id=minion_id, role=role)
    except BadTables as refused:
        assert refused.faults
        assert all(sentence.isprintable() for sentence in refused.sentences)
        return
    wanted = compute_desired(tables, Role(role))
    for each in wanted.objects.values():
        for rule in each.rules:
            assert RULE.fullmatch(str(rule)), rule


@pytest.mark.parametrize(
    "value",
    [10**5000, {10**5000: 1}, {None: 1, (1,): []}],
    ids=["a huge integer", "a huge integer as key", "odd keys"],
)
def test_odd_python_values_in_any_place_raise_nothing_but_bad_tables(value):
    raised = {}
    for *ahead, last in PATHS[1:]:
        tree = copy.deepcopy(GOOD)
        at = tree
        for key in ahead:
            at = at[key]
        at[last] = value
        try:
            parse_tables(tree, minion_id="s1", role="server")
        except BadTables:
            pass
        except Exception as error:
            raised[(*ahead, last)] = error
    assert raised == {}


def test_data_nested_deeper_than_python_can_print_is_refused():
    deep: list = []
    for _ in range(5_000):
        deep = [deep]
    assert list(faults(changed("ports:cluster:etcd:source", deep))) == [f"{SOURCE}:0"]
