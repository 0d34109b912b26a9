"""The cases in which the tools are compared, in the order in which a host meets them."""

from __future__ import annotations

from dataclasses import dataclass

from bench.rules import NODES, Rules
from bench.tools.tool import Action

MANY_ROWS = 150
SIZES = (NODES, 100, 1000, 5000)


@dataclass(frozen=True)
class Case:
    """One figure of a tool. Without a title it only prepares the next one."""

    key: str
    action: Action
    rules: Rules
    title: str = ""


def _joins(nodes: int) -> tuple[Case, ...]:
    before, after = (Rules(nodes=number, by_node=True) for number in (nodes, nodes + 1))
    return (
        Case(f"join_{nodes}_before", Action.APPLY, before),
        Case(f"join_{nodes}", Action.APPLY, after, f"A node joins a cluster of {nodes:,}"),
    )


# Each of these is done on a new host, from its first case to its last.
STORIES: tuple[tuple[Case, ...], ...] = (
    (
        Case("first", Action.APPLY, Rules(), "First apply"),
        Case("nothing", Action.APPLY, Rules(), "Nothing to do"),
        Case("dry_run", Action.DRY_RUN, Rules(1), "Dry run of one row more"),
        Case("row", Action.APPLY, Rules(1), "One row more"),
        Case("removal", Action.REMOVE, Rules(1), "Removal"),
    ),
    (
        Case("rows_before", Action.APPLY, Rules()),
        Case("rows", Action.APPLY, Rules(MANY_ROWS), f"{MANY_ROWS} rows more"),
        Case(
            "rows_changed",
            Action.APPLY,
            Rules(MANY_ROWS, moved=True),
            f"{MANY_ROWS} rows changed, each to another port",
        ),
    ),
    *(_joins(nodes) for nodes in SIZES),
)
CASES = tuple(case for story in STORIES for case in story if case.title)
