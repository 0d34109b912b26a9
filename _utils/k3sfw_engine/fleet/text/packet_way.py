"""The view of ``k3sfw.explain``: the way of a packet, and what a packet showed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from k3sfw_engine.fleet.text.style import Color, Style, clean

_COLORS = {
    "allowed": Color.GOOD,
    "rejected": Color.BAD,
    "dropped": Color.BAD,
    "redirected": Color.WARNING,
    "not known": Color.WARNING,
    "goes on": Color.FAINT,
}


def is_walk(answer: object) -> bool:
    """Whether this is what ``k3sfw.explain`` returns on a node."""
    return isinstance(answer, Mapping) and {"verdict", "decision", "walk"} <= answer.keys()


def show_explanation(data: Mapping[str, Any], style: Style) -> str:
    """Write both ends, each step, where the packet ends, and what the packet showed."""
    who = f"{_named(data['from'])} -> {_named(data['to'])}, {data['port']}"
    lines = [style.paragraph(who), *way_lines(data, style)]
    if data["packet_asked"]:
        lines += _packet_lines(data, style)
    return "\n".join(lines)


def show_walks(answers: Mapping[str, Any], style: Style) -> str:
    """Write what nodes returned, by their ids."""
    lines = []
    for name, answer in sorted(answers.items()):
        lines += [style.paragraph(f"{name}:"), *way_lines(answer, style)]
    return "\n".join(lines)


def way_lines(data: Mapping[str, Any], style: Style) -> Iterator[str]:
    """Write each step of the way, and the decision."""
    source = ", ".join(map(str, data["source"]))
    yield style.paragraph(f"the source is {source}", "  ", "    ")
    decision, decided = data["decision"], ""
    for number, step in enumerate(data["walk"], 1):
        # What comes behind tells what would happen without the step that decides.
        head = f"{step['at']}: {'not reached, else ' if decided else ''}{step['fate']}"
        yield _painted(style, f"  {number}. ", head, step["fate"], f"; {step['why']}")
        if not decided and step == decision:
            decided = f", by step {number} ({step['at']})"
    yield _painted(
        style, "  = ", f"The packet is {decision['fate']}", decision["fate"], f"{decided}."
    )


def _packet_lines(data: Mapping[str, Any], style: Style) -> Iterator[str]:
    if not data["packets"]:
        yield style.paragraph("No packet was sent: check_ports does not ask this.", "  ", "    ")
    for each in data["packets"]:
        text = f"The packet: {each['status']}, expected {each['expect']}; {each['evidence']}"
        yield style.paragraph(text, "  ", "    ")
        if each["hint"]:
            yield f"    Fix: {style.paint(clean(each['hint']), Color.STRONG)}"
    for each in data["contradictions"]:
        text, separator, fix = each.partition(" Fix: ")
        yield style.paragraph(f"Contradiction: {text}", "  ! ", "    ")
        if separator:
            yield f"    Fix: {style.paint(clean(fix), Color.STRONG)}"
    if data["packets"] and not data["contradictions"]:
        yield style.paragraph("The packet does not contradict this.", "  ", "    ")


def _named(place: Mapping[str, Any]) -> str:
    return f"{place['name']} ({place['address']})" if place["name"] else str(place["address"])


def _painted(style: Style, first: str, head: str, fate: str, rest: str) -> str:
    text = style.paragraph(f"{head}{rest}", first, " " * len(first))
    word, color = clean(fate), _COLORS.get(fate, Color.WARNING)
    return text.replace(word, style.paint(word, color), 1) if word else text
