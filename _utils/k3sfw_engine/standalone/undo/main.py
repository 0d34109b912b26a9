"""The undo program: restores a node that a run of k3sfw left half changed.

It runs from a copy beside the record, under the Python that runs firewalld, and needs nothing else:
where it runs, Salt and the engine may have been killed.

``python3 -I COPY STATE_FOLDER ID BY [--holding]``: ``ID`` of the transaction, or ``any``; ``BY``
what undoes it; ``--holding`` if the caller holds the lock. It prints what could not be undone, a
line each, and returns 1. If there is no such transaction any more, it does nothing.
"""

import contextlib
import fcntl
import json
import os
import signal
import time
from typing import Iterator, List, Mapping, Optional, Sequence

from .confirm_deadline import CONFIRM_BY, waits_for_confirmation
from .defaults import CONFIRMATION_POLL, LOCK, PATIENCE, PAUSE, POLL, RELOAD as RELOAD_DEADLINE
from .drop_table import DROP_TABLE
from .files import keep_for_later, put_back_files
from .firewalld_process import (
    Firewalld,
    NotUndone,
    reload_left_its_drop_table,
    start_firewalld,
)
from .iptables import put_back_iptables, save_iptables
from .record import RECORD, Process, Record, read_record
from .restore_runtime import Snapshot
from .run_program import nft_table_exists, run_program
from .step_log import ENDED, RELOAD, RUNTIME, UNDONE, archive, lines, note, was_kept

# In place of a transaction's id: whichever is under way.
ANY = "any"
# What undoes it.
BY_RUN, BY_NEXT_RUN, BY_ROLLBACK = "run", "next run", "rollback"
BY_WATCHDOG, BY_BOOT = "watchdog", "boot"

# In the state folder: what the next run reports, if no run was there to report it.
TOLD = "told"
# In the folder of the transaction: runtime objects of others, for after the reload of an undo.
_OTHERS = "others.json"


def main(arguments: Sequence[str]) -> int:
    """Undo the transaction, and return the exit code."""
    state, wanted, by = arguments[:3]
    holding = "--holding" in arguments
    ends_at: Optional[float] = None
    while True:
        try:
            problems = _attempt(state, wanted, by, holding)
        except Exception as error:  # Nothing else is left that would try again.
            problems = ["{}: {}".format(type(error).__name__, error)]
        # From the first failure on: before it, there may have been an hour to confirm.
        ends_at = ends_at or time.monotonic() + (PATIENCE if by == BY_WATCHDOG else 0.0)
        if not problems or time.monotonic() >= ends_at:
            break
        time.sleep(PAUSE)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _attempt(state: str, wanted: str, by: str, holding: bool) -> List[str]:
    folder = os.path.join(state, "transaction")
    record = _read(folder, wanted)
    if by == BY_WATCHDOG:
        while record is not None and waits_for_confirmation(folder):
            time.sleep(CONFIRMATION_POLL)
            record = _read(folder, wanted)
    if record is None:
        return []
    with contextlib.ExitStack() as stack:
        if not holding:
            try:
                stack.enter_context(_lock(record, by))
            except NotUndone as problem:
                # A start of firewalld does not mean that the run is dead.
                return [] if by == BY_BOOT else [str(problem)]
        if not stack.enter_context(_alone(folder, wait=by != BY_BOOT)):
            return []
        # Another program may have undone it while we waited for the lock.
        record = _read(folder, wanted)
        return [] if record is None else _undo(state, folder, record, by)


def _read(folder: str, wanted: str) -> Optional[Record]:
    record = read_record(folder)
    return record if record is not None and wanted in (ANY, record.id) else None


@contextlib.contextmanager
def _lock(record: Record, by: str) -> Iterator[None]:
    """Hold the lock of all runs. The watchdog kills the run whose time is over, if it holds it."""
    with open(record.lock, "a+") as file:
        ends_at = time.monotonic() + (LOCK if by == BY_WATCHDOG else 0.0)
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ends_at:
                    raise NotUndone("another run of k3sfw holds the lock") from None
                # Its process may be the minion, which has gone on to other work while a later run
                # holds the lock.
                file.seek(0)
                if by == BY_WATCHDOG and file.read() == record.holder:
                    _kill(record.owner)
                time.sleep(POLL)
        # Runs that wait see that the lock changed hands.
        with contextlib.suppress(OSError):
            file.truncate(0)
        yield


@contextlib.contextmanager
def _alone(folder: str, wait: bool) -> Iterator[bool]:
    """Whether no other program undoes it: a run that was killed leaves the one that it started."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(os.path.join(folder, RECORD)))
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except (FileNotFoundError, BlockingIOError):
            file = None
        yield file is not None


def _kill(owner: Process) -> None:
    if owner.is_alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner.pid, signal.SIGKILL)


# -- everything as it was -------------------------------------------------------------------------


def _undo(state: str, folder: str, record: Record, by: str) -> List[str]:
    """Undo it and put it into the history; sentences about what could not be undone."""
    if by != BY_RUN and was_kept(folder):
        # Its run died, or the power went, before it was put away.
        archive(state, folder, record.id)
        return []
    problems = []
    try:
        put_back_files(record.files)
    except OSError as error:
        # What is in force is more urgent than what the next start loads.
        problems.append(
            "the file {} cannot be put back ({})".format(error.filename, error.strerror)
        )
    if by != BY_BOOT:
        try:
            _undo_runtime(folder, record, [line["step"] for line in lines(folder)])
        except NotUndone as problem:
            problems.append(str(problem))
    if by == BY_BOOT and nft_table_exists("firewalld"):
        # Not a boot: a firewalld that was killed left its rules, and the one that starts now adds
        # to them. The watchdog or the next run reloads it.
        return problems
    try:
        if not problems:
            note(folder, {"step": ENDED, "as": UNDONE, "by": by, "at": time.time()})
            if by in (BY_WATCHDOG, BY_BOOT):
                _leave_message(state, folder, record, by)
            archive(state, folder, record.id)
    except OSError as error:
        problems.append("{} cannot be written ({})".format(state, error.strerror))
    return problems


def _leave_message(state: str, folder: str, record: Record, by: str) -> None:
    """Leave a message for the next run."""
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.at))
    waited = os.path.exists(os.path.join(folder, CONFIRM_BY))
    why = "was not confirmed" if waited else "did not end"
    with open(os.path.join(state, TOLD), "w") as file:
        file.write("the {} of {} {} and was undone by the {}".format(record.what, at, why, by))


def _undo_runtime(folder: str, record: Record, steps: Sequence[str]) -> None:
    """Restore our runtime objects, and those of others if it takes a reload."""
    if RELOAD not in steps and RUNTIME not in steps:
        return
    firewalld = Firewalld()
    again = not firewalld.is_there()
    if again:
        # A firewalld that is stopped takes its rules along. One that was killed leaves them.
        if not nft_table_exists("firewalld") and not nft_table_exists(DROP_TABLE):
            return
        start_firewalld(firewalld)
    # One that was started since has added its rules to those that a killed one left, whatever these
    # allow.
    again = again or firewalld.process() != record.firewalld
    own = record.runtime
    if RELOAD not in steps and not again and not reload_left_its_drop_table(firewalld):
        firewalld.put_back(own)
        if firewalld.is_as(own):
            return
    others = record.others or _others(folder, firewalld, but=record.names)
    kept = save_iptables(record.iptables)
    firewalld.call("", "reload", deadline=RELOAD_DEADLINE)
    firewalld.put_back(others)
    firewalld.put_back(own)
    put_back_iptables(kept, record.iptables)
    if reload_left_its_drop_table(firewalld):
        run_program(["nft", "delete", "table", "inet", DROP_TABLE])
    if not firewalld.is_as(own):
        raise NotUndone("firewalld's runtime configuration is not what it was, after a reload too")


def _others(folder: str, firewalld: Firewalld, but: Mapping[str, Sequence[str]]) -> Snapshot:
    """The runtime objects of others; kept on disk, as firewalld may die in the next reload."""
    path = os.path.join(folder, _OTHERS)
    try:
        with open(path) as file:
            others: Snapshot = json.load(file)
    except (FileNotFoundError, ValueError):  # Not kept yet, or the disk was full.
        others = firewalld.read_all(but)
        keep_for_later(path, json.dumps(others))
    return others
