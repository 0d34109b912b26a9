"""The change itself: observe, plan, carry out, read back. One run at a time on a host."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from .bus import Bus, firewalld_is_there
from .desired import desired, with_return_path
from .difference import Observed
from .errors import EngineError, FirewalldRefused, FirewalldUnavailable, NotConverged
from .firewalld import check_permanent, execute, observe, observe_again
from .foreign import ForeignRuntime, put_back, read_again, read_foreign_runtime
from .masters import resolve_masters
from .nft import Listing
from .objects import Objects, is_ours
from .permanent import changed_files, read_permanent
from .plan import Plan, make_plan, removal_plan
from .rows import Role, Tables
from .steps import Reload, RemovePermanent, Step, WritePermanent

LOCK = Path("/run/k3sfw.lock")
_LOCK_DEADLINE = 60.0


@dataclass(frozen=True)
class Outcome:
    """What a run changed, or would change.

    ``changes`` as in ``Plan``; ``reloads`` the reasons for which firewalld was reloaded.
    """

    changes: Mapping[str, Any]
    reloads: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    def comment(self, *, test: bool) -> str:
        """Say it in sentences."""
        if not self.changes:
            done = "firewalld and the kernel are as they should be"
        else:
            objects = {name for layer in self.changes.values() for name in layer}
            names = ", ".join(sorted(objects))
            done = f"{'would change' if test else 'changed'} {', '.join(self.changes)}: {names}"
        sentences = [done, *(f"reload: {reason}" for reason in self.reloads), *self.notices]
        return "\n".join(sentences)


def apply(tables: Tables, role: Role, *, test: bool = False) -> Outcome:
    """Make firewalld have exactly the objects that the tables give a node of this role.

    test
        Only tell what would change.

    Raises ``EngineError`` and its kinds.
    """
    return _run(lambda observed: _plan(tables, role, observed), test)


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
    with nullcontext() if test else _only_one():
        permanent = read_permanent()
        plan = make_plan(
            wanted,
            # There is no runtime; as far as the plan goes, it is what it will be.
            Observed(
                runtime=wanted.objects,
                permanent=permanent.objects,
                damaged=permanent.damaged,
                interface_zones={"permanent": permanent.interface_zones},
                users=permanent.users,
            ),
            narrow=not tables.unsure,
        )
        if not test:
            with _files_of(plan):
                pass  # firewalld reads them at its start.
    changes = {layer: found for layer, found in plan.changes.items() if layer == "permanent"}
    return Outcome(changes, notices=(*_notices(tables), *plan.notices))


def remove(*, test: bool = False) -> Outcome:
    """Take every object of ours away, and nothing else."""
    return _run(removal_plan, test)


def compare(tables: Tables, role: Role) -> tuple[Plan, Observed]:
    """Tell how firewalld and the kernel differ from what is wanted; touch nothing."""
    with Bus() as bus:
        observed = observe(bus)
    return _plan(tables, role, observed), observed


def _plan(tables: Tables, role: Role, observed: Observed) -> Plan:
    plan = make_plan(desired(tables, role), observed, narrow=not tables.unsure)
    return replace(plan, notices=(*_notices(tables), *plan.notices))


def _notices(tables: Tables) -> tuple[str, ...]:
    if not tables.unsure:
        return tables.notices
    reasons = "; ".join(tables.unsure)
    return (
        *tables.notices,
        f"no node is taken out of any ipset, as more may belong there: {reasons}",
    )


def _run(make: Callable[[Observed], Plan], test: bool) -> Outcome:
    if test:
        with Bus() as bus:
            plan = make(observe(bus))
        return Outcome(plan.changes, plan.reloads, plan.notices)
    with _only_one(), Bus() as bus:
        observed = observe(bus)
        plan = make(observed)
        if not plan.steps:
            return Outcome(plan.changes, notices=plan.notices)
        failed: tuple[str, ...] = ()
        if plan.reloads:
            failed = _with_reload(bus, plan, observed)
            after = observe(bus)
        else:
            after = _without_reload(bus, plan, observed)
        _read_back(make(after))
    return Outcome(plan.changes, plan.reloads, (*plan.notices, *failed))


def _without_reload(bus: Bus, plan: Plan, observed: Observed) -> Observed:
    """Change runtime, then the permanent configuration; what is there afterwards."""
    files = (WritePermanent, RemovePermanent)
    runtime = [step for step in plan.steps if not isinstance(step, files)]
    permanent = [step for step in plan.steps if isinstance(step, files)]
    execute(bus, runtime)
    # The kernel has all of its rules by now, so they are read while the files are written.
    with Listing() as listing:
        execute(bus, permanent)
        return observe_again(bus, observed, runtime, listing)


def _with_reload(bus: Bus, plan: Plan, observed: Observed) -> tuple[str, ...]:
    """Do it; sentences about what the reload has cost others after all.

    The files are written directly: a reload reads them anyway, and each of them over D-Bus takes
    firewalld ten milliseconds. What firewalld would refuse one by one it refuses together, before
    the reload, and so it does if somebody else's file would make the reload fail.
    """
    ours = frozenset(
        key
        for layer in (observed.runtime, observed.permanent)
        for key, each in layer.items()
        if is_ours(each)
    )
    before = read_foreign_runtime(bus, ours)
    others = read_permanent().others
    reload = [step for step in plan.steps if isinstance(step, Reload)]
    unanswered: FirewalldUnavailable | None = None
    try:
        with _files_of(plan):
            check_permanent(bus)
            try:
                execute(bus, reload)
            except FirewalldUnavailable as error:
                # It may well go on with these files, which it has found good: they stay.
                unanswered = error
    except FirewalldRefused as refused:
        return _load_the_old_again(bus, reload, before, others, refused)
    if unanswered is not None:
        raise unanswered
    return put_back(bus, before, read_again(bus, before, others))


def _load_the_old_again(
    bus: Bus,
    reload: Iterable[Step],
    before: ForeignRuntime,
    others: Objects,
    refused: FirewalldRefused,
) -> NoReturn:
    """A reload that fails leaves firewalld FAILED, though the files are the old ones again."""
    sentences = [*refused.sentences, "the permanent configuration is as it was"]
    try:
        execute(bus, reload)
        sentences += put_back(bus, before, read_again(bus, before, others))
    except EngineError as error:
        sentences += error.sentences
    raise EngineError(sentences) from refused


def _files_of(plan: Plan) -> AbstractContextManager[None]:
    return changed_files(
        [step.object for step in plan.steps if isinstance(step, WritePermanent)],
        [step.key for step in plan.steps if isinstance(step, RemovePermanent)],
    )


def _read_back(left: Plan) -> None:
    if left.changes:
        raise NotConverged(
            f"after the change, {layer} {name} still differs from what is wanted: {difference}"
            for layer, differences in left.changes.items()
            for name, difference in differences.items()
        )


@contextmanager
def _only_one(path: Path = LOCK) -> Iterator[None]:
    """Keep the schedule, an operator and a second operator from working at the same time."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EngineError(
            [f"the lock {path} cannot be opened ({error.strerror}). Mend: run the minion as root"]
        ) from error
    try:
        deadline = time.monotonic() + _LOCK_DEADLINE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise EngineError(
                        [
                            f"another run of k3sfw holds {path} for more than "
                            f"{_LOCK_DEADLINE:.0f} seconds. Mend: see which process has it open "
                            f"(fuser {path}), wait for it or end it"
                        ]
                    ) from error
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)
