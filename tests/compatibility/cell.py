"""One cell of the matrix: what is tried together, and the tests that try it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class NotHere(Exception):
    """What a cell needs cannot be had on this machine; the text says what, and why."""


@dataclass(frozen=True)
class Prepared:
    """What the tests of a cell need to know, and which versions were really found."""

    # Added to the environment of pytest.
    environment: Mapping[str, str] = field(default_factory=dict)
    # By column of the table, such as ``salt: 3006.30``; they replace what the cell asked for.
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """A row of the table: its columns, its tests, and how to get what they need."""

    # The chapter of the table that it stands in: salt, firewalld, host, upgrade.
    group: str
    # Unique in its group, and stable: ``CELLS=`` of make matrix and the record go by it.
    name: str
    # What ran, in the reader's words: "the whole walk", "all functional tests".
    what: str
    # Arguments of pytest: files, node ids, ``-k``, ``-m``.
    tests: tuple[str, ...]
    # Install what is needed below a folder that is kept, or raise NotHere.
    prepare: Callable[[Path], Prepared]
    salt: str = ""
    python: str = ""
    firewalld: str = ""
    backend: str = ""
    host: str = ""
    shipping: str = ""
    # How many processes share the tests out; 0 for one process without workers.
    processes: int = 0

    @property
    def key(self) -> str:
        """By which the cell is called and recorded."""
        return f"{self.group}-{self.name}"


COLUMNS = ("salt", "python", "firewalld", "backend", "host", "shipping")
