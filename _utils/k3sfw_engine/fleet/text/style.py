"""How text looks: colours, indented paragraphs, and nothing that controls a terminal. Pure."""

from __future__ import annotations

import textwrap
import unicodedata
from dataclasses import dataclass
from enum import Enum

WIDTH = 80


class Color(Enum):
    """The colours of a terminal, each with one meaning; the words say the same without them."""

    GOOD = "32"
    WARNING = "33"
    BAD = "31"
    STRONG = "1"
    FAINT = "2"


# The colour of a verdict's first word.
SEVERITIES = {
    "OK": Color.GOOD,
    "WARN": Color.WARNING,
    "UNKNOWN": Color.WARNING,
    "FAIL": Color.BAD,
}


@dataclass(frozen=True)
class Style:
    """What the terminal can show.

    color
        Whether it shows colours.
    width
        Its columns.
    """

    color: bool = False
    width: int = WIDTH

    def paint(self, text: str, color: Color) -> str:
        """Colour a text that is clean already."""
        return f"\033[{color.value}m{text}\033[0m" if self.color and text else text

    def paragraph(self, text: object, first: str = "", rest: str = "") -> str:
        """Break a text into lines, with these beginnings. Long words, such as paths, stay whole."""
        return textwrap.fill(
            clean(text),
            self.width,
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )


def clean(text: object) -> str:
    """Replace what would control a terminal, as a minion chooses its own words."""
    return "".join(
        " " if each in "\n\t" else "?" if unicodedata.category(each)[0] == "C" else each
        for each in str(text)
    )
