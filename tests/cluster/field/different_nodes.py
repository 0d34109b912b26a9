"""The hosts of a cluster in which each node was installed in another way."""

from lab.spec import Card, HostSpec, Installation

MASTER = HostSpec("m", "master", 10)
OUT = HostSpec("out", "plain", 99, firewalld=False)
# A network for storage, which K3s does not know.
STORAGE = "storage"


def _node(name, role, number, installation, *cards):
    return HostSpec(
        *(name, role, number), installation=installation, cards=cards, gateway=MASTER.ipv4
    )


def _told(number):
    return (f"--node-ip=192.0.2.{number}",)


HOSTS = (
    MASTER,
    _node("s1", "server", 11, Installation(flags=_told(11), config_file="")),
    # K3s chooses the address itself, by the default route.
    _node("s2", "server", 12, Installation("PyratLabs", flags=())),
    _node(
        *("s3", "server", 13),
        Installation(flags=_told(13), config_file="/etc/k3s/k3s.yaml", data_dir="/var/k3s"),
        Card("eth1", STORAGE, ("10.0.0.13/24",)),
    ),
    _node("a1", "agent", 21, Installation("PyratLabs", flags=_told(21))),
    _node("a2", "agent", 22, Installation(service="k3s-edge", flags=_told(22), config_file="")),
    _node(
        *("a3", "agent", 23),
        Installation("Alpine", flags=("--flannel-iface=eth0",)),
        Card("eth1", STORAGE, ("10.0.0.23/24",)),
    ),
    _node("a4", "agent", 24, Installation("NixOS", flags=_told(24))),
    OUT,
)
VIRTUAL = "192.0.2.100"
# The DNS cache on a node has these on a dummy device.
NODE_LOCAL_DNS = ("169.254.20.10/32", "10.43.0.10/32")
