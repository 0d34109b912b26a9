"""Ranges of ports: read, intersected, subtracted. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from k3sfw_engine.model.rows import PortRange, Protocol

EVERY_PORT = PortRange(1, 65535)

# int() would also read signs, spaces, underscores and the digits of other scripts.
_PORT = re.compile(r"[0-9]{1,5}\Z")


def common(one: PortRange, other: PortRange) -> PortRange | None:
    """The intersection of two ranges, or ``None``."""
    low, high = max(one.low, other.low), min(one.high, other.high)
    return PortRange(low, high) if low <= high else None


def in_common(ones: Iterable[PortRange], others: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """The intersection of two sets of ranges."""
    others = tuple(others)
    found = (common(one, other) for one in ones for other in others)
    return tuple(sorted(each for each in found if each))


def without(span: PortRange, taken: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """What is left of a range without those taken."""
    left = []
    low = span.low
    for each in sorted(taken):
        if each.low > low:
            left.append(PortRange(low, min(each.low - 1, span.high)))
        low = max(low, each.high + 1)
        if low > span.high:
            return tuple(left)
    return (*left, PortRange(low, span.high))


def in_ranges(ports: Iterable[int]) -> tuple[PortRange, ...]:
    """The fewest ranges that contain exactly these ports."""
    found: list[PortRange] = []
    for port in sorted(set(ports)):
        if found and found[-1].high == port - 1:
            found[-1] = PortRange(found[-1].low, port)
        else:
            found.append(PortRange(port, port))
    return tuple(found)


def parse_span(text: str, dash: str = "-") -> PortRange:
    """Read ``443`` or ``2379-2380``. Raises ``ValueError`` for anything else.

    The only reader of this form, which pillar, firewalld, nft and iptables all use.
    """
    low, found, high = text.partition(dash)
    if not all(_PORT.match(each) for each in ((low, high) if found else (low,))):
        raise ValueError(f"{text!r} is not a port or a range of ports")
    return PortRange(int(low), int(high) if found else int(low))


@dataclass(frozen=True, order=True)
class ZonePort:
    """Ports of one protocol that a zone opens; ``str`` writes them as ``firewall-cmd`` does."""

    protocol: Protocol
    ports: PortRange

    def __str__(self) -> str:
        return f"{self.ports}/{self.protocol.value}"

    def meets(self, other: ZonePort) -> bool:
        """Whether both have a port in common."""
        return (
            self.protocol is other.protocol
            and self.ports.low <= other.ports.high
            and other.ports.low <= self.ports.high
        )

    def lies_in(self, other: ZonePort) -> bool:
        """Whether the other contains all of its ports."""
        return (
            self.protocol is other.protocol
            and other.ports.low <= self.ports.low
            and self.ports.high <= other.ports.high
        )


def parse_port(text: str) -> ZonePort:
    """Read ``2379-2380/tcp``. Raises ``ValueError`` for protocols that the tables do not know."""
    span, _slash, name = text.partition("/")
    protocol = Protocol(name)
    if not protocol.has_ports:
        raise ValueError(f"{name} has no ports")
    return ZonePort(protocol, parse_span(span))
