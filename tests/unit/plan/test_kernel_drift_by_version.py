"""Versions of firewalld lead packets into our chains in different ways; none of them is drift.

``data/nft_listing_VERSION.json``: what nft 1.0.6 listed after ``TREE`` was applied to s1 with that
firewalld, without the chains of the tables mangle and nat.
"""

from __future__ import annotations

import json

import pytest

from k3sfw_engine.firewalld.kernel_rules import parse_nft_listing
from k3sfw_engine.plan.kernel_drift import KernelDrift, kernel_drift
from tests.paths import UNIT_DATA
from tests.unit.nft_listings import RUNTIME

LISTINGS = sorted(UNIT_DATA.glob("nft_listing_*.json"))
POLICY_OF_ROWS = "filter_IN_policy_k3s-rows"
POLICY_OF_PODS = "filter_IN_policy_k3s-pods-to-host"


@pytest.fixture(params=LISTINGS, ids=lambda path: path.stem)
def listing(request):
    return json.loads(request.param.read_text())["nftables"]


def drift(items):
    return kernel_drift(parse_nft_listing(json.dumps({"nftables": items})), RUNTIME)


def jumps_to(item, chain):
    expressions = item.get("rule", {}).get("expr", [])
    return any(
        (step.get("jump") or step.get("goto") or {}).get("target") == chain for step in expressions
    )


def test_there_are_listings_of_several_versions():
    assert len(LISTINGS) >= 2


def test_an_applied_configuration_is_not_drift(listing):
    assert drift(listing) == KernelDrift(frozenset(), frozenset())


@pytest.mark.parametrize("chain", [POLICY_OF_ROWS, POLICY_OF_PODS])
def test_a_policy_without_a_jump_to_it_is_drift(listing, chain):
    assert drift([item for item in listing if not jumps_to(item, chain)]).rules


def test_each_lost_rule_of_a_row_is_drift(listing):
    rows = [
        item for item in listing if item.get("rule", {}).get("chain") == f"{POLICY_OF_ROWS}_allow"
    ]
    assert rows
    for row in rows:
        (fact,) = drift([item for item in listing if item is not row]).missing
        assert (fact.name, fact.respect) == ("k3s-rows", "rich_rules")


def test_a_rule_that_was_added_by_hand_is_drift(listing):
    added = {
        "rule": {
            "family": "inet",
            "table": "firewalld",
            "chain": f"{POLICY_OF_ROWS}_allow",
            "expr": [{"accept": None}],
        }
    }
    assert len(drift([*listing, added]).extra) == 1
