"""The picture without scripts: a PNG in which each state has a pattern of its own."""

from __future__ import annotations

import base64
import struct
import zlib

from k3sfw_engine.fleet.page.pair_states import WORST, pair_states
from k3sfw_engine.fleet.page.signs import PAIR_SIGNS
from k3sfw_engine.fleet.page.still_picture import DOTS, still_picture
from tests.page_files import LARGE_FAULTS, never_asked
from tests.simulated_fleet import simulated_fleet


def chunks(png):
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        (check,) = struct.unpack(">I", png[at + 8 + length : at + 12 + length])
        assert check == zlib.crc32(kind + content)
        yield kind, content
        at += 12 + length


def dots_of(png):
    """The lines of dots, as colours of the palette."""
    found = dict(chunks(png))
    width, height, depth, kind = struct.unpack(">IIBB", found[b"IHDR"][:10])
    assert (depth, kind) == (8, 3)
    lines = zlib.decompress(found[b"IDAT"])
    palette = [tuple(found[b"PLTE"][at : at + 3]) for at in range(0, len(found[b"PLTE"]), 3)]
    return [
        [palette[dot] for dot in lines[at * (width + 1) + 1 : (at + 1) * (width + 1)]]
        for at in range(height)
    ]


def test_each_pair_is_where_its_line_and_column_are():
    states = pair_states(simulated_fleet(300, LARGE_FAULTS))
    dots = dots_of(base64.b64decode(still_picture(states, WORST)))
    assert len(dots) == len(dots[0]) == 300 * DOTS
    tiles = {}
    for line, source in enumerate(states.nodes):
        for column, _to in enumerate(states.nodes):
            sign = PAIR_SIGNS[states.rows[WORST][line * 300 + column]]
            tile = tuple(
                tuple(dots[line * DOTS + y][column * DOTS : (column + 1) * DOTS])
                for y in range(DOTS)
            )
            assert tiles.setdefault(sign.family, tile) == tile, source
    assert len(set(tiles.values())) == len(tiles)


def test_what_was_never_asked_is_blank():
    states = pair_states(never_asked(simulated_fleet(30)))
    dots = dots_of(base64.b64decode(still_picture(states, WORST)))
    at = states.rows[WORST].index(".")
    line, column = at // 30 * DOTS, at % 30 * DOTS
    assert {dots[line + y][column + x] for x in range(DOTS) for y in range(DOTS)} == {
        (255, 255, 255)
    }
