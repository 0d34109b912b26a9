"""How Kubernetes names its interfaces and overlay devices, and their ports. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from k3sfw_engine.model.rows import FlannelBackend

# The interfaces on which pods and services of each backend really arrive.
# https://github.com/flannel-io/flannel/blob/master/Documentation/backends.md
CNI_INTERFACES: Mapping[FlannelBackend, tuple[str, ...]] = {
    FlannelBackend.VXLAN: ("cni0", "flannel.1", "flannel-v6.1"),
    FlannelBackend.WIREGUARD: ("cni0", "flannel-wg", "flannel-wg-v6"),
    FlannelBackend.HOST_GW: ("cni0",),
    FlannelBackend.NONE: (),
}

# What the overlay puts around a packet: outer IP, UDP, its own header and the inner Ethernet's.
# https://github.com/flannel-io/flannel/blob/master/pkg/backend/vxlan/vxlan.go
# https://github.com/flannel-io/flannel/blob/master/pkg/backend/wireguard/device.go
OVERLAY_OVERHEAD: Mapping[FlannelBackend, Mapping[int, int]] = {
    FlannelBackend.VXLAN: {4: 50, 6: 70},
    FlannelBackend.WIREGUARD: {4: 80, 6: 80},
    FlannelBackend.HOST_GW: {},
    FlannelBackend.NONE: {},
}

# Pods of other nodes arrive on these ports, which the kernel holds itself. Flannel's two WireGuard
# devices have one each, and each sends to node addresses of the family of its pods.
VXLAN_PORT = 8472
WIREGUARD_PORTS: Mapping[int, int] = {4: 51820, 6: 51821}
CNI_BRIDGE = "cni0"
OVERLAY_DEVICES: Mapping[FlannelBackend, Mapping[int, str]] = {
    FlannelBackend.VXLAN: {4: "flannel.1", 6: "flannel-v6.1"},
    FlannelBackend.WIREGUARD: {4: "flannel-wg", 6: "flannel-wg-v6"},
    FlannelBackend.HOST_GW: {},
    FlannelBackend.NONE: {},
}


def is_kubernetes_interface(interface: str) -> bool:
    """Whether the interface is one of a CNI's or of kube-proxy's, by its name."""
    return interface.startswith(("cni", "flannel", "veth", "kube-", "cali", "cilium", "lxc"))


# How the interfaces begin that network plugins make: for pods, one each, and for all.
_PREFIXES = ("veth", "cali", "lxc", "cilium", "azv", "eni", "cni", "flannel", "kube-")


def kind_of(name: str) -> str:
    """How the interface's name begins if a network plugin makes such ones, else nothing."""
    return next((kind for kind in _PREFIXES if name.startswith(kind)), "")
