"""What can go wrong, as data; the sentence that a person reads is made here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong in the input: where it stands, what is wrong, what mends it."""

    path: str
    problem: str
    mend: str = ""

    def __str__(self) -> str:
        sentence = f"pillar {self.path}: {self.problem}"
        return f"{sentence}. Mend: {self.mend}" if self.mend else sentence


class EngineError(Exception):
    """Anything that the engine refuses or cannot do; ``sentences`` are for people."""

    def __init__(self, sentences: Iterable[str]) -> None:
        self.sentences = tuple(sentences)
        super().__init__("\n".join(self.sentences))

    def tell(self, done: Iterable[str]) -> None:
        """Tell also what was done before it."""
        self.sentences = (*self.sentences, *done)
        self.args = ("\n".join(self.sentences),)


class BadTables(EngineError):
    """The pillar was refused whole; ``faults`` has every reason, sorted by pillar path."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__(str(fault) for fault in self.faults)


class FirewalldUnavailable(EngineError):
    """firewalld, its bus or its tools cannot be used now; nothing was changed."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__((f"{problem}. Mend: {mend}",))


class FirewalldFailed(FirewalldUnavailable):
    """firewalld runs on stock rules, as it could not load its permanent configuration."""


class NetworkUnreadable(EngineError):
    """What the kernel knows of interfaces, routes and neighbours cannot be read now."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__((f"{problem}. Mend: {mend}",))


class FirewalldRefused(EngineError):
    """firewalld answered a call with an error."""

    def __init__(self, call: str, error: str) -> None:
        self.call = call
        self.error = error
        super().__init__((f"firewalld refused {call}: {error}",))


class ForeignObject(EngineError):
    """Objects that are not ours bear names that we need, or may do so."""


class Lockout(EngineError):
    """Nothing was touched, as it would close what must never be closed."""


class NotConverged(EngineError):
    """After the change, the read-back still differs from what is wanted."""


class Undone(EngineError):
    """A change was begun and did not prove itself; ``changes`` tell what was undone.

    whole
        Whether all of it could be undone.
    """

    def __init__(
        self, sentences: Iterable[str], changes: Mapping[str, Any], left: Iterable[str]
    ) -> None:
        self.changes = changes
        problems = tuple(left)
        self.whole = not problems
        outcome = (
            ["all of it was undone: the node is as it was before"]
            if self.whole
            else [
                *problems,
                "not all of it could be undone; the watchdog goes on trying, and the next apply "
                "does. Mend: see what keeps firewalld from it (journalctl -u firewalld, "
                "firewall-cmd --check-config)",
            ]
        )
        super().__init__([*sentences, *outcome])
