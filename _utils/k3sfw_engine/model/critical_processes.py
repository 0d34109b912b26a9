"""Processes that an apply must not cut off: ssh, the Salt master, etcd, the API server. Pure.

The processes and ports by which they are recognised are here and only here.
"""

from __future__ import annotations

from enum import Enum

# sshd is sshd-session in OpenSSH 9.8 and later.
SSH_PROCESSES = ("sshd", "dropbear")
SALT_MASTER = "salt-master"
# K3s runs etcd and the API server in its own process.
_K3S = frozenset(("k3s", "k3s-server"))
_ETCD_PORTS = frozenset((2379, 2380))
_API_SERVER_PORTS = frozenset((6443,))


class CriticalService(str, Enum):
    """What a connection is for; without it the node, its minion or the cluster is lost."""

    SSH = "ssh session"
    MASTER = "connection to the Salt master"
    ETCD = "connection to etcd"
    API = "connection to the API server"


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
    if process in {*_K3S, "kube-apiserver"} and port in _API_SERVER_PORTS:
        return CriticalService.API
    return None
