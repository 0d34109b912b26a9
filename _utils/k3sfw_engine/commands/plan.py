"""The command plan: what an apply would change, and by which steps.

Where firewalld does not run, its files are all that an apply, or an image, can change.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from k3sfw_engine.errors import FirewalldUnavailable
from k3sfw_engine.firewalld.stopped import is_stopped
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.difference import as_changes
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.compare import compare, observe_files, plan_of_files


def plan(tables: Tables, role: Role) -> dict[str, Any]:
    """Compare firewalld with the tables and plan the change, as plain data; nothing is touched."""
    try:
        found, _observed = compare(tables, role, read_overlay())
    except FirewalldUnavailable:
        if not is_stopped():
            raise
        found = _of_files(tables, role)
    return {
        "changes": as_changes(found.differences),
        "steps": [str(step) for step in found.steps],
        "reloads": list(found.reloads),
        "notices": list(found.notices),
    }


def _of_files(tables: Tables, role: Role) -> Plan:
    wanted = compute_desired(tables, role, read_overlay())
    found = plan_of_files(tables, wanted, observe_files(wanted.objects))
    in_files = tuple(each for each in found.differences if each.layer == "permanent")
    notices = (messages.only_files(), *found.notices)
    return replace(found, differences=in_files, notices=notices)
