"""What the tables of a cluster make of its promises, as data for every form. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from k3sfw_engine.model.rows import PromiseSeverity, Role, Tables
from k3sfw_engine.plan.promise_messages import promise_problems
from k3sfw_engine.plan.promises import PromiseValue, PromiseVerdict, judge_promises
from k3sfw_engine.plan.reach import compute_reach


def judge_tables(tables: Tables, minion: str) -> tuple[PromiseVerdict, ...]:
    """Judge the promises by the rows of both roles, as far as the tables have them.

    minion
        The node whose pillar the tables are: an older one may lack the rows of the other role.
    """
    both = tables.peer_rows is not None
    known = [node.role for node in tables.nodes if node.name == minion and not both]
    return judge_promises(tables, compute_reach(tables, tuple(Role) if both else known))


def fails(verdict: PromiseVerdict) -> bool:
    """Whether a promise is broken that was not given as a mere warning."""
    return (
        verdict.value is PromiseValue.BROKEN
        and verdict.promise.severity is not PromiseSeverity.WARN
    )


def promises_as_plain(verdicts: tuple[PromiseVerdict, ...], tables: Tables) -> dict[str, Any]:
    """Return ``{counts: {value: number}, tests: [...]}``, the worst first.

    Promises that are to be left out are not among them.

    Each test has its ``name``, ``path``, ``value``, whether it ``fails`` or is only to be
    ``told``, ``why`` it was made, and its ``problems``, as sentences with their fix.
    """
    verdicts = tuple(each for each in verdicts if not each.is_left_out)
    counts: Mapping[str, int] = Counter(verdict.value.value for verdict in verdicts)
    ranks = list(PromiseValue)
    by_rank = sorted(
        verdicts,
        key=lambda each: (not fails(each), ranks.index(each.value), each.promise.name),
    )
    return {
        "counts": {value.value: counts.get(value.value, 0) for value in PromiseValue},
        "tests": [
            {
                "name": verdict.promise.name,
                "path": verdict.promise.path,
                "value": verdict.value.value,
                "fails": fails(verdict),
                "told": verdict.is_told or verdict.value is PromiseValue.BROKEN,
                "why": verdict.promise.why,
                "problems": [str(problem) for problem in promise_problems(verdict, tables)],
            }
            for verdict in by_rank
        ],
    }
