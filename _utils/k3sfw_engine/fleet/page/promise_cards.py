"""The promises as the page shows them: what each says, and what became of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from k3sfw_engine.checks.verdicts import Severity
from k3sfw_engine.fleet.answers import PROMISE_VALUES, CheckedCluster
from k3sfw_engine.fleet.overview import ClusterPromise
from k3sfw_engine.fleet.page.defaults import PACKETS_SHOWN
from k3sfw_engine.fleet.page.messages import counted
from k3sfw_engine.fleet.page.signs import PROMISES, Sign
from k3sfw_engine.fleet.text.style import clean
from k3sfw_engine.model.rows import Promise, Tables


@dataclass(frozen=True)
class PromiseCard:
    """One promise.

    says
        The promise in words, and how it was judged.
    parts
        What broke it.
    """

    name: str
    state: Sign
    says: str
    why: str
    parts: tuple[str, ...]
    words: str


def promise_cards(
    cluster: CheckedCluster, found: Sequence[ClusterPromise], tables: Tables | None
) -> tuple[PromiseCard, ...]:
    """Return the promises, the worst first.

    found
        What the nodes make of them. A promise that none of them judged is not proven.
    """
    written = {promise.name: promise for promise in tables.promises} if tables else {}
    judges = Counter(name for answer in cluster.answers.values() for name in answer.promises)
    unjudged = [
        ClusterPromise(name, "unproven", Severity.OK, 0, (), ())
        for name in sorted(written)
        if not judges[name]
    ]
    cards = [_card(each, written.get(each.name), judges[each.name]) for each in (*found, *unjudged)]
    order = {PROMISES[value].name: at for at, value in enumerate(PROMISE_VALUES)}
    return tuple(sorted(cards, key=lambda card: (order[card.state.name], card.name)))


def _card(found: ClusterPromise, promise: Promise | None, judges: int) -> PromiseCard:
    shown = [clean(part) for part in found.parts[:PACKETS_SHOWN]]
    if len(found.parts) > len(shown):
        shown.append(f"and {len(found.parts) - len(shown):,} more")
    says = ". ".join([*([clean(in_words(promise))] if promise else []), _proof(found, judges)])
    why = clean(promise.why) if promise else ""
    words = clean(f"{found.name} {found.value} {says} {why} {' '.join(shown)}").lower()
    return PromiseCard(clean(found.name), PROMISES[found.value], says, why, tuple(shown), words)


def in_words(promise: Promise) -> str:
    """Return a promise as a sentence."""
    source = _joined(map(str, promise.sources))
    if promise.exceptions:
        source += f" except {_joined(map(str, promise.exceptions))}"
    targets = _joined(
        "every node" if str(each) == "any" else str(each) for each in promise.destinations
    )
    parts = []
    if promise.accept:
        parts.append(f"must reach {_joined(map(str, promise.accept))}")
    if promise.deny:
        parts.append(f"must not reach {_joined(map(str, promise.deny))}")
    text = f"{source} {' and '.join(parts)} of {targets}"
    return text[:1].upper() + text[1:]


def _joined(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:-1]) + f" and {every[-1]}" if len(every) > 1 else "".join(every)


def _proof(found: ClusterPromise, judges: int) -> str:
    if not judges:
        return "No node that answered judged it"
    if not found.packets:
        return f"Judged by the tables on {counted(judges, 'node')}, without packets"
    return f"Judged on {counted(judges, 'node')}, with {counted(found.packets, 'packet')}"
