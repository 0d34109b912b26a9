"""The permanent files of a plan: written, read back, and copied for a later repair.

firewalld reads them at its next start or reload, so it need not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from k3sfw_engine.errors import EngineError, NotConverged
from k3sfw_engine.firewalld.file_copies import keep
from k3sfw_engine.firewalld.permanent import (
    Contents,
    as_they_are,
    contents_of,
    files_of,
    paths_of,
    put_files,
    read_permanent,
)
from k3sfw_engine.model.firewall_objects import FirewalldObject, Key, ours
from k3sfw_engine.plan.make_plan import Plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.steps import RemovePermanent, WritePermanent
from k3sfw_engine.transaction import messages


def make_permanent(plan: Plan, observed: Observed, replan: Callable[[Observed], Plan]) -> None:
    """Write the files of the plan and read them back.

    replan
        Plans anew, from what is in the files then.

    Raises ``EngineError`` if they cannot be written, ``NotConverged`` if they differ afterwards.
    """
    put_files(files_of_plan(plan))
    permanent = read_permanent()
    left = replan(
        replace(
            observed,
            permanent=permanent.objects,
            damaged=permanent.damaged,
            bindings={**observed.bindings, "permanent": permanent.bindings},
            zones=permanent.zones,
            users=permanent.users,
        )
    )
    refuse_differences(left, ["permanent"])


def files_of_plan(plan: Plan) -> Contents:
    """The files that the plan writes and removes."""
    return contents_of(_written(plan), _removed(plan))


def files_before(plan: Plan) -> Contents:
    """The files that the plan writes and removes, as they are now."""
    return as_they_are(paths_of([each.key for each in _written(plan)], _removed(plan)))


def _written(plan: Plan) -> list[FirewalldObject]:
    return [step.object for step in plan.steps if isinstance(step, WritePermanent)]


def _removed(plan: Plan) -> list[Key]:
    return [step.key for step in plan.steps if isinstance(step, RemovePermanent)]


def refuse_differences(left: Plan, layers: Iterable[str]) -> None:
    """Raise ``NotConverged`` if anything of these layers is left to change."""
    problems = [
        messages.still_differs(layer, each)
        for layer in layers
        for each in left.differences
        if each.layer == layer
    ]
    if problems:
        raise NotConverged(problems)


def keep_copies() -> tuple[str, ...]:
    """Copy our files, so that one which is damaged later can be recognised and put back.

    Returns notices about what prevents it; the change itself is complete without copies.
    """
    try:
        keep(files_of(ours(read_permanent().objects)))
    except EngineError as error:
        return error.sentences
    return ()
