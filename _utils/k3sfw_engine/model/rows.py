"""The vocabulary of the port tables: rows, roles, sources, nodes, promises. Pure data.

``port_tables`` reads and checks it; behind that, it is taken as right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import netaddr

ROOT = "k3s"


class Protocol(str, Enum):
    """The protocol of a row: one with ports, an IP protocol as a whole, or any of them.

    An IP protocol without a name here is a member as well, as soon as it is asked for:
    ``Protocol("253")``.
    """

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"
    ANY = "any"
    ICMP = "icmp"
    IGMP = "igmp"
    IPIP = "ipip"
    GRE = "gre"
    ESP = "esp"
    AH = "ah"
    IPV6_ICMP = "ipv6-icmp"
    OSPF = "ospf"
    PIM = "pim"
    VRRP = "vrrp"
    L2TP = "l2tp"

    @classmethod
    def _missing_(cls, value: object) -> Protocol | None:
        if not isinstance(value, str) or value not in _UNNAMED:
            return None
        member = str.__new__(cls, value)
        member._name_, member._value_ = f"NUMBER_{value}", value
        # One member for each number, as the standard library's Flag has for its combinations.
        cls._value2member_map_[value] = member
        return member

    @property
    def number(self) -> int | None:
        """Its number in the header of IP; ``None`` for ``any``."""
        if self is Protocol.ANY:
            return None
        return NUMBERS.get(self.value) or int(self.value)

    @property
    def has_ports(self) -> bool:
        """Whether a row gives its ports."""
        return self.value in _WITH_PORTS

    @property
    def is_whole(self) -> bool:
        """Whether a row opens all of one IP protocol, which has no ports."""
        return self is not Protocol.ANY and not self.has_ports

    @property
    def families(self) -> tuple[int, ...]:
        """The address families in which it exists; IGMP of IPv6 is a part of ICMPv6."""
        return {"icmp": (4,), "igmp": (4,), "ipv6-icmp": (6,)}.get(self.value, (4, 6))


# https://www.iana.org/assignments/protocol-numbers
NUMBERS: Mapping[str, int] = {
    "icmp": 1,
    "igmp": 2,
    "ipip": 4,
    "tcp": 6,
    "udp": 17,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": 58,
    "ospf": 89,
    "pim": 103,
    "vrrp": 112,
    "l2tp": 115,
    "sctp": 132,
}
# The headers that IPv6 puts before a protocol, and "none follows": no rule sees their numbers.
# 255 is reserved.
NOT_PROTOCOLS = (0, 43, 44, 59, 60, 255)
_WITH_PORTS = ("tcp", "udp", "sctp")
WHOLE_PROTOCOLS = frozenset(range(256)).difference(
    NOT_PROTOCOLS, (NUMBERS[name] for name in _WITH_PORTS)
)
_UNNAMED = {str(number) for number in WHOLE_PROTOCOLS.difference(NUMBERS.values())}


class Role(str, Enum):
    """The role of a node in K3s."""

    SERVER = "server"
    AGENT = "agent"


class Destination(str, Enum):
    """The nodes that a row opens."""

    SERVER = "server"
    AGENT = "agent"
    ANY = "any"

    def includes(self, role: Role) -> bool:
        """Whether the row opens nodes of this role."""
        return self is Destination.ANY or self.value == role.value


class FlannelBackend(str, Enum):
    """``flannel-backend`` of K3s; ``tailscale`` is what ``vpn-auth`` makes of it.

    ``none`` is any other network plugin.
    """

    VXLAN = "vxlan"
    WIREGUARD = "wireguard-native"
    HOST_GW = "host-gw"
    TAILSCALE = "tailscale"
    NONE = "none"


class PodsFrom(str, Enum):
    """How a packet from a pod is recognised; an address can be spoofed from outside."""

    INTERFACES = "interfaces"
    ADDRESSES = "addresses"


class SourceKind(str, Enum):
    """The kinds of names in the source column."""

    SERVER = "server"
    AGENT = "agent"
    ANY = "any"
    PODS = "pods"
    SERVICES = "services"
    GROUP = "group"
    CIDR = "cidr"


@dataclass(frozen=True, order=True)
class PortRange:
    """Ports from ``low`` to ``high``, both included."""

    low: int
    high: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"

    def __contains__(self, port: int) -> bool:
        return self.low <= port <= self.high


@dataclass(frozen=True, order=True)
class Source:
    """One name of the source column; ``value`` is the group's name or the CIDR."""

    kind: SourceKind
    value: str = ""

    def __str__(self) -> str:
        return self.value or self.kind.value


@dataclass(frozen=True)
class Row:
    """One row of one table."""

    table: str
    name: str
    protocol: Protocol
    ports: tuple[PortRange, ...]
    sources: tuple[Source, ...]
    destination: Destination
    description: str = ""

    @property
    def path(self) -> str:
        """Where the row stands in pillar."""
        return f"{ROOT}:ports:{self.table}:{self.name}"


class EndpointKind(str, Enum):
    """The kinds of names in a promise; ``node`` is a minion id, ``anyone`` every address."""

    ANYONE = "anyone"
    ANY = "any"
    SERVER = "server"
    AGENT = "agent"
    PODS = "pods"
    SERVICES = "services"
    GROUP = "group"
    CIDR = "cidr"
    NODE = "node"


@dataclass(frozen=True, order=True)
class Endpoint:
    """One name of a promise's source or destination; ``value`` as in ``Source``."""

    kind: EndpointKind
    value: str = ""

    def __str__(self) -> str:
        return self.value or self.kind.value


@dataclass(frozen=True, order=True)
class PromisedPorts:
    """Ports of one protocol, or all of one; ``str`` writes them as pillar does."""

    protocol: Protocol
    ports: PortRange | None = None

    def __str__(self) -> str:
        name = self.protocol.value
        if self.ports is None:
            return f"ip/{name}" if name.isdigit() else name
        return f"{name}/{self.ports}"


class PromiseSeverity(str, Enum):
    """What a broken promise is: refused and a failure, or told."""

    FAIL = "fail"
    WARN = "warn"


class WhenAbsent(str, Enum):
    """What it means if a promise tests nothing, as what it names does not exist."""

    PRESENT = "present"
    TOLD = "told"
    OPTIONAL = "optional"


class OpenedBy(str, Enum):
    """What may open the ports that a promise accepts: rows alone, or the operator's zones too."""

    ROWS = "rows"
    ZONES = "zones"


@dataclass(frozen=True)
class Promise:
    """One entry of ``k3s:tests``: what the tables must and must not let in.

    sources, exceptions
        From where: the addresses of the sources without those of the exceptions.
    destinations
        Roles, ``any`` for every node, and nodes.
    accept, deny
        The ports that all of these addresses reach on all of the destinations, and those that none
        of them reaches on any.
    ask_from
        Minions outside of the cluster that send the packets of this promise.
    """

    name: str
    sources: tuple[Endpoint, ...]
    destinations: tuple[Endpoint, ...]
    accept: tuple[PromisedPorts, ...] = ()
    deny: tuple[PromisedPorts, ...] = ()
    exceptions: tuple[Endpoint, ...] = ()
    why: str = ""
    severity: PromiseSeverity = PromiseSeverity.FAIL
    expect: WhenAbsent = WhenAbsent.TOLD
    opened_by: OpenedBy = OpenedBy.ROWS
    ask_from: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where the promise stands in pillar."""
        return f"{ROOT}:tests:{self.name}"


@dataclass(frozen=True)
class Node:
    """One node of the cluster.

    pod_cidrs
        The network of its pods in each family, if known. A minion claims it itself, so checks may
        use it, but no firewall rule may ever be made from it.
    """

    name: str
    role: Role
    addresses: tuple[netaddr.IPAddress, ...]
    pod_cidrs: tuple[netaddr.IPNetwork, ...] = ()

    def pods(self, family: int) -> netaddr.IPNetwork | None:
        """The network of its pods in this family, if it is known."""
        return next((each for each in self.pod_cidrs if each.version == family), None)


@dataclass(frozen=True)
class Tables:
    """Everything that the pillar says about the firewall, checked.

    rows
        The rows that open this node.
    peer_rows
        The rows that open only nodes of the other role; ``None`` where the pillar does not have
        them, as they are rendered on request only.
    unsure
        Reasons why the cluster may have more nodes than are listed.
    notices
        Sentences about claims of minions that were ignored without refusing the rest.
    pods_by_address
        Whether pods reach the host on every interface, recognised by their address.
    expected_nodes
        The number of nodes that the operator vouches for.
    allow_lockout
        Whether an apply may close connections that it otherwise refuses to close.
    promises
        What the rows must and must not let in.
    allow_broken_tests
        Whether an apply may break a promise, which it otherwise refuses.
    """

    cluster: str
    flannel_backend: FlannelBackend
    rows: tuple[Row, ...]
    groups: Mapping[str, tuple[netaddr.IPNetwork, ...]]
    pod_cidrs: tuple[netaddr.IPNetwork, ...]
    service_cidrs: tuple[netaddr.IPNetwork, ...]
    nodes: tuple[Node, ...]
    peer_rows: tuple[Row, ...] | None = None
    unsure: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    pods_by_address: bool = False
    expected_nodes: int | None = None
    allow_lockout: bool = False
    promises: tuple[Promise, ...] = ()
    allow_broken_tests: bool = False

    def rows_of(self, role: Role) -> tuple[Row, ...]:
        """The rows that open a node of this role."""
        return tuple(row for row in self.rows if row.destination.includes(role))

    @property
    def every_row(self) -> tuple[Row, ...]:
        """All rows of the cluster that the pillar has."""
        return (*self.rows, *(self.peer_rows or ()))


# For changes that do not read the pillar.
NO_TABLES = Tables(
    cluster="",
    flannel_backend=FlannelBackend.NONE,
    rows=(),
    groups={},
    pod_cidrs=(),
    service_cidrs=(),
    nodes=(),
)
