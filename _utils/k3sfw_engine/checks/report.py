"""The report of a check: status, summary, counts, and one sentence for each cause. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from k3sfw_engine.checks.defaults import NAMES_IN_A_SENTENCE
from k3sfw_engine.checks.verdicts import Check, Severity, Status, worst_first
from k3sfw_engine.errors import Problem
from k3sfw_engine.plan.promises import PromiseValue

RETCODES: Mapping[Severity, int] = {
    Severity.OK: 0,
    Severity.WARN: 1,
    Severity.FAIL: 2,
    Severity.UNKNOWN: 3,
}


@dataclass(frozen=True)
class PromiseHere:
    """What is known of a promise on this node.

    packets
        How many of its packets were answered as promised.
    problems
        Why it is not kept.
    summary
        All of it in a line.
    is_warning
        Whether it is only told where it is broken.
    """

    name: str
    value: PromiseValue
    packets: int
    problems: tuple[Problem, ...]
    summary: str
    is_warning: bool = False


@dataclass(frozen=True)
class Report:
    """The answers of a check, as operators and programs read them.

    scope
        How much was checked, for the summary: ``8 of 8 peers``.
    notices
        Sentences to report as well.
    in_step
        Whether each layer matches the tables, where the check compared them; ``None`` for a layer
        that could not be read.
    promises
        What is known of each promise, where the check asked for them.
    """

    checks: tuple[Check, ...]
    scope: str
    notices: tuple[str, ...] = ()
    in_step: Mapping[str, bool | None] | None = None
    promises: tuple[PromiseHere, ...] = ()

    @property
    def status(self) -> Severity:
        """The worst of all answers."""
        found = {check.status.severity for check in self.checks}
        return max(found, key=list(Severity).index, default=Severity.OK)

    @property
    def retcode(self) -> int:
        """The return code of the check."""
        return RETCODES[self.status]

    def as_dict(self, *, full: bool) -> dict[str, Any]:
        """Return plain data: with every question if ``full``.

        ``fixed_by`` is there only if one SLS, applied on this node, fixes every failure.
        """
        checks = worst_first(self.checks)
        counts = Counter(check.status for check in checks)
        result: dict[str, Any] = {
            "status": self.status.value,
            "summary": f"{_summary(counts, len(checks))} ({self.scope})",
            "problems": [*_problems(checks), *self.notices],
            "counts": {status.value: counts[status] for status in Status if status in counts},
        }
        if self.promises:
            result["promises"] = {each.name: each.summary for each in self.promises}
        if sls := _sls_that_fixes_all(checks):
            result["fixed_by"] = sls
        if full:
            result["checks"] = [check.as_row() for check in checks]
        return result


def join_some(names: Iterable[object]) -> str:
    """Join the first names with commas, and say how many more there are."""
    every = [str(name) for name in names]
    left = len(every) - NAMES_IN_A_SENTENCE
    more = f" and {left} more" if left > 0 else ""
    return ", ".join(every[:NAMES_IN_A_SENTENCE]) + more


def _summary(counts: Mapping[Status, int], total: int) -> str:
    parts = [f"{counts.get(Status.OK, 0)} of {total} checks ok"]
    parts += [
        f"{counts[status]} {status.value.replace('_', ' ')}"
        for status in Status
        if status is not Status.OK and status in counts
    ]
    return ", ".join(parts)


def _sls_that_fixes_all(checks: Iterable[Check]) -> str:
    """The one SLS that fixes every failure; empty if there is none."""
    fail = (Severity.FAIL, Severity.UNKNOWN)
    needed = {check.sls for check in checks if check.status.severity in fail}
    return needed.pop() if len(needed) == 1 else ""


def _problems(checks: Iterable[Check]) -> Iterator[str]:
    """One sentence for each cause, however many questions it concerns."""
    causes: dict[tuple[Status, Problem], list[Check]] = {}
    for check in checks:
        if check.status is not Status.OK:
            causes.setdefault((check.status, check.problem), []).append(check)
    for (status, problem), concerned in causes.items():
        for packets in _from_and_to(concerned):
            yield f"{status.value} {packets}: {problem}"


def _from_and_to(checks: Iterable[Check]) -> Iterator[str]:
    """``tcp/80,443 any, tcp/6379 clients -> a1``: what each source asked of the same targets."""
    asked: dict[tuple[str, str, str], list[Check]] = {}
    for check in checks:
        asked.setdefault((check.source, check.to, check.address), []).append(check)
    targets: dict[tuple[str, str], dict[str, list[str]]] = {}
    for (source, to, address), each in asked.items():
        addresses = targets.setdefault((source, _ports(each)), {}).setdefault(to, [])
        addresses += [address] if address else []
    sources: dict[str, list[str]] = {}
    for (source, ports), found in targets.items():
        sources.setdefault(_targets(found), []).append(f"{ports} {source}".strip())
    for to, named in sources.items():
        yield f"{', '.join(named)} -> {to}" if to else ", ".join(named)


def _ports(checks: Iterable[Check]) -> str:
    """``tcp/80,443 udp/8472``, or the descriptions of questions that are not about a port."""
    ports: dict[str, set[str]] = {}
    for check in checks:
        ports.setdefault(check.protocol or check.description, set()).add(check.port)
    return " ".join(
        f"{name}/{','.join(sorted(found, key=_number))}" if found != {""} else name
        for name, found in sorted(ports.items())
    )


def _number(port: str) -> int:
    return int(port.partition("-")[0].partition(",")[0] or 0)


def _targets(targets: Mapping[str, list[str]]) -> str:
    """The names of several targets, or a single one with the addresses that were asked."""
    if len(targets) > 1:
        names = sorted(targets)
        left = len(names) - NAMES_IN_A_SENTENCE
        more = f" and {left} more" if left > 0 else ""
        return " ".join(names[:NAMES_IN_A_SENTENCE]) + more
    ((name, addresses),) = targets.items()
    return f"{name} ({', '.join(addresses)})" if addresses else name
