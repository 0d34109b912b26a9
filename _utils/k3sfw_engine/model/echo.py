"""ICMP echoes and what became of them, as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class EchoResult(str, Enum):
    """What became of an echo."""

    ANSWERED = "answered"
    SILENT = "silent"
    TOO_BIG = "too big"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    NOT_SENT = "not sent"


@dataclass(frozen=True)
class Echo:
    """One echo: its size on the wire, its fate, and for an error who sent it.

    by
        The address that sent the ICMP error; empty if it was this host itself.
    mtu
        The size that would pass, as the sender of the error says.
    """

    size: int
    fate: EchoResult
    by: str = ""
    mtu: int = 0


@dataclass(frozen=True)
class PathEchoes:
    """The small echo to one address, and the full-sized one where the small was answered.

    passes
        Where the full size is silent: the largest that was answered.
    """

    small: Echo
    full: Echo | None = None
    passes: int = 0
