"""The command status: whether every layer of firewalld matches the tables."""

from __future__ import annotations

from typing import Any

from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.difference import as_changes
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.transaction.compare import compare, layers_in_step


def status(tables: Tables, role: Role) -> dict[str, Any]:
    """Compare runtime, permanent configuration and kernel with the tables, as plain data."""
    plan, observed = compare(tables, role, read_overlay())
    changes = as_changes(plan.differences)
    layers = {
        layer: {"in_step": in_step, "differences": changes.get(layer, {})}
        for layer, in_step in layers_in_step(plan, observed).items()
    }
    return {
        "in_step": not changes,
        "role": role.value,
        "rows": len(tables.rows_of(role)),
        "nodes": len(tables.nodes),
        **layers,
        "notices": list(plan.notices),
    }
