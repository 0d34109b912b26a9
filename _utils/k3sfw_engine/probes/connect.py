"""Ask ports of peers by new connections and datagrams, many at once; never bind a port.

It does not know why a question is asked. A host that rejects sends six ICMP errors at once and then
one a second to each peer (icmp_ratelimit; ICMPv6 scales it with the prefix of the route), so most
of a burst of rejections look like silence. A host that rejected something is therefore asked again
about what it was silent on, one question after the other, at the pace at which it can answer.
"""

from __future__ import annotations

import heapq
import math
import os
import resource
import select
import socket
import struct
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType

from k3sfw_engine.model.packet_question import (
    NOTHING_CAME_THROUGH,
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
    TRY_PAUSE,
)
from k3sfw_engine.probes.silence import Heard, NextStep, next_step

# No service takes this for a request: VXLAN and WireGuard drop it as malformed.
_DATAGRAM = b"\0" * 8

# A connection, or an RST without an ICMP error: no kernel limits the rate of either.
_FROM_THE_HOST = (ProbeResult.OPEN, ProbeResult.NOTHING_LISTENS)

# In place of the number of a question, for one whose answer only tells that the host answers.
_WITNESS = -1

# linux/in.h and linux/in6.h; Python names them from 3.14 on.
_RECVERR = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}
# struct sock_extended_err, linux/errqueue.h: errno, origin, type, code; the sender comes behind it.
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_ORIGINS = {2: 4, 3: 6}  # ICMP, ICMPv6


def ask(
    questions: Sequence[PacketQuestion],
    *,
    patience: float = PATIENCE,
    spared_by: Mapping[int, int] = MappingProxyType({}),
) -> list[Answer]:
    """Ask all questions and give the answers in their order.

    questions
        Each is asked over a socket of its own.
    patience
        Seconds to wait for the first answer to a question.
    spared_by
        By the place of a question, the place of another one: once anything comes back to that, the
        answer to this one is not waited for, and is silence.
    """
    numbered = dict(enumerate(questions))
    answers, settled = _ask_at_pace([_Lane(deque(numbered), 0.0)], numbered, patience, spared_by)
    for _round in range(PACED_ROUNDS):
        unsettled = {number: each for number, each in answers.items() if number not in settled}
        rejecting = _rejecting_hosts(numbered, answers)
        lanes = [*_lanes_of_hosts(rejecting, numbered, unsettled), _lane_of_errors(answers)]
        again, _settled = _ask_at_pace(lanes, numbered, PACED_PATIENCE)
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


def _rejecting_hosts(
    questions: Mapping[int, PacketQuestion], answers: Mapping[int, Answer]
) -> Mapping[str, tuple[str, ProbeResult]]:
    """The addresses that rejected something: the sender of the rejection, and what it said."""
    return {
        questions[number].address: (answer.icmp.sender, answer.outcome)
        for number, answer in answers.items()
        if answer.icmp is not None and answer.outcome is not ProbeResult.HOST_DOWN
    }


def _lanes_of_hosts(
    rejecting: Mapping[str, tuple[str, ProbeResult]],
    questions: Mapping[int, PacketQuestion],
    answers: Mapping[int, Answer],
) -> list[_Lane]:
    """The questions that met silence at a host that rejected others; a lane for each host."""
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
class _OpenQuestion:
    """A question under way: when its packets left, and over which sockets."""

    number: int
    question: PacketQuestion
    ends_at: float
    left: list[float] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    source: str = ""
    over: bool = False

    @property
    def is_datagram(self) -> bool:
        return self.question.protocol is Protocol.UDP


def _ask_at_pace(
    lanes: Iterable[_Lane],
    questions: Mapping[int, PacketQuestion],
    patience: float,
    spared_by: Mapping[int, int] = MappingProxyType({}),
) -> tuple[dict[int, Answer], set[int]]:
    """The answers, and the questions that need not be asked again."""
    asking = _Asking(patience, spared_by)
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
    return asking.answers, asking.settled


class _Asking:
    """The questions under way, what has come back so far, and what that tells of each address."""

    def __init__(self, patience: float, spared_by: Mapping[int, int]) -> None:
        self.answers: dict[int, Answer] = {}
        # Silence that was seen for certain, and questions that were spared.
        self.settled: set[int] = set()
        self.under_way: dict[int, _OpenQuestion] = {}
        self._sockets: dict[int, tuple[_OpenQuestion, socket.socket, float]] = {}
        self._spares: dict[int, list[int]] = defaultdict(list)
        for number, other in spared_by.items():
            self._spares[other].append(number)
        self._heard: dict[str, Heard] = {}
        self._last_error = -math.inf
        self._patience = patience
        self._poll = select.epoll()
        # What happens when: (time, order, question). A question that is over is skipped.
        self._alarms: list[tuple[float, int, _OpenQuestion]] = []
        self._order = 0
        self._most = _most_at_once()

    def has_room(self) -> bool:
        """Whether one more socket may be open."""
        return len(self._sockets) < self._most

    def begin(self, number: int, question: PacketQuestion) -> None:
        """Ask, unless that is spared; the answer may be there at once."""
        if number in self.settled:
            return
        now = time.monotonic()
        asked = _OpenQuestion(number, question, now + self._patience)
        self.under_way[number] = asked
        self._try(asked)
        if not asked.over:
            self._alarm(min(now + TRY_PAUSE, asked.ends_at), asked)

    def wait(self, until: float) -> None:
        """Wait until something comes back or the time is over, and take it."""
        if self._alarms:
            until = min(until, self._alarms[0][0])
        for descriptor, event in self._poll.poll(max(0.0, until - time.monotonic())):
            # The answer to one packet of a question closes the sockets of the others.
            if descriptor in self._sockets:
                self._take(*self._sockets[descriptor], event)
        now = time.monotonic()
        while self._alarms and self._alarms[0][0] <= now:
            _when, _order, asked = heapq.heappop(self._alarms)
            if not asked.over:
                self._ring(asked, now)

    def close(self) -> None:
        """Close every socket, whatever happened."""
        for _asked, opened, _left in self._sockets.values():
            opened.close()
        self._poll.close()

    def _alarm(self, when: float, asked: _OpenQuestion) -> None:
        self._order += 1
        heapq.heappush(self._alarms, (when, self._order, asked))

    def _ring(self, asked: _OpenQuestion, now: float) -> None:
        """Do what comes next for a question that was not answered so far."""
        if now >= asked.ends_at:
            self._over(asked, silent(asked.source), asked.left[0])
            return
        heard = self._heard.get(asked.question.address)
        step = next_step(asked.left, heard, self._last_error)
        if step is NextStep.SILENT:
            self.settled.add(asked.number)
            self._over(asked, silent(asked.source), asked.left[0])
            return
        repeat_at = asked.left[-1] + DATAGRAM_REPEAT
        if step is not NextStep.WAIT or (asked.is_datagram and now >= repeat_at):
            self._try(asked)
        if step is NextStep.TRY_BESIDE_WITNESS and heard is not None:
            self._ask_witness(heard, asked, now)
        if heard is not None:
            again_at = now + heard.pause
        else:
            again_at = repeat_at if repeat_at > now else now + DATAGRAM_REPEAT
        self._alarm(min(again_at, asked.ends_at), asked)

    def _ask_witness(self, heard: Heard, beside: _OpenQuestion, now: float) -> None:
        """Ask the port that answers, unless that was done since the last packet but one."""
        if heard.asked_again <= beside.left[-2] and self.has_room():
            heard.asked_again = now
            self._try(_OpenQuestion(_WITNESS, heard.witness, beside.ends_at))

    def _try(self, asked: _OpenQuestion) -> None:
        """Send a packet of the question: the next one of a datagram, or one more connection."""
        is_first = not asked.left
        if not is_first and not asked.is_datagram and not self.has_room():
            return
        now = time.monotonic()
        try:
            if asked.is_datagram and asked.sockets:
                asked.sockets[0].send(_DATAGRAM)
            else:
                self._open(asked, now)
        except OSError as error:
            opened = asked.sockets[-1] if asked.sockets else None
            if is_first or asked.is_datagram:
                self._fail(asked, opened, error.errno or 0, now)
            return
        asked.left.append(now)

    def _open(self, asked: _OpenQuestion, now: float) -> None:
        question, version = asked.question, _version(asked.question.address)
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        kind = socket.SOCK_DGRAM if asked.is_datagram else socket.SOCK_STREAM
        opened = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        asked.sockets.append(opened)
        self._sockets[opened.fileno()] = (asked, opened, now)
        opened.setsockopt(*_RECVERR[version], 1)
        with suppress(BlockingIOError):
            opened.connect((question.address, question.port))
        asked.source = opened.getsockname()[0]
        if asked.is_datagram:
            opened.send(_DATAGRAM)
        self._poll.register(
            opened.fileno(), select.EPOLLIN if asked.is_datagram else select.EPOLLOUT
        )

    def _take(self, asked: _OpenQuestion, opened: socket.socket, left: float, event: int) -> None:
        number = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number or event & select.EPOLLERR:
            self._fail(asked, opened, number, left)
        elif asked.is_datagram:
            try:
                opened.recv(1)
            except BlockingIOError:
                return  # A datagram with a wrong checksum wakes the socket and is dropped.
            except OSError as error:
                self._fail(asked, opened, error.errno or 0, left)
                return
            self._over(asked, answered(asked.source, reply=True), left)
        else:
            self._over(asked, answered(asked.source, reply=False), left)

    def _fail(
        self, asked: _OpenQuestion, failed_socket: socket.socket | None, number: int, left: float
    ) -> None:
        icmp, reported = _error_queue(failed_socket) if failed_socket else (None, 0)
        errno = number or reported
        answer = failed(asked.question, errno, asked.source, icmp, os.strerror(errno))
        self._over(asked, answer, left)

    def _over(self, asked: _OpenQuestion, answer: Answer, left: float) -> None:
        """Keep the answer to a packet that left then, and close the question."""
        asked.over = True
        for opened in asked.sockets:
            self._sockets.pop(opened.fileno(), None)
            opened.close()
        self._learn(asked.question, answer, left)
        if asked.number == _WITNESS:
            return
        self.answers[asked.number] = answer
        self.under_way.pop(asked.number, None)
        if answer.outcome not in NOTHING_CAME_THROUGH:
            for number in self._spares.get(asked.number, ()):
                self._spare(number)

    def _learn(self, question: PacketQuestion, answer: Answer, left: float) -> None:
        """Remember what the answer tells of the address."""
        now = time.monotonic()
        if answer.icmp is not None:
            self._last_error = now
        elif question.protocol is Protocol.TCP and answer.outcome in _FROM_THE_HOST:
            if question.address in self._heard:
                self._heard[question.address].answered(left, now)
            else:
                self._heard[question.address] = Heard(question, now - left, left)

    def _spare(self, number: int) -> None:
        """Do not wait for the answer to this question, nor ask it at all."""
        self.settled.add(number)
        asked = self.under_way.get(number)
        if asked is not None:
            self._over(asked, silent(asked.source), asked.left[0])
        else:
            self.answers.setdefault(number, silent(""))


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
