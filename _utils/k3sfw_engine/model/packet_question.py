"""One packet question and the honest reading of what came back. Pure.

What a prober sees, and what it means, was measured for every cause (a rejecting zone, a rich rule,
a host that is down, each type of dead route, a rule of one's own host). The errno alone is not
enough: a refused connection is a port without a listener if nothing stands in the socket's error
queue, and a rule's rejection if an ICMP error does.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum

from k3sfw_engine.model.rows import Protocol


@dataclass(frozen=True)
class PacketQuestion:
    """One new connection (TCP) or datagram (UDP) to one port of one address."""

    address: str
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        return f"{self.protocol.value}/{self.port} of {self.address}"


@dataclass(frozen=True)
class IcmpError:
    """An ICMP or ICMPv6 error from a socket's error queue, and the address that sent it."""

    version: int
    kind: int
    code: int
    sender: str

    @property
    def reason(self) -> str:
        """What it says, by the name of its code."""
        return _REASONS[self.version].get(self.code, f"code {self.code}")

    def __str__(self) -> str:
        return f"{self.reason}, said {self.sender}"


class ProbeResult(Enum):
    """What a question showed."""

    OPEN = "open"  # connected, or a reply came
    NOBODY_LISTENS = "nobody listens"  # the packet arrived, and no program wanted it
    REJECTED = "rejected"  # by a rule, of whoever sent the ICMP error
    LOCAL_BLOCK = "blocked by this host"
    HOST_DOWN = "host down"
    NO_ROUTE = "no route"
    SILENCE = "silence"
    ERROR = "error"  # this host could not ask


@dataclass(frozen=True)
class Answer:
    """What came back.

    source
        The address of this host that the kernel chose to ask from; empty if it chose none.
    icmp
        The ICMP error that decided, if one did.
    evidence
        What was seen, in words.
    """

    outcome: ProbeResult
    evidence: str
    source: str = ""
    icmp: IcmpError | None = None


# Of destination unreachable, as ``nft`` and ``ip`` call them.
_REASONS = {
    4: {
        0: "net-unreachable",
        1: "host-unreachable",
        2: "prot-unreachable",
        3: "port-unreachable",
        9: "net-prohibited",
        10: "host-prohibited",
        13: "admin-prohibited",
    },
    6: {
        0: "no-route",
        1: "admin-prohibited",
        3: "addr-unreachable",
        4: "port-unreachable",
        5: "policy-fail",
        6: "reject-route",
    },
}

# Destination unreachable. https://www.rfc-editor.org/rfc/rfc1812#section-5.2.7.1, RFC 4443 3.1
_UNREACHABLE = {4: 3, 6: 1}
_TIME_EXCEEDED = {4: 11, 6: 3}
_NO_ROUTE_CODES = {4: (0, 6, 11), 6: (0,)}
_HOST_CODES = {4: (1, 7, 12), 6: (3,)}
_PORT_CODES = {4: 3, 6: 4}

# Where no packet left: what connect() says of each type of dead route, or of none.
_ROUTE_ERRORS = {
    errno.ENETUNREACH: "no route",
    errno.EHOSTUNREACH: "a route of type unreachable",
    errno.EACCES: "a route of type prohibit",
    errno.EINVAL: "a route of type blackhole",
}


def answered(source: str, *, reply: bool) -> Answer:
    """The connection was made, or a datagram came back."""
    return Answer(ProbeResult.OPEN, "a reply came" if reply else "connected", source)


def silent(source: str) -> Answer:
    """Nothing came back, however often it was asked."""
    return Answer(ProbeResult.SILENCE, "nothing came back", source)


def failed(
    question: PacketQuestion, number: int, source: str, icmp: IcmpError | None, text: str = ""
) -> Answer:
    """Read what an error says.

    number
        The errno of connect(), of the socket's pending error or of sending.
    source
        This host's address on the socket, if it has one by now.
    icmp
        What stood in the socket's error queue.
    text
        The system's own text for this errno.
    """
    if icmp is not None and icmp.kind == _UNREACHABLE[icmp.version]:
        return _unreachable(question, source, icmp)
    if icmp is not None and icmp.kind == _TIME_EXCEEDED[icmp.version]:
        evidence = f"it goes round in a circle (time-exceeded, said {icmp.sender})"
        return Answer(ProbeResult.NO_ROUTE, evidence, source, icmp)
    if number == errno.ECONNREFUSED:
        return Answer(ProbeResult.NOBODY_LISTENS, "RST came back: nobody listens", source)
    if number in (errno.EPERM, errno.ENOBUFS):
        rule = "a rule of this host did not let it out"
        outcome = ProbeResult.LOCAL_BLOCK if number == errno.EPERM else ProbeResult.ERROR
        return Answer(outcome, f"{rule} ({_name(number)})", source)
    if number in _ROUTE_ERRORS:
        return Answer(ProbeResult.NO_ROUTE, f"{_ROUTE_ERRORS[number]} ({_name(number)})", source)
    if number == errno.ETIMEDOUT:
        return silent(source)
    evidence = f"{text} ({_name(number)})" if text else _name(number)
    return Answer(ProbeResult.ERROR, evidence, source, icmp)


def _unreachable(question: PacketQuestion, source: str, icmp: IcmpError) -> Answer:
    by_us = icmp.sender == source
    if icmp.code in _HOST_CODES[icmp.version]:
        who = "it did not answer on the link" if by_us else "a router says that it is down"
        return Answer(ProbeResult.HOST_DOWN, f"{who} ({icmp})", source, icmp)
    if icmp.code in _NO_ROUTE_CODES[icmp.version]:
        return Answer(ProbeResult.NO_ROUTE, f"a router has no route ({icmp})", source, icmp)
    from_target = icmp.sender == question.address
    port_code = icmp.code == _PORT_CODES[icmp.version]
    if question.protocol is Protocol.UDP and port_code and from_target:
        return Answer(ProbeResult.NOBODY_LISTENS, f"nobody listens ({icmp})", source, icmp)
    outcome = ProbeResult.LOCAL_BLOCK if by_us else ProbeResult.REJECTED
    return Answer(outcome, f"rejected ({icmp})", source, icmp)


def _name(number: int) -> str:
    return errno.errorcode.get(number, str(number))


# -- the answers ----------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Arrival:
    """A packet of a peer that arrived at this node."""

    source: str
    protocol: Protocol
    port: int


@dataclass(frozen=True)
class RecordedPackets:
    """What the witness saw."""

    arrived: frozenset[Arrival] = frozenset()
    passed: frozenset[Arrival] = frozenset()
    left: frozenset[PacketQuestion] = frozenset()
    redirected: frozenset[PacketQuestion] = frozenset()
