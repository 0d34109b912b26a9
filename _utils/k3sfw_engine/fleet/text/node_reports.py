"""The view of what a check returned on each node: a line, and its problems with the fix. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from k3sfw_engine.fleet.text.style import SEVERITIES, Color, Style, clean


def is_report(answer: object) -> bool:
    """Whether this is what one of the checks returns."""
    return isinstance(answer, Mapping) and {"status", "summary", "problems"} <= answer.keys()


def show_reports(reports: Mapping[str, Any], style: Style) -> str:
    """Write the answers of the nodes, the worst first."""
    ranks = list(SEVERITIES)
    by_rank = sorted(
        reports.items(), key=lambda each: (-ranks.index(_status(each[1])), str(each[0]))
    )
    return "\n".join(line for name, report in by_rank for line in _lines(name, report, style))


def _status(report: Mapping[str, Any]) -> str:
    return report["status"] if report["status"] in SEVERITIES else "UNKNOWN"


def _lines(name: str, report: Mapping[str, Any], style: Style) -> Iterator[str]:
    status = _status(report)
    head = style.paragraph(f"{name}: {status} {report['summary']}", "", "    ")
    painted = style.paint(status, SEVERITIES[status])
    yield head.replace(f"{clean(name)}: {status}", f"{clean(name)}: {painted}", 1)
    for problem in report["problems"]:
        text, separator, fix = str(problem).partition(" Fix: ")
        yield style.paragraph(text, "  - ", "    ")
        if separator:
            yield f"    Fix: {style.paint(clean(fix), Color.STRONG)}"
