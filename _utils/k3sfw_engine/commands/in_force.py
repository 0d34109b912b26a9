"""The command in_force: what is in force here, and the last tables that were proven. No tables."""

from __future__ import annotations

import hashlib
from typing import Any

from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.runtime import observe
from k3sfw_engine.model.firewall_objects import ROWS, ZONE, Kind, ours
from k3sfw_engine.model.tables_digest import digest_of_rules, digest_of_tree
from k3sfw_engine.transaction.kept_tables import read_kept_tables

# As long as the digest of tables.
_LENGTH = 12


def in_force(*, full: bool = False, digests: bool = False) -> dict[str, Any]:
    """Return the tables that are kept, and our rules and ipsets at runtime, as plain data.

    full
        The entries of each ipset in place of their digest, and the interfaces of zone k3s.
    digests
        Only digests: of the tables, of the same as they are kept, and of all that is in force. By
        the last two the master finds nodes that are alike.

    Raises ``EngineError`` if firewalld cannot be read.
    """
    kept = read_kept_tables()
    with Bus() as bus:
        objects = ours(observe(bus).runtime)
    policy = objects.get((Kind.POLICY, ROWS))
    ipsets = {
        name: sorted(each.items("entries"))
        for (kind, name), each in sorted(objects.items())
        if kind is Kind.IPSET
    }
    rules = sorted(map(str, policy.rules)) if policy else []
    zone = objects.get((Kind.ZONE, ZONE))
    interfaces = sorted(zone.items("interfaces")) if zone else []
    if digests:
        state = digest_of_rules(rules, ipsets, bool(interfaces))
        tree = digest_of_tree(kept.tree) if kept else ""
        return {"digest": kept.digest if kept else "", "kept": tree, "in_force": state}
    found = {
        "digest": kept.digest if kept else "",
        "tables": kept.tree if kept else {},
        "rules": rules,
        "ipsets": ipsets if full else {name: _digest(each) for name, each in ipsets.items()},
    }
    return {**found, "zone_interfaces": interfaces} if full else found


def _digest(entries: list[str]) -> str:
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()[:_LENGTH]
