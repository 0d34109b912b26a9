"""The tables of an image, which is not a node of any cluster yet."""

import pytest

from k3sfw_engine.errors import BadTables
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.unit.samples import pillar


def parsed(tree, name="template", role="agent", **options):
    return parse_tables(tree, minion_id=name, role=role, **options)


@pytest.mark.parametrize("nodes", [{}, None])
def test_an_image_needs_no_nodes_and_is_unsure_of_them(nodes):
    tree = pillar(nodes=nodes, firewall={})
    if nodes is None:
        del tree["nodes"]
    with pytest.raises(BadTables):
        parsed(tree)
    tables = parsed(tree, image=True)
    assert tables.nodes == ()
    assert len(tables.unsure) == 1
    assert tables.rows


def test_an_image_need_not_be_among_the_nodes():
    with pytest.raises(BadTables):
        parsed(pillar())
    tables = parsed(pillar(), image=True)
    assert tables.nodes == parsed(pillar(), name="a1").nodes
    assert not tables.unsure


def test_an_image_whose_role_the_pillar_contradicts_is_refused():
    with pytest.raises(BadTables, match="the grain k3s_role of the node says agent"):
        parsed(pillar(), name="s1", image=True)


def test_a_fault_in_the_nodes_of_an_image_is_told():
    with pytest.raises(BadTables, match="k3s:nodes"):
        parsed(pillar(nodes=["s1"]), image=True)
