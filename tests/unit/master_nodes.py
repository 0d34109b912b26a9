"""Nodes that answer the master as real ones do, from the engine's own objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from k3sfw_engine.model.firewall_objects import ROWS, Kind
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.tables_digest import digest_of, digest_of_rules, digest_of_tree
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.port_tables.kept_form import tables_as_tree


class AnsweringNodes:
    """What each node of some tables has in force, to be changed by a test."""

    def __init__(self, tables: Tables):
        self.full: dict[str, Any] = {}
        self.connections: dict[str, Any] = {}
        self.digests: dict[str, Any] = {}
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        for node in tables.nodes:
            self.full[node.name] = in_force(tables, node.role)

    def ask(
        self, minions: Sequence[str], function: str, arguments: Mapping[str, Any]
    ) -> Mapping[str, object]:
        self.asked.append((function, tuple(minions)))
        if function == "k3sfw.connections":
            known = self.connections
        elif arguments.get("digests"):
            known = {
                name: self.digests.get(name) or digests_of(each) for name, each in self.full.items()
            }
        else:
            known = self.full
        return {name: known[name] for name in minions if name in known}


def in_force(tables: Tables, role: Role) -> dict[str, Any]:
    """What ``k3sfw.in_force full=True`` returns on a converged node of this role."""
    desired = compute_desired(tables, role)
    return {
        "digest": digest_of(tables),
        "tables": tables_as_tree(tables),
        "rules": sorted(map(str, desired.objects[Kind.POLICY, ROWS].rules)),
        "ipsets": {
            name: sorted(each.items("entries"))
            for (kind, name), each in desired.objects.items()
            if kind is Kind.IPSET
        },
        "zone_interfaces": ["cni0", "flannel.1"] if desired.pods_by_interface else [],
    }


def digests_of(full: Any) -> Any:
    if not isinstance(full, dict) or "rules" not in full:
        return full
    state = digest_of_rules(full["rules"], full["ipsets"], bool(full["zone_interfaces"]))
    tree = full["tables"]
    kept = digest_of_tree(tree) if isinstance(tree, dict) and tree else ""
    return {"digest": full["digest"], "kept": kept, "in_force": state}
