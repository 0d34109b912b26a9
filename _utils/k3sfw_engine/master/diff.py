"""The function diff: what two sources of tables let in differently, or the nodes and a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.cluster_pillar.nodes_in_force import (
    Ask,
    NodesInForce,
    ask_in_force,
    silent_note,
)
from k3sfw_engine.cluster_pillar.pillar_source import Origin
from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.fleet.asked_of_tables import parse_intended
from k3sfw_engine.fleet.broken_by_change import broken_by
from k3sfw_engine.fleet.lost_connections import lost_connections
from k3sfw_engine.fleet.promise_report import judge_tables, promises_as_plain
from k3sfw_engine.fleet.returned import Returned
from k3sfw_engine.fleet.tables_difference import ComparedNodes, TablesDifference
from k3sfw_engine.model.rows import Tables
from k3sfw_engine.plan.intended_change import Covered, IntendedChange, covered
from k3sfw_engine.plan.reach import Reach, compute_reach
from k3sfw_engine.plan.reach_difference import ChangeKind, RoleReach

COULD_NOT, DIFFERENT = 1, 2


def diff(old: ClusterTables, new: ClusterTables, intended: object = None) -> Returned:
    """Compare the tables of two sources, and judge the promises of the new ones.

    intended
        What is meant to be let in newly, as the operator wrote it.
    """
    found = TablesDifference(old.tables, new.tables)
    notes = (*old.notes, *new.notes)
    return _returned(old.source, new, found, found.as_plain(), notes, intended)


def diff_of_nodes(
    origin: Origin, new: ClusterTables, ask: Ask, intended: object = None
) -> Returned:
    """Compare what nodes have in force, or the last tables that were proven there, with a source.

    intended
        As for ``diff``.

    Raises ``EngineError`` if no node answers.
    """
    roles = {node.name: node.role for node in new.tables.nodes}
    nodes = ask_in_force(ask, roles, new.tables)
    silent = list(silent_note(nodes.silent))
    if not nodes.groups:
        problem = Problem("no node tells what it has in force", "salt '*' k3sfw.in_force")
        raise EngineError([problem, *silent, *new.notes])
    notes = list(new.notes)
    kept = nodes.merged_tables()
    if kept is None:
        notes.append("no node has tables that were proven; rules are named as they are in force")
    old = kept or new.tables
    reach = compute_reach(new.tables)
    compared = list(_compared(nodes, origin, reach))
    found = TablesDifference(old, new.tables, compared)
    plain = {**found.as_plain(), "silent": silent}
    if origin is Origin.LIVE:
        _add_lost(found, plain, ask)
        plain["drift"] = _drift(nodes, old)
    return _returned(origin.value, new, found, plain, notes, intended)


def _compared(nodes: NodesInForce, origin: Origin, reach: Reach) -> Iterator[ComparedNodes]:
    for group in nodes.groups:
        before = group.live if origin is Origin.LIVE else group.by_kept
        yield ComparedNodes(
            group.nodes, RoleReach(before, group.role), RoleReach(reach, group.role)
        )


def _drift(nodes: NodesInForce, old: Tables) -> dict[str, Any]:
    """What nodes let in otherwise than the tables that were proven there."""
    compared = [
        ComparedNodes(
            group.nodes, RoleReach(group.by_kept, group.role), RoleReach(group.live, group.role)
        )
        for group in nodes.groups
        if group.kept
    ]
    plain = TablesDifference(old, old, compared).as_plain()
    return {kind.value: plain[kind.value] for kind in ChangeKind}


def _add_lost(found: TablesDifference, plain: dict[str, Any], ask: Ask) -> None:
    """Ask the nodes on which something closes for their live connections."""
    closed = [each for each in found.changes if each.kind is ChangeKind.CLOSED]
    asked = sorted({name for change in closed for name in change.nodes})
    if not asked:
        return
    connections = ask(asked, "k3sfw.connections", {})
    for change, each in zip(closed, plain[ChangeKind.CLOSED.value]):
        each["lost"] = lost_connections(change, connections)


def _returned(
    old: str,
    new: ClusterTables,
    found: TablesDifference,
    plain: dict[str, Any],
    notes: Iterable[str],
    intended: object,
) -> Returned:
    is_good = not found.changes and not plain["pods"]
    verdicts = judge_tables(new.tables, new.minion)
    written = (*plain[ChangeKind.OPENED.value], *plain[ChangeKind.CLOSED.value])
    # The changes come in the same order: what opens first.
    for change, each in zip(found.changes, written):
        each["breaks"] = broken_by(change, verdicts)
        for cause in each["causes"]:
            cause["line"] = new.lines.get(cause["path"], "")
    if intended is not None:
        plain["intended"] = _judged(found, parse_intended(intended, new.tables))
        is_good = bool(plain["intended"]["is_exactly_this"])
    return Returned(
        {
            "view": "diff",
            "old": old,
            "new": new.source,
            "summary": new.summary,
            **plain,
            "promises": promises_as_plain(verdicts, new.tables),
            "notes": list(dict.fromkeys(notes)),
        },
        DIFFERENT if not is_good else COULD_NOT if plain.get("silent") else 0,
    )


def _judged(found: TablesDifference, intended: IntendedChange) -> dict[str, Any]:
    """Whether it was open before, whether all of it is now, and whether anything else changes."""
    meant = [each for each in found.compared if intended.nodes & set(each.nodes)]
    now = covered((each.new for each in meant), intended)
    others = found.besides(intended)
    return {
        "before": covered((each.old for each in meant), intended).value,
        "now": now.value,
        "others": found.write(others),
        "is_exactly_this": now is Covered.ALL and not others,
    }
