"""Processes and tunnels that an apply must not cut off: without them a node or its cluster is lost.

The processes and ports by which they are recognised are here and only here. Pure.
"""

from __future__ import annotations

from enum import Enum

from k3sfw_engine.model.rows import Protocol

# sshd is sshd-session in OpenSSH 9.8 and later.
SSH_PROCESSES = ("sshd", "dropbear")
SALT_MASTER = "salt-master"
SALT_MINION = "salt-minion"
# K3s runs etcd and the API server in its own process.
K3S_SERVER, K3S_AGENT = "k3s-server", "k3s-agent"
_K3S = frozenset(("k3s", K3S_SERVER))
_ETCD_PORTS = frozenset((2379, 2380))
_USUAL_API_PORT = 6443
_KUBELET_PORT = 10250
# What else K3s's process listens on, by its documentation: the embedded registry, the metrics of
# etcd, the kubelet's, kube-proxy's, the controller manager's and the scheduler's own ports, and
# health checks of load balancers on node ports.
# https://docs.k3s.io/installation/requirements#inbound-rules-for-k3s-nodes
_OTHER_K3S_PORTS = frozenset((5001, 2381, 2382, *range(10248, 10260), *range(30000, 32768)))


class CriticalService(str, Enum):
    """What a connection is for; without it the node, its minion or the cluster is lost."""

    SSH = "ssh session"
    MASTER = "connection to the Salt master"
    ETCD = "connection to etcd"
    API = "connection to the API server"
    KUBELET = "connection to the kubelet"
    OVERLAY = "tunnel of pods"
    WIREGUARD = "WireGuard tunnel"
    VRRP = "VRRP router"


# Raw sockets of these IP protocols.
CRITICAL_PROTOCOLS = {Protocol.VRRP: CriticalService.VRRP}


def is_ssh(process: str) -> bool:
    """Whether a process of this name is an ssh server or one of its sessions."""
    return process.startswith(SSH_PROCESSES)


def service_of_listener(process: str, port: int) -> CriticalService | None:
    """The critical service of a process that listens on a TCP port, or ``None``."""
    if is_ssh(process):
        return CriticalService.SSH
    if process == SALT_MASTER:
        return CriticalService.MASTER
    if process == "etcd" or (process in _K3S and port in _ETCD_PORTS):
        return CriticalService.ETCD
    if port == _KUBELET_PORT and process in {*_K3S, K3S_AGENT, "kubelet"}:
        return CriticalService.KUBELET
    if process == "kube-apiserver" or (process == "k3s" and port == _USUAL_API_PORT):
        return CriticalService.API
    # ``https-listen-port`` may be any.
    if process == K3S_SERVER and port not in _OTHER_K3S_PORTS:
        return CriticalService.API
    return None
