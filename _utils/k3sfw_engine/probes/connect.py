"""Ask ports of peers by new connections and datagrams, many at once; never bind a port.

It does not know why a question is asked. A host that rejects sends six ICMP errors at once and then
one a second to each peer (icmp_ratelimit; ICMPv6 scales it with the prefix of the route), so most
of a burst of rejections look like silence. A host that rejected something is therefore asked again
about what it was silent on, one question after the other, at the pace at which it can answer.
"""

from __future__ import annotations

import heapq
import os
import resource
import select
import socket
import struct
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from k3sfw_engine.model.packet_question import (
    Answer,
    IcmpError,
    PacketQuestion,
    ProbeResult,
    answered,
    failed,
    silent,
)
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.probes.defaults import (
    DATAGRAM_REPEAT,
    DESCRIPTORS_LEFT_ALONE,
    PACE,
    PACE_OF_ERRORS,
    PACED_PATIENCE,
    PACED_ROUNDS,
    PATIENCE,
    SOCKETS_AT_ONCE,
)

# No service takes this for a request: VXLAN and WireGuard drop it as malformed.
_DATAGRAM = b"\0" * 8

# linux/in.h and linux/in6.h; Python names them from 3.14 on.
_RECVERR = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}
# struct sock_extended_err, linux/errqueue.h: errno, origin, type, code; the sender comes behind it.
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_ORIGINS = {2: 4, 3: 6}  # ICMP, ICMPv6


def ask(questions: Sequence[PacketQuestion], *, patience: float = PATIENCE) -> list[Answer]:
    """Ask all questions and give the answers in their order.

    questions
        Each is asked over a socket of its own.
    patience
        Seconds to wait for the first answer to a question.
    """
    numbered = dict(enumerate(questions))
    answers = _ask_at_pace([_Lane(deque(numbered), 0.0)], numbered, patience)
    for _round in range(PACED_ROUNDS):
        lanes = [*_lanes_of_rejecting_hosts(numbered, answers), _lane_of_errors(answers)]
        again = _ask_at_pace(lanes, numbered, PACED_PATIENCE)
        answers.update(again)
        # Two addresses of one host share its limit, so a round may leave half of them silent.
        if not any(answer.outcome is not ProbeResult.SILENCE for answer in again.values()):
            break
    return [answers[number] for number in numbered]


@dataclass
class _Lane:
    """Questions that are asked in order, ``pace`` seconds apart."""

    waiting: deque[int]
    pace: float
    ready_at: float = 0.0


def _lanes_of_rejecting_hosts(
    questions: Mapping[int, PacketQuestion], answers: Mapping[int, Answer]
) -> list[_Lane]:
    """The questions that met silence at a host that rejected others; a lane for each host."""
    rejecting = {
        questions[number].address: (answer.icmp.sender, answer.outcome)
        for number, answer in answers.items()
        if answer.icmp is not None and answer.outcome is not ProbeResult.HOST_DOWN
    }
    unanswered: dict[tuple[str, ProbeResult], deque[int]] = defaultdict(deque)
    for number, answer in answers.items():
        address = questions[number].address
        if answer.outcome is ProbeResult.SILENCE and address in rejecting:
            unanswered[rejecting[address]].append(number)
    return [
        # A router without a route is limited twice, by its routing and by its ICMP errors.
        _Lane(waiting, PACE[_version(sender)] * (2 if outcome is ProbeResult.NO_ROUTE else 1))
        for (sender, outcome), waiting in unanswered.items()
    ]


def _lane_of_errors(answers: Mapping[int, Answer]) -> _Lane:
    """The questions that this host could not ask: its neighbour table was full, or no port left."""
    waiting = (number for number, answer in answers.items() if answer.outcome is ProbeResult.ERROR)
    return _Lane(deque(waiting), PACE_OF_ERRORS)


@dataclass
class _Try:
    """A question under way."""

    number: int
    question: PacketQuestion
    socket: socket.socket
    ends_at: float
    source: str = ""
    over: bool = False


def _ask_at_pace(
    lanes: Iterable[_Lane], questions: dict[int, PacketQuestion], patience: float
) -> dict[int, Answer]:
    asking = _Asking(patience)
    lanes = [lane for lane in lanes if lane.waiting]
    try:
        while lanes or asking.under_way:
            now = time.monotonic()
            for lane in lanes:
                while lane.waiting and lane.ready_at <= now and asking.has_room():
                    number = lane.waiting.popleft()
                    asking.begin(number, questions[number])
                    lane.ready_at = now + lane.pace
            lanes = [lane for lane in lanes if lane.waiting]
            if asking.under_way or lanes:
                soonest = min((lane.ready_at for lane in lanes), default=now + patience)
                asking.wait(until=soonest if asking.has_room() else now + patience)
    finally:
        asking.close()
    return asking.answers


class _Asking:
    """The sockets under way, and what has come back so far."""

    def __init__(self, patience: float) -> None:
        self.answers: dict[int, Answer] = {}
        self.under_way: dict[int, _Try] = {}
        self._patience = patience
        self._poll = select.epoll()
        # What happens when: (time, order, try). A try that is over is skipped.
        self._alarms: list[tuple[float, int, _Try]] = []
        self._order = 0
        self._most = _most_at_once()

    def has_room(self) -> bool:
        """Whether one more question may be under way."""
        return len(self.under_way) < self._most

    def begin(self, number: int, question: PacketQuestion) -> None:
        """Ask; the answer may be there at once."""
        version = _version(question.address)
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        udp = question.protocol is Protocol.UDP
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        try:
            opened = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        except OSError as error:
            errno = error.errno or 0
            self.answers[number] = failed(question, errno, "", None, os.strerror(errno))
            return
        began = time.monotonic()
        attempt = _Try(number, question, opened, began + self._patience)
        try:
            opened.setsockopt(*_RECVERR[version], 1)
            with suppress(BlockingIOError):
                opened.connect((question.address, question.port))
            attempt.source = opened.getsockname()[0]
            if udp:
                opened.send(_DATAGRAM)
        except OSError as error:
            self._fail(attempt, error.errno or 0)
            return
        self.under_way[opened.fileno()] = attempt
        self._poll.register(opened.fileno(), select.EPOLLIN if udp else select.EPOLLOUT)
        self._alarm(
            min(began + DATAGRAM_REPEAT, attempt.ends_at) if udp else attempt.ends_at, attempt
        )

    def wait(self, until: float) -> None:
        """Wait until something comes back or the time is over, and take it."""
        if self._alarms:
            until = min(until, self._alarms[0][0])
        for descriptor, event in self._poll.poll(max(0.0, until - time.monotonic())):
            self._take(self.under_way[descriptor], event)
        now = time.monotonic()
        while self._alarms and self._alarms[0][0] <= now:
            _when, _order, attempt = heapq.heappop(self._alarms)
            if not attempt.over:
                self._ring(attempt)

    def close(self) -> None:
        """Close every socket, whatever happened."""
        for attempt in self.under_way.values():
            attempt.socket.close()
        self._poll.close()

    def _alarm(self, when: float, attempt: _Try) -> None:
        self._order += 1
        heapq.heappush(self._alarms, (when, self._order, attempt))

    def _ring(self, attempt: _Try) -> None:
        """Repeat a datagram while there is time; after that the answer is silence."""
        now = time.monotonic()
        if now >= attempt.ends_at:
            self._over(attempt, silent(attempt.source))
            return
        try:
            attempt.socket.send(_DATAGRAM)
        except OSError as error:
            self._fail(attempt, error.errno or 0)
        else:
            self._alarm(min(now + DATAGRAM_REPEAT, attempt.ends_at), attempt)

    def _take(self, attempt: _Try, event: int) -> None:
        udp = attempt.question.protocol is Protocol.UDP
        number = attempt.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number or event & select.EPOLLERR:
            self._fail(attempt, number)
        elif udp:
            try:
                attempt.socket.recv(1)
            except BlockingIOError:
                return  # A datagram with a wrong checksum wakes the socket and is dropped.
            except OSError as error:
                self._fail(attempt, error.errno or 0)
                return
            self._over(attempt, answered(attempt.source, reply=True))
        else:
            self._over(attempt, answered(attempt.source, reply=False))

    def _fail(self, attempt: _Try, number: int) -> None:
        icmp, reported = _error_queue(attempt.socket)
        errno = number or reported
        answer = failed(attempt.question, errno, attempt.source, icmp, os.strerror(errno))
        self._over(attempt, answer)

    def _over(self, attempt: _Try, answer: Answer) -> None:
        attempt.over = True
        self.answers[attempt.number] = answer
        self.under_way.pop(attempt.socket.fileno(), None)
        attempt.socket.close()


def _error_queue(failed_socket: socket.socket) -> tuple[IcmpError | None, int]:
    """The ICMP error in the socket's queue, and the errno that the kernel derives from it."""
    try:
        _data, ancillary, _flags, _address = failed_socket.recvmsg(1, 512, socket.MSG_ERRQUEUE)
    except OSError:  # The queue is empty: the error came from this host, or was an RST.
        return None, 0
    for level, kind, data in ancillary:
        if (level, kind) in _RECVERR.values():
            number, origin, icmp_type, code, *_more = _EXTENDED_ERROR.unpack_from(data)
            if origin in _ORIGINS:
                sender = _sender(_ORIGINS[origin], data[_EXTENDED_ERROR.size :])
                return IcmpError(_ORIGINS[origin], icmp_type, code, sender), number
            return None, number
    return None, 0


def _sender(version: int, address: bytes) -> str:
    """The address in a struct sockaddr_in or sockaddr_in6."""
    if version == 4:
        return socket.inet_ntop(socket.AF_INET, address[4:8])
    return socket.inet_ntop(socket.AF_INET6, address[8:24])


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def _most_at_once() -> int:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = soft - len(os.listdir("/proc/self/fd")) - DESCRIPTORS_LEFT_ALONE
    return max(1, min(free, SOCKETS_AT_ONCE))
