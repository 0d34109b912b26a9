"""A listening socket of this host, as data. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from k3sfw_engine.model.rows import PortRange, Protocol


@dataclass(frozen=True, order=True)
class Listener:
    """A socket that accepts new clients, and its process (``kernel`` if it has none)."""

    protocol: Protocol
    port: int
    process: str


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
