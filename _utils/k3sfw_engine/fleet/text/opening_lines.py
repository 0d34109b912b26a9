"""The views of ``k3sfw.who`` and ``k3sfw.reach``: who gets in where, row by row. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from k3sfw_engine.fleet.text.style import Color, Style, clean

_NOT_LET_IN = (
    "By the tables, none. A zone of the node may still open it: salt-run k3sfw.explain and "
    "salt NODE k3sfw.check_zones tell."
)


def show_who(data: Mapping[str, Any], style: Style) -> str:
    """Write a line for each row that opens the port, and what packets have proven."""
    lines = [style.paragraph(f"Who reaches {data['port']} of {data['to']}. {data['summary']}"), ""]
    for each in data["openings"]:
        where = " (on their interfaces only)" if each["by_interface"] else ""
        ends = f"{', '.join(each['from'])}{where} -> {', '.join(each['to'])}"
        lines += _opening(each, f"{ends}  {', '.join(each['ports'])}", style)
    if not data["openings"]:
        lines.append(style.paragraph(_NOT_LET_IN))
    if "proven" in data:
        lines += ["", style.paragraph(_proven(data["proven"]))]
    return "\n".join([*lines, *(style.paragraph(each, "- ", "  ") for each in data["notes"])])


def show_reach(data: Mapping[str, Any], style: Style) -> str:
    """Write a line for each row that lets the source in, and who else it lets in."""
    lines = [style.paragraph(f"What {data['from']} reaches. {data['summary']}"), ""]
    for each in data["openings"]:
        part = f" (only {', '.join(each['from'])})" if each["part"] else ""
        part += " (from the interfaces of pods only)" if each["by_interface"] else ""
        lines += _opening(
            each, f"{', '.join(each['ports'])} of {', '.join(each['to'])}{part}", style
        )
    if not data["openings"]:
        lines.append("By the tables, nothing.")
    return "\n".join([*lines, *(style.paragraph(each, "- ", "  ") for each in data["notes"])])


def _opening(each: Mapping[str, Any], head: str, style: Style) -> Iterator[str]:
    yield style.paragraph(head, "  ", "      ")
    where = f", {each['line']}" if each["line"] else ""
    about = f"row {each['row']}: source {', '.join(each['source'])} ({each['path']}{where})"
    text = f"{about} {each['description']}"
    yield style.paint(style.paragraph(text, "      ", "      "), Color.FAINT)


def _proven(proven: Mapping[str, int]) -> str:
    if not proven["asked"]:
        return "No node has asked this by packets in the saved answers."
    at = f"{datetime.fromtimestamp(proven['oldest'], timezone.utc):%Y-%m-%d %H:%M} UTC"
    wrong = proven["asked"] - proven["let_in"] - proven["refused"]
    text = (
        f"Packets: {proven['let_in']} were let in and {proven['refused']} refused, as they must be"
    )
    return clean(f"{text}; {wrong} were not. Asked {proven['asked']} times, the oldest at {at}.")
