"""All pairs of nodes as one PNG, for readers without scripts and for print. Pure.

Three dots by three for a pair, so that a state is told by its pattern as well as by its colour.
"""

from __future__ import annotations

import base64
import struct
import zlib

from k3sfw_engine.fleet.page.pair_states import PairStates
from k3sfw_engine.fleet.page.signs import PAIR_SIGNS

# The colours of page.css on white, as a palette.
_PALETTE = {
    "paper": (255, 255, 255),
    "ok": (0, 158, 115),
    "blocked": (178, 60, 0),
    "exposed": (138, 31, 99),
    "conflict": (230, 159, 0),
    "unproven": (86, 180, 233),
    "earlier1": (178, 186, 193),
    "earlier2": (205, 211, 216),
    "earlier3": (226, 229, 232),
    "line": (120, 130, 139),
    "ink": (26, 30, 34),
}
_COLORS = list(_PALETTE)
# What a pair looks like: lines of three dots, ``#`` in its colour, ``i`` in ink, ``.`` in paper.
_PATTERNS = {
    "ok": ("...", ".#.", "..."),
    "blocked": ("###", "###", "###"),
    "exposed": ("###", "#.#", "###"),
    "conflict": ("#.#", ".#.", "#.#"),
    "unproven": ("###", "...", "###"),
    "earlier1": ("...", ".#.", "..."),
    "earlier2": ("...", ".#.", "..."),
    "earlier3": ("...", ".#.", "..."),
    "never": ("...", "...", "..."),
    "untold": ("...", "#..", "..."),
    "unasked": ("...", "...", ".#."),
    "self": ("#..", ".#.", "..#"),
    "silent": ("..#", ".#.", "#.."),
}
_COLOR_OF = {
    "self": "line",
    "silent": "line",
    "never": "paper",
    "untold": "line",
    "unasked": "line",
}
DOTS = 3


def still_picture(states: PairStates, row: str) -> str:
    """Return the picture of one row, as PNG in base64."""
    tiles = {code: _tile(sign.family) for code, sign in PAIR_SIGNS.items()}
    cells, size = states.rows[row], len(states.nodes)
    lines = bytearray()
    for start in range(0, len(cells), size):
        line = cells[start : start + size]
        for dots in range(DOTS):
            # Each line of a PNG begins with its filter, which is none.
            lines += b"\0" + b"".join([tiles[code][dots] for code in line])
    palette = b"".join(bytes(color) for color in _PALETTE.values())
    wide = size * DOTS
    png = b"\x89PNG\r\n\x1a\n"
    png += _chunk(b"IHDR", struct.pack(">IIBBBBB", wide, wide, 8, 3, 0, 0, 0))
    png += _chunk(b"PLTE", palette)
    png += _chunk(b"IDAT", zlib.compress(bytes(lines), 9)) + _chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


def _tile(family: str) -> tuple[bytes, ...]:
    color = _COLORS.index(_COLOR_OF.get(family, family))
    return tuple(bytes(color if dot == "#" else 0 for dot in line) for line in _PATTERNS[family])


def _chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))
