"""Pods as a CNI makes them: a network namespace behind a node's bridge cni0, and an overlay."""

import json
from contextlib import ExitStack, contextmanager
from subprocess import DEVNULL

from lab.wait import wait_until
from tests.cluster.packets.reach import Source

# The network's number, then the host's in it. Pods are known by the interface behind which they
# are, so those of a dual-stack cluster have the same rights in both families.
POD = ("10.42.{}.{}", "fd42::{}:{}")
SERVICE = ("10.43.{}.{}", "fd43::{}:{}")
INSIDE = ("ip", "netns", "exec", "pod")
# Where Debian's package puts them.
CNI_PLUGINS = "/usr/lib/cni"


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
def pair_behind_a_bridge(host, number):
    """Two pods of a dual-stack node, made by hand: the addresses of each by its name."""
    names = ("pod", "pod2")
    gateways = addresses(POD, number, 1)
    found = {name: addresses(POD, number, 2 + place) for place, name in enumerate(names)}
    ip(
        host,
        "link add cni0 type bridge",
        *(f"address add {with_length(each)} dev cni0 {no_wait(each)}" for each in gateways),
        "link set cni0 up",
        *(f"netns add {name}" for name in names),
        *(f"link add {name} type veth peer name eth0 netns {name}" for name in names),
        *(f"link set {name} master cni0 up" for name in names),
        *(f"link set {name} type bridge_slave hairpin on" for name in names),
    )
    try:
        for name, own in found.items():
            ip(
                host,
                *(f"address add {with_length(a)} dev eth0 {no_wait(a)}" for a in own),
                "link set eth0 up",
                *(f"route add default via {gateway}" for gateway in gateways),
                inside=("ip", "netns", "exec", name),
            )
        yield found
    finally:
        ip(host, *(f"netns delete {name}" for name in names), "link delete cni0")


@contextmanager
def pair_by_cni_plugins(host, number):
    """The same made by the CNI's own plugins, as kubelet calls them."""
    names = ("pod", "pod2")
    network = {
        "cniVersion": "0.4.0",
        "name": "cbr0",
        "type": "bridge",
        "bridge": "cni0",
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [
                [{"subnet": f"10.42.{number}.0/24"}],
                [{"subnet": f"fd42::{number}:0/112"}],
            ],
        },
    }
    found = {}
    with ExitStack() as stack:
        stack.callback(host.run, ["rm", "-rf", "/var/lib/cni"])
        stack.callback(host.run, ["ip", "link", "delete", "cni0"], check=False)
        for name in names:
            ip(host, f"netns add {name}")
            stack.callback(ip, host, f"netns delete {name}")
            made = _cni(host, "ADD", name, network)
            stack.callback(_cni, host, "DEL", name, network)
            found[name] = tuple(each["address"].partition("/")[0] for each in made["ips"])
        yield found


def _cni(host, command, name, network):
    """What the plugin of this network answers.

    https://github.com/containernetworking/cni/blob/main/SPEC.md
    """
    given = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": name,
        "CNI_NETNS": f"/run/netns/{name}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": CNI_PLUGINS,
    }
    words = ["env", *(f"{key}={value}" for key, value in given.items())]
    done = host.run([*words, f"{CNI_PLUGINS}/{network['type']}"], input=json.dumps(network))
    return json.loads(done.stdout or "{}")


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


def flannel_v6_start(host, number, peers):
    """The IPv6 half of a dual-stack flannel, which has a device of its own."""
    commands = [
        f"ip link add flannel-v6.1 address {mac(100 + number)} type vxlan id 1 local {host.ipv6} "
        "dev eth0 dstport 8472 nolearning 2>/dev/null || ip link show flannel-v6.1 >/dev/null",
        f"ip address replace fd42::{number}:0/128 dev flannel-v6.1 nodad",
        "ip link set flannel-v6.1 up",
    ]
    for other, peer in peers.items():
        commands += [
            f"ip neighbour replace fd42::{other}:0 lladdr {mac(100 + other)} dev flannel-v6.1 "
            "nud permanent",
            f"bridge fdb replace {mac(100 + other)} dev flannel-v6.1 dst {peer.ipv6}",
            f"ip route replace fd42::{other}:0/112 via fd42::{other}:0 dev flannel-v6.1 onlink",
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


# Flannel's devices of the backend wireguard-native: the family of the pods and of the nodes between
# which it carries their packets, and its port.
WIREGUARD = {"flannel-wg": (4, 51820), "flannel-wg-v6": (6, 51821)}
ALL_PODS = {4: "10.42.0.0/16", 6: "fd42::/56"}


@contextmanager
def wireguard(hosts):
    """WireGuard between hosts, given by their numbers, in each family as flannel makes it.

    In user space, as not every kernel has it.
    https://github.com/flannel-io/flannel/blob/master/pkg/backend/wireguard/device.go
    """
    with ExitStack() as stack:
        for device in WIREGUARD:
            for host in hosts.values():
                stack.enter_context(_wireguard_device(host, device))
            public = {number: _with_key(host, device) for number, host in hosts.items()}
            for number, host in hosts.items():
                peers = {other: peer for other, peer in hosts.items() if other != number}
                host.run(["sh", "-ec", _wireguard_start(number, device, peers, public)])
        for host in hosts.values():
            _forwarding(host, 1)
            stack.callback(_forwarding, host, 0)
        yield


@contextmanager
def _wireguard_device(host, device):
    quiet = {"stdout": DEVNULL, "stderr": DEVNULL}
    process = host.popen(["wireguard-go", "--foreground", device], **quiet)
    try:
        wait_until(
            lambda: host.run(["wg", "show", device], check=False).returncode == 0,
            f"No {device} on {host.name}",
            timeout=10,
        )
        yield
    finally:
        # The device goes with its process.
        process.terminate()
        process.wait(10)


def _with_key(host, device):
    """Give the device a key of its own and return the public one."""
    script = f"umask 077; wg genkey > /run/key; wg set {device} private-key /run/key; rm /run/key"
    host.run(["sh", "-ec", script])
    return host.run(["wg", "show", device, "public-key"]).stdout.strip()


def _wireguard_start(number, device, peers, public):
    family, port = WIREGUARD[device]
    patterns, length = {4: (POD[0], 32), 6: (POD[1], 128)}[family]
    # The first address of the node's network; the bridge has the second.
    commands = [
        f"wg set {device} listen-port {port}",
        f"ip address add {patterns.format(number, 0)}/{length} dev {device}",
        f"ip link set {device} mtu 1420 up",
        f"ip route add {ALL_PODS[family]} dev {device} {'scope link' if family == 4 else ''}",
    ]
    for other, peer in peers.items():
        endpoint = peer.ipv4 if family == 4 else f"[{peer.ipv6}]"
        commands.append(
            f"wg set {device} peer {public[other]} persistent-keepalive 25 "
            f"allowed-ips {_network(family, other)} endpoint {endpoint}:{port}"
        )
    return "\n".join(commands)


def subnet_file(number):
    """What flannel writes down on this node: the addresses are those of the bridge."""
    first, second = addresses(POD, number, 1)
    return (
        f"FLANNEL_NETWORK={ALL_PODS[4]}\nFLANNEL_SUBNET={with_length(first)}\n"
        f"FLANNEL_IPV6_NETWORK={ALL_PODS[6]}\nFLANNEL_IPV6_SUBNET={with_length(second)}\n"
        "FLANNEL_MTU=1420\nFLANNEL_IPMASQ=true\n"
    )


def _network(family, number):
    return f"10.42.{number}.0/24" if family == 4 else f"fd42::{number}:0/112"


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
