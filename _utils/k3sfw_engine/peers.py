"""What a node asks of its peers, and what their answers mean. Pure: no socket, no clock.

Both signs are asked: what the rows let this node reach, and what they must keep from it.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import netaddr

from .answers import Answer, Outcome, Question
from .rows import FlannelBackend, Node, PortRange, Protocol, Role, Row, Source, SourceKind, Tables
from .verdicts import SEE, Check, Status

SAMPLE = 8

# VXLAN arrives on this port, which the kernel holds itself.
VXLAN_PORT = 8472

# Of a longer range its two ends stand for all of it.
_PORTS_ASKED_ONE_BY_ONE = 8

# Ports that no row names are taken from here: below the NodePorts and the kernel's own choice.
_FREE_PORTS = range(20000, 30000)
_FREE = "a port that no row names"


class Expect(str, Enum):
    """What the tables say of a question."""

    OPEN = "open"
    CLOSED = "closed"


class Way(Enum):
    """How a question travels."""

    DIRECT = "direct"
    OVERLAY = "overlay"  # to the peer's address in the overlay: any answer proves VXLAN both ways
    NO_OVERLAY = "no overlay"  # a plain datagram to the VXLAN port, as the overlay lacks this peer


@dataclass(frozen=True)
class PeerQuestion:
    """A packet question to a peer, and what the tables say of it.

    address
        The node address that is asked about, also where the packet goes through the overlay.
    """

    peer: Node
    address: str
    question: Question
    expect: Expect
    description: str
    way: Way = Way.DIRECT


@dataclass(frozen=True)
class Narrowing:
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

    def wants_row(self, row: Row) -> bool:
        """Whether a row has to do with the question."""
        if self.ports is None:
            return True
        return any(
            span.low <= self.ports.high and self.ports.low <= span.high for span in row.ports
        ) and self.protocol in (None, row.protocol)


EVERYTHING = Narrowing()


def sample(nodes: Iterable[Node], own: str, count: int | None, turn: int) -> tuple[Node, ...]:
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
    narrow: Narrowing,
    turn: int,
) -> tuple[PeerQuestion, ...]:
    """Every question of this node to these peers.

    overlay
        The address of each peer in the overlay, by its node address; ``None`` where this node has
        no VXLAN device.
    turn
        Chooses the port that no row names.
    """
    families = {address.version for address in own.addresses}
    told: dict[tuple[Role, int], tuple[_Told, ...]] = {}
    found: list[PeerQuestion] = []
    for peer in peers:
        rows = _rows_of(tables, own, peer.role)
        if rows is None:
            continue
        free = _free_port(rows, own, peer, turn)
        for address in peer.addresses:
            key = (peer.role, address.version)
            if address.version in families:
                if key not in told:
                    told[key] = tuple(_told(tables, own, rows, address.version, narrow))
                found += _questions_to(peer, str(address), told[key], free, overlay)
                if narrow.wants_port(Protocol.TCP, free):
                    nobody = Question(str(address), Protocol.TCP, free)
                    found.append(PeerQuestion(peer, str(address), nobody, Expect.CLOSED, _FREE))
    return tuple(found)


def _rows_of(tables: Tables, own: Node, role: Role) -> tuple[Row, ...] | None:
    """The rows that open a peer of this role, or ``None`` where they are not all known here."""
    if role is own.role:
        return tables.rows
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
class _Told:
    """What the tables say of one port of every peer of a role, to this node in one family."""

    protocol: Protocol
    port: int
    expect: Expect
    description: str
    is_vxlan: bool


def _told(
    tables: Tables, own: Node, rows: Iterable[Row], family: int, narrow: Narrowing
) -> Iterator[_Told]:
    named: dict[tuple[Protocol, int], list[Row]] = {}
    for row in rows:
        if row.protocol in (Protocol.TCP, Protocol.UDP):
            for port in (port for span in row.ports for port in _ports_of(span)):
                if narrow.wants_port(row.protocol, port):
                    named.setdefault((row.protocol, port), []).append(row)
    if narrow.ports is not None and not named:
        # Nothing but a narrower question makes one about ports that no row names.
        asked = narrow.protocol or Protocol.TCP
        named.update({(asked, port): [] for port in _ports_of(narrow.ports)})
    for (protocol, port), by in named.items():
        letting_in = [row for row in by if _lets_in(row, own, family, tables)]
        yield _Told(
            protocol,
            port,
            Expect.OPEN if letting_in else Expect.CLOSED,
            _described(letting_in or by) or _FREE,
            bool(letting_in) and _is_vxlan(tables, protocol, port),
        )


def _questions_to(
    peer: Node,
    address: str,
    told: Iterable[_Told],
    free: int,
    overlay: Mapping[str, str] | None,
) -> Iterator[PeerQuestion]:
    for each in told:
        question, way = Question(address, each.protocol, each.port), Way.DIRECT
        if each.is_vxlan and overlay is not None:
            if address in overlay:
                question, way = Question(overlay[address], Protocol.TCP, free), Way.OVERLAY
            elif _family(address) in (set(map(_family, overlay)) or {4}):
                way = Way.NO_OVERLAY
            else:
                continue  # The overlay has no such family, so nobody sends VXLAN there.
        yield PeerQuestion(peer, address, question, each.expect, each.description, way)


def _is_vxlan(tables: Tables, protocol: Protocol, port: int) -> bool:
    backend = tables.flannel_backend
    return backend is FlannelBackend.VXLAN and (protocol, port) == (Protocol.UDP, VXLAN_PORT)


def _family(address: str) -> int:
    return 6 if ":" in address else 4


def _ports_of(span: PortRange) -> Iterable[int]:
    if span.high - span.low < _PORTS_ASKED_ONE_BY_ONE:
        return range(span.low, span.high + 1)
    return (span.low, span.high)


def _lets_in(row: Row, own: Node, family: int, tables: Tables) -> bool:
    """Whether the row names this node, by the addresses that it has in the family."""
    return any(_names(source, own, family, tables) for source in row.sources)


def _names(source: Source, own: Node, family: int, tables: Tables) -> bool:
    if source.kind is SourceKind.ANY or source.kind.value == own.role.value:
        return True
    if source.kind is SourceKind.GROUP:
        networks = tables.groups[source.value]
    elif source.kind is SourceKind.CIDR:
        networks = (netaddr.IPNetwork(source.value),)
    else:
        return False
    addresses = [address for address in own.addresses if address.version == family]
    return any(address in network for network in networks for address in addresses)


def _described(rows: Iterable[Row]) -> str:
    return "; ".join(sorted({row.description or row.name for row in rows}))


# -- the answers ----------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Arrival:
    """A packet of a peer that arrived at this node."""

    source: str
    protocol: Protocol
    port: int


@dataclass(frozen=True)
class Sight:
    """What is known besides the answer itself.

    own
        This node.
    alive
        Peers of which anything came back, by name.
    left
        Of the questions that met silence, those whose packets were seen to leave this host;
        ``None`` where that was not watched.
    refused
        Packets of peers that this node itself did not let in meanwhile.
    """

    own: Node
    alive: Collection[str]
    left: Collection[Question] | None = None
    refused: Collection[Arrival] = ()


def alive(asked: Sequence[PeerQuestion], answers: Sequence[Answer]) -> frozenset[str]:
    """The peers that sent anything back themselves."""
    return frozenset(
        each.peer.name
        for each, answer in zip(asked, answers)
        if answer.outcome in (Outcome.OPEN, Outcome.NOBODY_LISTENS)
        or (answer.icmp is not None and _is_peer(answer.icmp.sender, each.peer))
    )


def judge(asked: PeerQuestion, answer: Answer, sight: Sight) -> Check:
    """The verdict on a question that was asked directly."""
    own, peer = sight.own.name, asked.peer.name
    outcome = answer.outcome
    if outcome is Outcome.SILENCE and sight.left is not None and asked.question not in sight.left:
        outcome = Outcome.LOCAL_BLOCK
    if outcome is Outcome.SILENCE and asked.way is Way.NO_OVERLAY:
        evidence = f"the overlay of {own} has no entry for {peer}"
        hint = f"{SEE}salt {own} k3sfw.check_routes"
        return _check(asked, sight, Status.NO_ROUTE, evidence, by=own, hint=hint)
    if outcome is Outcome.LOCAL_BLOCK:
        return _check(
            asked,
            sight,
            Status.LOCAL_BLOCK,
            f"a rule of {own} itself keeps it in ({answer.evidence})",
            by=own,
            hint=f"{SEE}salt {own} cmd.run 'nft list ruleset', the chains at the hook output",
        )
    if outcome is Outcome.HOST_DOWN:
        hint = f"start {peer} and its network; if it has left for good: salt-key -d {peer}"
        return _check(asked, sight, Status.HOST_DOWN, answer.evidence, by=peer, hint=hint)
    if outcome is Outcome.NO_ROUTE:
        by = answer.icmp.sender if answer.icmp else own
        hint = f"{SEE}salt {own} k3sfw.check_routes"
        return _check(asked, sight, Status.NO_ROUTE, answer.evidence, by=by, hint=hint)
    if outcome is Outcome.ERROR:
        return _check(asked, sight, Status.ERROR, f"could not be asked: {answer.evidence}", by=own)
    if asked.expect is Expect.CLOSED:
        return _judge_closed(asked, answer, sight)
    return _judge_open(asked, answer, sight)


def _judge_open(asked: PeerQuestion, answer: Answer, sight: Sight) -> Check:
    peer = asked.peer.name
    if answer.outcome is Outcome.OPEN:
        return _check(asked, sight, Status.OK, answer.evidence)
    if answer.outcome is Outcome.NOBODY_LISTENS:
        evidence = "the packet arrives, but nobody listens there"
        hint = "start the service there, or switch its row off (enabled: false)"
        return _check(asked, sight, Status.NO_LISTENER, evidence, by=peer, hint=hint)
    if answer.outcome is Outcome.REJECTED:
        return _rejected(asked, answer, sight)
    if asked.question.protocol is Protocol.UDP and peer in sight.alive:
        evidence = "no reply and no rejection, as of a service that does not answer strangers"
        return _check(asked, sight, Status.UNPROVEN, evidence, hint=_ask_the_peer(peer))
    elsewhere = "on other ports it answers" if peer in sight.alive else "it answers on no port"
    evidence = f"{answer.evidence}; {elsewhere}"
    return _check(asked, sight, Status.NO_ANSWER, evidence, by=peer, hint=_ask_the_peer(peer))


def _judge_closed(asked: PeerQuestion, answer: Answer, sight: Sight) -> Check:
    peer = asked.peer.name
    if answer.outcome in (Outcome.OPEN, Outcome.NOBODY_LISTENS):
        evidence = "it lets in what no row allows"
        if answer.outcome is Outcome.NOBODY_LISTENS:
            evidence += "; only that nobody listens there now keeps it shut"
        hint = f"{SEE}salt {peer} cmd.run 'firewall-cmd --list-all-zones' for what opens it"
        return _check(asked, sight, Status.EXPOSED, evidence, by=peer, hint=hint)
    if answer.outcome is Outcome.REJECTED:
        return _check(asked, sight, Status.OK, f"refused, as it should be: {answer.evidence}")
    if peer in sight.alive and asked.question.protocol is Protocol.TCP:
        return _check(asked, sight, Status.OK, f"dropped, as it should be: {answer.evidence}")
    if peer in sight.alive:
        evidence = "silence: dropped, or let in to a service that does not answer"
        return _check(asked, sight, Status.UNPROVEN, evidence, hint=_ask_the_peer(peer))
    # It says nothing to what it should answer either, and that is what is told.
    evidence = f"{answer.evidence}; it answers on no port"
    return _check(asked, sight, Status.NO_ANSWER, evidence, by=peer, hint=_ask_the_peer(peer))


def _rejected(asked: PeerQuestion, answer: Answer, sight: Sight) -> Check:
    assert answer.icmp is not None
    own, peer = sight.own, asked.peer
    if not _is_peer(answer.icmp.sender, peer):
        by = answer.icmp.sender
        hint = f"let it through at {by}; that is not {peer.name} but somebody on the way to it"
        return _check(asked, sight, Status.BLOCKED, answer.evidence, by=by, hint=hint)
    who = "firewalld" if answer.icmp.reason == "admin-prohibited" else answer.icmp.reason
    evidence = f"rejected by {peer.name} itself ({who})"
    hint = f"salt {peer.name} state.apply k3s.firewall"
    if answer.source and netaddr.IPAddress(answer.source) not in own.addresses:
        evidence += f", asked from {answer.source}, which is no address of {own.name} in pillar"
        hint = f"{SEE}salt {own.name} k3sfw.check_routes"
    return _check(asked, sight, Status.BLOCKED, evidence, by=peer.name, hint=hint)


def judge_overlay(
    asked: PeerQuestion, answer: Answer, datagram: Answer | None, sight: Sight
) -> tuple[Check, ...]:
    """The verdicts on VXLAN both ways, and on what the peer lets its pods' network do.

    answer
        What the peer's address in the overlay said; anything from there proves VXLAN.
    datagram
        Where it said nothing: what a plain datagram to the VXLAN port met.
    """
    own, peer = sight.own.name, asked.peer.name
    sender = answer.icmp.sender if answer.icmp else asked.question.address
    outcome = answer.outcome
    if outcome is Outcome.REJECTED and sender != answer.source:
        pods = _pods(
            asked,
            sight,
            Status.BLOCKED,
            f"{peer} takes VXLAN in, and rejects what comes out of it ({answer.icmp})",
            by=peer,
            hint=f"salt {peer} state.apply k3s.firewall",
        )
        return _check(asked, sight, Status.OK, "an answer came through the overlay"), pods
    if outcome in (Outcome.OPEN, Outcome.NOBODY_LISTENS):
        evidence = f"{asked.question.address} answered through the overlay"
        pods = _pods(asked, sight, Status.OK, evidence)
        return _check(asked, sight, Status.OK, evidence), pods
    if datagram is not None and datagram.outcome is not Outcome.SILENCE:
        return (judge(_plain_vxlan(asked), datagram, sight),)
    if outcome in (Outcome.HOST_DOWN, Outcome.NO_ROUTE):
        evidence = f"the overlay of {own} does not lead to {peer}: {answer.evidence}"
        hint = f"{SEE}salt {own} k3sfw.check_routes"
        return (_check(asked, sight, Status.NO_ROUTE, evidence, by=own, hint=hint),)
    if Arrival(asked.address, Protocol.UDP, VXLAN_PORT) in sight.refused:
        return ()  # What came back was not let in here, which is told as such.
    evidence = f"nothing comes back through the overlay, and {peer} rejects no VXLAN"
    hint = f"{_ask_the_peer(peer)} and salt {own} k3sfw.check_routes"
    return (_check(asked, sight, Status.NO_ANSWER, evidence, by=peer, hint=hint),)


def vxlan_datagram(asked: PeerQuestion) -> Question:
    """What is asked where the overlay says nothing."""
    return Question(asked.address, Protocol.UDP, VXLAN_PORT)


def _plain_vxlan(asked: PeerQuestion) -> PeerQuestion:
    return PeerQuestion(
        asked.peer, asked.address, vxlan_datagram(asked), asked.expect, asked.description
    )


def _ask_the_peer(peer: str) -> str:
    return f"{SEE}salt {peer} k3sfw.check_ports"


def _is_peer(sender: str, peer: Node) -> bool:
    return netaddr.IPAddress(sender) in peer.addresses


def _check(
    asked: PeerQuestion, sight: Sight, status: Status, evidence: str, by: str = "", hint: str = ""
) -> Check:
    overlay = asked.way is Way.OVERLAY
    question = vxlan_datagram(asked) if overlay else asked.question
    return Check(
        source=sight.own.name,
        to=asked.peer.name,
        address=asked.address,
        protocol=question.protocol.value,
        port=str(question.port),
        description=asked.description,
        expect=asked.expect.value,
        status=status,
        by=by,
        evidence=evidence,
        hint=hint,
    )


def _pods(
    asked: PeerQuestion, sight: Sight, status: Status, evidence: str, by: str = "", hint: str = ""
) -> Check:
    """The row that lets pods in, of which the overlay's own address is one."""
    return Check(
        source=sight.own.name,
        to=asked.peer.name,
        address=asked.question.address,
        protocol=Protocol.ANY.value,
        description="pods of other nodes, through the overlay",
        expect=Expect.OPEN.value,
        status=status,
        by=by,
        evidence=evidence,
        hint=hint,
    )


# -- what a witness on this node has seen ---------------------------------------------------------


def judge_arrivals(tables: Tables, sight: Sight, narrow: Narrowing) -> tuple[Check, ...]:
    """What this node should have let in of its peers, who were asking at the same time."""
    own = sight.own
    peers = {str(address): node for node in tables.nodes for address in node.addresses}
    found = []
    for each in sorted(sight.refused):
        peer = peers.get(each.source)
        if peer is None or peer.name == own.name:
            continue
        rows = [
            row
            for row in tables.rows
            if row.protocol is each.protocol
            and any(each.port in span for span in row.ports)
            and narrow.wants_row(row)
            and _lets_in(row, peer, _family(each.source), tables)
        ]
        if rows:
            found.append(
                Check(
                    source=peer.name,
                    to=own.name,
                    address=each.source,
                    protocol=each.protocol.value,
                    port=str(each.port),
                    description=_described(rows),
                    expect=Expect.OPEN.value,
                    status=Status.BLOCKED,
                    by=own.name,
                    evidence=f"its packets arrive at {own.name} and go no further: {own.name} "
                    "drops them, though its rows are in force",
                    hint=f"{SEE}salt {own.name} cmd.run 'nft list ruleset' for the rule that does",
                )
            )
    return tuple(found)
