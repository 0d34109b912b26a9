"""What docs/states.md and docs/events.md promise to exporters and reactors, as data."""

from __future__ import annotations

import re

from tests.paths import ROOT


def _rows(text: str) -> list[list[str]]:
    """The rows of a table in Markdown, without its head."""
    lines = [line.strip("| ") for line in text.splitlines() if line.startswith("|")]
    return [line.split(" | ") for line in lines[2:]]


def _chapters(page: str) -> dict[str, str]:
    _head, *parts = re.split(r"^## (.+)\n", (ROOT / "docs" / page).read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2]))


def states() -> dict[str, dict[str, set[str]]]:
    """By SLS file and id, the functions that the state may have."""
    return {
        name: {row[0].strip("`"): set(re.findall(r"`([\w.]+)`", row[1])) for row in _rows(text)}
        for name, text in _chapters("states.md").items()
    }


def event_tags() -> set[str]:
    return {row[0].strip("`") for row in _rows(_chapters("events.md")["Events"])}


def first_lines() -> set[str]:
    """The first lines of the comments of all states."""
    return {row[1] for row in _rows(_chapters("events.md")["First lines of comments"])}
