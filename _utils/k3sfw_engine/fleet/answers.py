"""What nodes answer to the check of all, as types and as the data that is sent and saved.

``read_answers`` reads the plain data back. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from k3sfw_engine.checks.verdicts import Check, Severity, Status, flat_row

FORMAT = 1
# The checks in an answer, in the order in which they are shown.
PARTS = ("ports", "routes", "zones")
# The port that no row names has another number for each peer and minute, and one row of cells.
FREE = "free"


@dataclass(frozen=True)
class Cell:
    """What one node got from one peer at one row: the worst of all addresses.

    is_open
        Whether the row expects the port to be open.
    """

    status: Status
    is_open: bool


NOT_ASKED = "."
# One letter for each status: small where the port must be open, and large where it must be closed.
# What is as it must be has the first letters of both words.
_LETTERS = {
    Status.EXPOSED: "x",
    Status.BLOCKED: "b",
    Status.LOST: "q",
    Status.LOCAL_BLOCK: "l",
    Status.LINK_DOWN: "d",
    Status.NO_ROUTE: "r",
    Status.WRONG_ROUTE: "w",
    Status.SRC_MISMATCH: "m",
    Status.NO_NEIGHBOUR: "g",
    Status.OVERLAP: "v",
    Status.BAD_SETTING: "t",
    Status.BAD_MTU: "z",
    Status.HOST_DOWN: "h",
    Status.NO_ANSWER: "n",
    Status.ERROR: "e",
    Status.UNPROVEN: "u",
    Status.CONFLICT: "f",
    Status.NO_LISTENER: "i",
}
CELLS: Mapping[str, Cell] = MappingProxyType(
    {
        "o": Cell(Status.OK, is_open=True),
        "c": Cell(Status.OK, is_open=False),
        **{letter: Cell(status, is_open=True) for status, letter in _LETTERS.items()},
        **{letter.upper(): Cell(status, is_open=False) for status, letter in _LETTERS.items()},
    }
)
LETTERS: Mapping[Cell, str] = MappingProxyType({cell: letter for letter, cell in CELLS.items()})


@dataclass(frozen=True)
class NodeProblem:
    """One question of a node whose answer is not ok; the columns of the checks' full rows."""

    source: str
    to: str
    description: str
    status: Status
    evidence: str
    address: str = ""
    protocol: str = ""
    port: str = ""
    expect: str = ""
    by: str = ""
    hint: str = ""

    def as_row(self) -> dict[str, str]:
        """Return it as plain data."""
        return flat_row(self)


@dataclass(frozen=True)
class CheckedPart:
    """What one check found on one node.

    left_off
        How many problems there are besides those that were sent.
    """

    status: Severity
    summary: str
    counts: Mapping[Status, int] = field(default_factory=dict)
    problems: tuple[NodeProblem, ...] = ()
    notices: tuple[str, ...] = ()
    left_off: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "status": self.status.value,
            "summary": self.summary,
            "counts": {status.value: number for status, number in self.counts.items()},
            "problems": [each.as_row() for each in self.problems],
            "notices": list(self.notices),
            "left_off": self.left_off,
        }


@dataclass(frozen=True)
class AskedPeers:
    """Which peers a node asked, and what it got from each, a character for each peer and row.

    rows
        By ``protocol/port`` (``tcp/6443``, ``tcp/free``), or the protocol alone where it has no
        ports. The characters are those of ``CELLS``, and ``NOT_ASKED``.
    """

    peers: tuple[str, ...] = ()
    rows: Mapping[str, str] = field(default_factory=dict)

    def without_unasked(self) -> AskedPeers:
        """Leave off the peers that were asked nothing at any row."""
        columns = [
            at
            for at, column in enumerate(zip(*self.rows.values()))
            if any(cell != NOT_ASKED for cell in column)
        ]
        if len(columns) == len(self.peers):
            return self
        return AskedPeers(
            tuple(self.peers[at] for at in columns),
            {name: "".join(cells[at] for at in columns) for name, cells in self.rows.items()},
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"peers": list(self.peers), "rows": dict(self.rows)}


@dataclass(frozen=True)
class NodePromise:
    """What one node says of one promise: its value, the packets sent for it, and what broke it."""

    value: str
    packets: int = 0
    parts: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"value": self.value, "packets": self.packets, "parts": list(self.parts)}


# The values of a promise, the worst first.
PROMISE_VALUES = ("broken", "not enforceable", "unproven", "kept")


@dataclass(frozen=True)
class CheckedNode:
    """The answer of one node.

    at
        When it was checked, in seconds since 1970; ``took``: how many seconds that took.
    tables
        A digest of what its pillar says.
    parts
        What each of ``PARTS`` found.
    proofs
        When this node last asked each peer.
    proofs_left_off
        How many peers it asked besides those, later than all of them.
    """

    node: str
    at: int
    took: float
    role: str
    version: str
    tables: str
    parts: Mapping[str, CheckedPart]
    asked: AskedPeers = AskedPeers()
    proofs: Mapping[str, int] = field(default_factory=dict)
    proofs_left_off: int = 0
    promises: Mapping[str, NodePromise] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "format": FORMAT,
            "node": self.node,
            "at": self.at,
            "took": round(self.took, 1),
            "role": self.role,
            "version": self.version,
            "tables": self.tables,
            **{name: self.parts[name].as_dict() for name in PARTS},
            "asked": self.asked.as_dict(),
            "proofs": dict(sorted(self.proofs.items())),
            "proofs_left_off": self.proofs_left_off,
            "promises": {name: each.as_dict() for name, each in sorted(self.promises.items())},
        }


@dataclass(frozen=True)
class CheckedCluster:
    """The answers of all nodes that answered.

    tables
        What the pillar says below ``k3s``, as plain data; empty if it is not known.
    nodes
        Each node of the tables: its role and its addresses.
    silent
        The nodes without a usable answer, with the reason.
    outside
        What minions outside of the cluster found of promises, by minion and promise.
    """

    cluster: str
    at: int
    version: str
    tables: Mapping[str, Any]
    nodes: Mapping[str, ListedMember]
    answers: Mapping[str, CheckedNode]
    silent: Mapping[str, str] = field(default_factory=dict)
    outside: Mapping[str, Mapping[str, NodePromise]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, to be saved."""
        return {
            "format": FORMAT,
            "cluster": self.cluster,
            "at": self.at,
            "version": self.version,
            "tables": self.tables,
            "nodes": {name: each.as_dict() for name, each in sorted(self.nodes.items())},
            "silent": sorted(self.silent),
            "reasons": dict(sorted(self.silent.items())),
            "answers": {name: each.as_dict() for name, each in sorted(self.answers.items())},
            "outside": {
                minion: {name: each.as_dict() for name, each in sorted(found.items())}
                for minion, found in sorted(self.outside.items())
            },
        }


@dataclass(frozen=True)
class ListedMember:
    """A node as the tables list it."""

    role: str
    addresses: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"role": self.role, "addresses": list(self.addresses)}


# -- a node writes its answer ---------------------------------------------------------------------


def problems_of(checks: Iterable[Check]) -> tuple[NodeProblem, ...]:
    """Return every question whose answer is not ok."""
    return tuple(
        NodeProblem(
            source=each.source,
            to=each.to,
            description=each.description,
            status=each.status,
            evidence=each.evidence,
            address=each.address,
            protocol=each.protocol,
            port=each.port,
            expect=each.expect,
            by=each.by,
            hint=each.hint,
        )
        for each in checks
        if each.status is not Status.OK
    )


def asked_peers(checks: Iterable[Check], own: str, peers: Iterable[str], free: str) -> AskedPeers:
    """Return what a node got from each peer that it asked.

    free
        The description of the questions about a port that no row names.
    """
    worst: dict[str, dict[str, Cell]] = {}
    for each in checks:
        if each.source == own and each.to != own and each.protocol:
            cell = Cell(each.status, is_open=each.expect != "closed")
            row = worst.setdefault(_name_of_row(each, free), {})
            row[each.to] = min(row.get(each.to, cell), cell, key=_rank)
    names = tuple(sorted(set(peers)))
    return AskedPeers(
        names,
        {
            row: "".join(LETTERS[cells[to]] if to in cells else NOT_ASKED for to in names)
            for row, cells in sorted(worst.items())
        },
    )


def _name_of_row(check: Check, free: str) -> str:
    if check.description == free:
        return f"{check.protocol}/{FREE}"
    return f"{check.protocol}/{check.port}" if check.port else check.protocol


def _rank(cell: Cell) -> tuple[int, bool]:
    return list(Status).index(cell.status), cell.is_open
