"""The hosts of a lab as data: names, roles and addresses.

Knows nothing of namespaces or daemons. Tests define smaller labs with the same types.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# TEST-NET-1 and the IPv6 documentation prefix: no real network uses them.
IPV4_NETWORK = "192.0.2.0/24"
IPV6_NETWORK = "2001:db8::/64"
NUMBERS = range(1, 255)
ROLES = ("master", "server", "agent", "plain")
# The switch has an interface named after the host: 15 bytes at most.
_NAME = re.compile(r"[a-z][a-z0-9-]{0,13}[a-z0-9]|[a-z]")


@dataclass(frozen=True)
class HostSpec:
    """What a host is to be; ``number`` is the last part of both its addresses.

    ``role`` is ``master`` (runs salt-master), ``server`` or ``agent`` (a K3s node) or ``plain``
    (none of these). ``minion`` says whether salt-minion runs there; by default on K3s nodes.
    """

    name: str
    role: str
    number: int
    firewalld: bool = True
    minion: bool | None = None

    def __post_init__(self) -> None:
        """Refuse an invalid name, number or role."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a host name of at most 15 characters")
        if self.role not in ROLES:
            raise ValueError(f"{self.role!r} is not one of the roles {', '.join(ROLES)}")
        if self.number not in NUMBERS:
            raise ValueError(f"{self.name}: {self.number} is not between 1 and 254")

    @property
    def ipv4(self) -> str:
        """The IPv4 address on eth0."""
        return f"192.0.2.{self.number}"

    @property
    def ipv6(self) -> str:
        """The IPv6 address on eth0; its last group looks like the IPv4 number."""
        return f"2001:db8::{self.number}"

    @property
    def runs_minion(self) -> bool:
        """Whether salt-minion runs on this host."""
        return self.is_node if self.minion is None else self.minion

    @property
    def is_node(self) -> bool:
        """Whether this host is a K3s node."""
        return self.role in ("server", "agent")


DEFAULT_HOSTS = (
    HostSpec("m", "master", 10),
    HostSpec("s1", "server", 11),
    HostSpec("s2", "server", 12),
    HostSpec("s3", "server", 13),
    HostSpec("a1", "agent", 21),
    HostSpec("a2", "agent", 22),
    # The outsider is a client of the cluster, so it has no firewall of its own.
    HostSpec("out", "plain", 99, firewalld=False),
)
