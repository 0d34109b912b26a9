"""The last tables that were proven on this host, kept beside the journal as plain data.

A change is compared with them, and not with the rules in force: rules that went missing do
not change the tables. Those of a change that waits for confirmation wait in the journal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from k3sfw_engine import __version__
from k3sfw_engine.errors import BadTables, Problem
from k3sfw_engine.host.atomic_files import replace_files
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.tables_digest import digest_of
from k3sfw_engine.port_tables.kept_form import tables_as_tree, tables_of_tree
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.journal import STATE

FILE = STATE / "tables.json"
_FORMAT = 1


@dataclass(frozen=True)
class KeptTables:
    """The last tables that were proven.

    role
        The role that the node had: the pillar has no rows of another one.
    version
        Of k3sfw, which proved them.
    tree
        The tables as plain data, as ``tables_as_tree`` makes them.
    """

    digest: str
    role: Role
    version: str
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
        return _read(FILE.read_bytes())
    except OSError:
        return None


def version_of_kept_tables() -> str:
    """Return the version of k3sfw that kept tables here, whatever their form; empty if unknown."""
    try:
        return _version(FILE.read_bytes())
    except OSError:
        return ""


def kept_for_today(tables: Tables, role: Role) -> Tables | None:
    """Return the kept tables with the nodes of these ones, or None if a node of this role has none.

    That a node joins or leaves, and what an operator allows, is not a change of the tables.
    """
    kept = read_kept_tables()
    known = kept.tables if kept is not None and kept.role is role else None
    if known is None:
        return None
    return replace(
        known,
        nodes=tables.nodes,
        unsure=tables.unsure,
        notices=tables.notices,
        expected_nodes=tables.expected_nodes,
        allow_lockout=tables.allow_lockout,
    )


def text_of_tables(tables: Tables, role: Role) -> str:
    """Return the tables of a node of this role as the file keeps them."""
    kept = {
        "format": _FORMAT,
        "version": __version__,
        "digest": digest_of(tables),
        "role": role.value,
        "tables": tables_as_tree(tables),
    }
    return f"{json.dumps(kept)}\n"


def keep_tables(text: str) -> tuple[Problem, ...]:
    """Keep tables as proven; return what went wrong. The same ones are not written again.

    A text of another version is kept as it is, to tell which one that was. Without any, those that
    were kept are forgotten: others are in force now.
    """
    if text and _is_kept(text):
        return ()
    if not _version(text.encode()):
        return forget_kept_tables()
    try:
        replace_files({FILE: text.encode()}, mode=0o600, folder_mode=0o700)
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


def _is_kept(text: str) -> bool:
    try:
        kept = FILE.read_bytes()
        # Tables of thousands of nodes are not parsed only to see that they are the same.
        return kept == text.encode() or bool(json.loads(kept) == json.loads(text))
    except (OSError, ValueError):
        return False


def _version(content: bytes) -> str:
    try:
        return str(json.loads(content)["version"])
    except (ValueError, TypeError, KeyError):
        return ""


def _read(content: bytes) -> KeptTables | None:
    try:
        found = json.loads(content)
        if found["format"] == _FORMAT:
            role, version = Role(found["role"]), str(found.get("version", ""))
            return KeptTables(str(found["digest"]), role, version, dict(found["tables"]))
    except (ValueError, TypeError, KeyError):
        pass
    return None
