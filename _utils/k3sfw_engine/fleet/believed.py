"""What the master believes of an answer that it could read: nothing beyond its own tables. Pure.

A node may say what it likes of rows and promises that no tables have, and its clock may be wrong.
What is left off is told in a notice of the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from k3sfw_engine.checks.ports.defaults import PORTS_ASKED_ONE_BY_ONE
from k3sfw_engine.fleet.answers import FREE, AskedPeers, CheckedNode
from k3sfw_engine.fleet.blame import TUNNELS
from k3sfw_engine.fleet.defaults import CLOCKS_MAY_DIFFER, NOTICES_SENT, OLDEST_PROOF
from k3sfw_engine.model.port_ranges import parse_span
from k3sfw_engine.model.rows import PortRange, Protocol, Tables


@dataclass(frozen=True)
class RunTimes:
    """When the master began to ask, and when it has the answers, in seconds since 1970."""

    began: int
    ended: int


def believed(answer: CheckedNode, tables: Tables, times: RunTimes) -> CheckedNode:
    """Return an answer without what the master knows better."""
    rows = _known_rows(answer.asked.rows, tables)
    promises = {promise.name for promise in tables.promises}
    known = {name: each for name, each in answer.promises.items() if name in promises}
    notices = [
        *_left_off(len(answer.asked.rows) - len(rows), "row"),
        *_left_off(len(answer.promises) - len(known), "promise"),
    ]
    asked = AskedPeers(answer.asked.peers, {name: answer.asked.rows[name] for name in rows})
    found = replace(answer, asked=asked.without_unasked(), promises=known)
    found, wrong_clock = _in_time_of_master(found, times)
    return _with_notices(found, [*notices, *wrong_clock])


def _known_rows(names: Iterable[str], tables: Tables) -> list[str]:
    """The rows of cells that the tables have, and no more than a node asks of them."""
    spans = {(row.protocol.value, span) for row in tables.every_row for span in row.ports}
    whole = {row.protocol.value for row in tables.every_row if row.protocol.is_whole}
    for promise in tables.promises:
        for each in (*promise.accept, *promise.deny):
            if each.protocol.has_ports:
                spans.add((each.protocol.value, each.ports or PortRange(1, 65535)))
            else:
                whole.add(each.protocol.value)
    by_protocol: dict[str, list[PortRange]] = {}
    for protocol, span in sorted(spans):
        by_protocol.setdefault(protocol, []).append(span)
    always = {Protocol.ANY.value, *TUNNELS, *(f"{each.value}/{FREE}" for each in Protocol)}
    known = [
        name
        for name in sorted(names)
        if name in whole or name in always or _is_in(name, by_protocol)
    ]
    ports = (min(span.high - span.low + 1, PORTS_ASKED_ONE_BY_ONE) for _protocol, span in spans)
    return known[: sum(ports) + len(whole) + len(always)]


def _is_in(name: str, by_protocol: dict[str, list[PortRange]]) -> bool:
    protocol, _slash, port = name.partition("/")
    try:
        asked = parse_span(port)
    except ValueError:
        return False
    spans = by_protocol.get(protocol, ())
    return any(span.low <= asked.low and asked.high <= span.high for span in spans)


def _left_off(many: int, noun: str) -> Iterator[str]:
    if many:
        name = noun if many == 1 else f"{noun}s"
        yield (
            f"it said something of {many} {name} that the tables of the master do not have: left "
            "off"
        )


def _in_time_of_master(answer: CheckedNode, times: RunTimes) -> tuple[CheckedNode, tuple[str, ...]]:
    """Return the answer with times of the master's clock, and by how much its own is wrong.

    A proof from the future, or from before the node had a clock, proves nothing.
    """
    ages = {peer: answer.at - at for peer, at in answer.proofs.items()}
    ages = {peer: age for peer, age in ages.items() if 0 <= age <= OLDEST_PROOF}
    wrong: tuple[str, ...] = ()
    at = answer.at
    if not times.began - CLOCKS_MAY_DIFFER <= at <= times.ended + CLOCKS_MAY_DIFFER:
        at = times.ended
        minutes = abs(at - answer.at) // 60
        side = "behind" if answer.at < at else "ahead of"
        far = f"{minutes:,} minutes" if minutes < 60 * 48 else f"{minutes // 1440:,} days"
        wrong = (f"its clock is {far} {side} the master's",)
    proofs = {peer: at - age for peer, age in ages.items()}
    return replace(answer, at=at, proofs=proofs), wrong


def _with_notices(answer: CheckedNode, notices: Iterable[str]) -> CheckedNode:
    new = tuple(notices)
    if not new:
        return answer
    ports = answer.parts["ports"]
    said = (*new, *ports.notices)[:NOTICES_SENT]
    return replace(answer, parts={**answer.parts, "ports": replace(ports, notices=said)})
