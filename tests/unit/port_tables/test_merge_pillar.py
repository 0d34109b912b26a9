"""The site's values win over the defaults and over what minions claim."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from k3sfw_engine.port_tables.merge_pillar import merge_pillar
from tests.unit.port_tables.anything import ANYTHING

DEFAULTS = {
    "pod_cidrs": ["10.42.0.0/16"],
    "groups": {"clients": ["0.0.0.0/0"]},
    "ports": {"cluster": {"http": {"port": 80, "source": "any"}}},
}
CLAIM = {"role": "agent", "addresses": ["192.0.2.21"]}


@pytest.mark.parametrize(
    ("site", "merged"),
    [
        ({}, {}),
        ({"pod_cidrs": ["10.44.0.0/16"]}, {"pod_cidrs": ["10.44.0.0/16"]}),
        ({"pod_cidrs": "10.44.0.0/16"}, {"pod_cidrs": "10.44.0.0/16"}),
        ({"pod_cidrs": []}, {"pod_cidrs": []}),
        ({"pod_cidrs": None}, {"pod_cidrs": None}),
        (
            {"groups": {"admins": ["192.0.2.1"]}},
            {"groups": {"clients": ["0.0.0.0/0"], "admins": ["192.0.2.1"]}},
        ),
        ({"groups": ["clients"]}, {"groups": ["clients"]}),
        (
            {"ports": {"cluster": {"http": {"source": ["any", "pods"]}}}},
            {"ports": {"cluster": {"http": {"port": 80, "source": ["any", "pods"]}}}},
        ),
    ],
)
def test_maps_are_merged_by_name_and_anything_else_is_replaced(site, merged):
    assert merge_pillar({"k3sfw_defaults": DEFAULTS, "k3s": site}) == {**DEFAULTS, **merged}


def test_a_pillar_without_anything_of_ours_is_none_at_all():
    assert merge_pillar({}) is None
    assert merge_pillar({"k3s": None}) is None
    assert merge_pillar({"k3sfw_defaults": DEFAULTS, "k3s": None}) is None
    assert merge_pillar({"k3s": {"ports": {}}}) == {"ports": {}}


@pytest.mark.parametrize(
    ("pin", "node"),
    [
        ({}, {**CLAIM, "claimed": CLAIM}),
        ({"role": "server"}, {**CLAIM, "role": "server", "claimed": CLAIM}),
        (
            {"addresses": ["192.0.2.66"]},
            {"role": "agent", "addresses": ["192.0.2.66"], "claimed": CLAIM},
        ),
        # What is pinned as it is claimed is pinned.
        ({"role": "agent"}, {**CLAIM, "claimed": {"addresses": ["192.0.2.21"]}}),
        (CLAIM, {**CLAIM, "claimed": {}}),
        (None, None),
        (["192.0.2.66"], ["192.0.2.66"]),
    ],
)
def test_a_pin_wins_over_the_claim_column_by_column(pin, node):
    pillar = {"k3sfw_claims": {"nodes": {"a1": CLAIM}}, "k3s": {"nodes": {"a1": pin}}}
    assert merge_pillar(pillar) == {"nodes": {"a1": node}}


def test_a_node_may_be_pinned_or_claimed_alone():
    pillar = {"k3sfw_claims": {"nodes": {"a1": CLAIM}}, "k3s": {"nodes": {"a2": CLAIM}}}
    assert merge_pillar(pillar) == {"nodes": {"a1": {**CLAIM, "claimed": CLAIM}, "a2": CLAIM}}


def test_what_the_master_says_of_its_minions_is_not_the_sites():
    claims = {"nodes": {"a1": CLAIM}, "unheard_minions": ["a9"]}
    tree = merge_pillar({"k3sfw_claims": claims, "k3s": {"unheard_minions": []}})
    assert tree["unheard_minions"] == ["a9"]


@given(st.dictionaries(st.sampled_from(["k3s", "k3sfw_defaults", "k3sfw_claims"]), ANYTHING))
def test_anything_at_all_is_merged_without_an_error(pillar):
    merge_pillar(pillar)


@given(ANYTHING, ANYTHING)
def test_odd_nodes_are_left_to_the_reader(claims, pins):
    merge_pillar({"k3sfw_claims": {"nodes": claims}, "k3s": {"nodes": pins}})
