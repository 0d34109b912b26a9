"""New connections to one port, one after the other, as fast as they can be started."""

import json
import subprocess
import sys
from contextlib import contextmanager

# On the applied host: a port that its rows open, and one that no row names.
OPEN, CLOSED = 6379, 7001

# A connection is started every five milliseconds without waiting for any: one held up by a
# rejection or silence would hide the moment in which the next gets through.
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
    """Listen, and start connections; yields how many were started and how many succeeded."""
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
