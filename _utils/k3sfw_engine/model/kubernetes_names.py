"""What Kubernetes and flannel use: interface names, ports, overlays and their overhead. Pure.

The one home of interface names in the engine. The grains and the SLS k3s.routes import nothing and
list the prefixes themselves; a test compares the lists.
"""

from __future__ import annotations

from collections.abc import Mapping

from k3sfw_engine.model.rows import FlannelBackend

# The bridge of flannel's CNI plugin, with the pods of this host.
CNI_BRIDGE = "cni0"
# The addresses of services are on it if kube-proxy uses IPVS.
IPVS_DEVICE = "kube-ipvs0"
# Of K3s's vpn-auth, which knows no other name.
# https://github.com/k3s-io/k3s/blob/master/pkg/vpn/vpn.go
TAILSCALE_DEVICE = "tailscale0"

# The device that carries pods' packets to other nodes, by address family.
# https://github.com/flannel-io/flannel/blob/master/Documentation/backends.md
OVERLAY_DEVICES: Mapping[FlannelBackend, Mapping[int, str]] = {
    FlannelBackend.VXLAN: {4: "flannel.1", 6: "flannel-v6.1"},
    FlannelBackend.WIREGUARD: {4: "flannel-wg", 6: "flannel-wg-v6"},
    FlannelBackend.HOST_GW: {},
    FlannelBackend.TAILSCALE: {},
    FlannelBackend.NONE: {},
}

# The interfaces by which nothing but packets of pods arrives. Tailscale's carries all that nodes
# send each other as well, and that of the whole tailnet.
CNI_INTERFACES: Mapping[FlannelBackend, tuple[str, ...]] = {
    backend: () if backend is FlannelBackend.NONE else (CNI_BRIDGE, *devices.values())
    for backend, devices in OVERLAY_DEVICES.items()
}

# The bytes that the overlay adds to a packet: outer IP, UDP, its own header, inner Ethernet.
# https://github.com/flannel-io/flannel/blob/master/pkg/backend/vxlan/vxlan.go
# https://github.com/flannel-io/flannel/blob/master/pkg/backend/wireguard/device.go
OVERLAY_OVERHEAD: Mapping[FlannelBackend, Mapping[int, int]] = {
    FlannelBackend.VXLAN: {4: 50, 6: 70},
    FlannelBackend.WIREGUARD: {4: 80, 6: 80},
    FlannelBackend.HOST_GW: {},
    FlannelBackend.TAILSCALE: {},
    FlannelBackend.NONE: {},
}

# The backends with which packets of other nodes' pods arrive outside of a tunnel of flannel's.
ROUTED_BACKENDS = frozenset((FlannelBackend.HOST_GW, FlannelBackend.TAILSCALE))

# The backend's type in flannel's own words, as net-conf.json has it.
# https://github.com/k3s-io/k3s/blob/master/pkg/agent/flannel/setup.go
FLANNEL_TYPES: Mapping[str, FlannelBackend] = {
    "vxlan": FlannelBackend.VXLAN,
    "wireguard": FlannelBackend.WIREGUARD,
    "host-gw": FlannelBackend.HOST_GW,
}

# How the tunnel devices of Calico and Cilium are called.
_OF_OTHER_PLUGINS = ("vxlan.calico", "vxlan-v6.calico", "wireguard.cali", "wg-v6.cali", "cilium_")

# The ports on which pods' packets arrive; the kernel itself listens there. flannel's two WireGuard
# devices have one each, and each sends to node addresses of the family of its pods.
VXLAN_PORT = 8472
WIREGUARD_PORTS: Mapping[int, int] = {4: 51820, 6: 51821}

# The usual ports of each backend, by the family of the pods.
OVERLAY_PORTS: Mapping[FlannelBackend, Mapping[int, int]] = {
    **{backend: {} for backend in FlannelBackend},
    FlannelBackend.VXLAN: {4: VXLAN_PORT, 6: VXLAN_PORT},
    FlannelBackend.WIREGUARD: WIREGUARD_PORTS,
}

# K3s runs all of Kubernetes in one process, whose title says the role.
K3S_PROCESSES = frozenset(("k3s", "k3s-server", "k3s-agent"))

# How the names begin of the interfaces that network plugins create. One for each pod: CNI's bridge
# and ptp plugins (veth), Calico (cali), Cilium (lxc), Azure (azv), AWS (eni).
_OF_ONE_POD = ("veth", "cali", "lxc", "azv", "eni")
# One for all pods: Cilium, CNI's bridge, flannel, kube-proxy with IPVS or kube-router (kube-),
# Calico (tunl is IP-in-IP's), Antrea, OVN, Weave, and the address of the DNS cache on each node.
# https://docs.rke2.io/known_issues
_FLANNEL = "flannel"
_OF_ALL_PODS = (
    "antrea-",
    "bpfin",
    "bpfout",
    "cilium",
    "cni",
    "datapath",
    "egress.calico",
    _FLANNEL,
    "genev_sys",
    "kube-",
    "nodelocaldns",
    "ovn",
    "tunl",
    "vxlan.calico",
    "vxlan-v6.calico",
    "weave",
    "wg-v6.cali",
    "wireguard.cali",
)

PREFIXES = (*_OF_ONE_POD, *_OF_ALL_PODS)


def kind_of(interface: str) -> str:
    """The prefix that marks an interface of a network plugin; empty if it is none."""
    return next((prefix for prefix in PREFIXES if interface.startswith(prefix)), "")


def is_kubernetes_interface(interface: str) -> bool:
    """Whether a network plugin or kube-proxy created the interface, by its name."""
    return bool(kind_of(interface))


def is_interface_of_one_pod(interface: str) -> bool:
    """Whether a single pod is behind the interface, by its name."""
    return interface.startswith(_OF_ONE_POD)


def is_tunnel_of_other_plugin(interface: str) -> bool:
    """Whether the interface is a tunnel of a network plugin that is not flannel, by its name."""
    return interface.startswith(_OF_OTHER_PLUGINS)


def is_flannel_device(interface: str) -> bool:
    """Whether the interface is one of flannel's devices, by its name."""
    return interface.startswith(_FLANNEL)
