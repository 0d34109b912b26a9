"""Runs inside a host: sockets that wait for peers, or that are the peers.

``held_sockets.py wait tcp/9100 udp/7946 ip/112`` waits for peers on all of these.
``held_sockets.py reach ADDRESS tcp/9100 udp/7946 ip/112`` sends to each, and holds the connections.
"""

import socket
import sys
import time

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def waiting(kind, number):
    if kind == "ip":
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, number)
    one = socket.socket(socket.AF_INET, KINDS[kind])
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("0.0.0.0", number))
    if kind == "tcp":
        one.listen()
    return one


def reaching(address, kind, number):
    if kind == "ip":
        one = socket.socket(socket.AF_INET, socket.SOCK_RAW, number)
        one.sendto(b"\0" * 8, (address, 0))
        return one
    one = socket.socket(socket.AF_INET, KINDS[kind])
    one.connect((address, number))
    if kind == "udp":
        one.send(b"\0")
    return one


verb, *words = sys.argv[1:]
address = words.pop(0) if verb == "reach" else ""
held = []
for word in words:
    kind, _slash, number = word.partition("/")
    one = waiting(kind, int(number)) if verb == "wait" else reaching(address, kind, int(number))
    held.append(one)
print("ready", flush=True)
while True:
    time.sleep(600)
