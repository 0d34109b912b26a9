"""What was changed when, and the way back: history, rollback, and the confirmation by a person."""

from __future__ import annotations

import shlex

from k3sfw_engine import __version__
from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.host.lock import only_one
from k3sfw_engine.model.firewall_objects import ZONE, Kind, Objects, by_key, make_object, read_plain
from k3sfw_engine.model.run_result import RunResult
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.make_plan import Plan, make_plan, removal_plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.standalone.undo.main import BY_ROLLBACK
from k3sfw_engine.transaction.checkpoint import CommitOptions
from k3sfw_engine.transaction.interrupted import is_under_way, undo_entry, untold
from k3sfw_engine.transaction.journal import KEPT, Entry, past, unfinished
from k3sfw_engine.transaction.refuse_lockout import guard_rollback
from k3sfw_engine.transaction.run import run


def rollback(
    name: str | None, *, terms: CommitOptions, allow_lockout: bool = False, test: bool = False
) -> RunResult:
    """Have our objects as they were before a change.

    name
        The change, as the history names it; ``None`` for the last that was kept, or the one that
        has not ended: it waits to be confirmed, waited too long, or was broken off.
    allow_lockout
        Go back also where that closes what must not be closed.
    test
        Only tell what would change.

    Raises ``EngineError`` if there is no such change, and else as ``transaction.run``.
    """
    last = unfinished()
    if last is not None and name in (None, last.name):
        if test:
            _refuse_early(last)
        else:
            with only_one():
                _refuse_late(last)
                undo_entry(last, BY_ROLLBACK)
        return RunResult(
            tuple(each.reversed for each in last.differences if each.layer != "permanent")
        )
    entry = _entry_of(name)
    if name is None and (sentence := untold()):
        raise EngineError(
            [
                f"{sentence} already, so nothing else is rolled back. Fix: see k3sfw.history; "
                f"k3sfw.rollback to={entry.name} undoes that earlier change, too"
            ]
        )
    target = _objects_before(entry)
    wanted = Desired(target, rules=(), rows=(), pods_by_interface=False)

    def guard(bus: Bus, observed: Observed, plan: Plan) -> Plan:
        if name is None:
            _refuse_overtaken(entry)
        return guard_rollback(bus, target, observed, plan, allow_lockout=allow_lockout)

    return run(
        (lambda observed: make_plan(wanted, observed)) if target else removal_plan,
        terms,
        test,
        guard,
    )


def _refuse_early(entry: Entry) -> None:
    """Whether there will be anything to undo is not known before its run has ended."""
    if is_under_way(entry):
        raise EngineError(
            [
                f"the {entry.what} of {entry.at} is under way, so what a rollback would find "
                "cannot be foretold. Fix: ask again when k3sfw.history tells how it ended"
            ]
        )


def _refuse_late(entry: Entry) -> None:
    """Somebody else may have ended it while we waited for the lock."""
    now = unfinished()
    if now is None or now.name != entry.name:
        raise EngineError(
            [
                f"{entry.name} does not wait to be confirmed any more: it was confirmed or undone "
                "just now. Fix: see k3sfw.history; one that was kept can be rolled back, too"
            ]
        )


def _refuse_overtaken(entry: Entry) -> None:
    """While we waited for the lock another run may have changed more than was to be undone."""
    last = _entry_of(None)
    if last.name != entry.name:
        raise EngineError(
            [
                f"another change was made just now, {last.name}, and nothing is rolled back. Fix: "
                f"see k3sfw.history; k3sfw.rollback to={entry.name} goes back over both"
            ]
        )


def _entry_of(name: str | None) -> Entry:
    kept = [entry for entry in past() if entry.ended == KEPT]
    for entry in kept:
        if name in (None, entry.name):
            _refuse_adoption(entry)
            return entry
    named = f"the change {name}" if name else "a change"
    known = ", ".join(entry.name for entry in kept) or "none"
    raise EngineError(
        [
            f"there is no record of {named} of this node that was kept. Fix: k3sfw.history names "
            f"them; to go back to: {known}"
        ]
    )


def _refuse_adoption(entry: Entry) -> None:
    """What it took was somebody's own: the way back is his, too."""
    if entry.what != "adopt":
        return
    options = {"ports": "--add-port", "rich_rules": "--add-rich-rule"}
    commands = [
        " ".join(
            [
                "firewall-cmd",
                *(["--permanent"] if each.layer == "permanent" else []),
                f"--zone={each.subject[1]}",
                *(
                    f"{options[each.setting]}={shlex.quote(text)}"
                    for text in map(str, each.extra_items)
                ),
            ]
        )
        for each in entry.differences
    ]
    raise EngineError(
        [
            f"{entry.name} took out of your zone what the document's script had opened, and "
            f"k3sfw puts nothing into it. Fix: {'; '.join(commands)}"
        ]
    )


def _objects_before(entry: Entry) -> Objects:
    objects = by_key(
        make_object(
            Kind(kind),
            name,
            read_plain(Kind(kind), each),
        )
        for kind, name, each in entry.record.objects
    )
    if objects and (entry.record.version != __version__ or (Kind.ZONE, ZONE) not in objects):
        raise EngineError(
            [
                f"what this node had before {entry.name} was not made whole by k3sfw "
                f"{__version__}, so it does not go back there. Fix: correct the tables in "
                "pillar, then apply"
            ]
        )
    return objects
