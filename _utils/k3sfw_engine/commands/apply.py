"""The command apply: make firewalld match the port tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from k3sfw_engine.errors import BrokenPromises, EngineError, Problem
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.firewall_objects import Objects
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.commit_options import NO_CONFIRMATION, CommitOptions
from k3sfw_engine.transaction.compare import plan_for
from k3sfw_engine.transaction.kept_tables import keep_tables, kept_for_today, text_of_tables
from k3sfw_engine.transaction.refuse_broken_promises import guard_promises
from k3sfw_engine.transaction.refuse_downgrade import refuse_downgrade
from k3sfw_engine.transaction.refuse_lockout import guard_apply
from k3sfw_engine.transaction.reload_for_rules import reload_costs_less
from k3sfw_engine.transaction.run import run

PromiseGuard = Callable[[Tables, Role, Desired, Objects, Plan], Plan]


def apply(
    tables: Tables,
    role: Role,
    *,
    options: CommitOptions = NO_CONFIRMATION,
    allow_downgrade: bool = False,
    test: bool = False,
) -> RunResult:
    """Give firewalld exactly the objects that the tables name for a node of this role.

    options
        How the change proves itself.
    allow_downgrade
        Also where a newer version of k3sfw made what is in force.
    test
        Touch nothing, and return what would change.

    If a change breaks a promise, the last proven tables stay in force, with the nodes of today.

    Raises ``EngineError`` and its kinds; ``Undone`` if the change did not prove itself.
    """

    def guard(tables: Tables, role: Role, wanted: Desired, in_force: Objects, plan: Plan) -> Plan:
        refuse_downgrade(allowed=allow_downgrade)
        return guard_promises(tables, role, wanted, in_force, plan)

    try:
        return _apply(tables, role, options, guard, test=test)
    except BrokenPromises as refused:
        kept = None if options.confirm_within else kept_for_today(tables, role)
        if kept is None:
            raise
        raise _followed(refused, kept, role, options, test=test) from None


def _followed(
    refused: BrokenPromises, kept: Tables, role: Role, options: CommitOptions, *, test: bool
) -> BrokenPromises:
    """Follow the nodes of today with the tables that are kept; return the refusal that says so."""
    try:
        result = _apply(kept, role, options, _nothing_to_promise, test=test)
    except EngineError as error:
        return BrokenPromises(refused.problems, (*refused.notes, *error.sentences))
    if not result.differences:
        return refused
    note = messages.last_tables_stay(result.comment(test=test))
    return BrokenPromises(refused.problems, (*refused.notes, note), result.changes)


def _nothing_to_promise(
    _tables: Tables, _role: Role, _wanted: Desired, _in_force: Objects, plan: Plan
) -> Plan:
    """The guard of tables that were proven before."""
    return plan


def _apply(
    tables: Tables, role: Role, options: CommitOptions, promises: PromiseGuard, *, test: bool
) -> RunResult:
    wanted = compute_desired(tables, role, read_overlay())

    def planner(bus: Bus, observed: Observed) -> Plan:
        return plan_for(tables, wanted, observed, reload_costs_less(bus, observed))

    def guard(bus: Bus, observed: Observed, plan: Plan) -> Plan:
        plan = promises(tables, role, wanted, observed.runtime, plan)
        return guard_apply(bus, tables, role, wanted, observed, plan)

    def afterwards() -> Iterable[Problem]:
        return keep_tables(options.tables)

    options = replace(options, tables=text_of_tables(tables, role))
    return run(planner, options, test=test, guard=guard, afterwards=afterwards)
