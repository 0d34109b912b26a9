"""The kinds of damage that k3sfw knows, and the result of a repair."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from k3sfw_engine.errors import EngineError
from k3sfw_engine.model.difference import Differences


@dataclass(frozen=True)
class Damage:
    """Something that is wrong.

    sentence
        Of what is ours, what it is, as in "healed THIS, by removing it"; else a whole sentence.
    differences
        What mending it changes.
    mend
        Mends it, and gives sentences about what was not as expected. ``None`` if it is not ours to
        mend.
    remedy
        How it is mended, as in "by removing it".
    reload
        Why mending it reloads firewalld, if it does.
    """

    sentence: str
    differences: Differences = ()
    mend: Callable[[], Iterable[str]] | None = None
    remedy: str = ""
    reload: str = ""


@dataclass(frozen=True)
class HealResult:
    """What was found and mended, or would be.

    mended, notices
        Sentences: about what is ours, and about what was found besides.
    reloads
        The reasons for which firewalld was reloaded.
    refusal
        Why firewalld cannot be used all the same.
    """

    differences: Differences = ()
    mended: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    reloads: tuple[str, ...] = ()
    refusal: EngineError | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that is to be told."""
        return (*self.mended, *self.notices)
