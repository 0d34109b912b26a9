"""Which peers a node asks, by which packets, and which answer the tables expect. Pure.

It sends nothing and judges no answer. The operator's choice of nodes and ports is a ``Filter``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import netaddr

from k3sfw_engine.checks.ports import messages
from k3sfw_engine.checks.ports.defaults import (
    FREE_PORTS,
    GOLDEN_RATIO,
    MINUTES_OF_A_DAY,
    PORTS_ASKED_ONE_BY_ONE,
    ROOT_OF_TWO,
)
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.kubernetes_names import OVERLAY_PORTS, WIREGUARD_PORTS
from k3sfw_engine.model.overlay import NOTHING_KNOWN, OverlayFacts
from k3sfw_engine.model.packet_question import NO_PORT, PacketQuestion
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
    """The ports whose arrivals are recorded: those of this node's rows and of tunnels."""
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


def watched_protocols(tables: Tables, own: Node) -> frozenset[Protocol]:
    """The protocols without ports whose arrivals are recorded: those of this node's rows."""
    return frozenset(row.protocol for row in tables.rows_of(own.role) if row.protocol.is_whole)


def unasked_peers(tables: Tables, own: Node, chosen: Iterable[Node]) -> Iterator[Check]:
    """A verdict on each chosen peer that could be asked nothing at all."""
    families = {address.version for address in own.addresses}
    for peer in chosen:
        if not peer.addresses:
            continue  # a notice says why none of its addresses is believed
        if peer.role is not own.role and tables.peer_rows is None:
            problem = messages.rows_of_peer_unknown()
        elif not families & {address.version for address in peer.addresses}:
            problem = messages.no_common_family(own.name, peer.name)
        else:
            continue
        yield Check(
            source=own.name,
            to=peer.name,
            description="packets",
            status=Status.ERROR,
            evidence=problem.text,
            fix=problem.fix,
            see=problem.see,
        )


def tunnel_ports(tables: Tables, overlay: OverlayFacts) -> Mapping[int, tuple[int, ...]]:
    """The ports that carry pods' packets between nodes, and the families of those nodes.

    As this node has them, else the backend's usual ones.
    """
    backend = tables.flannel_backend
    ports = {**OVERLAY_PORTS[backend], **overlay.ports(backend)}
    if backend is FlannelBackend.VXLAN:
        return dict.fromkeys(ports.values(), FAMILIES)
    return {port: (family,) for family, port in ports.items()}


class Expect(str, Enum):
    """The answer that the tables expect."""

    OPEN = "open"
    CLOSED = "closed"


class Via(Enum):
    """How a question travels."""

    DIRECT = "direct"
    OVERLAY = "overlay"  # to the peer's overlay address: any answer proves both directions
    NO_OVERLAY = "no overlay"  # a plain datagram to the VXLAN port: the overlay has no such peer


@dataclass(frozen=True)
class PeerQuestion:
    """A packet question to a peer, and the answer that the tables expect.

    address
        The node address in question, even if the packet goes through the overlay.
    tunnel
        The port at that address that carries the overlay; 0 for a direct question.
    is_claimed
        Whether only the peer's own claim tells the overlay address (WireGuard).
    """

    peer: Node
    address: str
    question: PacketQuestion
    expect: Expect
    description: str
    via: Via = Via.DIRECT
    tunnel: int = 0
    is_claimed: bool = False


@dataclass(frozen=True)
class Filter:
    """The nodes and ports that the operator asked for; empty means everything."""

    sources: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    protocol: Protocol | None = None
    ports: PortRange | None = None

    def wants_port(self, protocol: Protocol, port: int) -> bool:
        """Whether this port was asked for."""
        if self.protocol is not None and protocol is not self.protocol:
            return False
        return self.ports is None or port in self.ports

    def wants(self, source: str, target: str) -> bool:
        """Whether packets from one node to the other were asked for."""
        return (not self.sources or source in self.sources) and (
            not self.targets or target in self.targets
        )

    def wants_row(self, row: Row) -> bool:
        """Whether a row concerns the ports, or the protocol, that were asked for."""
        if self.protocol not in (None, row.protocol):
            return False
        return self.ports is None or any(
            span.low <= self.ports.high and self.ports.low <= span.high for span in row.ports
        )


EVERYTHING = Filter()


def peers_to_ask(nodes: Iterable[Node], own: str, count: int | None, turn: int) -> tuple[Node, ...]:
    """The peers to ask this time: ``count`` of them, others with each turn; ``None`` for all.

    The nodes form a ring and each node asks those at the same distance from it, so in every turn
    each node is asked as often as it asks.

    turn
        The minutes since 1970.
    """
    ring = sorted(nodes, key=lambda node: node.name)
    at = next((index for index, node in enumerate(ring) if node.name == own), 0)
    peers = [node for node in ring[at:] + ring[:at] if node.name != own]
    if count is None or count >= len(peers):
        return tuple(peers)
    first = first_in_ring(turn, len(peers))
    return tuple((peers + peers)[first : first + count])


def first_in_ring(turn: int, peers: int) -> int:
    """Where in the ring of peers a turn begins, so that all are reached at every interval.

    A start that goes on by a fixed number of peers each minute returns to the same few of them if a
    schedule takes only every tenth. Multiples of the golden ratio stay apart at any interval; what
    is left of them after whole days, which nearly repeat, is shifted by those of another root.
    """
    days = turn // MINUTES_OF_A_DAY
    return int(peers * ((turn * GOLDEN_RATIO + days * ROOT_OF_TWO) % 1))


def questions(
    tables: Tables,
    own: Node,
    peers: Iterable[Node],
    overlay: Mapping[str, str] | None,
    only: Filter,
    turn: int,
    sources: Mapping[str, str] = MappingProxyType({}),
    here: OverlayFacts = NOTHING_KNOWN,
) -> tuple[PeerQuestion, ...]:
    """Every question of this node to these peers.

    overlay
        The address of each peer in the overlay, by its node address; ``None`` if this node has no
        overlay device.
    turn
        Selects the port that no row names.
    sources
        The address from which this node asks each address, as far as that is known.
    here
        What carries pods' packets on this node.
    """
    tunnels = tunnel_ports(tables, here)
    firsts = {address.version: address for address in reversed(own.addresses)}
    expected: dict[tuple[Role, netaddr.IPAddress], tuple[_PortOfRole, ...]] = {}
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
            if key not in expected:
                expected[key] = tuple(_ports_of_role(tables, own, rows, asking, only, tunnels))
            claimed = tables.flannel_backend is FlannelBackend.WIREGUARD
            found += _questions_to(peer, text, expected[key], free, overlay, claimed=claimed)
            allowed = any(_allows_everything(row, own, asking, tables) for row in rows)
            if only.wants_port(Protocol.TCP, free) and not allowed:
                question = PacketQuestion(text, Protocol.TCP, free)
                found.append(PeerQuestion(peer, text, question, Expect.CLOSED, messages.FREE_PORT))
    return tuple(found)


def _rows_of(tables: Tables, own: Node, role: Role) -> tuple[Row, ...] | None:
    """The rows that open a peer of this role; ``None`` if not all of them are known here."""
    if role is own.role:
        return tables.rows_of(role)
    if tables.peer_rows is None:
        return None
    return tuple(row for row in (*tables.rows, *tables.peer_rows) if row.destination.includes(role))


def _free_port(rows: Iterable[Row], own: Node, peer: Node, turn: int) -> int:
    """A port that no row names, a different one each turn."""
    named = [span for row in rows for span in row.ports]
    start = zlib.crc32(f"{turn} {own.name} {peer.name}".encode()) % len(FREE_PORTS)
    ports = (FREE_PORTS[(start + step) % len(FREE_PORTS)] for step in range(len(FREE_PORTS)))
    return next(port for port in ports if not any(port in span for span in named))


@dataclass(frozen=True)
class _PortOfRole:
    """What the tables expect at one port of every peer of a role, from this node in one family."""

    protocol: Protocol
    port: int
    expect: Expect
    description: str
    carried: tuple[int, ...]  # the node families between which it carries pods' packets


def _ports_of_role(
    tables: Tables,
    own: Node,
    rows: Iterable[Row],
    asking: netaddr.IPAddress,
    only: Filter,
    tunnels: Mapping[int, tuple[int, ...]],
) -> Iterator[_PortOfRole]:
    rows = tuple(rows)
    everything = [row for row in rows if _allows_everything(row, own, asking, tables)]
    named: dict[tuple[Protocol, int], list[Row]] = {}
    for row in rows:
        if row.protocol in _ASKED:
            for port in (port for span in row.ports for port in _ports_of(span)):
                wanted = only.wants_port(row.protocol, port)
                if wanted and not _is_unused(row.protocol, port, tables):
                    named.setdefault((row.protocol, port), []).append(row)
    for protocol in _ECHOED:
        # Where a row does not allow it, most zones do all the same.
        echoed = [row for row in rows if row.protocol is protocol]
        echoed = [row for row in echoed if row_admits(row, own, asking, tables)]
        if echoed and asking.version in protocol.families and only.wants_port(protocol, NO_PORT):
            named[protocol, NO_PORT] = echoed
    asked = only.protocol or Protocol.TCP
    if only.ports is not None and not named and asked in _ASKED:
        # Ports that no row names are asked only if the operator names them.
        named.update({(asked, port): [] for port in _ports_of(only.ports)})
    for (protocol, port), by in named.items():
        allowing = [row for row in by if row_admits(row, own, asking, tables)] or everything
        yield _PortOfRole(
            protocol,
            port,
            Expect.OPEN if allowing else Expect.CLOSED,
            describe_rows(allowing or by) or messages.FREE_PORT,
            tunnels.get(port, ()) if allowing and protocol is Protocol.UDP else (),
        )


# Others are compared layer by layer and not asked: most kernels have no module for SCTP, and the
# rest is answered by nothing but the programs that use it.
_ASKED = (Protocol.TCP, Protocol.UDP)
_ECHOED = (Protocol.ICMP, Protocol.IPV6_ICMP)


def _allows_everything(row: Row, own: Node, asking: netaddr.IPAddress, tables: Tables) -> bool:
    return row.protocol is Protocol.ANY and row_admits(row, own, asking, tables)


def _is_unused(protocol: Protocol, port: int, tables: Tables) -> bool:
    """Whether it is WireGuard's second port, for IPv6 pods, and the cluster has none."""
    return (
        tables.flannel_backend is FlannelBackend.WIREGUARD
        and (protocol, port) == (Protocol.UDP, WIREGUARD_PORTS[6])
        and not any(cidr.version == 6 for cidr in tables.pod_cidrs)
    )


def _questions_to(
    peer: Node,
    address: str,
    expected: Iterable[_PortOfRole],
    free: int,
    overlay: Mapping[str, str] | None,
    *,
    claimed: bool,
) -> Iterator[PeerQuestion]:
    for each in expected:
        question = PacketQuestion(address, each.protocol, each.port)
        via: Via | None = Via.DIRECT
        if each.carried and overlay is not None:
            via = _via(peer, address, each, overlay, claimed=claimed)
        if via is Via.OVERLAY and overlay is not None:
            inside = PacketQuestion(overlay[address], Protocol.TCP, free)
            yield PeerQuestion(
                peer, address, inside, each.expect, each.description, via, each.port, claimed
            )
        elif via is not None:
            yield PeerQuestion(peer, address, question, each.expect, each.description, via)


def _via(
    peer: Node,
    address: str,
    expected: _PortOfRole,
    overlay: Mapping[str, str],
    *,
    claimed: bool,
) -> Via | None:
    """How to ask about a port of the overlay; ``None`` if no overlay packet is sent there."""
    family = _family(address)
    known = {other.version for other in peer.addresses if str(other) in overlay}
    if family not in expected.carried:
        return None if known.intersection(expected.carried) else Via.DIRECT
    if address in overlay:
        return Via.OVERLAY
    if family in known:
        return None  # Flannel sends to another address of this peer.
    if claimed:
        return Via.DIRECT  # Its address in the overlay is not known.
    # No VXLAN packet is sent in a family that the overlay does not have.
    return Via.NO_OVERLAY if family in (set(map(_family, overlay)) or {4}) else None


def _family(address: str) -> int:
    return 6 if ":" in address else 4


def _ports_of(span: PortRange) -> Iterable[int]:
    if span.high - span.low < PORTS_ASKED_ONE_BY_ONE:
        return range(span.low, span.high + 1)
    return (span.low, span.high)


def row_admits(row: Row, own: Node, asking: netaddr.IPAddress, tables: Tables) -> bool:
    """Whether the row allows this node when it asks from this address."""
    return any(_is_source(source, own, asking, tables) for source in row.sources)


def _is_source(source: Source, own: Node, asking: netaddr.IPAddress, tables: Tables) -> bool:
    if source.kind is SourceKind.ANY or source.kind.value == own.role.value:
        return True
    if source.kind is SourceKind.GROUP:
        return any(asking in network for network in tables.groups[source.value])
    return source.kind is SourceKind.CIDR and asking in netaddr.IPNetwork(source.value)


def describe_rows(rows: Iterable[Row]) -> str:
    """The rows' descriptions in one line."""
    return "; ".join(sorted({row.description or row.name for row in rows}))


def tunnel_datagram(asked: PeerQuestion) -> PacketQuestion:
    """A plain datagram to the port that carries the overlay."""
    return PacketQuestion(asked.address, Protocol.UDP, asked.tunnel)
