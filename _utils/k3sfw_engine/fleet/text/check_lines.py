"""The view of ``k3sfw.check`` of the master: verdict, causes with fixes, coverage. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from k3sfw_engine.checks.report import join_some
from k3sfw_engine.fleet.text.style import SEVERITIES, Color, Style, clean

_INDENT = " " * 5
_VALUES = {
    "broken": Color.BAD,
    "not enforceable": Color.WARNING,
    "unproven": Color.WARNING,
    "kept": Color.GOOD,
}


def show_check(data: Mapping[str, Any], style: Style) -> str:
    """Write what is wrong first, and then how much was asked."""
    verdict = data["status"]
    lines = [
        _painted(style, verdict, SEVERITIES[verdict], data["headline"]),
        style.paragraph(data["coverage"]["sentence"]),
        *_causes(data["causes"], style),
        *_problems("WARN", data["differing"], style),
        *_silent(data["coverage"]["silent"], style),
        *_notices("Not checked", data["unchecked"], style),
        *_promises(data["promises"], style),
        *_notices("Notices", data["notices"], style),
    ]
    if data["left_off"]:
        text = f"Nodes counted {data['left_off']:,} more problems like these and did not send them."
        lines += ["", style.paragraph(text)]
    lines += ["", *(f"Written: {clean(path)}" for path in data["written"])] * bool(data["written"])
    for text in data.get("unwritten", ()):
        lines += ["", style.paragraph(f"Not written: {text}", "", _INDENT)]
    return "\n".join(lines)


def _causes(causes: Sequence[Mapping[str, Any]], style: Style) -> Iterator[str]:
    for cause in causes:
        yield from _problem(cause["severity"], cause, style)


def _problems(severity: str, found: Sequence[Mapping[str, Any]], style: Style) -> Iterator[str]:
    for each in found:
        yield from _problem(severity, each, style)


def _problem(severity: str, problem: Mapping[str, Any], style: Style) -> Iterator[str]:
    yield ""
    first = f"{severity:4} "
    text = style.paragraph(f"{severity:4} {problem['text']}.", "", _INDENT)
    yield text.replace(
        first, f"{style.paint(severity, SEVERITIES[severity])}{first[len(severity) :]}", 1
    )
    if problem["fix"]:
        # On one line, however long, so that it can be copied.
        yield f"{_INDENT}Fix: {style.paint(clean(problem['fix']), Color.STRONG)}"
    elif problem["see"]:
        yield style.paragraph(f"See {problem['see']}", _INDENT, _INDENT)


def _silent(silent: Mapping[str, str], style: Style) -> Iterator[str]:
    if silent:
        yield from ("", style.paint("Silent", Color.WARNING))
    by_reason: dict[str, list[str]] = {}
    for name, reason in sorted(silent.items()):
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        yield style.paragraph(f"{join_some(names)}: {reason or 'no answer'}", "  ", "    ")


def _promises(promises: Sequence[Mapping[str, Any]], style: Style) -> Iterator[str]:
    if promises:
        yield from ("", "Promises")
    for each in promises:
        value = str(each["value"])
        packets = f" ({each['packets']:,} packets)" if each["packets"] else ""
        if value == "kept" and not packets:
            packets = " (by the tables, not asked)"
        text = style.paragraph(f"  {value} {each['name']}{packets}", "", "    ")
        yield text.replace(value, style.paint(value, _VALUES[value]), 1)
        for part in each["parts"]:
            yield style.paragraph(part, "    ", "    ")


def _notices(title: str, notices: Sequence[Mapping[str, Any]], style: Style) -> Iterator[str]:
    if notices:
        yield from ("", title)
    for each in notices:
        part = f" ({each['part']})" if each["part"] else ""
        yield style.paragraph(f"{join_some(each['nodes'])}{part}: {each['text']}", "  ", "    ")


def _painted(style: Style, word: str, color: Color, rest: str) -> str:
    text = style.paragraph(f"{word} {rest}", "", _INDENT)
    return text.replace(word, style.paint(word, color), 1)
