"""What was read of a host: sysctls, zones of interfaces, other firewalls. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class NmConnection:
    """What NetworkManager has on an interface that it manages; without any both are empty.

    zone
        firewalld's, which NetworkManager binds the interface to; empty for the default one.
    """

    name: str = ""
    zone: str = ""


@dataclass(frozen=True)
class HostFacts:
    """What was read.

    sysctls
        By their path below ``/proc/sys``; what the kernel does not have is not in it.
    zones
        firewalld's zone of each interface; the default zone's where it is bound to none.
    accepting
        The zones among these that accept everything.
    chains
        The base chains of all nft tables.
    managed
        The interfaces that NetworkManager manages.
    flannel_mtu
        What flannel reckoned with when it started; 0 where it does not run.
    unread
        Sentences about what could not be read, with the mend.
    """

    sysctls: Mapping[str, str] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    accepting: frozenset[str] = frozenset()
    chains: tuple[BaseChain, ...] = ()
    managed: tuple[str, ...] = ()
    flannel_mtu: int = 0
    ufw: bool = False
    cloud_setup: bool = False
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class BaseChain:
    """A chain of any table by which packets enter it, and what becomes of those that leave it."""

    table: str
    name: str
    hook: str
    policy: str
