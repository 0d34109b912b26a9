"""Refuses a change of the tables that breaks a promise; what was broken before is only told.

A promise never closes anything and never keeps a node from joining or leaving: rules before the
change are judged with the nodes of today, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from k3sfw_engine.errors import BrokenPromises, Problem
from k3sfw_engine.model.firewall_objects import Objects, ours
from k3sfw_engine.model.rows import PromiseSeverity, Role, Tables
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.newly_broken import newly_broken
from k3sfw_engine.plan.promise_messages import promise_problems
from k3sfw_engine.plan.promises import PromiseValue, PromiseVerdict, judge_promises
from k3sfw_engine.plan.reach import Reach, compute_reach
from k3sfw_engine.plan.reach_in_force import reach_in_force
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.kept_tables import read_kept_tables


def guard_promises(
    tables: Tables, role: Role, wanted: Desired, in_force: Objects, plan: Plan
) -> Plan:
    """Return the plan, with a notice for each promise that is broken without being refused.

    Judged are destinations of this node's role: the pillar has no rows of the other one.

    in_force
        The objects that are in force, those of others too.

    Raises ``BrokenPromises`` if the plan breaks one and ``allow_broken_tests`` is not set.
    """
    verdicts = judge_promises(tables, compute_reach(tables, (role,)))
    broken = [_broken_alone(each) for each in verdicts if each.value is PromiseValue.BROKEN]
    if not broken:
        return plan
    new: tuple[PromiseVerdict, ...] = ()
    if plan.steps:
        reach = _reach_before(tables, role, wanted, ours(in_force))
        new = newly_broken(judge_promises(tables, reach) if reach else (), broken)
    refused = [each for each in new if each.promise.severity is PromiseSeverity.FAIL]
    if refused and not tables.allow_broken_tests:
        raise BrokenPromises(map(messages.or_allow_broken, _problems(refused, tables)))
    allowed = {each.promise.name for each in refused}
    before = [each for each in broken if each.promise.name not in allowed]
    told = (
        *map(messages.allowed_broken, _problems(refused, tables)),
        *map(str, _problems(before, tables)),
    )
    return replace(plan, notices=(*plan.notices, *told), broken_promises=told)


def _broken_alone(verdict: PromiseVerdict) -> PromiseVerdict:
    """The verdict without parts of which this node knows nothing: nodes of the other role."""
    parts = tuple(part for part in verdict.parts if part.value is PromiseValue.BROKEN)
    return replace(verdict, parts=parts)


def _reach_before(tables: Tables, role: Role, wanted: Desired, in_force: Objects) -> Reach | None:
    """Who got in before, with the nodes of today; None if nothing of ours was in force."""
    by_rules = reach_in_force(role, in_force, wanted.objects, tables)
    kept = read_kept_tables()
    known = kept.tables if kept else None
    if known is None:
        return by_rules
    return compute_reach(replace(known, nodes=tables.nodes), (role,))


def _problems(verdicts: Iterable[PromiseVerdict], tables: Tables) -> list[Problem]:
    return [problem for each in verdicts for problem in promise_problems(each, tables)]
