"""The function test: judges the promises by the tables of a source, before anything is touched."""

from __future__ import annotations

from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.fleet.promise_report import fails, judge_tables, promises_as_plain
from k3sfw_engine.fleet.returned import Returned

BROKEN = 2


def test(found: ClusterTables) -> Returned:
    """Judge every promise; a broken one is a failure unless it was made as a warning."""
    verdicts = judge_tables(found.tables)
    return Returned(
        {
            "view": "test",
            "summary": found.summary,
            "promises": promises_as_plain(verdicts, found.tables),
            "notes": list(found.notes),
        },
        BROKEN if any(map(fails, verdicts)) else 0,
    )
