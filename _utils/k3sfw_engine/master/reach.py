"""The function reach: what a source reaches, by which rows, and who else by the same rows."""

from __future__ import annotations

from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.fleet.asked_of_tables import sources_named
from k3sfw_engine.fleet.returned import Returned
from k3sfw_engine.fleet.who_reaches import reaches


def reach(found: ClusterTables, source: object) -> Returned:
    """Return every row that lets the source in."""
    return Returned(
        {
            "view": "reach",
            "from": str(source),
            "summary": found.summary,
            "openings": reaches(found.tables, sources_named(source, found.tables), found.lines),
            "notes": list(found.notes),
        }
    )
