"""What was read on a host besides its routes: sysctls, base chains, ufw, NetworkManager. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import netaddr

from k3sfw_engine.errors import Problem


@dataclass(frozen=True)
class NmConnection:
    """NetworkManager's connection on an interface that it manages; empty if it has none.

    zone
        The zone to which NetworkManager binds the interface; empty for the default one.
    """

    name: str = ""
    zone: str = ""


@dataclass(frozen=True)
class HostFacts:
    """What was read.

    sysctls
        By their path below ``/proc/sys``; without those that the kernel does not have.
    chains
        The base chains of all nft tables.
    managed
        The interfaces that NetworkManager manages.
    flannel_mtu
        The MTU that flannel assumed when it started; 0 if it does not run.
    cluster_dns
        The address of the cluster's DNS service, as K3s wrote it down for the kubelet.
    ufw, cloud_setup
        Whether ufw and nm-cloud-setup are enabled.
    unread
        What could not be read.
    """

    sysctls: Mapping[str, str] = field(default_factory=dict)
    chains: tuple[BaseChain, ...] = ()
    managed: tuple[str, ...] = ()
    flannel_mtu: int = 0
    cluster_dns: tuple[netaddr.IPAddress, ...] = ()
    ufw: bool = False
    cloud_setup: bool = False
    unread: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class BaseChain:
    """A chain that packets enter from a netfilter hook; ``policy`` applies at its end."""

    table: str
    name: str
    hook: str
    policy: str
