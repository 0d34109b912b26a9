"""Distrust a node list that suddenly shrank, so that no node loses its access. Pure."""

from __future__ import annotations

from dataclasses import replace

from k3sfw_engine.checks.lockout import messages
from k3sfw_engine.checks.lockout.defaults import ADDRESSES_THAT_MAY_LEAVE, SHARE_THAT_MUST_STAY
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.firewall_objects import Kind, Objects, set_name
from k3sfw_engine.model.row_sources import NODE_SETS
from k3sfw_engine.model.rows import SourceKind, Tables
from k3sfw_engine.plan.desired.desired_objects import Desired


def distrust_shrunken_list(tables: Tables, wanted: Desired, held: Objects) -> Tables:
    """Mark the tables as unsure of their nodes if far fewer are listed than are in force."""
    reason = suspected_loss(tables, wanted.objects, held)
    return replace(tables, unsure=(*tables.unsure, reason)) if reason else tables


def suspected_loss(tables: Tables, wanted: Objects, now: Objects) -> str:
    """The reason to distrust a node list that is suddenly much smaller; empty if there is none.

    now
        Our objects with the nodes in force.
    """
    if tables.expected_nodes is not None and len(tables.nodes) >= tables.expected_nodes:
        return ""
    held, left = _node_addresses(now), _node_addresses(wanted)
    enough = len(left) >= SHARE_THAT_MUST_STAY * len(held)
    if enough or len(held - left) <= ADDRESSES_THAT_MAY_LEAVE:
        return ""
    return messages.node_list_shrank(len(left), len(held))


def _node_addresses(objects: Objects) -> frozenset[str]:
    keys = [(Kind.IPSET, set_name(NODE_SETS[SourceKind.ANY], family)) for family in FAMILIES]
    return frozenset(
        text for key in keys if key in objects for text in objects[key].items("entries")
    )
