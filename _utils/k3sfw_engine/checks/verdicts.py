"""One question of a check and its answer, as data: the status, the evidence and the fix. Pure.

It knows neither how a question is asked nor what it is about: ports, routes and zones share it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter

from k3sfw_engine.errors import Problem


class Severity(str, Enum):
    """The verdict of a whole report in one word, the worst last."""

    OK = "OK"
    WARN = "WARN"
    UNKNOWN = "UNKNOWN"
    FAIL = "FAIL"


class Status(str, Enum):
    """The answer to one question in one word, the worst first."""

    severity: Severity

    EXPOSED = ("exposed", Severity.FAIL)
    BLOCKED = ("blocked", Severity.FAIL)
    LOST = ("lost", Severity.FAIL)
    LOCAL_BLOCK = ("local_block", Severity.FAIL)
    LINK_DOWN = ("link_down", Severity.FAIL)
    NO_ROUTE = ("no_route", Severity.FAIL)
    WRONG_ROUTE = ("wrong_route", Severity.FAIL)
    SRC_MISMATCH = ("src_mismatch", Severity.FAIL)
    NO_NEIGHBOUR = ("no_neighbour", Severity.FAIL)
    OVERLAP = ("overlap", Severity.FAIL)
    BAD_SETTING = ("bad_setting", Severity.FAIL)
    BAD_MTU = ("bad_mtu", Severity.FAIL)
    HOST_DOWN = ("host_down", Severity.FAIL)
    NO_ANSWER = ("no_answer", Severity.FAIL)
    ERROR = ("error", Severity.UNKNOWN)
    UNPROVEN = ("unproven", Severity.WARN)
    CONFLICT = ("conflict", Severity.WARN)
    NO_LISTENER = ("no_listener", Severity.WARN)
    OK = ("ok", Severity.OK)

    def __new__(cls, value: str, severity: Severity) -> Status:
        member = str.__new__(cls, value)
        member._value_ = value
        member.severity = severity
        return member


# The columns of the flat rows that callers get.
COLUMNS = (
    *("from", "to", "address", "protocol", "port", "description", "expect", "status", "by"),
    *("evidence", "hint"),
)

_RANK = {status: rank for rank, status in enumerate(Status)}


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    source, to
        Who sends and who receives: minion ids, or the names of the source column.
    expect
        ``open`` or ``closed`` where the question is about a packet.
    by
        What caused the answer, where it is the wrong one.
    evidence
        What was observed.
    fix
        A command that fixes it, or what to do by hand; empty where that is not known.
    see
        Where to look if the fix is not known.
    sls
        The SLS that fixes it on this node, where one does.
    """

    source: str
    to: str
    description: str
    status: Status
    evidence: str
    address: str = ""
    protocol: str = ""
    port: str = ""
    expect: str = ""
    by: str = ""
    fix: str = ""
    see: str = ""
    sls: str = ""

    @property
    def problem(self) -> Problem:
        """The evidence and its fix, ready to be written as a sentence."""
        return Problem(self.evidence, self.fix, self.see)

    @property
    def hint(self) -> str:
        """The fix, or else where to look: one column shows either."""
        return self.fix or (f"see {self.see}" if self.see else "")

    def as_row(self) -> dict[str, str]:
        """Return the flat row that callers of the check get."""
        return flat_row(self)


def flat_row(question: object) -> dict[str, str]:
    """Return the texts of ``COLUMNS``, from what has the attributes of ``Check``."""
    named = {"from": "source", "status": "status.value"}
    return {name: str(attrgetter(named.get(name, name))(question)) for name in COLUMNS}


def worst_first(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Sort by status; within one, the order stays."""
    return tuple(sorted(checks, key=lambda check: _RANK[check.status]))
