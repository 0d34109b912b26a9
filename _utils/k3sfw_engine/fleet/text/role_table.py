"""The view of ``k3sfw.tables``: role by role, who gets in at which ports, in the tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from k3sfw_engine.fleet.text.style import Color, Style, clean

_GLYPHS = {"open": ".", "closed": "X", "part": "~", "redirected": ">"}
_MEANINGS = {
    "open": "let in",
    "closed": "not in the tables",
    "part": "a part of them, or of the ports",
    "redirected": "redirected by Kubernetes, whatever the tables say",
}
_COLORS = {"part": Color.WARNING, "redirected": Color.WARNING, "closed": Color.FAINT}
# The row label of protocol any: the ports with rows of their own stand above it.
_ALL_PORTS, _ALL_OTHER_PORTS = "all ports", "all other ports"
_PORTS_WIDTH = 16
_ROWS_WIDTH = 10


def show_tables(data: Mapping[str, Any], style: Style) -> str:
    """Write a table for each role of nodes; of many sources, several tables."""
    matrix = data["matrix"]
    lines = [style.paragraph(data["summary"])]
    for role in dict.fromkeys(line["to"] for line in matrix["lines"]):
        about = [line for line in matrix["lines"] if line["to"] == role]
        for columns in _columns(matrix["sources"], style):
            lines += ["", *_table(role, about, matrix["sources"], columns, style)]
    used = {each for line in matrix["lines"] for each in line["access"]}
    lines += ["", *_legend(used, style)]
    return "\n".join([*lines, *(style.paragraph(each, "- ", "  ") for each in data["notes"])])


def _columns(sources: Sequence[str], style: Style) -> Iterator[range]:
    """The sources that fit beside each other."""
    begin = 0
    while begin < len(sources):
        end, left = begin, style.width - _PORTS_WIDTH - _ROWS_WIDTH
        while end < len(sources) and (end == begin or len(clean(sources[end])) + 2 <= left):
            left -= len(clean(sources[end])) + 2
            end += 1
        yield range(begin, end)
        begin = end


def _table(
    role: str,
    lines: Sequence[Mapping[str, Any]],
    sources: Sequence[str],
    columns: range,
    style: Style,
) -> Iterator[str]:
    names = [clean(sources[column]) for column in columns]
    yield style.paint(f"{f'to {role}':{_PORTS_WIDTH}}" + "  ".join(names), Color.STRONG)
    every = _ALL_OTHER_PORTS if any(line["ports"] for line in lines) else _ALL_PORTS
    for line in lines:
        label = f"{line['protocol']}/{line['ports']}" if line["ports"] else line["protocol"]
        label = every if label == "any" else label
        text = f"{label:{_PORTS_WIDTH}}"
        for column, name in zip(columns, names):
            access = line["access"][column]
            glyph = f"{_GLYPHS[access]:^{len(name)}}"
            text += (style.paint(glyph, _COLORS[access]) if access in _COLORS else glyph) + "  "
        yield f"{text}{clean(', '.join(line['rows']))}"


def _legend(used: set[str], style: Style) -> Iterator[str]:
    for access, glyph in _GLYPHS.items():
        if access in used:
            yield style.paint(f"{glyph}  {_MEANINGS[access]}", Color.FAINT)
