"""What lives on a node: connections of peers, and sockets that wait for them. Data. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import netaddr

from k3sfw_engine.model.critical_processes import CriticalService
from k3sfw_engine.model.rows import Protocol, Role


def place_of(protocol: Protocol, port: int | None) -> str:
    """Return ``tcp/22``, or ``vrrp`` where there are no ports."""
    return protocol.value if port is None else f"{protocol.value}/{port}"


@dataclass(frozen=True)
class LiveConnection:
    """Packets to this node from an address, or from a network that must have access.

    port
        ``None`` if the protocol has none.
    service
        ``None`` if neither the node nor the cluster is lost without it.
    local
        This node's address on a live connection; ``None`` if access must exist without one.
    process
        The process or the device that takes the packets; empty if it is not known.
    """

    port: int | None
    service: CriticalService | None
    peer: netaddr.IPNetwork
    local: netaddr.IPAddress | None = None
    protocol: Protocol = Protocol.TCP
    process: str = ""

    @property
    def place(self) -> str:
        """The protocol and the port."""
        return place_of(self.protocol, self.port)

    @property
    def order(self) -> Any:
        """What connections are sorted by."""
        service = self.service.value if self.service else ""
        return (self.protocol.value, self.port or 0, service, self.peer, self.process)


@dataclass(frozen=True)
class WaitingSocket:
    """A socket that takes packets of peers which are not known.

    service
        ``None`` if neither the node nor the cluster is lost without it.
    by_chance
        Whether it may wait for answers only: the kernel gives clients such ports.
    """

    protocol: Protocol
    port: int | None
    process: str
    service: CriticalService | None = None
    by_chance: bool = False

    @property
    def place(self) -> str:
        """The protocol and the port."""
        return place_of(self.protocol, self.port)

    @property
    def order(self) -> Any:
        """What sockets are sorted by."""
        return (self.protocol.value, self.port or 0, self.process)


@dataclass(frozen=True)
class HostActivity:
    """What lives on the node.

    ssh_ports
        The ports of ssh servers.
    k3s_roles
        The roles of K3s that run.
    waiting
        The sockets that wait for peers.
    salt_masters
        The masters to which a minion of this host is connected.
    """

    connections: tuple[LiveConnection, ...] = ()
    ssh_ports: frozenset[int] = field(default_factory=frozenset)
    k3s_roles: frozenset[Role] = field(default_factory=frozenset)
    waiting: tuple[WaitingSocket, ...] = ()
    salt_masters: frozenset[netaddr.IPAddress] = field(default_factory=frozenset)
