"""The function diff: what two sources of tables let in differently."""

from __future__ import annotations

from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.fleet.promise_report import judge_tables, promises_as_plain
from k3sfw_engine.fleet.returned import Returned
from k3sfw_engine.fleet.tables_difference import TablesDifference

DIFFERENT = 2


def diff(old: ClusterTables, new: ClusterTables) -> Returned:
    """Compare the tables of two sources, and judge the promises of the new ones."""
    difference = TablesDifference(old.tables, new.tables)
    return Returned(
        {
            "view": "diff",
            "old": old.source,
            "new": new.source,
            "summary": new.summary,
            **difference.as_plain(),
            "promises": promises_as_plain(judge_tables(new.tables), new.tables),
            "notes": list(dict.fromkeys((*old.notes, *new.notes))),
        },
        DIFFERENT if difference.changes else 0,
    )
