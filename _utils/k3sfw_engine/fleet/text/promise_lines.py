"""The view of ``k3sfw.test``, and the promises in other views. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from k3sfw_engine.fleet.text.style import Color, Style, clean

_COLORS = {
    "broken": Color.BAD,
    "not enforceable": Color.WARNING,
    "unproven": Color.WARNING,
    "kept": Color.GOOD,
}


def show_test(data: Mapping[str, Any], style: Style) -> str:
    """Write the summary, each promise that is not simply kept, and the kept ones by name."""
    lines = [style.paragraph(data["summary"]), promises_line(data["promises"], style)]
    lines += promise_lines(data["promises"], style)
    silent: dict[str, list[str]] = {}
    for each in data["promises"]["tests"]:
        if _is_kept(each) or not each["problems"]:
            silent.setdefault(each["value"], []).append(each["name"])
    for value, names in silent.items():
        lines.append(style.paragraph(f"{value}: {', '.join(names)}", "- ", "  "))
    return "\n".join([*lines, *(style.paragraph(each, "- ", "  ") for each in data["notes"])])


def promises_line(promises: Mapping[str, Any], style: Style) -> str:
    """Write how many are kept, and the names of those that are broken."""
    broken = [each["name"] for each in promises["tests"] if each["value"] == "broken"]
    counted = [
        f"{number} {value}"
        for value, number in promises["counts"].items()
        if number and value != "broken"
    ]
    named = [f"{clean(name)} {style.paint('BROKEN', Color.BAD)}" for name in broken]
    return f"Promises: {', '.join([*named, *counted]) or 'none'}."


def promise_lines(promises: Mapping[str, Any], style: Style) -> Iterator[str]:
    """Write what is to be said of single promises, each with its fix on a line of its own."""
    for each in promises["tests"]:
        if _is_kept(each):
            continue
        for problem in each["problems"]:
            text, separator, fix = problem.partition(" Fix: ")
            value = each["value"] if each["fails"] or each["value"] != "broken" else "warning"
            head = style.paragraph(f"{value}: {text}", "- ", "  ")
            painted = style.paint(value, _COLORS.get(value, Color.WARNING))
            yield head.replace(f"- {value}:", f"- {painted}:", 1)
            if separator:
                yield style.paragraph(f"Fix: {fix}", "  ", "  ")


def _is_kept(each: Mapping[str, Any]) -> bool:
    return each["value"] == "kept" and not each["told"]
