"""What other programs make of a host: bridges, rules and addresses, as a K3s node may have them.

Each of them is the same on every host that has it, as with the programs themselves. Knows nothing
of K3s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lab.namespaces import Namespaces

# Device and address of the bridges that containers and virtual machines get.
BRIDGES = {
    "docker": ("docker0", "172.17.0.1/16"),
    "docker compose": ("br-0123456789ab", "172.18.0.1/16"),
    "libvirt": ("virbr0", "192.168.122.1/24"),
    "podman": ("podman0", "10.88.0.1/16"),
    "lxd": ("lxdbr0", "10.108.0.1/24"),
}
# kube-proxy's in the mode ipvs: it has every service's address.
IPVS_DEVICE = "kube-ipvs0"

# As dockerd writes them when it starts, with the default bridge and no container.
# https://github.com/moby/moby/tree/v25.0.0/libnetwork (iptables and drivers/bridge/setup_ip_tables)
DOCKER_RULES = """*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""


def make_bridges(host: Namespaces, names: Sequence[str] = tuple(BRIDGES)) -> None:
    """Create these bridges, and docker's rules with its bridge."""
    for name in names:
        device, address = BRIDGES[name]
        _ip(
            host,
            f"link add {device} type bridge",
            f"address add {address} dev {device}",
            f"link set {device} up",
        )
    if "docker" in names:
        host.run(["iptables-restore", "--noflush"], input=DOCKER_RULES)


def make_dummy(host: Namespaces, device: str, addresses: Sequence[str]) -> None:
    """Create a device that leads nowhere and has addresses of services, as kube-ipvs0 has."""
    _ip(
        host,
        # Not every kernel has dummies. A bridge without ports leads nowhere, either.
        f"link add {device} type bridge",
        *(f"address add {address} dev {device}" for address in addresses),
    )


@contextmanager
def virtual_address(host: Namespaces, address: str, card: str = "eth0") -> Iterator[None]:
    """Hold an address that moves between hosts, as keepalived and kube-vip do, for the block."""
    network, options = (f"{address}/128", "nodad") if ":" in address else (f"{address}/32", "")
    _ip(host, f"address add {network} dev {card} {options}")
    try:
        yield
    finally:
        _ip(host, f"address delete {network} dev {card}")


def _ip(host: Namespaces, *commands: str) -> None:
    host.run(["ip", "-batch", "-"], input="\n".join(commands) + "\n")
