"""The hostPorts of pods, as the CNI plugin portmap was asked for them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import netaddr

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import FAMILIES


@dataclass(frozen=True)
class PortMapping:
    """A port of the node that leads to a port of a pod.

    families
        The families in which it does, as far as the pod has an address of them.
    host_ip
        The only address of the node at which it does; ``None`` for all of them.
    """

    protocol: str
    host_port: int
    container_port: int
    families: tuple[int, ...] = FAMILIES
    host_ip: netaddr.IPAddress | None = None


@dataclass(frozen=True)
class PortmapSettings:
    """The settings of the plugin in its network; the defaults are its own.

    conditions
        By family, words of iptables that a packet must match too.
    """

    snat: bool = True
    masquerade_all: bool = False
    mark_bit: int = 13
    external_mark_chain: str = ""
    conditions: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class PodPorts:
    """A pod with hostPorts.

    pod
        ``namespace/name``, or what is known instead.
    addresses
        Its address of each family, with the length of its network.
    namespace
        The path of its network namespace.
    links
        The interfaces on the host that were made for it.
    backend
        What its network tells portmap to write rules with; empty if portmap chooses.
    """

    network: str
    container: str
    pod: str
    addresses: Mapping[int, netaddr.IPNetwork]
    mappings: tuple[PortMapping, ...]
    namespace: str
    links: tuple[str, ...] = ()
    settings: PortmapSettings = PortmapSettings()
    backend: str = ""

    def mappings_of(self, family: int) -> tuple[PortMapping, ...]:
        """The mappings for which there are rules in this family."""
        if family not in self.addresses:
            return ()
        return tuple(each for each in self.mappings if family in each.families)

    @property
    def targets(self) -> Mapping[str, tuple[str, ...]]:
        """Where in the pod each of its hostPorts leads to."""
        found: dict[str, list[str]] = {}
        for family in sorted(self.addresses):
            for each in self.mappings_of(family):
                port, ip = each.host_port, each.host_ip
                title = f"{with_port(ip, port) if ip else port}/{each.protocol}"
                target = with_port(self.addresses[family].ip, each.container_port)
                found.setdefault(title, []).append(target)
        return {port: tuple(targets) for port, targets in found.items()}


@dataclass(frozen=True)
class HostPorts:
    """The pods with hostPorts, the oldest first, and what could not be read."""

    pods: tuple[PodPorts, ...] = ()
    unread: tuple[Problem, ...] = ()


def with_port(address: netaddr.IPAddress, port: int) -> str:
    """An address and a port as iptables writes them."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def without_shared_addresses(pods: Iterable[PodPorts]) -> tuple[PodPorts, ...]:
    """Leave out pods that claim the same address: only one of them can have it."""
    pods = tuple(pods)
    claimed = [each.ip for pod in pods for each in pod.addresses.values()]
    return tuple(
        pod for pod in pods if all(claimed.count(each.ip) == 1 for each in pod.addresses.values())
    )
