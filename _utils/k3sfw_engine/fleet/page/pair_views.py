"""The pairs of nodes as data for the script, as tables and as pictures. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.page import messages
from k3sfw_engine.fleet.page.defaults import CELLS_IN_TABLES, NODES_IN_TABLE, NOTES_KEPT
from k3sfw_engine.fleet.page.pair_states import WORST, PairStates, encoded
from k3sfw_engine.fleet.page.signs import LEGEND, PAIR_SIGNS, SILENT, UNASKED, UNTOLD, Sign
from k3sfw_engine.fleet.page.still_picture import DOTS, still_picture
from k3sfw_engine.fleet.text.style import clean


@dataclass(frozen=True)
class PairTable:
    """All pairs at one row, as a table."""

    title: str
    lines: tuple[PairLine, ...]


@dataclass(frozen=True)
class PairLine:
    """What one node got from each."""

    name: str
    cells: tuple[Sign, ...]


@dataclass(frozen=True)
class PairPicture:
    """All pairs at one row, as a picture.

    png
        In base64.
    text
        What it shows, in words.
    """

    title: str
    png: str
    size: int
    text: str


def pair_tables(states: PairStates, titles: Mapping[str, str]) -> tuple[PairTable, ...]:
    """Return a table of each row, or of the worst of all rows only, or none if there are many."""
    size = len(states.nodes)
    if not 1 < size <= NODES_IN_TABLE:
        return ()
    rows = list(states.rows)
    if size * size * len(rows) > CELLS_IN_TABLES:
        rows = [WORST]
    return tuple(PairTable(titles[row], _lines(states, row)) for row in rows)


def _lines(states: PairStates, row: str) -> tuple[PairLine, ...]:
    size, cells = len(states.nodes), states.rows[row]
    return tuple(
        PairLine(
            clean(name), tuple(PAIR_SIGNS[code] for code in cells[at * size : (at + 1) * size])
        )
        for at, name in enumerate(states.nodes)
    )


def pair_pictures(states: PairStates, titles: Mapping[str, str]) -> tuple[PairPicture, ...]:
    """Return a picture of each row that is not like another; none where tables show them all."""
    size = len(states.nodes)
    if size <= NODES_IN_TABLE:
        return ()
    alike: dict[str, list[str]] = {}
    for row, cells in states.rows.items():
        alike.setdefault(cells, []).append(row)
    return tuple(
        PairPicture(
            title=", ".join(titles[row] for row in rows),
            png=still_picture(states, rows[0]),
            size=size * DOTS,
            text=messages.picture_in_words(states, rows[0]),
        )
        for rows in alike.values()
    )


# Not in the legend where no row has it: whatever the script chooses, it does not occur.
_RARE = (UNTOLD, UNASKED, SILENT)


@dataclass(frozen=True)
class LegendEntry:
    """A sign, and how many pairs have it."""

    state: Sign
    count: str


def pair_legend(states: PairStates) -> tuple[LegendEntry, ...]:
    """Return each sign with its number of pairs at the worst of their rows."""
    found = Counter(PAIR_SIGNS[code].family for code in states.rows[WORST])
    used = {PAIR_SIGNS[code].family for cells in states.rows.values() for code in set(cells)}
    return tuple(
        LegendEntry(sign, f"{found[sign.family]:,}")
        for sign in LEGEND
        if sign.family in used or sign not in _RARE
    )


def script_data(
    cluster: CheckedCluster,
    states: PairStates,
    titles: Mapping[str, str],
    notes: Mapping[str, Sequence[Any]],
    file: str,
) -> dict[str, Any]:
    """Return what page.js reads: names, and the characters of every pair, each text once.

    notes
        The number of the problem and the evidence, by ``from,to,row``.
    file
        The name under which the answers are downloaded.
    """
    texts: dict[str, int] = {}
    rows = [
        [row, titles[row], texts.setdefault(encoded(cells), len(texts))]
        for row, cells in states.rows.items()
    ]
    used = {code for cells in states.rows.values() for code in set(cells)}
    roles = sorted({cluster.nodes[name].role for name in states.nodes}, reverse=True)
    return {
        "file": file,
        "roles": [clean(role) for role in roles],
        "nodes": [
            [
                clean(name),
                roles.index(cluster.nodes[name].role),
                " ".join(map(clean, cluster.nodes[name].addresses)),
                messages.short_time(cluster.answers[name].at) if name in cluster.answers else "",
            ]
            for name in states.nodes
        ],
        "rows": rows,
        "cells": list(texts),
        "states": [
            [code, sign.name, sign.family, sign.glyph, sign.is_problem, sign.says]
            for code, sign in PAIR_SIGNS.items()
            if code in used
        ],
        "notes": notes,
    }


def notes_of(
    states: PairStates, evidence: Iterable[tuple[str, str, str, int, str]]
) -> dict[str, list[Any]]:
    """Return the evidence for pairs: ``(from, to, row, number of the problem, text)`` each."""
    places = {name: at for at, name in enumerate(states.nodes)}
    notes: dict[str, list[Any]] = {}
    for source, to, row, number, text in evidence:
        if len(notes) < NOTES_KEPT and source in places and to in places:
            for each in (row, WORST):
                notes.setdefault(f"{places[source]},{places[to]},{each}", [number, clean(text)])
    return notes
