"""Ports that destination NAT redirects before any INPUT rule, as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import netaddr

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.interfaces_and_routes import Network
from k3sfw_engine.model.kubernetes_names import is_kubernetes_interface
from k3sfw_engine.model.rows import Node, PortRange, Protocol, Tables


@dataclass(frozen=True)
class NatFacts:
    """The redirections on this host, and what could not be read."""

    found: frozenset[Redirection] = frozenset()
    unread: tuple[Problem, ...] = ()


NODE_PORT = "NodePort"
SERVICE_LB = "ServiceLB"
EXTERNAL_IP = "externalIP"
HOST_PORT = "hostPort"


@dataclass(frozen=True, order=True)
class Redirection:
    """Ports of this node in one family that are redirected.

    by
        What created it, as Kubernetes calls it.
    service
        ``namespace/name:port`` of the service, if the rules contain it.
    source
        The only network whose packets are redirected; empty for every source.
    """

    protocol: Protocol
    ports: PortRange
    family: int
    by: str
    service: str = ""
    source: str = ""

    def __str__(self) -> str:
        of = f" of {self.service}" if self.service else ""
        return f"{self.by}{of}"


@dataclass(frozen=True)
class LocalAddresses:
    """The addresses at which other hosts reach this node, and the networks of its pods."""

    own: frozenset[netaddr.IPAddress]
    pods: tuple[netaddr.IPNetwork, ...] = ()


def local_addresses(node: Node, tables: Tables, network: Network) -> LocalAddresses:
    """The addresses at which other hosts reach this node."""
    own = {
        address.ip
        for name, link in network.interfaces.items()
        if name != "lo" and not is_kubernetes_interface(name)
        for address in link.addresses
    }
    return LocalAddresses(
        frozenset({*own, *node.addresses}), (*tables.pod_cidrs, *tables.service_cidrs)
    )
