"""The report of a check: status, summary, problems, counts; one sentence for each cause. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from k3sfw_engine.checks.verdicts import SEE, Check, Severity, Status, worst_first

RETCODES: Mapping[Severity, int] = {
    Severity.OK: 0,
    Severity.WARN: 1,
    Severity.FAIL: 2,
    Severity.UNKNOWN: 3,
}

# More names than that in one sentence nobody reads.
_NAMES = 6


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
    return f". Fix: {hint}" if hint else ""


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


# More than that in one sentence nobody reads.
NAMES = 6


def some(names: Iterable[object]) -> str:
    every = [str(name) for name in names]
    more = f" and {len(every) - NAMES} more" if len(every) > NAMES else ""
    return ", ".join(every[:NAMES]) + more
