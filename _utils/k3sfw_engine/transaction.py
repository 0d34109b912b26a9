"""The change itself: observe, plan, carry out, read back. One run at a time on a host."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace

from .bus import Bus, firewalld_is_there
from .change import Planner, carry_out, files_of_plan, keep_copies
from .desired import Desired, desired, with_return_path
from .difference import Observed, ours
from .errors import EngineError, FirewalldFailed
from .exclusive import only_one
from .firewalld import observe
from .guarding import believed, guard_apply, guard_first_start
from .healing import Health, is_cut_off, merged
from .iptables import keep_iptables, put_back_iptables
from .masters import resolve_masters
from .outcome import Outcome
from .permanent import put_files, read_permanent
from .plan import Plan, make_plan, removal_plan
from .recovery import mend, pending, recover, waiting_notice
from .rows import Role, Tables
from .shadow import needed, try_out
from .undoable import Terms

_PROOF_IS_ENOUGH = Terms()


def apply(
    tables: Tables, role: Role, *, terms: Terms = _PROOF_IS_ENOUGH, test: bool = False
) -> Outcome:
    """Make firewalld have exactly the objects that the tables give a node of this role.

    terms
        How the change proves itself.
    test
        Only tell what would change.

    Raises ``EngineError`` and its kinds; ``Undone`` if the change did not prove itself.
    """
    wanted = desired(tables, role)
    return run(
        lambda observed: _plan(tables, wanted, observed),
        terms,
        test,
        lambda bus, observed, plan: guard_apply(bus, tables, role, wanted, observed, plan),
    )


def prepare(
    tables: Tables,
    role: Role,
    *,
    masters: Iterable[str],
    master_ports: Iterable[int],
    test: bool = False,
) -> Outcome:
    """Write the objects into the permanent configuration of a firewalld that does not run.

    masters
        Names or addresses of the Salt masters whose standing connections shall survive the start.
    master_ports
        The ports that the masters listen on.
    test
        Only tell what would change.

    Raises ``EngineError`` and its kinds.
    """
    if firewalld_is_there():
        return Outcome({})
    wanted = with_return_path(desired(tables, role), resolve_masters(masters), master_ports)
    with nullcontext() if test else only_one():
        permanent = read_permanent()
        tables = believed(tables, wanted, ours(permanent.objects))
        allowed = guard_first_start(tables, role, wanted, permanent.objects)
        plan = make_plan(
            wanted,
            # There is no runtime; as far as the plan goes, it is what it will be.
            Observed(
                runtime=wanted.objects,
                permanent=permanent.objects,
                damaged=permanent.damaged,
                bindings={"permanent": permanent.bindings},
                zones=permanent.zones,
                users=permanent.users,
            ),
            narrow=not tables.unsure,
        )
        if not test:
            keep_iptables()
            put_files(files_of_plan(plan))  # firewalld reads them at its start.
            allowed += keep_copies(read_permanent().objects)
    changes = {layer: found for layer, found in plan.changes.items() if layer == "permanent"}
    return Outcome(changes, notices=(*_notices(tables), *plan.notices, *allowed))


def remove(*, terms: Terms = _PROOF_IS_ENOUGH, test: bool = False) -> Outcome:
    """Take every object of ours away, and nothing else."""
    return run(removal_plan, terms, test)


def compare(tables: Tables, role: Role) -> tuple[Plan, Observed]:
    """Tell how firewalld and the kernel differ from what is wanted; touch nothing."""
    with Bus() as bus:
        observed = observe(bus)
    return _plan(tables, desired(tables, role), observed), observed


def _plan(tables: Tables, wanted: Desired, observed: Observed) -> Plan:
    tables = believed(tables, wanted, ours(observed.runtime))
    plan = make_plan(wanted, observed, narrow=not tables.unsure)
    return replace(plan, notices=(*_notices(tables), *plan.notices))


def _notices(tables: Tables) -> tuple[str, ...]:
    if not tables.unsure:
        return tables.notices
    reasons = "; ".join(tables.unsure)
    return (
        *tables.notices,
        f"no node is taken out of any ipset, as more may belong there: {reasons}",
    )


def run(
    make: Planner,
    terms: Terms,
    test: bool,
    guard: Callable[[Bus, Observed, Plan], Plan] = lambda _bus, _observed, plan: plan,
) -> Outcome:
    """Observe, plan and carry out, alone on this host; first what others left undone.

    guard
        Refuses a plan, or says more of it, before anything is touched.

    Raises ``EngineError`` and its kinds; ``Undone`` if the change did not prove itself.
    """
    with nullcontext() if test else only_one():
        told = pending() if test else (*recover(), *put_back_iptables())
        health = mend(test=test) if is_cut_off() else Health()
        try:
            with Bus() as bus:
                try:
                    observed = observe(bus)
                except FirewalldFailed:
                    health = mend(test=test)
                    if test:
                        # What else differs shows only in what firewalld will then have.
                        return Outcome(health.changes, health.reloads, (*told, *health.sentences))
                    observed = observe(bus)
                plan = guard(bus, observed, make(observed))
                if plan.steps and not test:
                    told += carry_out(bus, make, plan, observed, terms)
                elif needed(plan):
                    told += try_out(files_of_plan(plan)).notices
        except EngineError as error:
            if not test:
                error.tell((*told, *health.mended))
            raise
        if terms.confirm_within and not test:
            told += waiting_notice()
    changes = dict(plan.changes)
    if terms.confirm_within:
        changes.pop("permanent", None)  # That waits for the confirmation.
    return Outcome(
        merged(health.changes, changes),
        (*health.reloads, *plan.reloads),
        (*told, *health.sentences, *plan.notices),
    )
