"""What was read on a host besides its routes: sysctls, base chains, ufw, NetworkManager. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import netaddr

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.filter_chains import ACCEPT, DROP, ChainEnd


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
    rule_files
        The files and services that set rules of another firewall at boot.
    managed
        The interfaces that NetworkManager manages.
    nm_override
        The file that makes it manage them although k3s.routes says otherwise; empty if none does.
    networkd
        Whether systemd-networkd drops the routes of others when it starts.
    flannel_mtu
        The MTU that flannel assumed when it started; 0 if it does not run.
    cluster_dns
        The address of the cluster's DNS service, as K3s wrote it down for the kubelet.
    ssh_ports
        The TCP ports of ssh servers.
    k3s_service
        The name of K3s's service here; empty if it is not known.
    openrc
        Whether OpenRC runs that service, and not systemd.
    connected
        The addresses of other hosts with which this one has a TCP connection.
    ufw, cloud_setup
        Whether ufw and nm-cloud-setup are enabled.
    unread
        What could not be read.
    """

    sysctls: Mapping[str, str] = field(default_factory=dict)
    chains: tuple[BaseChain, ...] = ()
    rule_files: tuple[str, ...] = ()
    managed: tuple[str, ...] = ()
    nm_override: str = ""
    networkd: bool = False
    flannel_mtu: int = 0
    cluster_dns: tuple[netaddr.IPAddress, ...] = ()
    ssh_ports: frozenset[int] = frozenset()
    k3s_service: str = ""
    openrc: bool = False
    connected: frozenset[netaddr.IPAddress] = frozenset()
    ufw: bool = False
    cloud_setup: bool = False
    unread: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class BaseChain:
    """A chain that packets enter from a netfilter hook; ``policy`` applies at its end.

    end
        What its rules do with the packets that no narrow rule names, if they were read.
    """

    table: str
    name: str
    hook: str
    policy: str
    end: ChainEnd = ChainEnd()

    @property
    def closes(self) -> bool:
        """Whether it drops what no rule accepts."""
        decided = self.end.verdict in (ACCEPT, DROP)
        return (self.end.verdict if decided else self.policy) == DROP
