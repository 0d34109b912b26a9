"""One damage that k3sfw knows, and the result of a repair."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.model.difference import Differences


@dataclass(frozen=True)
class Damage:
    """Something that is damaged.

    differences
        What healing it changes.
    heal
        Heals it, and returns notices about what failed besides; ``None`` if it is not ours to heal.
    remedy
        What that does, as in "healed by removing it".
    reload
        Why healing it reloads firewalld, if it does.
    """

    problem: Problem
    differences: Differences = ()
    heal: Callable[[], Iterable[str]] | None = None
    remedy: str = ""
    reload: str = ""


@dataclass(frozen=True)
class HealResult:
    """What was found and healed, or would be.

    healed, notices
        Sentences about what is ours, and about everything else that was found.
    reloads
        The reasons for which firewalld was reloaded.
    refusal
        Why firewalld cannot be used all the same.
    """

    differences: Differences = ()
    healed: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    reloads: tuple[str, ...] = ()
    refusal: EngineError | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was healed, then the notices."""
        return (*self.healed, *self.notices)
