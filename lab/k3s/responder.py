"""A program that answers on ports of its host, TCP and UDP, with its own name.

Its argument is JSON: ``{"name": ..., "addresses": [...], "ports": [...]}``. It prints ``ready``
when every port is open, and runs until it is killed. It must not know what a test expects.
"""

from __future__ import annotations

import contextlib
import json
import resource
import selectors
import socket
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Open the ports and answer."""
    given = json.loads(sys.argv[1])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    waiting = selectors.DefaultSelector()
    for address in given["addresses"]:
        for port in given["ports"]:
            for protocol in ("tcp", "udp"):
                answer = f"{given['name']} {protocol}/{port}".encode()
                waiting.register(_opened(protocol, address, port), selectors.EVENT_READ, answer)
    print("ready", flush=True)
    while True:
        for key, _events in waiting.select():
            assert isinstance(key.fileobj, socket.socket)
            _reply(key.fileobj, key.data)


def _opened(protocol: str, address: str, port: int) -> socket.socket:
    # Bound to one address: an answer from another one of this host would not be recognised.
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    opening = socket.socket(family, kind)
    opening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opening.setblocking(False)
    opening.bind((address, port))
    if protocol == "tcp":
        opening.listen(128)
    return opening


def _reply(asked: socket.socket, answer: bytes) -> None:
    # A client that has gone meanwhile needs no answer.
    with contextlib.suppress(OSError):
        if asked.type == socket.SOCK_STREAM:
            connection, _address = asked.accept()
            with connection:
                connection.send(answer)
        else:
            _data, address = asked.recvfrom(1)
            asked.sendto(answer, address)


if __name__ == "__main__":
    main()
