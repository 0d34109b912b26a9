"""Text of small files, where a file that cannot be read says nothing."""

from __future__ import annotations

from pathlib import Path


def text_of(path: Path) -> str:
    """The text of a file; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
