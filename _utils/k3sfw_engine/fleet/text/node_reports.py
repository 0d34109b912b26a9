"""The view of what a check returned on each node: a line, and its problems with the fix. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from k3sfw_engine.fleet.answers import PARTS
from k3sfw_engine.fleet.text.style import SEVERITIES, Color, Style, clean


def is_report(answer: object) -> bool:
    """Whether this is what one of the checks returns."""
    return isinstance(answer, Mapping) and {"status", "summary", "problems"} <= answer.keys()


def is_checked_node(answer: object) -> bool:
    """Whether this is what ``k3sfw.check`` returns on a node."""
    return (
        isinstance(answer, Mapping)
        and "format" in answer
        and all(is_report(answer.get(part)) for part in PARTS)
    )


def show_checked_nodes(answers: Mapping[str, Any], style: Style) -> str:
    """Write what each check of each node found, the worst first."""
    return show_reports(
        {
            f"{name} {part}": {
                **answer[part],
                # Of several addresses of a peer the same is said once.
                "problems": dict.fromkeys(
                    [*map(_sentence, answer[part]["problems"]), *answer[part]["notices"]]
                ),
            }
            for name, answer in answers.items()
            for part in PARTS
        },
        style,
    )


def _sentence(row: Mapping[str, Any]) -> str:
    about = "/".join(str(row[each]) for each in ("protocol", "port") if row[each])
    nodes = " -> ".join(str(row[each]) for each in ("from", "to") if row[each])
    hint = str(row["hint"])
    told = f"{row['status']} {about or row['description']} {nodes}: {row['evidence']}"
    return f"{told}; {hint}" if hint.startswith("see ") else f"{told}. Fix: {hint}"


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
