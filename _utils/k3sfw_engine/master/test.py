"""The function test: judges the promises by the tables of a source, before anything is touched."""

from __future__ import annotations

from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.cluster_pillar.named_files import full_path, write_file
from k3sfw_engine.fleet.forms.junit import junit_of_promises
from k3sfw_engine.fleet.promise_report import fails, judge_tables, promises_as_plain
from k3sfw_engine.fleet.returned import Returned

BROKEN = 2


def test(found: ClusterTables, junit: str = "", at: int = 0) -> Returned:
    """Judge every promise; a broken one is a failure unless it was made as a warning.

    junit
        A file for the results as JUnit's XML; empty for none.
    at
        The time now, in seconds since 1970.

    Raises ``EngineError`` if the file cannot be written.
    """
    verdicts = judge_tables(found.tables, found.minion)
    promises = promises_as_plain(verdicts, found.tables)
    if junit:
        written = junit_of_promises(found.tables.cluster, promises, at)
        write_file(full_path(junit), written)
    return Returned(
        {
            "view": "test",
            "summary": found.summary,
            "promises": promises,
            "notes": list(found.notes),
        },
        BROKEN if any(map(fails, verdicts)) else 0,
    )
