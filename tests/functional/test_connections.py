"""A change of the tables loses no connection that is allowed before and after."""

import time

SERVE = """
import socket
server = socket.create_server(("", 6379), backlog=512)
print("listening", flush=True)
while True:
    server.accept()[0].close()
"""

# New connections, one after the other, until told to stop; the count of each outcome at the end.
ASK = """
import collections, errno, os, signal, socket, sys
counts = collections.Counter()
go_on = [True]
signal.signal(signal.SIGTERM, lambda *_: go_on.clear())
while go_on:
    try:
        socket.create_connection(("192.0.2.11", 6379), timeout=2).close()
        counts["open"] += 1
    except OSError as error:
        counts[errno.errorcode.get(error.errno, type(error).__name__)] += 1
    if counts["open"] == 1:
        print("asking", flush=True)
print(dict(counts))
"""


def test_a_stream_of_new_connections_loses_none_while_nodes_rows_and_groups_change(
    node, outsider, pillar
):
    node.call("apply", pillar)
    server = node.host.popen(["python3", "-c", SERVE], stdout=-1)
    server.stdout.readline()
    client = outsider.popen(["python3", "-c", ASK], stdout=-1)
    assert client.stdout.readline() == "asking\n"
    for change in range(8):
        pillar["nodes"][f"n{change}"] = {"role": "agent", "addresses": [f"198.51.100.{change + 1}"]}
        pillar["ports"]["manager"][f"row{change}"] = {"protocol": "tcp", "port": 7000 + change}
        pillar["groups"] = {"clients": ["192.0.2.0/24"] if change % 2 else ["0.0.0.0/0", "::/0"]}
        assert node.call("apply", pillar)["reloads"] == []
    client.terminate()
    counts = eval(client.stdout.read())  # noqa: S307 - what our own program printed
    client.wait()
    server.kill()
    server.wait()
    assert counts["open"] > 200
    assert set(counts) == {"open"}


def test_a_source_that_is_not_in_the_tables_is_refused_at_every_moment_of_a_change(
    node, outsider, pillar
):
    pillar["groups"] = {"clients": ["198.51.100.0/24"]}
    server = node.host.popen(["python3", "-c", SERVE], stdout=-1)
    server.stdout.readline()
    asking = ASK.replace('if counts["open"] == 1', "if sum(counts.values()) == 1")
    client = outsider.popen(["python3", "-c", asking], stdout=-1)
    assert client.stdout.readline() == "asking\n"
    for _change in range(2):
        node.call("apply", pillar)
        pillar["ports"]["manager"]["redis"]["source"] = ["clients", "203.0.113.0/24"]
    node.call("remove")
    time.sleep(0.2)
    client.terminate()
    counts = eval(client.stdout.read())  # noqa: S307 - what our own program printed
    client.wait()
    server.kill()
    server.wait()
    assert "open" not in counts
    assert sum(counts.values()) > 5
