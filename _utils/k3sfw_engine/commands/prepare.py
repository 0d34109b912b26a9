"""The command prepare: write the rules for a firewalld that is stopped, or that is in an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from k3sfw_engine.firewalld.dbus import firewalld_is_there
from k3sfw_engine.host.dns import resolve_masters
from k3sfw_engine.host.image import is_image
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.desired.return_path import with_return_path
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.before_first_start import run_before_first_start
from k3sfw_engine.transaction.commit_options import CommitOptions
from k3sfw_engine.transaction.compare import plan_of_files, trusted_by_files
from k3sfw_engine.transaction.kept_tables import forget_kept_tables
from k3sfw_engine.transaction.refuse_broken_promises import tell_promises
from k3sfw_engine.transaction.refuse_downgrade import refuse_downgrade
from k3sfw_engine.transaction.refuse_lockout import guard_first_start

_PREPARE = CommitOptions(what="prepare")


def prepare(
    tables: Tables,
    role: Role,
    *,
    masters: Iterable[str],
    master_ports: Iterable[int],
    options: CommitOptions = _PREPARE,
    allow_downgrade: bool = False,
    test: bool = False,
) -> RunResult:
    """Write the objects into the permanent files, if firewalld does not run; else do nothing.

    In an image only its files count, and nothing that lives on the host that builds it.

    masters
        Names or addresses of the Salt masters whose connections must survive the start.
    master_ports
        The ports that the masters listen on.
    options
        Under which name the change is recorded.
    allow_downgrade
        Also where a newer version of k3sfw made the rules that are there. It is not asked again.
    test
        Touch nothing, and return what would change.

    Raises ``EngineError`` and its kinds.
    """
    if firewalld_is_there():
        return RunResult(in_step=messages.NOT_PREPARED)
    wanted = compute_desired(tables, role, read_overlay())
    # Nothing of the host that builds an image concerns the nodes that it is for.
    if not (image := is_image()):
        wanted = with_return_path(wanted, resolve_masters(masters), master_ports)

    def planner(observed: Observed) -> Plan:
        return plan_of_files(tables, wanted, observed)

    def guard(observed: Observed, plan: Plan) -> Plan:
        refuse_downgrade(allowed=allow_downgrade, stopped=not image)
        plan = tell_promises(tables, role, plan)
        if image:
            return plan
        trusted = trusted_by_files(tables, wanted, observed)
        allowed = guard_first_start(trusted, role, wanted, observed.permanent)
        return replace(plan, notices=(*plan.notices, *allowed))

    prepared = run_before_first_start(planner, guard, wanted.objects, options, test=test)
    return prepared if test or not allow_downgrade else _without_kept_tables(prepared)


def _without_kept_tables(prepared: RunResult) -> RunResult:
    """Forget what the newer version proved: the files are not made from it any more."""
    left = tuple(map(str, forget_kept_tables()))
    return replace(prepared, notices=(*prepared.notices, *left))
