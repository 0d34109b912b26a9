"""Packets of IP protocols that have no ports, sent by one host and counted by another.

A raw socket gets only what the rules of its host allowed. After the packets comes a datagram that
they always allow: packets do not overtake one another on the link of a lab, so what has not come by
then was dropped, and no time needs to pass.
"""

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass

# The datagram that ends it: the row flannel of the tables of these tests allows it.
LAST = 8472

RECEIVE = """
import json, select, socket, struct, sys
asked, last = json.loads(sys.argv[1]), int(sys.argv[2])
sockets = {}
for number, target in asked:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    one = socket.socket(family, socket.SOCK_RAW, number)
    index = socket.if_nametoindex("eth0")
    if target.startswith("224."):
        group = socket.inet_aton(target) + struct.pack("=4xi", index)
        one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    if target.startswith("ff02:"):
        group = socket.inet_pton(family, target) + struct.pack("=i", index)
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    sockets[one] = [number, target]
ends = []
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    end = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    end.bind((address, last))
    ends.append(end)
print("ready", flush=True)
came = []
for end in ends:
    end.recv(10)
while ready := select.select(sockets, [], [], 0)[0]:
    for one in ready:
        if b"k3sfw" in one.recv(2000) and sockets[one] not in came:
            came.append(sockets[one])
print(json.dumps(came))
"""

# An echo with another id each time: the reply makes a flow of it, and flows stay allowed.
SEND = """
import itertools, json, os, socket, struct, sys, time
asked, ends, last = json.loads(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
def send(number, target):
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    one = socket.socket(family, socket.SOCK_RAW, number)
    body = struct.pack("!BBHHH", {1: 8, 58: 128}.get(number, 0), 0, 0, os.getpid(), 1) + b"k3sfw   "
    if number == 1:
        body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    scope = socket.if_nametoindex("eth0") if target.startswith("ff02:") else 0
    if target.startswith("224."):
        one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[4]))
    one.sendto(body, (target, 0, 0, scope) if family == socket.AF_INET6 else (target, 0))
for turn in itertools.count():
    for each in asked:
        send(*each)
    if not turn:
        print("sent", flush=True)
    if ends:
        break
    # A check looks for a tenth of a second, and a busy machine keeps this process waiting.
    time.sleep(0.005)
for target in ends:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    socket.socket(family, socket.SOCK_DGRAM).sendto(b"end", (target, last))
"""


@dataclass(frozen=True)
class Raw:
    """A packet of this protocol to an address of the receiver, or to a group that it joined."""

    number: int
    target: str


@contextmanager
def sending(sender, packets):
    """Send these packets again and again for the block, beginning before it."""
    asked = json.dumps([[each.number, each.target] for each in packets])
    command = [sys.executable, "-c", SEND, asked, "[]", "0", sender.ipv4]
    with sender.popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == "sent\n"
            yield
        finally:
            process.kill()


def passing(sender, receiver, packets):
    """Those of the packets that the receiver's rules allow."""
    asked = json.dumps([[each.number, each.target] for each in packets])
    receive = [sys.executable, "-c", RECEIVE, asked, str(LAST)]
    with receiver.popen(receive, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        try:
            assert waiting.stdout.readline() == "ready\n", waiting.stderr.read()
            ends = json.dumps([receiver.ipv4, receiver.ipv6])
            sender.run([sys.executable, "-c", SEND, asked, ends, str(LAST), sender.ipv4])
            came, _errors = waiting.communicate(timeout=20)
        finally:
            waiting.kill()
    return {Raw(*each) for each in json.loads(came)}
