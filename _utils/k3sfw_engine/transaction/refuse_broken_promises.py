"""Refuses a change of the tables that breaks a promise; what was broken before is only told.

A promise never closes anything and never keeps a node from joining or leaving: rules before the
change are judged with the nodes of today, too. Where nothing is in force, a refusal would leave the
node more open than the rules that break a promise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from k3sfw_engine.errors import BrokenPromises, Problem
from k3sfw_engine.model.firewall_objects import Objects, ours
from k3sfw_engine.model.rows import PromiseSeverity, Role, Tables
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.newly_broken import broken_by_change
from k3sfw_engine.plan.promise_messages import promise_problems
from k3sfw_engine.plan.promises import PromiseValue, PromiseVerdict, judge_promises
from k3sfw_engine.plan.reach import Reach, compute_reach
from k3sfw_engine.plan.reach_in_force import reach_in_force
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.kept_tables import read_kept_tables

_BROKEN = PromiseValue.BROKEN


def guard_promises(
    tables: Tables, role: Role, wanted: Desired, in_force: Objects, plan: Plan
) -> Plan:
    """Return the plan, with a notice for each promise that is broken without being refused.

    Judged are destinations of this node's role: the pillar has no rows of the other one.

    in_force
        The objects that are in force, those of others too.

    Raises ``BrokenPromises`` if the plan breaks one and ``allow_broken_tests`` is not set.
    """
    after = compute_reach(tables, (role,))
    broken = _broken_here(tables, after)
    before = _reach_before(tables, role, wanted, ours(in_force)) if broken and plan.steps else None
    new = broken_by_change(tables, before, after) if before else ()
    refused = [each for each in new if each.promise.severity is PromiseSeverity.FAIL]
    if refused and not tables.allow_broken_tests:
        raise BrokenPromises(map(messages.or_allow_broken, _problems(refused, tables)))
    allowed = {each.promise.name for each in refused}
    others = [each for each in broken if each.promise.name not in allowed]
    return _telling(
        plan,
        *map(messages.allowed_broken, _problems(refused, tables)),
        *map(str, _problems(others, tables)),
    )


def tell_promises(tables: Tables, role: Role, plan: Plan) -> Plan:
    """Return the plan, with a notice for each promise that it breaks. Nothing is refused."""
    broken = _broken_here(tables, compute_reach(tables, (role,)))
    return _telling(plan, *map(str, _problems(broken, tables)))


def _telling(plan: Plan, *told: str) -> Plan:
    return replace(plan, notices=(*plan.notices, *told), broken_promises=told)


def _broken_here(tables: Tables, reach: Reach) -> list[PromiseVerdict]:
    """The broken promises, without parts of which this node knows nothing: of the other role."""
    return [
        replace(verdict, parts=tuple(each for each in verdict.parts if each.value is _BROKEN))
        for verdict in judge_promises(tables, reach)
        if verdict.value is _BROKEN
    ]


def _reach_before(tables: Tables, role: Role, wanted: Desired, in_force: Objects) -> Reach | None:
    """Who got in before, with the nodes of today.

    None if nothing of ours was in force, or that of another role: such a node joins.
    """
    kept = read_kept_tables()
    if kept is not None and kept.role is not role:
        return None
    known = kept.tables if kept else None
    if known is None:
        return reach_in_force(role, in_force, wanted.objects, tables)
    return compute_reach(replace(known, nodes=tables.nodes), (role,))


def _problems(verdicts: Iterable[PromiseVerdict], tables: Tables) -> list[Problem]:
    return [problem for each in verdicts for problem in promise_problems(each, tables)]
