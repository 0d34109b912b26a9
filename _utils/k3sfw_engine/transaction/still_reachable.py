"""What shows that a change has not cut this node off: new connections, before and after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import netaddr

from k3sfw_engine.model.packet_question import PacketQuestion, ProbeResult
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.probes.connect import ask

# The kernel repeats a SYN after one second.
_PATIENCE = 2.2
_TRIES = 3
_PAUSE = 1.0


@dataclass(frozen=True)
class Proof:
    """What a change must leave as it was.

    masters
        Gives addresses and ports of the Salt masters: those that take a new connection before the
        change must do so afterwards. It is asked only where something changes.
    round_trip
        Asks the master something over a new, authenticated connection; a sentence if it did not
        answer, else an empty text.
    """

    masters: Callable[[], Iterable[tuple[netaddr.IPAddress, int]]] = tuple
    round_trip: Callable[[], str] = str

    def baseline(self) -> tuple[PacketQuestion, ...]:
        """The questions that are answered now."""
        questions = [PacketQuestion(str(host), Protocol.TCP, port) for host, port in self.masters()]
        return _answered(questions)

    def broken(self, baseline: Iterable[PacketQuestion]) -> list[str]:
        """Sentences about what was answered before and is not any more."""
        asked = list(baseline)
        if not asked:
            return []  # It had no master that answered, so it cannot lose one.
        left = asked
        for turn in range(_TRIES):
            answered = _answered(left)
            left = [question for question in left if question not in answered]
            if not left:
                break
            if turn < _TRIES - 1:
                time.sleep(_PAUSE)
        if left:
            return [
                f"{each.address} does not take a new connection at tcp/{each.port} any more"
                for each in left
            ]
        failure = self.round_trip()
        return [failure] if failure else []


def _answered(questions: list[PacketQuestion]) -> tuple[PacketQuestion, ...]:
    answers = ask(questions, patience=_PATIENCE) if questions else []
    return tuple(
        question
        for question, answer in zip(questions, answers)
        if answer.outcome is ProbeResult.OPEN
    )
