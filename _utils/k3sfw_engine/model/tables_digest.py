"""Digests of what the pillar says and of what is in force, to see which nodes are alike. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from k3sfw_engine.model.rows import Tables

# Enough to tell the tables of one cluster apart, and short enough to be compared by eye.
_LENGTH = 12


def digest_of(tables: Tables) -> str:
    """Return a digest of all rows, groups, networks and nodes.

    Where the rows of the other role are known, it is the same on nodes of both roles.
    """
    rows = {*tables.rows, *(tables.peer_rows or ())}
    said = {
        "cluster": tables.cluster,
        "backend": tables.flannel_backend.value,
        "rows": sorted(
            [
                row.path,
                row.protocol.value,
                sorted(map(str, row.ports)),
                sorted(map(str, row.sources)),
                row.destination.value,
                row.description,
            ]
            for row in rows
        ),
        "groups": {name: sorted(map(str, found)) for name, found in tables.groups.items()},
        "pods": sorted(map(str, tables.pod_cidrs)),
        "services": sorted(map(str, tables.service_cidrs)),
        "nodes": {
            node.name: [node.role.value, *sorted(map(str, node.addresses))] for node in tables.nodes
        },
    }
    return _digest_of_json(said)


def digest_of_tree(tree: Mapping[str, object]) -> str:
    """Return a digest of kept tables as they are sent, whatever version made them.

    Raises ``TypeError`` or ``ValueError`` if they are not plain data.
    """
    return _digest_of_json(tree)


def digest_of_rules(
    rules: Iterable[str], ipsets: Mapping[str, Iterable[str]], has_zone: bool
) -> str:
    """Return a digest of what one node has in force.

    has_zone
        Whether zone k3s has interfaces; which ones differs from node to node.
    """
    return _digest_of_json(
        [sorted(rules), {name: sorted(each) for name, each in ipsets.items()}, has_zone]
    )


def _digest_of_json(data: object) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]
