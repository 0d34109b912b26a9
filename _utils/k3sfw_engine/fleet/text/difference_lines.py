"""The view of ``k3sfw.diff``: newly let in, no longer let in, changed without effect. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from k3sfw_engine.fleet.text.promise_lines import promise_lines, promises_line
from k3sfw_engine.fleet.text.style import Color, Style, clean

SAME = "Both let in exactly the same."
SAME_WHERE_COMPARED = "Both let in the same on the nodes that were compared."
_WHOLE_INTERNET = "!! the whole internet"


def show_diff(data: Mapping[str, Any], style: Style) -> str:
    """Write what opens first, then what closes, then what has no effect."""
    lines = [style.paragraph(f"From {data['old']} to {data['new']}. {data['summary']}")]
    silent = data.get("silent") or ()
    lines += [style.paint(style.paragraph(f"!! {each}"), Color.BAD) for each in silent]
    lines += _section("Newly let in", data["opened"], style)
    lines += _section("No longer let in", data["closed"], style)
    drift = data.get("drift") or {}
    lines += _section("Drift: let in by no proven table", drift.get("opened", ()), style)
    lines += _section("Drift: not in force, though proven", drift.get("closed", ()), style)
    if data["pods"]:
        lines += ["", style.paint(style.paragraph(f"!! {data['pods']}"), Color.BAD)]
    elif not data["opened"] and not data["closed"]:
        lines += ["", SAME_WHERE_COMPARED if silent else SAME]
    if "intended" in data:
        lines += ["", *_intended(data["intended"], style)]
    lines += ["", *_rest(data, style), promises_line(data["promises"], style)]
    lines += promise_lines(data["promises"], style)
    return "\n".join([*lines, *(style.paragraph(each, "- ", "  ") for each in data["notes"])])


def _section(title: str, changes: Sequence[Mapping[str, Any]], style: Style) -> Iterator[str]:
    if not changes:
        return
    yield ""
    yield style.paint(title, Color.STRONG)
    for change in changes:
        ends = f"{', '.join(change['from'])} -> {', '.join(change['to'])}"
        yield style.paragraph(f"{ends}  {', '.join(change['ports'])}", "  ", "      ")
        if change["everyone"]:
            yield f"      {style.paint(_WHOLE_INTERNET, Color.BAD)}"
        for name in change.get("breaks", ()):
            yield f"      {style.paint(f'!! breaks {clean(name)}', Color.BAD)}"
        for cause in change["causes"]:
            where = f" ({cause['line']})" if cause.get("line") else ""
            yield style.paragraph(f"{cause['text']}{where}", "      ", "        ")
        if change["example"]:
            yield style.paint(f"      for example {clean(change['example'])}", Color.FAINT)
        for lost in change.get("lost", ()):
            yield style.paint(style.paragraph(f"!! {lost}", "      ", "        "), Color.BAD)


def _intended(intended: Mapping[str, Any], style: Style) -> Iterator[str]:
    others = intended["others"]
    number = len(others["opened"]) + len(others["closed"])
    answers = (
        f"open before: {intended['before']}",
        f"open now: {intended['now']}",
        f"anything else: {f'{number} more changes' if number else 'nothing'}",
    )
    verdict = "as intended" if intended["is_exactly_this"] else "NOT as intended"
    color = Color.GOOD if intended["is_exactly_this"] else Color.BAD
    yield f"{style.paint(verdict, color)}: {'; '.join(answers)}."
    yield from _section("Besides what was intended: newly let in", others["opened"], style)
    yield from _section("Besides what was intended: no longer let in", others["closed"], style)


def _rest(data: Mapping[str, Any], style: Style) -> Iterator[str]:
    if data["joined_nodes"]:
        yield style.paragraph(f"New nodes: {', '.join(data['joined_nodes'])}.", "", "  ")
    if data["left_nodes"]:
        yield style.paragraph(f"Nodes that are gone: {', '.join(data['left_nodes'])}.", "", "  ")
    if data["without_effect"]:
        texts = ", ".join(each["text"] for each in data["without_effect"])
        yield style.paragraph(f"Changed without effect: {texts}.", "", "  ")
    yield f"The same as before: {data['same_rows']} of {data['rows']} rows."
