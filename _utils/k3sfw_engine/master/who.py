"""The function who: which sources reach a port of a node, by which rows."""

from __future__ import annotations

from typing import Any

from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.asked_of_tables import nodes_named, parse_asked_ports
from k3sfw_engine.fleet.proven_pairs import proven_pairs
from k3sfw_engine.fleet.returned import Returned
from k3sfw_engine.fleet.who_reaches import who_reaches


def who(found: ClusterTables, to: object, port: object, saved: CheckedCluster | None) -> Returned:
    """Return who gets in there; with saved answers, also how much of it packets have proven."""
    asked, nodes = parse_asked_ports(port), nodes_named(to, found.tables)
    answer: dict[str, Any] = {
        "view": "who",
        "to": str(to),
        "port": str(port),
        "summary": found.summary,
        "openings": who_reaches(found.tables, nodes, asked, found.lines),
        "notes": list(found.notes),
    }
    if saved is not None:
        names = {node.name for node in nodes}
        answer["proven"] = proven_pairs(saved, names, asked)._asdict()
    return Returned(answer)
