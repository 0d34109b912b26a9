"""The problems as the page shows them: one card for each cause, with its fixes. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from k3sfw_engine.checks.suggested_commands import UNTIL_THEN
from k3sfw_engine.errors import Problem
from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.blame import BlamedProblem, blamed_problems
from k3sfw_engine.fleet.causes import Cause
from k3sfw_engine.fleet.messages import sentence, suggested_by
from k3sfw_engine.fleet.overview import Overview
from k3sfw_engine.fleet.page.defaults import PACKETS_SHOWN
from k3sfw_engine.fleet.page.messages import counted, left_out, shared_notice
from k3sfw_engine.fleet.page.signs import CONFLICT, UNPROVEN, Sign, sign_of_status
from k3sfw_engine.fleet.text.style import clean
from k3sfw_engine.fleet.trusted_fix import is_trusted, suggested_only

# Before an operator has to read on; the longest fix of ours has about 300 characters.
_LONGEST_WORDS = 4000


@dataclass(frozen=True)
class FixShown:
    """A fix: a command that may be copied, or what to do in words."""

    label: str
    text: str
    is_command: bool


@dataclass(frozen=True)
class ProblemCard:
    """One cause.

    age
        ``new`` or ``still`` where there is an older page.
    explains
        The title of the answers that it explains; those beyond the first are counted.
    words
        What the search finds it by.
    """

    number: int
    state: Sign
    title: str
    evidence: str
    fixes: tuple[FixShown, ...]
    explains: str
    packets: tuple[str, ...]
    packets_left: str
    age: str
    nodes: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class ExplainedAnswers:
    """The problems of nodes, and by which cause each is explained.

    by_cause
        In the order of the causes.
    """

    by_cause: tuple[tuple[BlamedProblem, ...], ...]

    def notes(self) -> Iterator[tuple[str, str, str, int, str]]:
        """``(from, to, row, number of the problem, evidence)`` of what is about a pair."""
        for number, found in enumerate(self.by_cause, 1):
            for each in found:
                if each.source:
                    yield each.source, each.to, each.row, number, each.problem.evidence


def explained_answers(cluster: CheckedCluster, causes: Sequence[Cause]) -> ExplainedAnswers:
    """Find the answers that belong to each cause."""
    by_node: dict[str, list[int]] = defaultdict(list)
    for at, cause in enumerate(causes):
        for name in cause.nodes:
            by_node[name].append(at)
    rows = [frozenset(cause.rows) for cause in causes]
    found: list[list[BlamedProblem]] = [[] for _cause in causes]
    for each in blamed_problems(cluster):
        place = _cause_of(each, by_node, rows, causes)
        if place is not None:
            found[place].append(each)
    return ExplainedAnswers(tuple(map(tuple, found)))


def _cause_of(
    each: BlamedProblem,
    by_node: Mapping[str, list[int]],
    rows: Sequence[Collection[str]],
    causes: Sequence[Cause],
) -> int | None:
    """The cause at the node at fault, or else at one of both ends; with the row if one has it."""
    ends = [each.culprit] if each.culprit in by_node else [each.to, each.source, each.reporter]
    able = [at for name in ends for at in by_node.get(name, ())]
    exact = [at for at in able if each.row in rows[at] and causes[at].status is each.status]
    with_row = [at for at in able if each.row in rows[at]]
    return next(iter([*exact, *with_row, *able]), None)


def problem_cards(
    causes: Sequence[Cause], explained: ExplainedAnswers, new: Collection[Cause] | None
) -> tuple[ProblemCard, ...]:
    """Return a card for each cause, in their order.

    new
        The causes that older answers do not have; ``None`` without older answers.
    """
    return tuple(
        _card(number, cause, found, "" if new is None else "new" if cause in new else "still")
        for number, (cause, found) in enumerate(zip(causes, explained.by_cause), 1)
    )


def told_cards(judged: Overview, before: int) -> tuple[ProblemCard, ...]:
    """Return a card for what is wrong without a cause on a node.

    These are checks that were not possible, and tables that differ.

    before
        How many cards there are already.
    """
    told = [
        *((UNPROVEN, Problem(shared_notice(each)), each.nodes) for each in judged.unchecked),
        *((CONFLICT, each, ()) for each in judged.differing),
    ]
    return tuple(
        ProblemCard(
            number=number,
            state=replace(sign, name="could not be checked" if nodes else "tables differ"),
            title=clean(problem.text),
            evidence="",
            fixes=tuple(_fixes(problem.fix or (f"see {problem.see}" if problem.see else ""), ())),
            explains="",
            packets=(),
            packets_left="",
            age="",
            nodes=nodes,
            words=clean(str(problem)).lower()[:_LONGEST_WORDS],
        )
        for number, (sign, problem, nodes) in enumerate(told, before + 1)
    )


def _card(number: int, cause: Cause, found: Sequence[BlamedProblem], age: str) -> ProblemCard:
    # The evidence has a paragraph of its own.
    title = clean(sentence(replace(cause, evidence="")).text)
    packets = sorted({clean(_packet(each)) for each in found})
    fixes = tuple(_fixes(cause.hint, cause.hint_by))
    texts = [title, cause.evidence, *cause.nodes, *cause.rows, cause.status.value, age]
    texts += [fix.text for fix in fixes] + packets
    return ProblemCard(
        number=number,
        state=sign_of_status(cause.status),
        title=title,
        evidence=clean(cause.evidence),
        fixes=fixes,
        explains=f"Explains {counted(cause.questions, 'answer')}",
        packets=tuple(packets[:PACKETS_SHOWN]),
        packets_left=left_out(len(packets) - PACKETS_SHOWN, "answer"),
        age=age,
        nodes=cause.nodes,
        words=clean(" ".join(texts)).lower()[:_LONGEST_WORDS],
    )


def _packet(each: BlamedProblem) -> str:
    where = f"{each.source} → {each.to}" if each.source else each.reporter
    address = f" ({each.problem.address})" if each.problem.address else ""
    return f"{where}{address} {each.row}: {each.status.value.replace('_', ' ')}"


def _fixes(hint: str, told_by: Collection[str]) -> Iterator[FixShown]:
    cause, separator, command = hint.partition(UNTIL_THEN)
    if hint.startswith("see "):
        yield FixShown("See", clean(hint[len("see ") :]), is_command=False)
    elif suggested_only(hint, told_by):
        yield FixShown(suggested_by(told_by), clean(hint), is_command=False)
    elif separator and is_trusted(command, told_by):
        yield FixShown("Fix", clean(cause), is_command=False)
        yield FixShown("Until then", clean(command), is_command=True)
    elif hint:
        yield FixShown("Fix", clean(hint), is_trusted(hint, told_by))
