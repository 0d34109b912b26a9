"""The proof that a change did not cut this node off: new connections to the Salt masters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import netaddr

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.packet_question import PacketQuestion, ProbeResult
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.probes.connect import ask
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.defaults import (
    CONNECTION_PATIENCE,
    CONNECTION_PAUSE,
    CONNECTION_TRIES,
)


@dataclass(frozen=True)
class Proof:
    """What must work after a change as it did before.

    masters
        Returns addresses and ports of the Salt masters: those that accept a new connection before
        the change must do so afterwards. It is called only if something changes.
    round_trip
        Asks the master something over a new, authenticated connection; returns a sentence if it
        did not answer, else an empty text.
    """

    masters: Callable[[], Iterable[tuple[netaddr.IPAddress, int]]] = tuple
    round_trip: Callable[[], str] = str

    def baseline(self) -> tuple[PacketQuestion, ...]:
        """The connections that succeed now."""
        questions = [PacketQuestion(str(host), Protocol.TCP, port) for host, port in self.masters()]
        return _answered(questions)

    def broken(self, baseline: Iterable[PacketQuestion]) -> list[Problem]:
        """The connections that succeeded before and fail now."""
        asked = list(baseline)
        if not asked:
            return []  # No master answered before, so none can be lost.
        left = asked
        for turn in range(CONNECTION_TRIES):
            answered = _answered(left)
            left = [question for question in left if question not in answered]
            if not left:
                break
            if turn < CONNECTION_TRIES - 1:
                time.sleep(CONNECTION_PAUSE)
        if left:
            return [messages.connection_lost(each.address, each.port) for each in left]
        failure = self.round_trip()
        return [Problem(failure)] if failure else []


def _answered(questions: list[PacketQuestion]) -> tuple[PacketQuestion, ...]:
    answers = ask(questions, patience=CONNECTION_PATIENCE) if questions else []
    return tuple(
        question
        for question, answer in zip(questions, answers)
        if answer.outcome is ProbeResult.OPEN
    )
