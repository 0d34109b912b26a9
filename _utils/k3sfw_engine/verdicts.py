"""What a check answers, question by question, and the report that a tired person reads. Pure.

It must not know how a question is asked, nor what about: ports and routes share this shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Severity(str, Enum):
    """What a report says in one word, the worst last."""

    OK = "OK"
    WARN = "WARN"
    UNKNOWN = "UNKNOWN"
    FAIL = "FAIL"


RETCODES: Mapping[Severity, int] = {
    Severity.OK: 0,
    Severity.WARN: 1,
    Severity.FAIL: 2,
    Severity.UNKNOWN: 3,
}


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

# More names than that in one sentence nobody reads.
_NAMES = 6

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


def report(checks: Iterable[Check], *, scope: str, full: bool) -> dict[str, Any]:
    """Put the answers into the shape that an operator and a program read.

    scope
        How far the questions reached, for the summary.
    full
        Whether every question is listed.
    """
    checks = worst_first(checks)
    counts = Counter(check.status for check in checks)
    order = list(Severity)
    worst = max((status.severity for status in counts), key=order.index, default=Severity.OK)
    result: dict[str, Any] = {
        "status": worst.value,
        "summary": f"{_summary(counts, len(checks))} ({scope})",
        "problems": list(_problems(checks)),
        "counts": {status.value: counts[status] for status in Status if status in counts},
    }
    if full:
        result["checks"] = [check.as_row() for check in checks]
    return result


def _summary(counts: Mapping[Status, int], total: int) -> str:
    parts = [f"{counts.get(Status.OK, 0)} of {total} checks ok"]
    parts += [
        f"{counts[status]} {status.value.replace('_', ' ')}"
        for status in Status
        if status is not Status.OK and status in counts
    ]
    return ", ".join(parts)


def _problems(checks: Iterable[Check]) -> Iterator[str]:
    """One sentence for each cause, however many questions it concerns."""
    causes: dict[tuple[Status, str, str], list[Check]] = {}
    for check in checks:
        if check.status is not Status.OK:
            causes.setdefault((check.status, check.evidence, check.hint), []).append(check)
    for (status, evidence, hint), concerned in causes.items():
        for whom in _who_to_whom(concerned):
            yield f"{status.value} {whom}: {evidence}{_advice(hint)}"


def _advice(hint: str) -> str:
    """What mends it, or where to look if that is not known from here."""
    if hint.startswith(SEE):
        return f"; {hint}"
    return f". Mend: {hint}" if hint else ""


def _who_to_whom(checks: Iterable[Check]) -> Iterator[str]:
    """``tcp/80,443 any, tcp/6379 clients -> a1``: what each source asked of the same targets."""
    asked: dict[tuple[str, str, str], list[Check]] = {}
    for check in checks:
        asked.setdefault((check.source, check.to, check.address), []).append(check)
    targets: dict[tuple[str, str], dict[str, list[str]]] = {}
    for (source, to, address), each in asked.items():
        addresses = targets.setdefault((source, _what(each)), {}).setdefault(to, [])
        addresses += [address] if address else []
    flows: dict[str, list[str]] = {}
    for (source, what), found in targets.items():
        flows.setdefault(_named(found), []).append(f"{what} {source}".strip())
    for to, whom in flows.items():
        yield f"{', '.join(whom)} -> {to}" if to else ", ".join(whom)


def _what(checks: Iterable[Check]) -> str:
    """``tcp/80,443 udp/8472``, or what the questions were about where it was no port."""
    ports: dict[str, set[str]] = {}
    for check in checks:
        ports.setdefault(check.protocol or check.description, set()).add(check.port)
    return " ".join(
        f"{name}/{','.join(sorted(found, key=_number))}" if found != {""} else name
        for name, found in sorted(ports.items())
    )


def _number(port: str) -> int:
    return int(port.partition("-")[0].partition(",")[0] or 0)


def _named(targets: Mapping[str, list[str]]) -> str:
    """Several by their names; a single one with the addresses that were asked."""
    if len(targets) > 1:
        names = sorted(targets)
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        return " ".join(names[:_NAMES]) + more
    ((name, addresses),) = targets.items()
    return f"{name} ({', '.join(addresses)})" if addresses else name
