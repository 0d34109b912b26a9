"""Connections and services of a node that must never be cut off, as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import netaddr

from k3sfw_engine.model.critical_processes import CriticalService
from k3sfw_engine.model.rows import Role


@dataclass(frozen=True, order=True)
class LiveConnection:
    """TCP to a port of this node from an address, or from a network that must have access.

    local
        This node's address on a live connection; ``None`` if access must exist without one.
    """

    port: int
    service: CriticalService
    peer: netaddr.IPNetwork
    local: netaddr.IPAddress | None = None


@dataclass(frozen=True)
class HostActivity:
    """What runs on the node: live connections, the ports of ssh servers, the roles of K3s."""

    connections: tuple[LiveConnection, ...] = ()
    ssh_ports: frozenset[int] = field(default_factory=frozenset)
    k3s_roles: frozenset[Role] = field(default_factory=frozenset)
