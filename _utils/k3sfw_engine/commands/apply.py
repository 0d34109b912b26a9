"""The command apply: make firewalld match the port tables."""

from __future__ import annotations

from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.transaction.checkpoint import NO_CONFIRMATION, CommitOptions
from k3sfw_engine.transaction.compare import plan_for
from k3sfw_engine.transaction.refuse_lockout import guard_apply
from k3sfw_engine.transaction.run import run


def apply(
    tables: Tables, role: Role, *, terms: CommitOptions = NO_CONFIRMATION, test: bool = False
) -> RunResult:
    """Make firewalld have exactly the objects that the tables give a node of this role.

    terms
        How the change proves itself.
    test
        Only tell what would change.

    Raises ``EngineError`` and its kinds; ``Undone`` if the change did not prove itself.
    """
    wanted = compute_desired(tables, role)
    return run(
        lambda observed: plan_for(tables, wanted, observed),
        terms,
        test,
        lambda bus, observed, plan: guard_apply(bus, tables, role, wanted, observed, plan),
    )
