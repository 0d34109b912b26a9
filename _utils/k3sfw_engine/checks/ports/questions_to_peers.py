"""Which packets a node sends to its peers, and what the tables expect of each. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import netaddr

from k3sfw_engine.checks.verdicts import SEE, Check, Status
from k3sfw_engine.model.kubernetes_names import VXLAN_PORT, WIREGUARD_PORTS
from k3sfw_engine.model.packet_question import PacketQuestion
from k3sfw_engine.model.rows import (
    FlannelBackend,
    Node,
    PortRange,
    Protocol,
    Role,
    Row,
    Source,
    SourceKind,
    Tables,
)


def watched_packets(
    tables: Tables, own: Node, tunnels: Iterable[int]
) -> list[tuple[Protocol, PortRange]]:
    """The ports whose arrivals the witness keeps, those of this node's rows and of tunnels.

    None of them twice.
    """
    found: list[tuple[Protocol, PortRange]] = []
    spans = {(row.protocol, span) for row in tables.rows_of(own.role) for span in row.ports}
    spans |= {(Protocol.UDP, PortRange(port, port)) for port in tunnels}
    for protocol, span in sorted(spans):
        if found and found[-1][0] is protocol and span.low <= found[-1][1].high:
            low, high = found[-1][1].low, max(span.high, found[-1][1].high)
            found[-1] = (protocol, PortRange(low, high))
        else:
            found.append((protocol, span))
    return found


def unasked_rows(tables: Tables, own: Node, chosen: Iterable[Node]) -> Iterator[Check]:
    """Those of the chosen of whom nothing could be asked, whatever port is meant."""
    families = {address.version for address in own.addresses}
    for peer in chosen:
        if peer.role is not own.role and tables.peer_rows is None:
            evidence = (
                "it was not asked: what opens nodes of the other role was not in the pillar that "
                "the master compiled for this check (k3s:peer_ports)"
            )
            hint = "include k3s.ports in the pillar of this minion, with pillar_cache: False"
        elif not families & {address.version for address in peer.addresses}:
            evidence = f"it was not asked: it has no address of a family that {own.name} has"
            hint = f"{SEE}k3s:nodes:{peer.name}:addresses in pillar"
        else:
            continue
        yield Check(
            source=own.name,
            to=peer.name,
            description="packets",
            status=Status.ERROR,
            evidence=evidence,
            hint=hint,
        )


SAMPLE = 8
_CARRIED: Mapping[FlannelBackend, Mapping[int, tuple[int, ...]]] = {
    FlannelBackend.VXLAN: {VXLAN_PORT: (4, 6)},
    FlannelBackend.WIREGUARD: {port: (family,) for family, port in WIREGUARD_PORTS.items()},
    FlannelBackend.HOST_GW: {},
    FlannelBackend.NONE: {},
}

# Of a longer range its two ends stand for all of it.
_PORTS_ASKED_ONE_BY_ONE = 8

# Ports that no row names are taken from here: below the NodePorts and the kernel's own choice.
_FREE_PORTS = range(20000, 30000)
_FREE = "a port that no row names"


class Expect(str, Enum):
    """What the tables say of a question."""

    OPEN = "open"
    CLOSED = "closed"


class Via(Enum):
    """How a question travels."""

    DIRECT = "direct"
    OVERLAY = "overlay"  # to the peer's address in the overlay: any answer proves it both ways
    NO_OVERLAY = "no overlay"  # a plain datagram to the VXLAN port, as the overlay lacks this peer


@dataclass(frozen=True)
class PeerQuestion:
    """A packet question to a peer, and what the tables say of it.

    address
        The node address that is asked about, also where the packet goes through the overlay.
    tunnel
        The port of that address through which the overlay's packets go, 0 for a direct question.
    """

    peer: Node
    address: str
    question: PacketQuestion
    expect: Expect
    description: str
    way: Via = Via.DIRECT
    tunnel: int = 0

    @property
    def is_by_word(self) -> bool:
        """Whether the peer alone says that the overlay's address is its own."""
        return self.tunnel in WIREGUARD_PORTS.values()


@dataclass(frozen=True)
class Filter:
    """The operator's narrower question; empty means everything."""

    sources: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    protocol: Protocol | None = None
    ports: PortRange | None = None

    def wants_port(self, protocol: Protocol, port: int) -> bool:
        """Whether a question about this port is wanted."""
        if self.protocol is not None and protocol is not self.protocol:
            return False
        return self.ports is None or port in self.ports

    def wants(self, source: str, target: str) -> bool:
        """Whether packets from one node to the other are asked about."""
        return (not self.sources or source in self.sources) and (
            not self.targets or target in self.targets
        )

    def wants_row(self, row: Row) -> bool:
        """Whether a row has to do with the question."""
        if self.ports is None:
            return True
        return any(
            span.low <= self.ports.high and self.ports.low <= span.high for span in row.ports
        ) and self.protocol in (None, row.protocol)


EVERYTHING = Filter()


def peers_to_ask(nodes: Iterable[Node], own: str, count: int | None, turn: int) -> tuple[Node, ...]:
    """The peers to ask this time: ``count`` of them, others with each turn, ``None`` for all.

    All nodes stand in a ring and each takes those behind itself, so in each turn every node is
    asked by as many as it asks.
    """
    ring = sorted(nodes, key=lambda node: node.name)
    at = next((index for index, node in enumerate(ring) if node.name == own), 0)
    peers = [node for node in ring[at:] + ring[:at] if node.name != own]
    if count is None or count >= len(peers):
        return tuple(peers)
    first = turn * count % len(peers)
    return tuple((peers + peers)[first : first + count])


def questions(
    tables: Tables,
    own: Node,
    peers: Iterable[Node],
    overlay: Mapping[str, str] | None,
    narrow: Filter,
    turn: int,
    sources: Mapping[str, str] = MappingProxyType({}),
) -> tuple[PeerQuestion, ...]:
    """Every question of this node to these peers.

    overlay
        The address of each peer in the overlay, by its node address; ``None`` where this node has
        no device of the overlay.
    turn
        Chooses the port that no row names.
    sources
        The address that this node asks each address from, as far as it is known.
    """
    firsts = {address.version: address for address in reversed(own.addresses)}
    told: dict[tuple[Role, netaddr.IPAddress], tuple[_PortOfRole, ...]] = {}
    found: list[PeerQuestion] = []
    for peer in peers:
        rows = _rows_of(tables, own, peer.role)
        if rows is None:
            continue
        free = _free_port(rows, own, peer, turn)
        for address in peer.addresses:
            if address.version not in firsts:
                continue
            text = str(address)
            asking = netaddr.IPAddress(sources.get(text) or firsts[address.version])
            key = (peer.role, asking)
            if key not in told:
                told[key] = tuple(_ports_of_role(tables, own, rows, asking, narrow))
            found += _questions_to(peer, text, told[key], free, overlay)
            everything = any(_lets_everything_in(row, own, asking, tables) for row in rows)
            if narrow.wants_port(Protocol.TCP, free) and not everything:
                nobody = PacketQuestion(text, Protocol.TCP, free)
                found.append(PeerQuestion(peer, text, nobody, Expect.CLOSED, _FREE))
    return tuple(found)


def _rows_of(tables: Tables, own: Node, role: Role) -> tuple[Row, ...] | None:
    """The rows that open a peer of this role, or ``None`` where they are not all known here."""
    if role is own.role:
        return tables.rows_of(role)
    if tables.peer_rows is None:
        return None
    return tuple(row for row in (*tables.rows, *tables.peer_rows) if row.destination.includes(role))


def _free_port(rows: Iterable[Row], own: Node, peer: Node, turn: int) -> int:
    """A port that no row names, another one each turn."""
    named = [span for row in rows for span in row.ports]
    start = zlib.crc32(f"{turn} {own.name} {peer.name}".encode()) % len(_FREE_PORTS)
    ports = (_FREE_PORTS[(start + step) % len(_FREE_PORTS)] for step in range(len(_FREE_PORTS)))
    return next(port for port in ports if not any(port in span for span in named))


@dataclass(frozen=True)
class _PortOfRole:
    """What the tables say of one port of every peer of a role, to this node in one family."""

    protocol: Protocol
    port: int
    expect: Expect
    description: str
    carried: tuple[int, ...]  # the families of the nodes between which it carries pods' packets


def _ports_of_role(
    tables: Tables, own: Node, rows: Iterable[Row], asking: netaddr.IPAddress, narrow: Filter
) -> Iterator[_PortOfRole]:
    rows = tuple(rows)
    everything = [row for row in rows if _lets_everything_in(row, own, asking, tables)]
    named: dict[tuple[Protocol, int], list[Row]] = {}
    for row in rows:
        if row.protocol in _ASKED:
            for port in (port for span in row.ports for port in _ports_of(span)):
                wanted = narrow.wants_port(row.protocol, port)
                if wanted and not _is_of_no_use(row.protocol, port, tables):
                    named.setdefault((row.protocol, port), []).append(row)
    asked = narrow.protocol or Protocol.TCP
    if narrow.ports is not None and not named and asked in _ASKED:
        # Nothing but a narrower question makes one about ports that no row names.
        named.update({(asked, port): [] for port in _ports_of(narrow.ports)})
    for (protocol, port), by in named.items():
        letting_in = [row for row in by if row_admits(row, own, asking, tables)] or everything
        yield _PortOfRole(
            protocol,
            port,
            Expect.OPEN if letting_in else Expect.CLOSED,
            describe_rows(letting_in or by) or _FREE,
            _carried(tables, protocol, port) if letting_in else (),
        )


# SCTP is judged in its layers and not asked: most kernels cannot.
_ASKED = (Protocol.TCP, Protocol.UDP)


def _lets_everything_in(row: Row, own: Node, asking: netaddr.IPAddress, tables: Tables) -> bool:
    return row.protocol is Protocol.ANY and row_admits(row, own, asking, tables)


def _is_of_no_use(protocol: Protocol, port: int, tables: Tables) -> bool:
    """WireGuard's second port is for IPv6 pods; without any, nothing has it open."""
    return (
        tables.flannel_backend is FlannelBackend.WIREGUARD
        and (protocol, port) == (Protocol.UDP, WIREGUARD_PORTS[6])
        and not any(cidr.version == 6 for cidr in tables.pod_cidrs)
    )


def _questions_to(
    peer: Node,
    address: str,
    told: Iterable[_PortOfRole],
    free: int,
    overlay: Mapping[str, str] | None,
) -> Iterator[PeerQuestion]:
    for each in told:
        question = PacketQuestion(address, each.protocol, each.port)
        way: Via | None = Via.DIRECT
        if each.carried and overlay is not None:
            way = _way(peer, address, each, overlay)
        if way is Via.OVERLAY and overlay is not None:
            inside = PacketQuestion(overlay[address], Protocol.TCP, free)
            yield PeerQuestion(
                peer, address, inside, each.expect, each.description, way, tunnel=each.port
            )
        elif way is not None:
            yield PeerQuestion(peer, address, question, each.expect, each.description, way)


def _way(peer: Node, address: str, told: _PortOfRole, overlay: Mapping[str, str]) -> Via | None:
    """How to ask about a port of the overlay; ``None`` where nobody sends to it."""
    family = _family(address)
    known = {other.version for other in peer.addresses if str(other) in overlay}
    if family not in told.carried:
        return None if known.intersection(told.carried) else Via.DIRECT
    if address in overlay:
        return Via.OVERLAY
    if family in known:
        return None  # Flannel sends to another address of this peer.
    if told.port != VXLAN_PORT:
        return Via.DIRECT  # Which address it has in the overlay is not known.
    # Of a family that the overlay does not have nobody sends VXLAN there.
    return Via.NO_OVERLAY if family in (set(map(_family, overlay)) or {4}) else None


def _carried(tables: Tables, protocol: Protocol, port: int) -> tuple[int, ...]:
    if protocol is not Protocol.UDP:
        return ()
    return _CARRIED[tables.flannel_backend].get(port, ())


def _family(address: str) -> int:
    return 6 if ":" in address else 4


def _ports_of(span: PortRange) -> Iterable[int]:
    if span.high - span.low < _PORTS_ASKED_ONE_BY_ONE:
        return range(span.low, span.high + 1)
    return (span.low, span.high)


def row_admits(row: Row, own: Node, asking: netaddr.IPAddress, tables: Tables) -> bool:
    """Whether the row names this node, where it asks from this address."""
    return any(_names(source, own, asking, tables) for source in row.sources)


def _names(source: Source, own: Node, asking: netaddr.IPAddress, tables: Tables) -> bool:
    if source.kind is SourceKind.ANY or source.kind.value == own.role.value:
        return True
    if source.kind is SourceKind.GROUP:
        return any(asking in network for network in tables.groups[source.value])
    return source.kind is SourceKind.CIDR and asking in netaddr.IPNetwork(source.value)


def describe_rows(rows: Iterable[Row]) -> str:
    return "; ".join(sorted({row.description or row.name for row in rows}))


def tunnel_datagram(asked: PeerQuestion) -> PacketQuestion:
    """A plain datagram to the port through which the overlay goes."""
    return PacketQuestion(asked.address, Protocol.UDP, asked.tunnel)
