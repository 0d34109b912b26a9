"""Messages of the kernel's netlink protocols: packed, sent and unpacked. Knows none of them.

https://docs.kernel.org/userspace-api/netlink/intro.html
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator

from k3sfw_engine.host.defaults import NETLINK_SECONDS

REQUEST, ACK = 1, 4
ERROR, DONE = 2, 3
_DUMP = 0x300
# As much as the kernel sends at once.
_BUFFER = 1 << 16


def attribute(kind: int, value: bytes) -> bytes:
    """Pack one attribute."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Unpack attributes into kind and value."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        # The two highest bits are flags about how the value is written.
        yield kind & 0x3FFF, data[4:length]
        data = data[max(4, length + -length % 4) :]


def message(kind: int, flags: int, serial: int, body: bytes) -> bytes:
    """Pack one message."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, serial, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Unpack messages into kind, serial and body."""
    while len(data) >= 16:
        length, kind, _flags, serial, _port = struct.unpack_from("=IHHII", data)
        yield kind, serial, data[16:length]
        data = data[max(16, length + -length % 4) :]


def error_number(body: bytes) -> int:
    """The number of the error in an error message; 0 if it acknowledges."""
    (number,) = struct.unpack_from("=i", body)
    return -int(number)


def dump(protocol: int, kind: int, body: bytes) -> Iterator[bytes]:
    """Ask for a list, and return the body of each message of the answer.

    Raises ``OSError`` if the kernel refuses or does not have it.
    """
    with _connect(protocol) as kernel:
        kernel.send(message(kind, REQUEST | _DUMP, 1, body))
        while True:
            for answered, _serial, answer in messages(kernel.recv(_BUFFER)):
                if answered == ERROR:
                    raise _error(answer)
                if answered == DONE:
                    return
                yield answer


def ask_each(protocol: int, kind: int, bodies: Iterable[bytes]) -> Iterator[bytes]:
    """Ask for single things, and return the body of each answer; without what does not exist.

    Raises ``OSError`` if the kernel refuses.
    """
    with _connect(protocol) as kernel:
        for serial, body in enumerate(bodies, 1):
            kernel.send(message(kind, REQUEST, serial, body))
            for answered, _serial, answer in messages(kernel.recv(_BUFFER)):
                if answered != ERROR:
                    yield answer
                elif error_number(answer) not in (errno.ENODEV, errno.ENOENT):
                    raise _error(answer)


def _connect(protocol: int) -> socket.socket:
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    kernel.settimeout(NETLINK_SECONDS)
    return kernel


def _error(answer: bytes) -> OSError:
    number = error_number(answer) or errno.EPROTO
    return OSError(number, os.strerror(number))
