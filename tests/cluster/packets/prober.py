"""Probes many ports at once and reports each result; runs inside a host of a lab.

Stdin is JSON, ``{"timeout": seconds, "udp_port": port to ask from, "questions": [...]}``, each
question a list of protocol, source address, target address, port and right answer. Stdout is JSON,
a list with a verdict on each: ``open`` if the right answer came, else the name of an error, or
``silence``. It must not know what is expected.
"""

import contextlib
import errno
import json
import resource
import selectors
import socket
import sys
import time

# The size of a burst; more than the queue of a neighbour entry holds would be lost.
BURST = 50


def main():
    given = json.load(sys.stdin)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    json.dump(ask(given["questions"], given["timeout"], given["udp_port"]), sys.stdout)


def ask(questions, timeout, udp_port):
    verdicts = ["silence"] * len(questions)
    waiting = selectors.DefaultSelector()
    for number, question in enumerate(questions):
        try:
            asking = begin(*question[:4], udp_port)
        except OSError as error:
            verdicts[number] = name_of(error)
            continue
        waiting.register(asking, selectors.EVENT_READ, (number, question[4].encode()))
        if number % BURST == BURST - 1:
            collect(waiting, verdicts, timeout=0.005)
    deadline = time.monotonic() + timeout
    while waiting.get_map() and time.monotonic() < deadline:
        collect(waiting, verdicts, timeout=deadline - time.monotonic())
    return verdicts


def begin(protocol, source, target, port, udp_port):
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    asking = socket.socket(family, kind)
    asking.setblocking(False)
    try:
        if protocol == "tcp":
            asking.bind((source, 0))
            with contextlib.suppress(BlockingIOError):
                asking.connect((target, port))
        else:
            # All from one port: their targets tell them apart.
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            asking.bind((source, udp_port))
            asking.connect((target, port))
            asking.send(b"?")
    except OSError:
        asking.close()
        raise
    return asking


def collect(waiting, verdicts, timeout):
    for key, _events in waiting.select(timeout):
        number, answer = key.data
        try:
            came = key.fileobj.recv(100)
            verdicts[number] = "open" if came == answer else f"a wrong answer, {came!r}"
        except BlockingIOError:
            continue
        except OSError as error:
            verdicts[number] = name_of(error)
        waiting.unregister(key.fileobj)
        key.fileobj.close()


def name_of(error):
    return errno.errorcode.get(error.errno, str(error))


if __name__ == "__main__":
    main()
