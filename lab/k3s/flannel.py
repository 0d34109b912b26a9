"""What flannel makes on a node, for each of its backends: devices, routes, entries and files.

``peers`` are the other nodes, by the number of their pods' network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from subprocess import DEVNULL

from lab.k3s.addresses import ALL_PODS, POD, addresses, ip, node_network, with_length
from lab.namespaces import Namespaces
from lab.wait import wait_until

Peers = Mapping[int, Namespaces]

# Flannel's devices of the backend wireguard-native: the family of the pods whose packets they
# carry, which is also that of the nodes' addresses, and the port.
WIREGUARD = {"flannel-wg": (4, 51820), "flannel-wg-v6": (6, 51821)}
SUBNET_FILE = "/run/flannel/subnet.env"
# K3s writes it for flannel, below its data folder.
# https://github.com/k3s-io/k3s/blob/master/pkg/agent/flannel/setup.go
CONFIGURATION = "agent/etc/flannel/net-conf.json"


@dataclass(frozen=True)
class Vxlan:
    """What flannel's configuration may say of the backend vxlan.

    With ``direct_routing``, peers of one's own subnet get plain routes.
    """

    vni: int = 1
    port: int = 8472
    direct_routing: bool = False

    @property
    def device(self) -> str:
        """The name of the device, by its VNI."""
        return f"flannel.{self.vni}"

    @property
    def configuration(self) -> dict[str, object]:
        """The part Backend of flannel's file; what is not said is flannel's default."""
        given: dict[str, object] = {"Type": "vxlan"}
        if self.vni != Vxlan.vni:
            given["VNI"] = self.vni
        if self.port != Vxlan.port:
            given["Port"] = self.port
        if self.direct_routing:
            given["DirectRouting"] = True
        return given


VXLAN = Vxlan()
TAILSCALE = {
    "Type": "extension",
    "PostStartupCommand": "tailscale set --accept-routes --advertise-routes=$SUBNET",
    "ShutdownCommand": "tailscale down",
}


@contextmanager
def vxlan(host: Namespaces, number: int, peers: Peers) -> Iterator[None]:
    """Set up this node's end of the overlay for the block."""
    host.run(["sh", "-ec", vxlan_script(host, number, peers)])
    try:
        forward(host, 1)
        yield
    finally:
        forward(host, 0)
        host.run(["ip", "link", "delete", "flannel.1"])


def vxlan_script(host: Namespaces, number: int, peers: Peers, how: Vxlan = VXLAN) -> str:
    """The commands of flannel's start, which keeps what is right and adds the rest.

    https://github.com/flannel-io/flannel/blob/master/pkg/backend/vxlan/vxlan_network.go
    """
    commands = [
        f"ip link add {how.device} address {mac(number)} type vxlan id {how.vni} "
        f"local {own_address(host)} dev eth0 dstport {how.port} nolearning 2>/dev/null || "
        f"ip link show {how.device} >/dev/null",
        f"ip address replace 10.42.{number}.0/32 dev {how.device}",
        f"ip link set {how.device} up",
    ]
    for other, peer in peers.items():
        network, device = f"10.42.{other}.0", how.device
        if how.direct_routing:
            commands.append(f"ip route replace {network}/24 via {peer.ipv4} dev eth0")
            continue
        commands += [
            f"ip neighbour replace {network} lladdr {mac(other)} dev {device} nud permanent",
            f"bridge fdb replace {mac(other)} dev {device} dst {peer.ipv4}",
            f"ip route replace {network}/24 via {network} dev {device} onlink",
        ]
    return "\n".join(commands)


def tailscale_script(number: int, addresses: Mapping[int, str]) -> str:
    """The routes of the backend tailscale, whose device and addresses exist: all by number."""
    return "\n".join(
        f"ip route replace 10.42.{other}.0/24 via {address} dev tailscale0"
        for other, address in addresses.items()
        if other != number
    )


def vxlan_v6_script(host: Namespaces, number: int, peers: Peers) -> str:
    """The commands for the IPv6 half of dual-stack flannel, which has a device of its own."""
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
def host_gw(host: Namespaces, peers: Peers) -> Iterator[None]:
    """Set the routes of the backend host-gw for the block."""
    ip(
        host,
        *(
            f"route add 10.42.{other}.0/24 via {peer.ipv4} dev eth0"
            for other, peer in peers.items()
        ),
    )
    try:
        forward(host, 1)
        yield
    finally:
        forward(host, 0)
        for other in peers:
            host.run(["ip", "route", "flush", f"10.42.{other}.0/24"])


@contextmanager
def wireguard(hosts: Mapping[int, Namespaces]) -> Iterator[None]:
    """Connect these hosts with WireGuard for the block, one device in each family.

    In user space, as not every kernel has WireGuard.
    https://github.com/flannel-io/flannel/blob/master/pkg/backend/wireguard/device.go
    """
    with ExitStack() as stack:
        for device in WIREGUARD:
            for host in hosts.values():
                stack.enter_context(_wireguard_device(host, device))
            public = {number: _make_key(host, device) for number, host in hosts.items()}
            for number, host in hosts.items():
                peers = {other: peer for other, peer in hosts.items() if other != number}
                host.run(["sh", "-ec", _wireguard_script(number, device, peers, public)])
        for host in hosts.values():
            forward(host, 1)
            stack.callback(forward, host, 0)
        yield


@contextmanager
def _wireguard_device(host: Namespaces, device: str) -> Iterator[None]:
    command = ["wireguard-go", "--foreground", device]
    process = host.popen(command, stdout=DEVNULL, stderr=DEVNULL)
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


def _make_key(host: Namespaces, device: str) -> str:
    """Set a new private key on the device and return its public key."""
    script = f"umask 077; wg genkey > /run/key; wg set {device} private-key /run/key; rm /run/key"
    host.run(["sh", "-ec", script])
    return host.run(["wg", "show", device, "public-key"]).stdout.strip()


def _wireguard_script(number: int, device: str, peers: Peers, public: Mapping[int, str]) -> str:
    family, port = WIREGUARD[device]
    length = 32 if family == 4 else 128
    # The first address of the node's network; the bridge has the second.
    own = addresses(POD, number, 0)[family == 6]
    commands = [
        f"wg set {device} listen-port {port}",
        f"ip address add {own}/{length} dev {device}",
        f"ip link set {device} mtu 1420 up",
        f"ip route add {ALL_PODS[family]} dev {device} {'scope link' if family == 4 else ''}",
    ]
    for other, peer in peers.items():
        endpoint = peer.ipv4 if family == 4 else f"[{peer.ipv6}]"
        commands.append(
            f"wg set {device} peer {public[other]} persistent-keepalive 25 "
            f"allowed-ips {node_network(family, other)} endpoint {endpoint}:{port}"
        )
    return "\n".join(commands)


def subnet_file(number: int, *, mtu: int, dual_stack: bool) -> str:
    """The content of flannel's file on this node; the addresses are those of the bridge.

    https://github.com/flannel-io/flannel/blob/master/pkg/subnet/subnet.go (WriteSubnetFile)
    """
    first, second = (with_length(each) for each in addresses(POD, number, 1))
    lines = [f"FLANNEL_NETWORK={ALL_PODS[4]}", f"FLANNEL_SUBNET={first}"]
    if dual_stack:
        lines += [f"FLANNEL_IPV6_NETWORK={ALL_PODS[6]}", f"FLANNEL_IPV6_SUBNET={second}"]
    return "\n".join([*lines, f"FLANNEL_MTU={mtu}", "FLANNEL_IPMASQ=true", ""])


def write_files(
    host: Namespaces,
    number: int,
    backend: Mapping[str, object] = VXLAN.configuration,
    configuration: str = "",
) -> None:
    """Write the files of a node with IPv4 only; the operator may keep the configuration elsewhere.

    https://github.com/k3s-io/k3s/blob/master/pkg/agent/flannel/setup.go (createFlannelConf)
    """
    content = {
        "Network": ALL_PODS[4],
        "EnableIPv6": False,
        "EnableIPv4": True,
        "IPv6Network": "::/0",
        "Backend": dict(backend),
    }
    for name, text in (
        (configuration or configuration_of(host), json.dumps(content, indent=2) + "\n"),
        (SUBNET_FILE, subnet_file(number, mtu=1450, dual_stack=False)),
    ):
        path = host.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def configuration_of(host: Namespaces) -> str:
    """The path of flannel's configuration, unless the operator has one of their own."""
    return f"{host.spec.installation.data_dir}/{CONFIGURATION}"


def accept_forwarded(host: Namespaces) -> None:
    """Accept what pods forward, which counts where docker's policy drops the rest.

    https://github.com/flannel-io/flannel/blob/master/pkg/trafficmngr/iptables/iptables.go
    """
    lines = ["*filter", ":FLANNEL-FWD - [0:0]", "-A FORWARD -j FLANNEL-FWD"]
    lines += [f"-A FLANNEL-FWD {way} {ALL_PODS[4]} -j ACCEPT" for way in ("-s", "-d")]
    host.run(["iptables-restore", "--noflush"], input="\n".join([*lines, "COMMIT", ""]))


def own_address(host: Namespaces) -> str:
    """The address of eth0, from which flannel sends; others may know the host by another one."""
    return host.spec.all_cards[0].addresses[0].partition("/")[0]


def mac(number: int) -> str:
    """The hardware address of a node's overlay device."""
    return f"02:00:00:00:00:{number:02x}"


def forward(host: Namespaces, value: int) -> None:
    """Switch IPv4 forwarding of the host on (1) or off (0)."""
    host.run(["sh", "-c", f"echo {value} > /proc/sys/net/ipv4/ip_forward"])
