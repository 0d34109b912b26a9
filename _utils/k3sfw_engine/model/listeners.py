"""A listening socket of this host, as data. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from k3sfw_engine.model.rows import PortRange, Protocol, Row

# The process of a socket that has none.
KERNEL = "kernel"


@dataclass(frozen=True, order=True)
class Listener:
    """A socket that accepts new clients, and its process."""

    protocol: Protocol
    port: int
    process: str


def has_listeners(row: Row) -> bool:
    """Whether the listeners of the row can be seen: sockets of TCP and UDP."""
    return row.protocol in (Protocol.TCP, Protocol.UDP)


def listening_on(
    listeners: Iterable[Listener], protocol: Protocol, ports: Iterable[PortRange]
) -> tuple[Listener, ...]:
    """The listeners on any of these ports."""
    ports = tuple(ports)
    return tuple(
        each
        for each in listeners
        if each.protocol is protocol and any(each.port in span for span in ports)
    )
