"""Send ICMP echoes that may not be fragmented, to find the packet sizes that pass to an address.

A small echo comes first: the silence of a large one means something only if the small one was
answered. This module knows no routes and no overlays; it gets addresses and sizes.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from k3sfw_engine.model.echo import SMALL_ECHO, Echo, EchoResult, PathEchoes
from k3sfw_engine.probes.defaults import ECHO_LADDER, ECHO_PATIENCE, ECHO_PAUSE

# <linux/in.h>, <linux/in6.h>, <linux/icmp.h>, <linux/icmpv6.h>; Python has no names for them.
_IP_MTU_DISCOVER, _IP_RECVERR, _PROBE = 10, 11, 3
_IPV6_MTU_DISCOVER, _IPV6_RECVERR, _IPV6_DONTFRAG = 23, 25, 62
_SOL_RAW, _ICMP_FILTER, _ICMP6_FILTER = 255, 1, 1
_MSG_ERRQUEUE = 0x2000
_LOCAL = 1


def probe(
    sizes: Mapping[str, int], patience: tuple[float, float] = ECHO_PATIENCE
) -> dict[str, PathEchoes] | None:
    """Send echoes to each address: a small one, then one of the size that belongs to it.

    patience
        Seconds to wait for a reply, and for the reply to a second try.

    ``None`` if this process may not send them, as it is not root.
    """
    families = [
        {target: size for target, size in sizes.items() if (":" in target) == ipv6}
        for ipv6 in (False, True)
    ]
    # A host that is down takes all the patience: for both families at the same time.
    with ThreadPoolExecutor(max_workers=2) as pool:
        asked = pool.map(_probe, families, (False, True), (patience, patience))
        try:
            return {target: path for found in asked for target, path in found.items()}
        except PermissionError:
            return None


def probe_without_router(
    links: Mapping[str, str], patience: tuple[float, float] = ECHO_PATIENCE
) -> frozenset[str]:
    """Send an echo to each IPv4 address on its link, whatever the routes say.

    Returns the addresses that answered; none if this process may not send them.
    """
    by_link: dict[str, list[str]] = {}
    for target, link in links.items():
        by_link.setdefault(link, []).append(target)
    answered: set[str] = set()
    for link, targets in by_link.items():
        try:
            with _Prober(ipv6=False, only_on=link) as prober:
                found = prober.ask([(target, SMALL_ECHO) for target in targets], patience)
        except OSError:  # Not root, or the link has gone.
            continue
        answered.update(target for (target, _size), echo in found.items() if _passed(echo))
    return frozenset(answered)


def _probe(
    sizes: Mapping[str, int], ipv6: bool, patience: tuple[float, float]
) -> dict[str, PathEchoes]:
    if not sizes:
        return {}
    short = patience[0]
    with _Prober(ipv6) as prober:
        small = prober.ask([(target, SMALL_ECHO) for target in sizes], patience)
        answered = [
            (target, sizes[target]) for (target, _size), echo in small.items() if _passed(echo)
        ]
        full = prober.ask(answered, (short, short))
        silent = [question for question, echo in full.items() if echo.result is EchoResult.SILENT]
        steps = [(target, step) for target, size in silent for step in ECHO_LADDER if step < size]
        passing = dict.fromkeys((target for target, _size in silent), SMALL_ECHO)
        for (target, step), echo in prober.ask(steps, (short,)).items():
            if _passed(echo):
                passing[target] = max(step, passing[target])
    return {
        target: PathEchoes(
            small[target, SMALL_ECHO], full.get((target, size)), passing.get(target, 0)
        )
        for target, size in sizes.items()
    }


def _passed(echo: Echo) -> bool:
    return echo.result is EchoResult.ANSWERED


_Question = tuple[str, int]


class _Prober:
    """A raw socket for the echoes of one family. Use it as a context manager.

    only_on
        The link to send on without a router; empty for the way that the routes give.
    """

    def __init__(self, ipv6: bool, only_on: str = "") -> None:
        self._ipv6 = ipv6
        self._only_on = only_on
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        protocol = socket.IPPROTO_ICMPV6 if ipv6 else socket.IPPROTO_ICMP
        self._socket = socket.socket(family, socket.SOCK_RAW, protocol)
        self._identity = int.from_bytes(os.urandom(2), "big")
        self._sequence = 0
        self._asked: dict[int, _Question] = {}
        try:
            self._configure()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> _Prober:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def _configure(self) -> None:
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        if self._only_on:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
            self._socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._only_on.encode()
            )
        if self._ipv6:
            # A set bit filters a type out; echo replies are type 129.
            blocked = bytearray(b"\xff" * 32)
            word = struct.unpack_from("=I", blocked, 16)[0] & ~(1 << (129 - 128))
            struct.pack_into("=I", blocked, 16, word)
            self._socket.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, bytes(blocked))
            for option, value in (
                (_IPV6_MTU_DISCOVER, _PROBE),
                (_IPV6_DONTFRAG, 1),
                (_IPV6_RECVERR, 1),
            ):
                self._socket.setsockopt(socket.IPPROTO_IPV6, option, value)
        else:
            self._socket.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFE))
            # PROBE sets don't-fragment and ignores the path MTU that was learnt before.
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE)
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)

    def ask(
        self, questions: Iterable[_Question], patience: Iterable[float]
    ) -> dict[_Question, Echo]:
        """Ask all, then wait; ask the silent ones again for each patience."""
        questions = list(questions)
        found: dict[_Question, Echo] = {}
        for seconds in patience:
            ahead = [question for question in questions if question not in found]
            for question in ahead:
                self._send(question, found)
                self._receive(found)
                time.sleep(ECHO_PAUSE)
            self._wait(ahead, found, time.monotonic() + seconds)
        return {each: found.get(each, Echo(each[1], EchoResult.SILENT)) for each in questions}

    def _send(self, question: _Question, found: dict[_Question, Echo]) -> None:
        target, size = question
        self._sequence = (self._sequence + 1) % 0x10000
        self._asked[self._sequence] = question
        packet = self._packet(size)
        for _attempt in range(2):
            # The next send also reports the error of an earlier packet.
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            try:
                self._socket.sendto(packet, (target, 0))
                return
            except OSError as error:
                failure = error.errno
                self._errors(found)
                if question in found or failure not in (errno.EHOSTUNREACH, errno.ECONNREFUSED):
                    break
        if failure == errno.EMSGSIZE:
            found.setdefault(question, Echo(size, EchoResult.TOO_BIG))
        elif failure not in (errno.EAGAIN, errno.ENOBUFS):
            found.setdefault(question, Echo(size, EchoResult.NOT_SENT))

    def _packet(self, size: int) -> bytes:
        header = 40 if self._ipv6 else 20
        kind = 128 if self._ipv6 else 8
        # Different bytes in every packet, so that no switch takes two of them for one.
        body = struct.pack("=d", time.monotonic()).ljust(size - header - 8, b"k")
        packet = struct.pack("!BBHHH", kind, 0, 0, self._identity, self._sequence) + body
        # The kernel computes ICMPv6's checksum, which includes the addresses.
        checksum = 0 if self._ipv6 else _checksum(packet)
        return packet[:2] + struct.pack("!H", checksum) + packet[4:]

    def _wait(
        self, questions: Iterable[_Question], found: dict[_Question, Echo], deadline: float
    ) -> None:
        waiting = set(questions)
        while waiting.difference(found):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [self._socket], left)[0]:
                return
            self._receive(found)

    def _receive(self, found: dict[_Question, Echo]) -> None:
        self._errors(found)
        while True:
            try:
                packet, sender = self._socket.recvfrom(0x10000)
            except BlockingIOError:
                return
            except OSError:
                self._errors(found)
                continue
            start = 0 if self._ipv6 else (packet[0] & 0x0F) * 4
            question = self._question(packet[start : start + 8])
            if question and question[0] == sender[0]:
                found[question] = Echo(question[1], EchoResult.ANSWERED)

    def _errors(self, found: dict[_Question, Echo]) -> None:
        """Read the error queue: which echo failed, why, and which address reports it."""
        while True:
            try:
                packet, ancillary, _flags, _name = self._socket.recvmsg(64, 512, _MSG_ERRQUEUE)
            except OSError:
                return
            question = self._question(packet)
            for _level, kind, data in ancillary:
                if question and kind in (_IP_RECVERR, _IPV6_RECVERR):
                    found.setdefault(question, self._echo(question[1], data))

    def _question(self, header: bytes) -> _Question | None:
        if len(header) < 8:
            return None
        _kind, _code, _sum, identity, sequence = struct.unpack("!BBHHH", header[:8])
        return self._asked.get(sequence) if identity == self._identity else None

    def _echo(self, size: int, data: bytes) -> Echo:
        number, origin, kind, code, _pad, info, _data = struct.unpack_from("=IBBBBII", data)
        by = "" if origin == _LOCAL else self._offender(data[16:])
        if number == errno.EMSGSIZE:
            return Echo(size, EchoResult.TOO_BIG, by, info)
        if (kind, code) in ((3, 9), (3, 10), (3, 13)) or (self._ipv6 and (kind, code) == (1, 1)):
            return Echo(size, EchoResult.REJECTED, by)
        return Echo(size, EchoResult.UNREACHABLE, by)

    def _offender(self, address: bytes) -> str:
        if self._ipv6:
            return socket.inet_ntop(socket.AF_INET6, address[8:24])
        return socket.inet_ntop(socket.AF_INET, address[4:8])


def _checksum(packet: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(packet) // 2}H", packet[: len(packet) // 2 * 2]))
    if len(packet) % 2:
        total += packet[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
