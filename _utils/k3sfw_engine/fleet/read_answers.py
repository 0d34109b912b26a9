"""Read answers of nodes, and saved answers, from data that others wrote: every fault at once.

A node whose answer cannot be used is silent, with the reason; what the others say stands. Pure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any, TypeVar

from k3sfw_engine.checks.verdicts import COLUMNS, Severity, Status
from k3sfw_engine.errors import EngineError
from k3sfw_engine.fleet.answers import (
    CELLS,
    FORMAT,
    NOT_ASKED,
    PARTS,
    PROMISE_VALUES,
    AskedPeers,
    CheckedCluster,
    CheckedNode,
    CheckedPart,
    ListedMember,
    NodeProblem,
    NodePromise,
)
from k3sfw_engine.fleet.defaults import (
    LONGEST_TEXT,
    MOST_PARTS,
    MOST_ROWS,
    NOTICES_SENT,
    PROBLEMS_SENT,
)

_Word = TypeVar("_Word", bound=Enum)
# Enough to see what is wrong with an answer.
_FAULTS_TOLD = 5
# JSON's readers may lose digits of larger numbers.
_BEYOND = 2**53


class UnusableAnswers(EngineError):
    """Data are not answers in the form that this version writes."""


def read_node(raw: object, node: str, known: Collection[str]) -> CheckedNode:
    """Return what a node answered.

    node
        The minion id that the master knows as the sender. What the answer itself says is ignored.
    known
        The nodes of the cluster, as a set or mapping. What the answer says of others is dropped.
        It is as large as the cluster, so nothing here copies it for each answer.

    Raises ``UnusableAnswers`` with every fault.
    """
    reader = _Reader()
    answer = _node(reader, raw, node, known)
    reader.finish()
    return answer


def read_saved(text: str) -> CheckedCluster:
    """Return saved answers.

    Raises ``UnusableAnswers`` with every fault if the frame of the file is not right; a node whose
    answer alone is not right is silent.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnusableAnswers([f"not JSON: {str(error)[:200]}"]) from error
    reader = _Reader()
    frame = reader.mapping(raw, "the file")
    reader.finish()
    if frame.get("format") != FORMAT:
        raise UnusableAnswers(
            [f"format: {_shown(frame.get('format'))} is not {FORMAT}, which this version reads"]
        )
    listed = reader.mapping(frame.get("nodes"), "nodes")
    nodes = {str(name): _member(reader, each, str(name)) for name, each in listed.items()}
    answers: dict[str, CheckedNode] = {}
    reasons = reader.mapping(frame.get("reasons", {}), "reasons")
    silent = {
        name: reader.text(reasons.get(name, ""), f"reasons:{name}")
        for name in reader.texts(frame.get("silent", []), "silent", len(nodes))
        if name in nodes
    }
    for name, each in reader.mapping(frame.get("answers"), "answers").items():
        try:
            if name in nodes:
                answers[name] = read_node(each, name, nodes)
        except UnusableAnswers as error:
            silent[name] = unusable(error)
    cluster = CheckedCluster(
        cluster=reader.text(frame.get("cluster", ""), "cluster"),
        at=reader.number(frame.get("at"), "at"),
        version=reader.text(frame.get("version", ""), "version"),
        tables=reader.mapping(frame.get("tables", {}), "tables"),
        nodes=nodes,
        answers=answers,
        silent={
            **{name: "" for name in nodes if name not in answers},
            **{name: reason for name, reason in silent.items() if name not in answers},
        },
        outside=_outside(reader, frame.get("outside", {})),
    )
    reader.finish()
    return cluster


def _outside(reader: _Reader, raw: object) -> dict[str, dict[str, NodePromise]]:
    """What minions outside of the cluster found; a file of an earlier version has none."""
    return {
        reader.text(minion, "outside"): {
            reader.text(name, "outside"): _promise(reader, each, f"outside:{_shown(name)}")
            for name, each in reader.mapping(found, f"outside:{_shown(minion)}", MOST_ROWS).items()
        }
        for minion, found in reader.mapping(raw, "outside", MOST_ROWS).items()
    }


def unusable(error: UnusableAnswers) -> str:
    """Why a node counts as silent although it sent something."""
    return f"its answer cannot be used ({'; '.join(error.sentences)})"


def _member(reader: _Reader, raw: object, name: str) -> ListedMember:
    at = f"nodes:{name}"
    found = reader.mapping(raw, at)
    return ListedMember(
        reader.text(found.get("role", ""), f"{at}:role"),
        reader.texts(found.get("addresses", []), f"{at}:addresses", MOST_PARTS),
    )


def _node(reader: _Reader, raw: object, node: str, known: Collection[str]) -> CheckedNode:
    answer = reader.mapping(raw, "the answer")
    reader.finish()
    if answer.get("format") != FORMAT:
        what = f"format: {_shown(answer.get('format'))} is not {FORMAT}, which this version reads"
        version = reader.text(answer.get("version", ""), "version")
        if version:
            what += f"; k3sfw is {version} there, until saltutil.sync_all"
        raise UnusableAnswers([what])
    proofs = {
        peer: reader.number(at, f"proofs:{peer}")
        for peer, at in reader.mapping(answer.get("proofs", {}), "proofs").items()
        if peer in known and peer != node
    }
    promises = reader.mapping(answer.get("promises", {}), "promises", MOST_ROWS)
    return CheckedNode(
        node=node,
        at=reader.number(answer.get("at"), "at"),
        took=reader.duration(answer.get("took", 0), "took"),
        role=reader.text(answer.get("role", ""), "role"),
        version=reader.text(answer.get("version", ""), "version"),
        tables=reader.text(answer.get("tables", ""), "tables"),
        parts={name: _part(reader, answer.get(name), name) for name in PARTS},
        asked=_asked(reader, answer.get("asked", {}), node, known),
        proofs=proofs,
        # No more than there are peers besides.
        proofs_left_off=min(
            reader.number(answer.get("proofs_left_off", 0), "proofs_left_off"),
            max(0, len(known) - (node in known) - len(proofs)),
        ),
        promises={
            reader.text(name, "promises"): _promise(reader, each, f"promises:{_shown(name)}")
            for name, each in promises.items()
        },
    )


def _part(reader: _Reader, raw: object, name: str) -> CheckedPart:
    part = reader.mapping(raw, name)
    counts = reader.mapping(part.get("counts", {}), f"{name}:counts", len(Status))
    rows = reader.items(part.get("problems", []), f"{name}:problems")
    problems = [
        _problem(reader, row, f"{name}:problems:{index}")
        for index, row in enumerate(rows[:PROBLEMS_SENT])
    ]
    left_off = reader.number(part.get("left_off", 0), f"{name}:left_off")
    return CheckedPart(
        status=reader.word(part.get("status"), Severity, f"{name}:status", Severity.UNKNOWN),
        summary=reader.text(part.get("summary", ""), f"{name}:summary"),
        counts={
            reader.word(word, Status, f"{name}:counts", Status.ERROR): reader.number(
                number, f"{name}:counts:{_shown(word)}"
            )
            for word, number in counts.items()
        },
        problems=tuple(problems),
        notices=reader.texts(part.get("notices", []), f"{name}:notices", NOTICES_SENT),
        left_off=left_off + len(rows) - len(problems),
    )


def _problem(reader: _Reader, raw: object, at: str) -> NodeProblem:
    row = reader.mapping(raw, at, 2 * len(COLUMNS))
    text = {name: reader.text(row.get(name, ""), f"{at}:{name}") for name in COLUMNS}
    status = reader.word(row.get("status"), Status, f"{at}:status", Status.ERROR)
    del text["status"]
    return NodeProblem(source=text.pop("from"), status=status, **text)


def _asked(reader: _Reader, raw: object, own: str, known: Collection[str]) -> AskedPeers:
    asked = reader.mapping(raw, "asked")
    named = reader.texts(asked.get("peers", []), "asked:peers", MOST_ROWS + len(known))
    rows: dict[str, str] = {}
    # A peer that the tables do not list, or that is named twice, has no column; nor has itself.
    first = {peer: at for at, peer in reversed([*enumerate(named)])}
    columns = sorted(at for peer, at in first.items() if peer in known and peer != own)
    for name, cells in reader.mapping(asked.get("rows", {}), "asked:rows", MOST_ROWS).items():
        at = f"asked:rows:{_shown(name)}"
        if not isinstance(cells, str) or len(cells) != len(named):
            reader.fault(at, f"not one character for each of {len(named)} peers")
        elif strange := set(cells) - CELLS.keys() - {NOT_ASKED}:
            reader.fault(at, f"{_shown(''.join(sorted(strange)))} stands for nothing")
        else:
            rows[reader.text(name, at)] = "".join(cells[column] for column in columns)
    return AskedPeers(tuple(named[column] for column in columns), rows).without_unasked()


def _promise(reader: _Reader, raw: object, at: str) -> NodePromise:
    found = reader.mapping(raw, at)
    value = reader.text(found.get("value", ""), f"{at}:value")
    if value not in PROMISE_VALUES:
        reader.fault(f"{at}:value", f"{_shown(value)} is not {', '.join(PROMISE_VALUES)}")
    return NodePromise(
        value,
        reader.number(found.get("packets", 0), f"{at}:packets"),
        reader.texts(found.get("parts", []), f"{at}:parts", MOST_PARTS),
    )


# -- single values --------------------------------------------------------------------------------


class _Reader:
    """Collects faults, and returns something harmless in place of what is wrong."""

    def __init__(self) -> None:
        self._faults: list[str] = []

    def fault(self, at: str, what: str) -> None:
        self._faults.append(f"{at}: {what}")

    def finish(self) -> None:
        """Raise ``UnusableAnswers`` with every fault, if there is one."""
        if self._faults:
            left = len(self._faults) - _FAULTS_TOLD
            more = [f"and {left} more faults"] if left > 0 else []
            raise UnusableAnswers([*self._faults[:_FAULTS_TOLD], *more])

    def mapping(self, raw: object, at: str, most: float = math.inf) -> Mapping[str, Any]:
        if not isinstance(raw, Mapping) or any(not isinstance(key, str) for key in raw):
            self.fault(at, f"{_shown(raw)} is not a map by names")
            return {}
        if len(raw) > most:
            self.fault(at, f"{len(raw)} entries are more than {most}")
            return {}
        return raw

    def items(self, raw: object, at: str) -> list[Any]:
        if not isinstance(raw, (list, tuple)):
            self.fault(at, f"{_shown(raw)} is not a list")
            return []
        return list(raw)

    def texts(self, raw: object, at: str, most: int) -> tuple[str, ...]:
        """The first texts of a list; more than ``most`` are left off."""
        return tuple(self.text(each, at) for each in self.items(raw, at)[:most])

    def text(self, raw: object, at: str) -> str:
        """A text, cut where it is longer than anything of ours."""
        if not isinstance(raw, str):
            self.fault(at, f"{_shown(raw)} is not a text")
            return ""
        cut = raw if len(raw) <= LONGEST_TEXT else f"{raw[: LONGEST_TEXT - 1]}…"
        # Half a character from JSON could not be written anywhere.
        return cut.encode("utf-8", "replace").decode()

    def number(self, raw: object, at: str) -> int:
        """A count, or seconds since 1970: neither is below 0 or beyond what JSON can hold."""
        return int(self._number(raw, at))

    def duration(self, raw: object, at: str) -> float:
        """Seconds; none where the clock was set back meanwhile."""
        return self._number(0 if isinstance(raw, (int, float)) and raw < 0 else raw, at)

    def _number(self, raw: object, at: str) -> float:
        # NaN is not in any range, so it is refused here as well.
        if isinstance(raw, (int, float)) and not isinstance(raw, bool) and 0 <= raw < _BEYOND:
            return raw
        self.fault(at, f"{_shown(raw)} is not a number from 0")
        return 0

    def word(self, raw: object, words: type[_Word], at: str, otherwise: _Word) -> _Word:
        try:
            return words(raw)
        except ValueError:
            self.fault(at, f"{_shown(raw)} is not one of {', '.join(w.value for w in words)}")
            return otherwise


def _shown(raw: object) -> str:
    """What was found, in a few characters: it can be anything of any size."""
    if isinstance(raw, (str, int, float, bool, type(None))):
        text = repr(raw[:40]) if isinstance(raw, str) else repr(raw)[:40]
        return text if not isinstance(raw, str) or len(raw) <= 40 else f"{text}…"
    return f"a {type(raw).__name__}"
