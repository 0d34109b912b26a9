#!/usr/bin/python3 -IS
"""A program that stands in for a service: it listens, and answers requests with its name.

It runs inside a host under the name of the service, so ``ss`` and ``ps`` show that name. Its
arguments are ports, with ``/tls`` where the service speaks TLS: ``6443/tls 5001``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import sys
import threading

# Made by ``lab.k3s.services`` before the first start.
CERTIFICATE = "/run/stand-in.pem"
PATIENCE = 10


def main() -> None:
    """Listen on every port."""
    name = os.path.basename(sys.argv[0])
    for argument in sys.argv[1:]:
        port, _, kind = argument.partition("/")
        answer = f"{name} on {socket.gethostname()}, port {port} (a stand-in of the lab)\n"
        threading.Thread(target=_serve, args=(int(port), kind == "tls", answer)).start()


def _serve(port: int, with_tls: bool, answer: str) -> None:
    context = None
    if with_tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
    # For IPv4 too, as programs in Go listen.
    server = socket.create_server(
        ("", port), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True
    )
    while True:
        connection, _address = server.accept()
        threading.Thread(target=_answer, args=(connection, context, answer)).start()


def _answer(connection: socket.socket, context: ssl.SSLContext | None, answer: str) -> None:
    # Most clients only connect and close.
    with contextlib.suppress(OSError), connection:
        connection.settimeout(PATIENCE)
        if context:
            connection = context.wrap_socket(connection, server_side=True)
        with connection:
            if connection.recv(4096):
                page = answer.encode()
                head = (
                    f"HTTP/1.1 200 OK\r\nContent-Length: {len(page)}\r\nConnection: close\r\n\r\n"
                )
                connection.sendall(head.encode() + page)


if __name__ == "__main__":
    main()
