"""The tree below ``k3s``: the site's values over our defaults, and over what minions claim.

Salt merges the values of several pillar files by options of the master: lists may add up, one file
may replace all others, and the order is not ours. So defaults and claims come below keys of their
own, and what else the pillar says below ``k3s`` is the site's and wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from k3sfw_engine.model.rows import ROOT

DEFAULTS = "k3sfw_defaults"
CLAIMS = "k3sfw_claims"
# What the pillar needs of the keys at its top.
SOURCES = (ROOT, DEFAULTS, CLAIMS)
# What the master says of the minions besides their claims.
_OF_THE_MASTER = ("unheard_minions", "silent_minions", "other_masters")


def merge_pillar(pillar: Mapping[str, Any]) -> object:
    """Return the tree below ``k3s``, or ``None`` if the pillar has nothing of it.

    pillar
        The minion's whole pillar as plain Python data, or its ``SOURCES`` alone.
    """
    claims = pillar.get(CLAIMS)
    ours = pillar.get(DEFAULTS, None if claims is None else {})
    tree = _over(ours, pillar[ROOT]) if ROOT in pillar else ours
    if not isinstance(claims, Mapping) or not isinstance(tree, Mapping):
        return tree
    nodes, pins = claims.get("nodes", {}), tree.get("nodes", {})
    if not isinstance(nodes, Mapping) or not isinstance(pins, Mapping):
        return tree  # It is reported when the tree is read.
    return {
        **tree,
        "nodes": {name: _node(nodes.get(name), pins.get(name, {})) for name in {**nodes, **pins}},
        **{key: claims[key] for key in _OF_THE_MASTER if key in claims},
    }


def to_plain(value: Any) -> Any:
    """Copy pillar to plain types.

    Since Salt 3008 it consists of types that mask their values when printed (salt issue 69599).
    """
    if hasattr(value, "items"):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _over(ours: object, site: object) -> Any:
    """The site's value over ours: maps by their keys, anything else as a whole."""
    if isinstance(ours, Mapping) and isinstance(site, Mapping):
        both = {key: _over(ours[key], site[key]) for key in ours.keys() & site.keys()}
        return {**ours, **site, **both}
    return site


def _node(claim: Any, pin: Any) -> object:
    """The columns of a node, and of these under ``claimed`` what the minion says itself.

    A column that is pinned as it is claimed counts as pinned.
    """
    if not isinstance(claim, Mapping) or not isinstance(pin, Mapping):
        return pin
    claimed = {
        column: value
        for column, value in claim.items()
        if column not in pin or pin[column] != value
    }
    return {**claim, **pin, "claimed": claimed}
