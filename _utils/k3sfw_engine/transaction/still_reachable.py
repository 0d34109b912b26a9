"""The proof that a change did not cut this node off: new connections to the Salt masters.

A master that does not answer is cut off or busy. One that accepts a new connection and acknowledges
packets on it was reached: it is busy.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import netaddr

from k3sfw_engine.errors import NotConverged
from k3sfw_engine.model.packet_question import PacketQuestion, ProbeResult
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.probes.connect import ask
from k3sfw_engine.probes.held_connections import acknowledged
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.defaults import (
    ANSWER_AT_LEAST,
    ANSWER_AT_MOST,
    ANSWER_BEFORE,
    ANSWER_FACTOR,
    CONNECTION_PATIENCE,
    CONNECTION_PAUSE,
    CONNECTION_TRIES,
    SPREAD_AT_MOST,
)


@dataclass(frozen=True)
class Baseline:
    """What the masters answered before a change.

    connections
        The new connections that they accepted.
    took
        The seconds that an answer took; ``None`` if none came, so that silence after the change
        proves nothing.
    """

    connections: tuple[PacketQuestion, ...] = ()
    took: float | None = None

    @property
    def patience(self) -> float:
        """The seconds to wait for an answer after the change."""
        if self.took is None:
            return 0.0
        return min(max(self.took * ANSWER_FACTOR, ANSWER_AT_LEAST), ANSWER_AT_MOST)

    @property
    def spread(self) -> float:
        """The seconds over which nodes that changed together spread their requests."""
        return min(self.took or 0.0, SPREAD_AT_MOST)


@dataclass(frozen=True)
class Proof:
    """What must work after a change as it did before.

    masters
        Returns addresses and ports of the Salt masters: those that accept a new connection before
        the change must do so afterwards. It is called only if something changes.
    round_trip
        Asks the master something over a new, authenticated connection and waits so many seconds;
        returns the reason if it did not answer, else an empty text.
    """

    masters: Callable[[], Iterable[tuple[netaddr.IPAddress, int]]] = tuple
    round_trip: Callable[[float], str] = lambda _seconds: ""

    def baseline(self) -> Baseline:
        """What the masters answer now."""
        questions = [PacketQuestion(str(host), Protocol.TCP, port) for host, port in self.masters()]
        accepted = _accepted(questions)
        if not accepted:
            return Baseline()
        began = time.monotonic()
        silent = self.round_trip(ANSWER_BEFORE)
        return Baseline(accepted, None if silent else time.monotonic() - began)

    def prove(self, before: Baseline) -> tuple[str, ...]:
        """Ask the masters again; return notices about one that was reached and did not answer.

        Raises ``NotConverged`` if a connection that succeeded before fails now.
        """
        if not before.connections:
            return ()  # No master answered before, so none can be lost.
        _refuse_lost(before.connections, _accepted_in_time(before.connections))
        if before.took is None:
            _refuse_lost(before.connections, _held(before.connections))
            return (messages.master_was_silent(ANSWER_BEFORE),)
        time.sleep(random.uniform(0, before.spread))
        silent = self.round_trip(before.patience)
        if not silent:
            return ()
        _refuse_lost(before.connections, _held(before.connections))
        return (messages.master_is_busy(before.patience, silent),)


def _accepted(questions: Sequence[PacketQuestion]) -> tuple[PacketQuestion, ...]:
    answers = ask(questions, patience=CONNECTION_PATIENCE) if questions else []
    return tuple(
        question
        for question, answer in zip(questions, answers)
        if answer.outcome is ProbeResult.OPEN
    )


def _accepted_in_time(questions: Sequence[PacketQuestion]) -> frozenset[PacketQuestion]:
    """Those that are accepted at one of several tries, as a master may be restarting."""
    found = frozenset(_accepted(questions))
    for _turn in range(CONNECTION_TRIES - 1):
        left = [question for question in questions if question not in found]
        if not left:
            break
        time.sleep(CONNECTION_PAUSE)
        found |= frozenset(_accepted(left))
    return found


def _held(questions: Sequence[PacketQuestion]) -> frozenset[PacketQuestion]:
    """Those on whose new connections the master's kernel acknowledges packets."""
    return frozenset(each for each, alive in zip(questions, acknowledged(questions)) if alive)


def _refuse_lost(before: Iterable[PacketQuestion], now: frozenset[PacketQuestion]) -> None:
    lost = [question for question in before if question not in now]
    if lost:
        raise NotConverged(messages.connection_lost(each.address, each.port) for each in lost)
