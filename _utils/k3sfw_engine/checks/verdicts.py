"""What a check answers, question by question, and the report that a tired person reads. Pure.

It must not know how a question is asked, nor what about: ports and routes share this shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Severity(str, Enum):
    """What a report says in one word, the worst last."""

    OK = "OK"
    WARN = "WARN"
    UNKNOWN = "UNKNOWN"
    FAIL = "FAIL"


class Status(str, Enum):
    """What became of one question, worst first."""

    severity: Severity

    EXPOSED = ("exposed", Severity.FAIL)
    BLOCKED = ("blocked", Severity.FAIL)
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


# So a hint begins that tells where to look; any other tells what mends.
SEE = "see "
_RANK = {status: rank for rank, status in enumerate(Status)}


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    source, to
        Who asks and who is asked: minion ids, or the names of the source column.
    expect
        ``open`` or ``closed`` where a packet is asked about.
    by
        Who brought the answer about, if it is not the right one.
    evidence
        What was seen.
    hint
        What mends it; or, behind ``see``, where to look.
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
    hint: str = ""

    def as_row(self) -> dict[str, str]:
        """The flat form in which clients get it."""
        columns = ("to", "address", "protocol", "port", "description", "expect", "status", "by")
        row = {name: str(getattr(self, name)) for name in (*columns, "evidence", "hint")}
        return {"from": self.source, **row, "status": self.status.value}


def worst_first(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Sort by status; within one, the order stays."""
    return tuple(sorted(checks, key=lambda check: _RANK[check.status]))
