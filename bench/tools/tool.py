"""The interface of a tool under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from bench.rules import Rules
from lab.host import Host


class Action(str, Enum):
    """What an operator does with a tool."""

    APPLY = "apply"
    DRY_RUN = "dry run"
    REMOVE = "remove"


class NotHere(Exception):
    """What a tool needs cannot be had on this machine; the text says what, and why."""


class ToolFailed(Exception):
    """A tool did not do what it was asked for; the text is its own message."""


@dataclass(frozen=True)
class Tool:
    """How rules are applied with one tool.

    key
        By which it is chosen and recorded.
    how
        How it applies the rules here, for the reader of the page.
    get
        Make it available, and return its version. Raises ``NotHere``.
    write
        Write on a host what its operator writes for these rules. It is not measured.
    command
        The command for an action, run in the host.
    own_seconds
        From the output, the time that the tool itself counts for the rules: without its own start.
        Raises ``ToolFailed``.
    cannot
        By action, or by the key of a case, why it cannot be done.
    """

    key: str
    name: str
    how: str
    get: Callable[[], str]
    write: Callable[[Host, Rules], None]
    command: Callable[[Action], Sequence[str]]
    own_seconds: Callable[[str, float], float]
    cannot: Mapping[str, str] = field(default_factory=dict)
