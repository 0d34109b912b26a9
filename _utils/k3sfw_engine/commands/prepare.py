"""The command prepare: write the rules for a firewalld that does not run yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from k3sfw_engine.checks.lockout.shrunken_node_list import distrust_shrunken_list
from k3sfw_engine.firewalld.dbus import firewalld_is_there
from k3sfw_engine.host.dns import resolve_masters
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.firewall_objects import ours
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.desired.return_path import with_return_path
from k3sfw_engine.plan.make_plan import Plan, make_plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.transaction.before_first_start import run_before_first_start
from k3sfw_engine.transaction.commit_options import CommitOptions
from k3sfw_engine.transaction.compare import notices_of
from k3sfw_engine.transaction.refuse_broken_promises import tell_promises
from k3sfw_engine.transaction.refuse_lockout import guard_first_start

_PREPARE = CommitOptions(what="prepare")


def prepare(
    tables: Tables,
    role: Role,
    *,
    masters: Iterable[str],
    master_ports: Iterable[int],
    options: CommitOptions = _PREPARE,
    test: bool = False,
) -> RunResult:
    """Write the objects into the permanent files, if firewalld does not run; else do nothing.

    masters
        Names or addresses of the Salt masters whose connections must survive the start.
    master_ports
        The ports that the masters listen on.
    options
        Under which name the change is recorded.
    test
        Touch nothing, and return what would change.

    Raises ``EngineError`` and its kinds.
    """
    if firewalld_is_there():
        return RunResult()
    wanted = compute_desired(tables, role, read_overlay())
    wanted = with_return_path(wanted, resolve_masters(masters), master_ports)

    def trusted(observed: Observed) -> Tables:
        return distrust_shrunken_list(tables, wanted, ours(observed.permanent))

    def planner(observed: Observed) -> Plan:
        known = trusted(observed)
        plan = make_plan(wanted, observed, narrow=not known.unsure)
        return replace(plan, notices=(*notices_of(known), *plan.notices))

    def guard(observed: Observed, plan: Plan) -> Plan:
        plan = tell_promises(tables, role, plan)
        allowed = guard_first_start(trusted(observed), role, wanted, observed.permanent)
        return replace(plan, notices=(*plan.notices, *allowed))

    return run_before_first_start(planner, guard, wanted.objects, options, test=test)
