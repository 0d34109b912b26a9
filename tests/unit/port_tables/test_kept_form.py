"""Tables that were kept are read back as they were."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from k3sfw_engine.errors import BadTables
from k3sfw_engine.model.rows import Tables
from k3sfw_engine.model.tables_digest import digest_of
from k3sfw_engine.port_tables.kept_form import tables_as_tree, tables_of_tree
from tests.unit.samples import changed, parsed, pillar, pillars

TEST = {"from": ["anyone", "a1"], "except": "pods", "to": ["s1", "agent"], "deny": "tcp/22-23"}


def kept_and_read(tables: Tables) -> Tables:
    return tables_of_tree(json.loads(json.dumps(tables_as_tree(tables))))


def without_reading(tables: Tables) -> Tables:
    """The tables without what only their reading said."""
    return replace(tables, notices=(), unsure=(), expected_nodes=None, allow_lockout=False)


@given(pillars())
def test_tables_are_read_as_they_were_kept(tree: dict[str, Any]) -> None:
    more = {"protocol": 253, "source": ["203.0.113.0/24", "any"], "destination": "agent"}
    tables = parsed({**tree, "tests": {"it": TEST}, "peer_ports": {"cluster": {"more": more}}})
    again = kept_and_read(tables)
    assert again == without_reading(tables)
    assert digest_of(again) == digest_of(tables)


def test_the_way_pods_are_recognised_is_kept():
    assert kept_and_read(parsed(changed("firewall:pods_from", "addresses"))).pods_by_address


def test_a_node_without_a_believed_address_is_left_out():
    nodes = pillar()["nodes"]
    twin = {"role": "agent", "addresses": ["192.0.2.99"]}
    nodes |= {name: {**twin, "claimed": twin} for name in ("a8", "a9")}
    tables = parsed(pillar(nodes=nodes, firewall={}))
    assert not next(node for node in tables.nodes if node.name == "a9").addresses
    assert "a9" not in {node.name for node in kept_and_read(tables).nodes}


@pytest.mark.parametrize("tree", [None, [], {}, {"ports": 5}, {"flannel_backend": "calico"}])
def test_what_cannot_be_read_is_refused_and_never_empty(tree):
    with pytest.raises(BadTables):
        tables_of_tree(tree)
