"""The hosts of a lab as data: names, roles and addresses.

Knows nothing of namespaces or daemons. Tests define smaller labs with the same types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# TEST-NET-1 and the IPv6 documentation prefix: no real network uses them.
IPV4_NETWORK = "192.0.2.0/24"
IPV6_NETWORK = "2001:db8::/64"
NUMBERS = range(1, 255)
ROLES = ("master", "server", "agent", "plain")
# Who or what put K3s on a node; ``lab.k3s.furniture`` knows what each leaves there.
WAYS = ("install.sh", "install.sh on OpenRC", "PyratLabs", "techno-tim", "NixOS", "Alpine")
# The switch that every host is plugged into.
MAIN_SWITCH = "switch"
# The switch has an interface named after the host: 15 bytes at most.
_NAME = re.compile(r"[a-z][a-z0-9-]{0,13}[a-z0-9]|[a-z]")


@dataclass(frozen=True)
class Installation:
    """How K3s came onto a node, and what it was told.

    ``service`` is the name of its unit, by default the one of its way and role. ``flags`` are K3s's
    own, by default ``--node-ip`` with both addresses. They stand where the way has them; with
    ``config_file`` they stand in that file, which K3S_CONFIG_FILE names if it is not K3s's own.
    """

    way: str = WAYS[0]
    service: str = ""
    flags: tuple[str, ...] | None = None
    config_file: str = "/etc/rancher/k3s/config.yaml"
    data_dir: str = "/var/lib/rancher/k3s"

    def __post_init__(self) -> None:
        """Refuse an unknown way."""
        if self.way not in WAYS:
            raise ValueError(f"{self.way!r} is not one of the ways {', '.join(WAYS)}")


@dataclass(frozen=True)
class Card:
    """A network card: the switch that it is plugged into, and its addresses with their lengths."""

    name: str
    switch: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class HostSpec:
    """What a host is to be; ``number`` is the last part of both its addresses.

    ``role`` is ``master`` (runs salt-master), ``server`` or ``agent`` (a K3s node) or ``plain``
    (none of these). ``minion`` says whether salt-minion runs there; by default on K3s nodes.

    ``cards`` come in addition to eth0, or replace it if one of them is called so. Such a host
    is behind another one, which ``translates`` its addresses: pairs of one outside, one inside.
    """

    name: str
    role: str
    number: int
    firewalld: bool = True
    minion: bool | None = None
    installation: Installation = Installation()
    cards: tuple[Card, ...] = ()
    gateway: str = ""
    translates: tuple[tuple[str, str], ...] = ()

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
        """The IPv4 address by which other hosts know it: on eth0, unless it is translated."""
        return f"192.0.2.{self.number}"

    @property
    def ipv6(self) -> str:
        """The IPv6 address on eth0; its last group looks like the IPv4 number."""
        return f"2001:db8::{self.number}"

    @property
    def all_cards(self) -> tuple[Card, ...]:
        """Every card, eth0 first."""
        if any(card.name == "eth0" for card in self.cards):
            return self.cards
        return (Card("eth0", MAIN_SWITCH, (f"{self.ipv4}/24", f"{self.ipv6}/64")), *self.cards)

    @property
    def runs_minion(self) -> bool:
        """Whether salt-minion runs on this host."""
        return self.is_node if self.minion is None else self.minion

    @property
    def is_node(self) -> bool:
        """Whether this host is a K3s node."""
        return self.role in ("server", "agent")


def from_record(data: Mapping[str, Any]) -> HostSpec:
    """The host that ``dataclasses.asdict`` made this of, also after a way through JSON."""
    installation, cards = data["installation"], data["cards"]
    flags = installation["flags"]
    return HostSpec(
        **{
            **data,
            "installation": Installation(
                **{**installation, "flags": flags if flags is None else tuple(flags)}
            ),
            "cards": tuple(
                Card(**{**each, "addresses": tuple(each["addresses"])}) for each in cards
            ),
            "translates": tuple((outside, inside) for outside, inside in data["translates"]),
        }
    )


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
