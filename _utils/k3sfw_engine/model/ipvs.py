"""The services that kube-proxy gave to the kernel's IPVS, as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import netaddr

from k3sfw_engine.model.rows import Protocol


@dataclass(frozen=True, order=True)
class VirtualService:
    """An address of this host at which IPVS takes packets, after the rules of INPUT."""

    protocol: Protocol
    address: netaddr.IPAddress
    port: int


@dataclass(frozen=True)
class IpvsFacts:
    """What was read.

    used
        Whether kube-proxy's device for IPVS exists.
    services
        ``None`` if the kernel does not list them.
    """

    used: bool = False
    services: tuple[VirtualService, ...] | None = None


NO_IPVS = IpvsFacts()
