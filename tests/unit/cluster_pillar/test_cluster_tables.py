"""The tables of a cluster are read from its nodes' pillars, and what contradicts itself is said."""

from __future__ import annotations

import pytest

from k3sfw_engine.cluster_pillar.cluster_tables import MasterPillar, read_cluster_tables
from k3sfw_engine.cluster_pillar.pillar_source import parse_source
from k3sfw_engine.errors import BadTables, EngineError
from tests.unit.samples import changed, pillar

GRAINS = {
    "a1": {"k3s_role": "agent"},
    "a2": {"k3s_role": "agent"},
    "s1": {"k3s_role": "server"},
    "s2": {"k3s_role": "Server"},
}


class Pillars:
    """The pillar of each minion, and which of them were compiled with which grains."""

    def __init__(self, grains=None, own_trees=None, **trees):
        self.grains = GRAINS if grains is None else grains
        self.trees = trees
        self.own_trees = own_trees or {}
        self.compiled = {}

    def read(self, source="base", **options):
        return read_cluster_tables(
            MasterPillar(lambda: self.grains, self._compile, {"base": []}),
            parse_source("new", source),
            **options,
        )

    def _compile(self, minion, grains, place):
        asks = bool(grains["k3sfw_asks_for_peer_ports"])
        self.compiled.setdefault(minion, {})[asks] = grains
        tree = self.trees.get(minion, pillar())
        tree = tree if asks else self.own_trees.get(minion, tree)
        return tree if "_errors" in tree else {"k3s": tree}


def test_one_server_and_one_agent_are_asked_for_the_rows_of_both_roles_and_for_their_own():
    pillars = Pillars()
    found = pillars.read()
    assert found.minion == "s1"
    assert found.notes == ()
    both = {asks: {"k3sfw_asks_for_peer_ports": asks} for asks in (True, False)}
    assert pillars.compiled == {"s1": both, "a1": both}


def test_a_pillar_that_its_node_would_refuse_is_bad_tables_and_the_node_is_named():
    part = changed("tests", {"etcd_is_for_servers": {"severity": "warn"}})
    with pytest.raises(BadTables) as refused:
        Pillars(own_trees={"a1": part}).read()
    assert {fault.path for fault in refused.value.faults} == {"k3s:tests:etcd_is_for_servers"}
    assert refused.value.notes == ("so the pillar of a1 is refused",)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("ports:cluster:etcd:source", "any", "k3s:ports:cluster:etcd"),
        (
            "ports:cluster:more",
            {"protocol": "tcp", "port": 1, "source": "any", "destination": "any"},
            "k3s:ports:cluster:more",
        ),
        ("groups:admins", ["203.0.113.0/24"], "settings, groups or nodes"),
    ],
)
def test_a_pillar_that_says_something_else_on_an_agent_is_told(path, value, named):
    (note,) = Pillars(a1=changed(path, value)).read().notes
    assert named in note and "minion=a1" in note


def test_a_minion_can_be_chosen_and_must_be_known():
    assert Pillars().read(minion="a2").minion == "a2"
    with pytest.raises(EngineError):
        Pillars().read(minion="stranger")


def test_a_pillar_with_errors_is_bad_tables_with_each_of_them():
    with pytest.raises(BadTables) as refused:
        Pillars(s1={"_errors": ["one", "two"]}).read()
    assert len(refused.value.problems) == 2


def test_a_minion_whose_claimed_role_is_pinned_otherwise_is_passed_over():
    nodes = {**pillar()["nodes"], "a2": {"role": "agent", "addresses": ["192.0.2.22"]}}
    grains = {**GRAINS, "a2": {"k3s_role": "server"}}
    trees = {"a2": changed("nodes", nodes)}
    assert Pillars(grains, **trees).read().minion in ("s1", "s2")


@pytest.mark.parametrize("source", ["live", "kept"])
def test_what_only_nodes_know_is_refused_where_tables_are_read(source):
    with pytest.raises(EngineError):
        Pillars().read(source)


def test_where_no_minion_is_known_the_pins_of_the_site_are_enough():
    pillars = Pillars(grains={})
    assert pillars.read(cluster="east").minion == "s1"
    assert pillars.compiled["s1"][True]["k3s_cluster"] == "east"
    with pytest.raises(EngineError):
        Pillars(grains={}, **{"k3sfw-preview": changed("nodes", {})}).read()
