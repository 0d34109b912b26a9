"""The difference of two tables as Markdown, for the conversation about a change. Pure.

Names come from minions and descriptions from the site: all of it is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from k3sfw_engine.fleet.text.difference_lines import SAME, SAME_WHERE_COMPARED

_HEAD = "| from | to | ports | because of | example |\n|---|---|---|---|---|"
# What begins something in Markdown or HTML, or ends a cell.
_SPECIAL = re.compile(r"([\\`*_\[\]<#|~@&])")


def difference_as_markdown(data: Mapping[str, Any]) -> str:
    """Write what ``k3sfw.diff`` returns: a table for what opens, and one for what closes."""
    parts = [f"**k3sfw: from {_text(data['old'])} to {_text(data['new'])}.** {_promises(data)}"]
    silent = data.get("silent") or ()
    parts += [f"**!! {_text(each)}**" for each in silent]
    for title, key in (("Newly let in", "opened"), ("No longer let in", "closed")):
        if data[key]:
            parts.append(f"**{title}**\n\n{_HEAD}\n" + "\n".join(map(_row, data[key])))
    if data["pods"]:
        parts.append(f"**!! {_text(data['pods'])}**")
    elif not data["opened"] and not data["closed"]:
        parts.append(SAME_WHERE_COMPARED if silent else SAME)
    if "intended" in data:
        parts.append(_intended(data["intended"]))
    parts += _lists(data)
    return "\n\n".join(parts) + "\n"


def _row(change: Mapping[str, Any]) -> str:
    causes = "; ".join(_text(cause["text"]) for cause in change["causes"])
    if change["everyone"]:
        causes += " **!! the whole internet**"
    causes += "".join(f" **!! breaks {_text(name)}**" for name in change.get("breaks", ()))
    causes += "".join(f" **!! {_text(lost)}**" for lost in change.get("lost", ()))
    cells = [
        ", ".join(map(_text, change["from"])),
        ", ".join(map(_text, change["to"])),
        ", ".join(map(_text, change["ports"])),
        causes,
        _text(change["example"]),
    ]
    return f"| {' | '.join(cells)} |"


def _promises(data: Mapping[str, Any]) -> str:
    broken = [each for each in data["promises"]["tests"] if each["value"] == "broken"]
    if not broken:
        return "No promise is broken."
    return f"Broken promises: {', '.join(_text(each['name']) for each in broken)}."


def _intended(intended: Mapping[str, Any]) -> str:
    verdict = "Exactly as intended" if intended["is_exactly_this"] else "**Not as intended**"
    others = intended["others"]
    number = len(others["opened"]) + len(others["closed"])
    return (
        f"{verdict}: open before: {intended['before']}; open now: {intended['now']}; "
        f"anything else: {f'{number} more changes' if number else 'nothing'}."
    )


def _lists(data: Mapping[str, Any]) -> Iterator[str]:
    broken = [
        problem
        for each in data["promises"]["tests"]
        if each["value"] == "broken"
        for problem in each["problems"]
    ]
    if broken:
        yield _list(broken)
    if data["without_effect"]:
        yield "Changed without effect:\n\n" + _list(each["text"] for each in data["without_effect"])
    if data["notes"]:
        yield _list(data["notes"])


def _list(items: Sequence[str] | Iterator[str]) -> str:
    return "\n".join(f"- {_text(each)}" for each in items)


def _text(value: object) -> str:
    """Return the text on one line, with nothing in it that Markdown or HTML would read."""
    line = " ".join(str(value).split())
    return _SPECIAL.sub(r"\\\1", line)
