"""The view of ``k3sfw.report``: where the page is, and what it says first. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from k3sfw_engine.fleet.text.style import Color, Style, clean


def show_report(data: Mapping[str, Any], style: Style) -> str:
    """Write the headline, the path and its size, and the address that opens it."""
    size = f"{data['bytes'] / 1000:,.0f} kB"
    return "\n".join(
        [
            style.paragraph(f"{data['headline']}."),
            style.paragraph(f"Written to {data['path']} ({size}). Open it in a browser:"),
            f"  {style.paint(clean(data['address']), Color.STRONG)}",
        ]
    )
