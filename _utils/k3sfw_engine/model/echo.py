"""ICMP echoes of a given size, and what came back to each, as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from k3sfw_engine.model.packet_question import Answer, IcmpError, ProbeResult

# Bytes of the first echo; every path takes so many.
SMALL_ECHO = 96


class EchoResult(str, Enum):
    """What came back to an echo request."""

    ANSWERED = "answered"
    SILENT = "silent"
    TOO_BIG = "too big"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    NOT_SENT = "not sent"


@dataclass(frozen=True)
class Echo:
    """One echo request: its size on the wire and its result.

    by
        The address that sent the ICMP error; empty if it was this host itself.
    mtu
        The size that would pass, according to the ICMP error.
    """

    size: int
    result: EchoResult
    by: str = ""
    mtu: int = 0


@dataclass(frozen=True)
class PathEchoes:
    """The small echo to one address, and the full-sized one if the small one was answered.

    passes
        The largest size that was answered, if the full size was not.
    """

    small: Echo
    full: Echo | None = None
    passes: int = 0


# What firewalld rejects with: communication administratively prohibited.
_PROHIBITED = {4: (3, 13), 6: (1, 1)}


def as_answer(echo: Echo, family: int) -> Answer:
    """Return what the echo says as the answer to a question about ICMP itself."""
    if echo.result is EchoResult.ANSWERED:
        return Answer(ProbeResult.OPEN, "an echo came back")
    if echo.result is EchoResult.SILENT:
        return Answer(ProbeResult.SILENCE, "no echo came back")
    if echo.result is EchoResult.REJECTED:
        error = IcmpError(family, *_PROHIBITED[family], echo.by)
        return Answer(ProbeResult.REJECTED, f"rejected ({error})", icmp=error)
    if echo.result is EchoResult.UNREACHABLE:
        return Answer(ProbeResult.HOST_DOWN, f"{echo.by or 'this host'} cannot reach it")
    return Answer(ProbeResult.ERROR, "the echo could not be sent")
