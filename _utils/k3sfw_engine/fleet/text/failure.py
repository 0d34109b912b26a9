"""The view of a function of the master that could not do its work: every reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from k3sfw_engine.fleet.text.style import Color, Style


def show_failure(data: Mapping[str, Any], style: Style) -> str:
    """Write each problem as a paragraph of its own."""
    problems = [style.paragraph(each, "- ", "  ") for each in data["problems"]]
    return "\n".join([style.paint("This could not be done:", Color.BAD), *problems])
