"""The command plan: what an apply would change, and by which steps."""

from __future__ import annotations

from typing import Any

from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.difference import as_changes
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.transaction.compare import compare


def plan(tables: Tables, role: Role) -> dict[str, Any]:
    """Compare firewalld with the tables and plan the change, as plain data; nothing is touched."""
    found, _observed = compare(tables, role, read_overlay())
    return {
        "changes": as_changes(found.differences),
        "steps": [str(step) for step in found.steps],
        "reloads": list(found.reloads),
        "notices": list(found.notices),
    }
