"""A packet that asks one port of one address, and what the answer (errno, ICMP error) means.

The meaning was measured for every cause (a rejecting zone, a rich rule, a host that is down, each
type of dead route, a rule of this host). The errno alone is not enough: a refused connection means
that nothing listens if the socket's error queue is empty, and that a rule rejects if the queue
holds an ICMP error. Packets that a recorder saw are here too. Pure.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum

from k3sfw_engine.model.rows import Protocol

NO_PORT = 0


@dataclass(frozen=True)
class PacketQuestion:
    """One new connection (TCP), datagram (UDP) or echo (ICMP) to one address.

    port
        ``NO_PORT`` for an echo.
    """

    address: str
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        port = f"/{self.port}" if self.protocol.has_ports else ""
        return f"{self.protocol.value}{port} of {self.address}"


@dataclass(frozen=True)
class IcmpError:
    """An ICMP or ICMPv6 error from a socket's error queue, and the address that sent it."""

    version: int
    kind: int
    code: int
    sender: str

    @property
    def reason(self) -> str:
        """The name of its code."""
        return _REASONS[self.version].get(self.code, f"code {self.code}")

    def __str__(self) -> str:
        return f"{self.reason} from {self.sender}"


class ProbeResult(Enum):
    """The result of a question."""

    OPEN = "open"  # connected, or a reply came
    NOTHING_LISTENS = "nothing listens"  # the packet arrived, and no program has the port
    REJECTED = "rejected"  # by a rule of the sender of the ICMP error
    LOCAL_BLOCK = "blocked by this host"
    HOST_DOWN = "host down"
    NO_ROUTE = "no route"
    SILENCE = "silence"
    ERROR = "error"  # this host could not ask


# Neither the host itself nor a rule on the way answered.
NOTHING_CAME_THROUGH = (ProbeResult.SILENCE, ProbeResult.HOST_DOWN, ProbeResult.NO_ROUTE)


@dataclass(frozen=True)
class Answer:
    """What came back.

    source
        The address of this host that the kernel sent from; empty if it chose none.
    icmp
        The ICMP error behind the result, if there was one.
    evidence
        What was observed, in words.
    """

    outcome: ProbeResult
    evidence: str
    source: str = ""
    icmp: IcmpError | None = None

    @property
    def is_from_this_host(self) -> bool:
        """Whether this host's own kernel sent the ICMP error."""
        return self.icmp is not None and self.icmp.sender == self.source


# The codes of destination unreachable, as ``nft`` and ``ip`` call them.
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

# The types of ICMP errors.
# https://www.rfc-editor.org/rfc/rfc1812#section-5.2.7.1, RFC 4443 3.1
_UNREACHABLE = {4: 3, 6: 1}
_TIME_EXCEEDED = {4: 11, 6: 3}
_NO_ROUTE_CODES = {4: (0, 6, 11), 6: (0,)}
_HOST_CODES = {4: (1, 7, 12), 6: (3,)}
_PORT_CODES = {4: 3, 6: 4}

# What connect() says if no packet left: the type of the route, or that there is none.
_ROUTE_ERRORS = {
    errno.ENETUNREACH: "no route",
    errno.EHOSTUNREACH: "a route of type unreachable",
    errno.EACCES: "a route of type prohibit",
    errno.EINVAL: "a route of type blackhole",
}

# This host's kernel got no link-layer address. ARP passes every table of firewalld; neighbour
# discovery does not: the drop table that a killed reload leaves behind drops it as well.
_NO_NEIGHBOUR = {
    4: "it does not answer ARP on the link: it is down or off the network",
    6: "it does not answer neighbour discovery on the link: it is down, or drops everything, "
    "neighbour discovery included",
}


def answered(source: str, *, reply: bool) -> Answer:
    """The answer of a connection that was made, or of a datagram that came back."""
    return Answer(ProbeResult.OPEN, "a reply came" if reply else "connected", source)


def silent(source: str) -> Answer:
    """The answer where nothing came back to any try."""
    return Answer(ProbeResult.SILENCE, "nothing came back", source)


def failed(
    question: PacketQuestion, number: int, source: str, icmp: IcmpError | None, text: str = ""
) -> Answer:
    """Return what an error means.

    number
        The errno of connect(), of the socket's pending error or of sending.
    source
        This host's address on the socket, if it has one yet.
    icmp
        What was in the socket's error queue.
    text
        The system's text for this errno.
    """
    if icmp is not None and icmp.kind == _UNREACHABLE[icmp.version]:
        return _unreachable(question, source, icmp)
    if icmp is not None and icmp.kind == _TIME_EXCEEDED[icmp.version]:
        evidence = f"routing loop (time exceeded, from {icmp.sender})"
        return Answer(ProbeResult.NO_ROUTE, evidence, source, icmp)
    if number == errno.ECONNREFUSED:
        return Answer(ProbeResult.NOTHING_LISTENS, "RST came back: nothing listens", source)
    if number in (errno.EPERM, errno.ENOBUFS):
        rule = "a rule of this host kept it from leaving"
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
        router = f"a router says that it is down ({icmp})"
        evidence = _NO_NEIGHBOUR[icmp.version] if by_us else router
        return Answer(ProbeResult.HOST_DOWN, evidence, source, icmp)
    if icmp.code in _NO_ROUTE_CODES[icmp.version]:
        return Answer(ProbeResult.NO_ROUTE, f"a router has no route ({icmp})", source, icmp)
    from_target = icmp.sender == question.address
    port_code = icmp.code == _PORT_CODES[icmp.version]
    if question.protocol is Protocol.UDP and port_code and from_target:
        return Answer(ProbeResult.NOTHING_LISTENS, f"nothing listens ({icmp})", source, icmp)
    outcome = ProbeResult.LOCAL_BLOCK if by_us else ProbeResult.REJECTED
    return Answer(outcome, f"rejected ({icmp})", source, icmp)


def _name(number: int) -> str:
    return errno.errorcode.get(number, str(number))


# -- packets that a recorder saw ------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Arrival:
    """A packet from a peer, as it arrived at this node; ``NO_PORT`` if its protocol has none."""

    source: str
    protocol: Protocol
    port: int


@dataclass(frozen=True)
class RecordedPackets:
    """The packets that were recorded on this node while questions were asked.

    arrived, passed
        Packets of peers that arrived, and those of them that this node's rules allowed.
    left, redirected
        Questions whose packets left this host, and those of them that NAT changed.
    """

    arrived: frozenset[Arrival] = frozenset()
    passed: frozenset[Arrival] = frozenset()
    left: frozenset[PacketQuestion] = frozenset()
    redirected: frozenset[PacketQuestion] = frozenset()
