"""The undo program: puts a node back that a run of k3sfw has left half changed.

It runs by itself, from a copy beside the journal, under the Python that runs firewalld: it needs
neither Salt nor the rest of the engine, and is alone where these were killed. Standard library,
firewalld's own dbus, and the syntax of Python 3.6.

``python3 -I COPY STATE_FOLDER ID BY [--holding]``: ``ID`` of the transaction, or ``any``; ``BY``
who undoes it; ``--holding`` where the caller holds the lock. What could not be undone is printed, a
line each, and the return code is 1. If there is no such transaction any more, nothing is done.
"""

import contextlib
import fcntl
import json
import os
import signal
import time
from typing import Any, Iterator, List, Mapping, Optional, Sequence

from .files import keep_for_later, put_back_files
from .firewalld_process import Firewalld, NotUndone, drop_table_is_left, start_firewalld
from .iptables import put_back_iptables, save_iptables
from .record import (
    BEFORE,
    BY_BOOT,
    BY_RUN,
    BY_WATCHDOG,
    CONFIRM_BY,
    ENDED,
    RELOAD,
    RUNTIME,
    TOLD,
    UNDONE,
    Before,
    archive,
    lines,
    note,
    read_before,
    started,
    waits_for_confirmation,
    was_kept,
)
from .restore_runtime import Snapshot
from .run_program import run_program, table_is_there

_OTHERS = "others.json"
_RELOAD_DEADLINE = 120.0

# How long the watchdog goes on while firewalld cannot be reached; then the next run takes over.
_PATIENCE = 900.0
_PAUSE = 2.0


def main(arguments: Sequence[str]) -> int:
    """Undo the transaction; the return code."""
    state, wanted, by = arguments[:3]
    holding = "--holding" in arguments
    ends_at: Optional[float] = None
    while True:
        try:
            problems = _attempt(state, wanted, by, holding)
        except Exception as error:  # Nobody else is left who would try again.
            problems = ["{}: {}".format(type(error).__name__, error)]
        # From the first failure on: before it, a person may have had an hour to confirm.
        ends_at = ends_at or time.monotonic() + (_PATIENCE if by == BY_WATCHDOG else 0.0)
        if not problems or time.monotonic() >= ends_at:
            break
        time.sleep(_PAUSE)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _attempt(state: str, wanted: str, by: str, holding: bool) -> List[str]:
    folder = os.path.join(state, "transaction")
    before = read_before(folder, wanted)
    if by == BY_WATCHDOG:
        while before is not None and waits_for_confirmation(folder):
            time.sleep(0.5)
            before = read_before(folder, wanted)
    if before is None:
        return []
    with contextlib.ExitStack() as stack:
        if not holding:
            try:
                stack.enter_context(_lock(before, by))
            except NotUndone as problem:
                # A firewalld that is started anew is no sign that the run is not alive.
                return [] if by == BY_BOOT else [str(problem)]
        if not stack.enter_context(_alone(folder, wait=by != BY_BOOT)):
            return []
        # Somebody else may have undone it while we waited for the lock.
        before = read_before(folder, wanted)
        return [] if before is None else _undo(state, folder, before, by)


@contextlib.contextmanager
def _lock(before: Before, by: str) -> Iterator[None]:
    """Hold the lock of all runs. The watchdog ends the run whose time is over, if it holds it."""
    with open(before["lock"], "a+") as file:
        ends_at = time.monotonic() + (60.0 if by == BY_WATCHDOG else 0.0)
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ends_at:
                    raise NotUndone("another run of k3sfw holds the lock") from None
                # Its process may be the minion, or have gone on to other work, and another run of
                # later may hold the lock.
                file.seek(0)
                if by == BY_WATCHDOG and file.read() == before["holder"]:
                    _kill_owner(before["owner"])
                time.sleep(0.05)
        # Those that wait see that it is another's turn.
        with contextlib.suppress(OSError):
            file.truncate(0)
        yield


@contextlib.contextmanager
def _alone(folder: str, wait: bool) -> Iterator[bool]:
    """Whether nobody else undoes it: a run that was killed leaves the program that it had begun."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(os.path.join(folder, BEFORE)))
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except (FileNotFoundError, BlockingIOError):
            file = None
        yield file is not None


def _kill_owner(owner: Mapping[str, Any]) -> None:
    """End the process that began the transaction, unless it ended and its number is another's."""
    if started(owner["pid"]) == owner["started"]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner["pid"], signal.SIGKILL)


# -- everything as it was -------------------------------------------------------------------------


def _undo(state: str, folder: str, before: Before, by: str) -> List[str]:
    if by != BY_RUN and was_kept(folder):
        # Its run died, or the power went, before it was put away.
        archive(state, folder, before["id"])
        return []
    problems = []
    try:
        put_back_files(before["files"])
    except OSError as error:
        # What runs is more urgent than what the next start loads.
        problems.append(
            "the file {} cannot be put back ({})".format(error.filename, error.strerror)
        )
    if by != BY_BOOT:
        try:
            _undo_runtime(folder, before, [line["step"] for line in lines(folder)])
        except NotUndone as problem:
            problems.append(str(problem))
    if by == BY_BOOT and table_is_there("firewalld"):
        # No boot: one that was killed leaves its rules, and the one that starts now adds to them.
        # The watchdog or the next run has it load anew.
        return problems
    try:
        if not problems:
            note(folder, {"step": ENDED, "as": UNDONE, "by": by, "at": time.time()})
            if by in (BY_WATCHDOG, BY_BOOT):
                _tell(state, folder, before, by)
            archive(state, folder, before["id"])
    except OSError as error:
        problems.append("{} cannot be written ({})".format(state, error.strerror))
    return problems


def _tell(state: str, folder: str, before: Before, by: str) -> None:
    """Nobody hears us now."""
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(before["at"]))
    waited = os.path.exists(os.path.join(folder, CONFIRM_BY))
    why = "was not confirmed" if waited else "did not end"
    with open(os.path.join(state, TOLD), "w") as file:
        file.write("the {} of {} {} and was undone by the {}".format(before["what"], at, why, by))


def _undo_runtime(folder: str, before: Before, steps: Sequence[str]) -> None:
    """Have our runtime objects as they were; others', too, where it needs a reload."""
    if RELOAD not in steps and RUNTIME not in steps:
        return
    firewalld = Firewalld()
    again = not firewalld.is_there()
    if again:
        # One that is stopped takes its rules along. One that was killed leaves them.
        if not table_is_there("firewalld") and not table_is_there("firewalld_policy_drop"):
            return
        start_firewalld(firewalld)
    # One that was started since has added its rules to those that a killed one left, whatever these
    # let in.
    again = again or firewalld.process() != before["firewalld"]
    own = before["runtime"]
    if RELOAD not in steps and not again and not drop_table_is_left(firewalld):
        firewalld.put_back(own)
        if firewalld.is_as(own):
            return
    others = before["others"] or _others(folder, firewalld, but=before["names"])
    kept = save_iptables(before["iptables"])
    firewalld.call("", "reload", deadline=_RELOAD_DEADLINE)
    firewalld.put_back(others)
    firewalld.put_back(own)
    put_back_iptables(kept, before["iptables"])
    if drop_table_is_left(firewalld):
        run_program(["nft", "delete", "table", "inet", "firewalld_policy_drop"])
    if not firewalld.is_as(own):
        raise NotUndone("firewalld's runtime configuration is not what it was, after a reload too")


def _others(folder: str, firewalld: "Firewalld", but: Mapping[str, Sequence[str]]) -> Snapshot:
    """What others have at runtime; on the disk, as firewalld may die in the reload that follows."""
    path = os.path.join(folder, _OTHERS)
    try:
        with open(path) as file:
            others: Snapshot = json.load(file)
    except (FileNotFoundError, ValueError):  # Not yet kept, or the disk was full.
        others = firewalld.read_all(but)
        keep_for_later(path, json.dumps(others))
    return others
