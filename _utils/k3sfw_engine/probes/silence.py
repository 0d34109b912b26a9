"""When silence of one port is known before all patience is over. Pure.

An address that answers on one port, and at the same moment not on another, is neither down nor out
of reach: a rule drops that port's packets. To tell it from a bad line takes as many lost packets in
a row as patience does, and a packet to a port that answers, which leaves beside the last of them:
while that one is lost too, the line is down, and nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from k3sfw_engine.model.packet_question import PacketQuestion
from k3sfw_engine.probes.defaults import PACE, ROUND_TRIPS, TRIES, TRY_PAUSE


@dataclass
class Heard:
    """What an address has shown of itself.

    witness
        A port of it that answers, and is not rate-limited as ICMP errors are.
    slowest
        Seconds of its slowest answer.
    proven
        When the latest packet left that it answered.
    asked_again
        When a packet left for the witness again.
    """

    witness: PacketQuestion
    slowest: float
    proven: float
    asked_again: float = 0.0

    @property
    def pause(self) -> float:
        """Seconds that each packet is given to be answered."""
        return max(TRY_PAUSE, ROUND_TRIPS * self.slowest)

    def answered(self, left: float, now: float) -> None:
        """Remember that a packet which left then was answered now."""
        self.slowest = max(self.slowest, now - left)
        self.proven = max(self.proven, left)


class NextStep(Enum):
    """What to do about a question that is not answered yet."""

    WAIT = "wait"
    TRY = "send one more packet"
    TRY_BESIDE_WITNESS = "send one more packet, and one to the port that answers"
    SILENT = "nothing answers"


def next_step(left: Sequence[float], heard: Heard | None, last_error: float) -> NextStep:
    """Return what comes next, when the packet that left last has had its time.

    left
        When each packet of the question left.
    heard
        ``None`` if nothing came from the address, or only what its kernel rate-limits.
    last_error
        When an ICMP error came from any host. Without one in the last second no rate limit can be
        what keeps a host silent: its kernel had one error to send, and something to send it for.
    """
    if heard is None:
        return NextStep.WAIT
    if len(left) < TRIES - 1:
        return NextStep.TRY
    if len(left) < TRIES or heard.proven <= left[-2]:
        return NextStep.TRY_BESIDE_WITNESS
    return NextStep.WAIT if last_error > left[-1] - PACE[4] else NextStep.SILENT
