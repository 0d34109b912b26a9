"""New connections, one after the other, all through changes that end and such as are undone."""

import json
import subprocess
import sys
from contextlib import contextmanager

import conftest
import pytest
from test_transaction import Host

from lab.stream import stream

OPEN, CLOSED = 6379, 7001


LISTEN = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])), backlog=512)
print("listening", flush=True)
while True:
    server.accept()[0].close()
"""
# Every five milliseconds a connection is begun, and none is waited for: one that a rejection or
# silence holds up would hide the moment in which the next gets through.
BEGIN_MANY = """
import json, select, signal, socket, sys, time
go_on, begun, through, waiting = [True], 0, 0, {}
signal.signal(signal.SIGTERM, lambda *_: go_on.clear())
poll = select.epoll()
print("asking", flush=True)
while go_on:
    begun += 1
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((sys.argv[1], int(sys.argv[2])))
    waiting[one.fileno()] = (one, time.monotonic())
    poll.register(one, select.EPOLLOUT)
    for number, _event in poll.poll(0.005):
        through += not waiting[number][0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        waiting.pop(number)[0].close()
    for number, (_one, at) in list(waiting.items())[:1]:
        if time.monotonic() - at > 1:
            waiting.pop(number)[0].close()
    time.sleep(0.005)
print(json.dumps([begun, through]))
"""


@contextmanager
def knocking(client, server, port):
    """Have a listener there and connections begun; gives how many were, and got through."""
    listen = (
        f"import socket; s = socket.create_server(('', {port}), backlog=512)\nprint(1, flush=True)"
    )
    listen += "\nwhile True: s.accept()[0].close()"
    counts = []
    with server.popen([sys.executable, "-c", listen], stdout=subprocess.PIPE) as listener:
        listener.stdout.readline()
        command = [sys.executable, "-c", BEGIN_MANY, server.ipv4, str(port)]
        with client.popen(command, stdout=subprocess.PIPE) as knocker:
            try:
                knocker.stdout.readline()
                yield counts
            finally:
                knocker.terminate()
                counts += json.loads(knocker.communicate()[0])
        listener.kill()


def test_who_knocks_is_heard_where_it_is_open(raised, node):
    with knocking(raised.host("out"), raised.host("s1"), OPEN) as counts:
        node.firewall_cmd("--state")
    assert counts[1] > 5


@pytest.fixture(scope="module")
def raised():
    with conftest.standing("streams") as lab:
        yield lab


@pytest.fixture
def node(raised, pillar):
    host = Host(raised.host("s1"))
    host.call("apply", pillar)
    return host


def test_without_a_reload_none_is_lost_and_none_reaches_what_is_closed(
    raised, node, pillar, new_row
):
    out, s1 = raised.host("out"), raised.host("s1")
    with stream(out, s1, OPEN) as wanted, knocking(out, s1, CLOSED) as knocks:
        node.call("apply", new_row)
        node.call("rollback", new_row)
        steps = node.drive(99, "kill", new_row)["steps"]
        node.call("apply", pillar)
        node.drive(steps.index("execute"), "fail", new_row)
        node.drive(steps.index("execute"), "kill", new_row)
        node.wait_until_ended()
        node.call("apply", new_row, confirm_within=1)
        node.wait_until_ended()
    assert set(wanted.counts) == {"open"}
    assert wanted.counts["open"] > 5
    assert knocks[0] > 100 and knocks[1] == 0


def test_nothing_closed_is_reached_while_reloads_are_undone_and_firewalld_dies(
    raised, node, pillar
):
    out, s1 = raised.host("out"), raised.host("s1")
    with knocking(out, s1, CLOSED) as knocks:
        node.call("remove")
        steps = node.drive(99, "kill", pillar)["steps"]
        node.call("remove")
        for way, more in (("fail", {}), ("kill", {}), ("kill-firewalld", {})):
            node.drive(steps.index("execute"), way, pillar, **more)
            node.wait_until_ended()
        node.drive(99, "kill", pillar, kill_in_reload=0.1)
        node.wait_until_ended()
    assert knocks[0] > 100 and knocks[1] == 0, knocks
