"""The command apply: make firewalld match the port tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from k3sfw_engine.errors import Problem
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.transaction.commit_options import NO_CONFIRMATION, CommitOptions
from k3sfw_engine.transaction.compare import plan_for
from k3sfw_engine.transaction.kept_tables import keep_tables, text_of_tables
from k3sfw_engine.transaction.refuse_broken_promises import guard_promises
from k3sfw_engine.transaction.refuse_lockout import guard_apply
from k3sfw_engine.transaction.run import run


def apply(
    tables: Tables, role: Role, *, options: CommitOptions = NO_CONFIRMATION, test: bool = False
) -> RunResult:
    """Give firewalld exactly the objects that the tables name for a node of this role.

    options
        How the change proves itself.
    test
        Touch nothing, and return what would change.

    Raises ``EngineError`` and its kinds; ``Undone`` if the change did not prove itself.
    """
    wanted = compute_desired(tables, role, read_overlay())

    def planner(_bus: Bus, observed: Observed) -> Plan:
        return plan_for(tables, wanted, observed)

    def guard(bus: Bus, observed: Observed, plan: Plan) -> Plan:
        plan = guard_promises(tables, role, wanted, observed.runtime, plan)
        return guard_apply(bus, tables, role, wanted, observed, plan)

    def afterwards() -> Iterable[Problem]:
        return keep_tables(options.tables)

    options = replace(options, tables=text_of_tables(tables, role))
    return run(planner, options, test=test, guard=guard, afterwards=afterwards)
