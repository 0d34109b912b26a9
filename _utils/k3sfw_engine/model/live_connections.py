"""What must not be closed on a node, as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import netaddr

from k3sfw_engine.model.rows import Role


class CriticalService(str, Enum):
    """What a flow is for; closing it loses the node, the minions or the cluster."""

    SSH = "ssh session"
    MASTER = "connection to the Salt master"
    ETCD = "connection to etcd"
    API = "connection to the API server"


@dataclass(frozen=True, order=True)
class LiveConnection:
    """TCP to a port of this node from an address, or from a whole network that must get in.

    local
        The address of this node that a live connection goes to; ``None`` where there need be none.
    """

    port: int
    service: CriticalService
    peer: netaddr.IPNetwork
    local: netaddr.IPAddress | None = None


@dataclass(frozen=True)
class HostActivity:
    """What was found on the node: its live flows, where ssh's servers listen, what of K3s runs."""

    flows: tuple[LiveConnection, ...] = ()
    ssh_ports: frozenset[int] = field(default_factory=frozenset)
    k3s: frozenset[Role] = field(default_factory=frozenset)
