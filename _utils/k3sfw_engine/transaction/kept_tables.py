"""The last tables that were proven on this host, kept beside the journal as plain data.

A change is compared with them, and not with the rules in force: rules that went missing do
not change the tables.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from k3sfw_engine.errors import BadTables, Problem
from k3sfw_engine.host.atomic_files import replace_files
from k3sfw_engine.model.rows import Tables
from k3sfw_engine.model.tables_digest import digest_of
from k3sfw_engine.port_tables.kept_form import tables_as_tree, tables_of_tree
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.journal import STATE

FILE = STATE / "tables.json"
_FORMAT = 1


@dataclass(frozen=True)
class KeptTables:
    """The last tables that were proven.

    tree
        The tables as plain data, as ``tables_as_tree`` makes them.
    """

    digest: str
    tree: dict[str, Any]

    @property
    def tables(self) -> Tables | None:
        """The tables; None if another version of k3sfw kept what this one cannot read."""
        try:
            return tables_of_tree(self.tree)
        except BadTables:
            return None


def read_kept_tables() -> KeptTables | None:
    """Return the tables that are kept, or None if there are none that can be read."""
    try:
        found = json.loads(FILE.read_bytes())
        if found["format"] == _FORMAT:
            return KeptTables(str(found["digest"]), dict(found["tables"]))
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return None


def keep_tables(tables: Tables) -> tuple[Problem, ...]:
    """Keep these tables as proven; return what went wrong. The same ones are not written again."""
    kept = KeptTables(digest_of(tables), tables_as_tree(tables))
    if read_kept_tables() == kept:
        return ()
    text = json.dumps({"format": _FORMAT, "digest": kept.digest, "tables": kept.tree})
    try:
        replace_files({FILE: f"{text}\n".encode()}, mode=0o600, folder_mode=0o700)
    except OSError as error:
        return (messages.tables_not_kept(FILE, error),)
    return ()


def forget_kept_tables() -> tuple[Problem, ...]:
    """Forget the tables: what is in force is not made from them any more."""
    try:
        FILE.unlink(missing_ok=True)
    except OSError as error:
        return (messages.tables_not_kept(FILE, error),)
    return ()
