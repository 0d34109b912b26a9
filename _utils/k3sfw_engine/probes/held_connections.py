"""Open connections and hold them until the peer's kernel acknowledges a probe on each.

A program that is stopped or busy answers nothing, but its kernel accepts connections for it and
answers keepalive probes. These carry no data, so no program on the other side sees them. It binds
no port and does not know why a connection is held.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Sequence

from k3sfw_engine.model.packet_question import PacketQuestion
from k3sfw_engine.probes.defaults import HELD_LOOK, HELD_PATIENCE

# struct tcp_info, linux/tcp.h: the state is its first byte, tcpi_last_ack_recv is at 56.
_TCP_INFO = struct.Struct("=B55xI")
_ESTABLISHED, _CLOSE_WAIT = 1, 8
# Whole seconds are the smallest that the kernel has.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
)


def acknowledged(
    questions: Sequence[PacketQuestion], *, patience: float = HELD_PATIENCE
) -> list[bool]:
    """Whether a new connection to each is accepted and then acknowledges a probe.

    patience
        Seconds for both together.
    """
    ends_at = time.monotonic() + patience
    with contextlib.ExitStack() as stack:
        held = [_begin(stack, question) for question in questions]
        found = [False] * len(held)
        while not all(found) and time.monotonic() < ends_at:
            time.sleep(HELD_LOOK)
            found = [before or each.is_alive() for before, each in zip(found, held)]
    return found


class _Held:
    """A connection, and since when it exists."""

    def __init__(self, opened: socket.socket | None) -> None:
        self._socket = opened
        self._since: float | None = None

    def is_alive(self) -> bool:
        """Whether a packet came from the peer after the handshake."""
        if self._socket is None:
            return False
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        state, milliseconds = _TCP_INFO.unpack(info)
        if state == _CLOSE_WAIT:
            return True  # The peer closed it.
        if state != _ESTABLISHED:
            return False
        now = time.monotonic()
        if self._since is None:
            self._since = now
        # The kernel sends the first probe after a second in which nothing came.
        return bool(now - self._since - milliseconds / 1000 > 0.5)


def _begin(stack: contextlib.ExitStack, question: PacketQuestion) -> _Held:
    family = socket.AF_INET6 if ":" in question.address else socket.AF_INET
    try:
        opened = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        opened.setblocking(False)
        for level, option in _KEEPALIVE:
            opened.setsockopt(level, option, 1)
        with contextlib.suppress(BlockingIOError):
            opened.connect((question.address, question.port))
    except OSError:
        return _Held(None)
    return _Held(opened)
