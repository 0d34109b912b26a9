"""Pods of two nodes, what carries their packets, and what a connection to them meets."""

import sys
from contextlib import contextmanager

from lab.k3s import pods
from lab.spec import HostSpec

# The other node has no firewall, so that whatever is denied was denied by the first.
AGENT = HostSpec("a1", "agent", 21, firewalld=False)
NUMBERS = {"s1": 1, "a1": 2}
POD = {"s1": "10.42.1.2", "a1": "10.42.2.2"}
THROUGH = "through"
# What a closed port looks like: rejected by a zone, or dropped, after three seconds of silence.
DENIED = ("EHOSTUNREACH", "EAGAIN")
# Nothing listens there: an answer of the pod itself is a refusal.
CONNECT = """
import errno, socket, sys
one = socket.socket()
one.settimeout(3)
one.bind((sys.argv[1], 0))
error = one.connect_ex((sys.argv[2], int(sys.argv[3])))
print("through" if error in (0, errno.ECONNREFUSED) else errno.errorcode[error])
"""


def asks(host, target, port=5432, *, source="0.0.0.0", inside=()):
    """What a connection meets on which nothing but the firewall decides."""
    command = [*inside, sys.executable, "-I", "-S", "-c", CONNECT, source, target, str(port)]
    return host.run(command).stdout.strip()


def from_pod(host, target, port=5432):
    """What a connection of the host's pod meets."""
    return asks(host, target, port, inside=pods.INSIDE)


@contextmanager
def behind_bridges(node, others):
    """Both nodes with a pod behind a bridge, and forwarding; yields the hosts by name."""
    hosts = {"s1": node.host, "a1": others["a1"]}
    for name, host in hosts.items():
        pods.make(host, NUMBERS[name])
        host.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    yield hosts


def tunnel(host, number, other, peer, vni, port):
    """Create flannel's device, with its entries for one peer."""
    device = f"flannel.{vni}"
    mac = "02:00:00:00:00:{:02x}"
    script = f"""
    ip link add {device} address {mac.format(number)} type vxlan id {vni} local {host.ipv4} \
        dev eth0 dstport {port} nolearning
    ip address add 10.42.{number}.0/32 dev {device}
    ip link set {device} up
    ip neighbour add 10.42.{other}.0 lladdr {mac.format(other)} dev {device} nud permanent
    bridge fdb add {mac.format(other)} dev {device} dst {peer.ipv4}
    ip route add 10.42.{other}.0/24 via 10.42.{other}.0 dev {device} onlink
    """
    host.run(["sh", "-ec", script])
