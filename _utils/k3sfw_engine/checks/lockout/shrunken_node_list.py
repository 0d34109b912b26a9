"""A node list that suddenly shrank: it never narrows an ipset. Pure."""

from __future__ import annotations

from dataclasses import replace

from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.firewall_objects import Kind, Objects, set_name
from k3sfw_engine.model.row_sources import NODE_SETS
from k3sfw_engine.model.rows import ROOT, SourceKind, Tables
from k3sfw_engine.plan.desired.desired_objects import Desired


def distrust_shrunken_list(tables: Tables, wanted: Desired, held: Objects) -> Tables:
    """The tables, unsure of their nodes if these are suddenly much fewer than those held."""
    reason = suspected_loss(tables, wanted.objects, held)
    return replace(tables, unsure=(*tables.unsure, reason)) if reason else tables


# Fewer may well have left at once.
_MANY_NODES = 3


def suspected_loss(tables: Tables, wanted: Objects, now: Objects) -> str:
    """Why a peer list that is suddenly much smaller is not believed; else an empty text.

    now
        Our objects that hold the members so far.
    """
    if tables.expected_nodes is not None and len(tables.nodes) >= tables.expected_nodes:
        return ""
    held, left = _node_addresses(now), _node_addresses(wanted)
    if 2 * len(left) >= len(held) or len(held - left) < _MANY_NODES:
        return ""
    return (
        f"{ROOT}:nodes has {len(left)} addresses, and {len(held)} are let in as nodes' now. If "
        f"so many have left, set {ROOT}:firewall:expected_nodes to the true number of nodes"
    )


def _node_addresses(objects: Objects) -> frozenset[str]:
    keys = [(Kind.IPSET, set_name(NODE_SETS[SourceKind.ANY], family)) for family in FAMILIES]
    return frozenset(
        text for key in keys if key in objects for text in objects[key].items("entries")
    )
