"""What can go wrong, as data: a problem with its fix, and an error class for each cause.

The sentence that an operator reads is put together here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, order=True)
class Problem:
    """Something that is wrong, and what to do about it; ``str`` gives the sentence.

    text
        What is wrong and why, without a full stop at the end.
    fix
        What fixes it: a command as it is typed, or an act. Empty where that is not known.
    see
        Where to look if the fix is not known.
    """

    text: str
    fix: str = ""
    see: str = ""

    def __str__(self) -> str:
        if self.fix:
            return f"{self.text}. Fix: {self.fix}"
        return f"{self.text}; see {self.see}" if self.see else self.text


@dataclass(frozen=True, order=True)
class Fault:
    """A fault in the pillar: its path, what is wrong with the value, and what fixes it."""

    path: str
    problem: str
    fix: str = ""

    def __str__(self) -> str:
        return str(Problem(f"pillar {self.path}: {self.problem}", self.fix))


class EngineError(Exception):
    """Anything that the engine refuses or cannot do.

    problems
        Every reason.
    notes
        Sentences about what had already been done.
    summary, retcode
        What a check reports if it ends with this error: in a few words, and as a return code.
    """

    summary = "nothing could be checked"
    retcode = 3

    def __init__(self, problems: Iterable[Problem | str], notes: Iterable[str] = ()) -> None:
        self.problems = tuple(
            each if isinstance(each, Problem) else Problem(each) for each in problems
        )
        self.notes = tuple(notes)
        super().__init__("\n".join(self.sentences))

    @property
    def sentences(self) -> tuple[str, ...]:
        """Problems and notes as an operator reads them."""
        return (*map(str, self.problems), *self.notes)

    def append_notes(self, done: Iterable[str]) -> None:
        """Append notes about what was already done."""
        self.notes = (*self.notes, *done)
        self.args = ("\n".join(self.sentences),)


class BadTables(EngineError):
    """The whole pillar was refused; ``faults`` has every reason, sorted by pillar path."""

    summary = "the tables were refused"
    retcode = 4

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__(
            Problem(f"pillar {fault.path}: {fault.problem}", fault.fix) for fault in self.faults
        )


class FirewalldUnavailable(EngineError):
    """firewalld, its bus or its tools cannot be used now; nothing was changed."""

    def __init__(self, problem: Problem | str, fix: str = "") -> None:
        super().__init__((problem if isinstance(problem, Problem) else Problem(problem, fix),))


class FirewalldFailed(FirewalldUnavailable):
    """firewalld runs on stock rules, as it could not load its permanent configuration."""


class NetworkUnreadable(EngineError):
    """What the kernel knows of interfaces, routes and neighbours cannot be read now."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__((Problem(problem, fix),))


class FirewalldRefused(EngineError):
    """firewalld answered a call with an error."""

    def __init__(self, call: str, error: str) -> None:
        self.call = call
        self.error = error
        super().__init__((f"firewalld refused {call}: {error}",))


class ForeignObject(EngineError):
    """An object that is not ours, or may not be, has a name that we need."""


class Lockout(EngineError):
    """The change was refused, as it would close what must stay open; nothing was touched."""


class BrokenPromises(EngineError):
    """The change was refused, as it would break a promise.

    changes
        What was changed all the same, to follow the nodes of today with the last proven tables.
    """

    summary = "the change was refused"
    retcode = 4

    def __init__(
        self,
        problems: Iterable[Problem | str],
        notes: Iterable[str] = (),
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        self.changes: Mapping[str, Any] = changes or {}
        super().__init__(problems, notes)


class NotConverged(EngineError):
    """After the change, the read-back still differs from what is wanted."""


class Undone(EngineError):
    """A change was begun and failed; ``changes`` tells what was undone.

    complete
        Whether the undo was complete.
    """

    def __init__(
        self,
        problems: Iterable[Problem | str],
        changes: Mapping[str, Any],
        left: Iterable[Problem | str],
        notes: Iterable[str] = (),
    ) -> None:
        self.changes = changes
        remaining = tuple(left)
        self.complete = not remaining
        outcome: tuple[Problem | str, ...] = (
            "everything was undone: the node is as it was before",
        )
        if remaining:
            outcome = (
                *remaining,
                Problem(
                    "not everything could be undone; the watchdog and the next apply try again",
                    "find out why firewalld refuses (journalctl -u firewalld, firewall-cmd "
                    "--check-config)",
                ),
            )
        super().__init__([*problems, *outcome], notes)
