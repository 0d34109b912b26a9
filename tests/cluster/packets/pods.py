"""Pods as a CNI makes them: a network namespace behind a node's bridge cni0, and an overlay."""

from contextlib import contextmanager

from packets.reach import Source

# The network's number, then the host's in it. Pods are known by the interface behind which they
# are, so those of a dual-stack cluster have the same rights in both families.
POD = ("10.42.{}.{}", "fd42::{}:{}")
SERVICE = ("10.43.{}.{}", "fd43::{}:{}")
INSIDE = ("ip", "netns", "exec", "pod")


@contextmanager
def behind_a_bridge(host, number):
    """A pod as a source, and the same place with the addresses of a service."""
    gateways = (*addresses(POD, number, 1), *addresses(SERVICE, number, 1))
    pod, service = addresses(POD, number, 2), addresses(SERVICE, number, 2)
    ip(
        host,
        "netns add pod",
        "link add cni0 type bridge",
        "link add pod type veth peer name eth0 netns pod",
        "link set pod master cni0 up",
        *(f"address add {with_length(each)} dev cni0 {no_wait(each)}" for each in gateways),
        "link set cni0 up",
    )
    try:
        ip(
            host,
            *(f"address add {with_length(a)} dev eth0 {no_wait(a)}" for a in (*pod, *service)),
            "link set eth0 up",
            *(f"route add default via {gateway}" for gateway in gateways[:2]),
            inside=INSIDE,
        )
        yield [
            Source(f"pod on {host.name}", "pod", host, pod, INSIDE),
            Source(f"service on {host.name}", "service", host, service, INSIDE),
        ]
    finally:
        ip(host, "netns delete pod", "link delete cni0")


@contextmanager
def vxlan(host, number, peers):
    """This node's end of an overlay, as flannel makes it; ``peers`` are the others by number."""
    host.run(["sh", "-ec", flannel_start(host, number, peers)])
    try:
        _forwarding(host, 1)
        yield
    finally:
        _forwarding(host, 0)
        host.run(["ip", "link", "delete", "flannel.1"])


def flannel_start(host, number, peers):
    """What flannel does when it starts, as a script: it keeps what is right and adds the rest.

    https://github.com/flannel-io/flannel/blob/master/pkg/backend/vxlan/vxlan_network.go
    """
    commands = [
        f"ip link add flannel.1 address {mac(number)} type vxlan id 1 local {host.ipv4} dev eth0 "
        "dstport 8472 nolearning 2>/dev/null || ip link show flannel.1 >/dev/null",
        f"ip address replace 10.42.{number}.0/32 dev flannel.1",
        "ip link set flannel.1 up",
    ]
    for other, peer in peers.items():
        commands += [
            f"ip neighbour replace 10.42.{other}.0 lladdr {mac(other)} dev flannel.1 nud permanent",
            f"bridge fdb replace {mac(other)} dev flannel.1 dst {peer.ipv4}",
            f"ip route replace 10.42.{other}.0/24 via 10.42.{other}.0 dev flannel.1 onlink",
        ]
    return "\n".join(commands)


@contextmanager
def host_gw(host, peers):
    """The routes that flannel makes with the backend host-gw."""
    routes = [f"10.42.{other}.0/24 via {peer.ipv4} dev eth0" for other, peer in peers.items()]
    ip(host, *(f"route add {route}" for route in routes))
    try:
        _forwarding(host, 1)
        yield
    finally:
        _forwarding(host, 0)
        for other in peers:
            host.run(["ip", "route", "flush", f"10.42.{other}.0/24"])


def addresses(patterns, number, last):
    """The IPv4 and the IPv6 address of a place in a network."""
    return tuple(pattern.format(number, last) for pattern in patterns)


def ip(host, *commands, inside=()):
    host.run([*inside, "ip", "-batch", "-"], input="\n".join(commands) + "\n")


def with_length(address):
    return f"{address}/{112 if ':' in address else 24}"


def no_wait(address):
    # Without it an IPv6 address is of no use for the first second or two.
    return "nodad" if ":" in address else ""


def mac(number):
    return f"02:00:00:00:00:{number:02x}"


def _forwarding(host, value):
    host.run(["sh", "-c", f"echo {value} > /proc/sys/net/ipv4/ip_forward"])
