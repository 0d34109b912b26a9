"""The command history: list the changes of this node, the newest first."""

from __future__ import annotations

from typing import Any

from k3sfw_engine.transaction.interrupted import is_under_way, unfinished_now
from k3sfw_engine.transaction.journal import Entry, past


def history() -> list[dict[str, Any]]:
    """List the changes of this node as plain data, the newest first."""
    last = unfinished_now()
    entries = ([] if last is None else [last]) + past()
    return [
        {
            "id": entry.name,
            "at": entry.at,
            "what": entry.what,
            "job": entry.record.job,
            "outcome": _outcome(entry),
            "changes": entry.record.changes,
            "reloads": entry.record.reloads,
        }
        for entry in entries
    ]


def _outcome(entry: Entry) -> str:
    if entry.ended:
        return f"{entry.ended} by the {entry.by}" if entry.by else entry.ended
    if entry.waits:
        return "waits to be confirmed"
    return "under way" if is_under_way(entry) else "broken off"
