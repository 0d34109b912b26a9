"""Open new connections from one host to another, one after the other, and count the results.

Established connections survive a change of the rules, so only new ones show its effect.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab.host import Host

_ANSWER = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])), backlog=512)
print("listening", flush=True)
while True:
    server.accept()[0].close()
"""

_ASK = """
import collections, errno, json, signal, socket, sys, time
counts = collections.Counter()
go_on = [True]
signal.signal(signal.SIGTERM, lambda *_: go_on.clear())
while go_on:
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
        counts["open"] += 1
    except OSError as error:
        counts[errno.errorcode.get(error.errno, type(error).__name__)] += 1
    if sum(counts.values()) == 1:
        print("asking", flush=True)
    time.sleep(float(sys.argv[4]))
print(json.dumps(counts))
"""


@dataclass
class Stream:
    """How many connections were ``open``, or failed with which error; complete after the block."""

    counts: dict[str, int] = field(default_factory=dict)


@contextmanager
def stream(
    client: Host, server: Host, port: int, *, timeout: float = 2, pause: float = 0
) -> Iterator[Stream]:
    """Open connections during the block; at least one is opened before it.

    timeout
        The seconds after which one has failed. The kernel sends a lost packet again after one.
    pause
        The seconds between two of them.
    """
    result = Stream()
    arguments = [server.ipv4, str(port), str(timeout), str(pause)]
    with server.popen([sys.executable, "-c", _ANSWER, str(port)], stdout=subprocess.PIPE) as answer:
        try:
            _wait_for_line(answer)
            with client.popen([sys.executable, "-c", _ASK, *arguments], stdout=-1) as ask:
                try:
                    _wait_for_line(ask)
                    yield result
                finally:
                    ask.terminate()
                    result.counts = json.loads(ask.communicate()[0])
        finally:
            answer.kill()


def _wait_for_line(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    process.stdout.readline()
