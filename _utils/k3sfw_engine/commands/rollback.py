"""The command rollback: undo an unfinished change, or go back to before one that was kept."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

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
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.commit_options import CommitOptions
from k3sfw_engine.transaction.interrupted import is_under_way, undo_entry, untold
from k3sfw_engine.transaction.journal import KEPT, Entry, past, unfinished
from k3sfw_engine.transaction.kept_tables import forget_kept_tables
from k3sfw_engine.transaction.refuse_lockout import guard_rollback
from k3sfw_engine.transaction.reload_for_rules import reload_costs_less
from k3sfw_engine.transaction.run import run

_OPTIONS = {"ports": "--add-port", "rich_rules": "--add-rich-rule"}


def rollback(
    name: str | None, *, options: CommitOptions, allow_lockout: bool = False, test: bool = False
) -> RunResult:
    """Restore our objects to their state before a change.

    name
        The change, as the history names it; ``None`` for the last that was kept, or for the one
        that has not ended: it waits for confirmation, waited too long, or was interrupted.
    allow_lockout
        Go back even if that closes a live or needed connection.
    test
        Touch nothing, and return what would change.

    Raises ``EngineError`` if there is no such change; otherwise as ``transaction.run`` does.
    """
    last = unfinished()
    if last is not None and name in (None, last.name):
        return _undo_unfinished(last, test=test)
    entry = _kept_entry(name)
    if name is None and (told := untold()):
        raise EngineError([messages.undone_already(told, entry.name)])
    target = _objects_before(entry)
    wanted = Desired(target, rules=(), rows=(), pods_by_interface=False)

    def planner(bus: Bus, observed: Observed) -> Plan:
        if not target:
            return removal_plan(observed)
        return make_plan(wanted, observed, reload_costs_less=reload_costs_less(bus, observed))

    def guard(bus: Bus, observed: Observed, plan: Plan) -> Plan:
        if name is None:
            _refuse_overtaken(entry)
        return guard_rollback(bus, target, observed, plan, allow_lockout=allow_lockout)

    return run(planner, options, test=test, guard=guard, afterwards=forget_kept_tables)


def _undo_unfinished(last: Entry, *, test: bool) -> RunResult:
    if test:
        # Whether anything is left to undo is not known before its run has ended.
        if is_under_way(last):
            raise EngineError([messages.rollback_unpredictable(last.what, last.at)])
    else:
        with only_one():
            # Another run may have ended it while we waited for the lock.
            now = unfinished()
            if now is None or now.name != last.name:
                raise EngineError([messages.no_longer_waits(last.name)])
            undo_entry(last, BY_ROLLBACK)
    return RunResult(tuple(each.reversed for each in last.differences if each.layer != "permanent"))


def _refuse_overtaken(entry: Entry) -> None:
    """Refuse if another run made a change while we waited for the lock."""
    last = _kept_entry(None)
    if last.name != entry.name:
        raise EngineError([messages.overtaken(entry.name, by=last.name)])


def _kept_entry(name: str | None) -> Entry:
    """The change of this name, or the last one.

    Raises ``EngineError`` if there is none, or if it was an adoption: that removed rules of the
    operator, which k3sfw never adds.
    """
    kept = [entry for entry in past() if entry.ended == KEPT]
    for entry in kept:
        if name in (None, entry.name):
            if entry.what == "adopt":
                raise EngineError([messages.adoption_stays(entry.name, _way_back(entry))])
            return entry
    raise EngineError([messages.no_such_change(name, [entry.name for entry in kept])])


def _way_back(adoption: Entry) -> Iterator[str]:
    """The commands that open again what an adoption closed."""
    for each in adoption.differences:
        words = [
            "firewall-cmd",
            *(["--permanent"] if each.layer == "permanent" else []),
            f"--zone={each.subject[1]}",
            *(
                f"{_OPTIONS[each.setting]}={shlex.quote(text)}"
                for text in map(str, each.extra_items)
            ),
        ]
        yield " ".join(words)


def _objects_before(entry: Entry) -> Objects:
    """Our objects before a change; none if there were none.

    Raises ``EngineError`` if they are not complete, or of another version of k3sfw.
    """
    objects = by_key(
        make_object(
            Kind(kind),
            name,
            read_plain(Kind(kind), each),
        )
        for kind, name, each in entry.record.objects
    )
    if objects and (entry.record.version != __version__ or (Kind.ZONE, ZONE) not in objects):
        raise EngineError([messages.not_of_this_version(entry.name, __version__)])
    return objects
