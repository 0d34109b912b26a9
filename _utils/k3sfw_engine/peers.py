"""What a node asks of its peers, and what their answers mean. Pure: no socket, no clock.

Both signs are asked: what the rows let this node reach, and what they must keep from it.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

import netaddr

from .answers import Answer, Outcome, Question
from .rows import FlannelBackend, Node, PortRange, Protocol, Role, Row, Source, SourceKind, Tables
from .verdicts import SEE, Check, Status

SAMPLE = 8

# Pods of other nodes arrive on these ports, which the kernel holds itself. Flannel's two WireGuard
# devices have one each, and each sends to node addresses of the family of its pods.
VXLAN_PORT = 8472
WIREGUARD_PORTS: Mapping[int, int] = {4: 51820, 6: 51821}
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


class Way(Enum):
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
    question: Question
    expect: Expect
    description: str
    way: Way = Way.DIRECT
    tunnel: int = 0

    @property
    def is_by_word(self) -> bool:
        """Whether the peer alone says that the overlay's address is its own."""
        return self.tunnel in WIREGUARD_PORTS.values()


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
    told: dict[tuple[Role, netaddr.IPAddress], tuple[_Told, ...]] = {}
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
                told[key] = tuple(_told(tables, own, rows, asking, narrow))
            found += _questions_to(peer, text, told[key], free, overlay)
            everything = any(_lets_everything_in(row, own, asking, tables) for row in rows)
            if narrow.wants_port(Protocol.TCP, free) and not everything:
                nobody = Question(text, Protocol.TCP, free)
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
class _Told:
    """What the tables say of one port of every peer of a role, to this node in one family."""

    protocol: Protocol
    port: int
    expect: Expect
    description: str
    carried: tuple[int, ...]  # the families of the nodes between which it carries pods' packets


def _told(
    tables: Tables, own: Node, rows: Iterable[Row], asking: netaddr.IPAddress, narrow: Narrowing
) -> Iterator[_Told]:
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
        letting_in = [row for row in by if _lets_in(row, own, asking, tables)] or everything
        yield _Told(
            protocol,
            port,
            Expect.OPEN if letting_in else Expect.CLOSED,
            _described(letting_in or by) or _FREE,
            _carried(tables, protocol, port) if letting_in else (),
        )


# SCTP is judged in its layers and not asked: most kernels cannot.
_ASKED = (Protocol.TCP, Protocol.UDP)


def _lets_everything_in(row: Row, own: Node, asking: netaddr.IPAddress, tables: Tables) -> bool:
    return row.protocol is Protocol.ANY and _lets_in(row, own, asking, tables)


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
    told: Iterable[_Told],
    free: int,
    overlay: Mapping[str, str] | None,
) -> Iterator[PeerQuestion]:
    for each in told:
        question = Question(address, each.protocol, each.port)
        way: Way | None = Way.DIRECT
        if each.carried and overlay is not None:
            way = _way(peer, address, each, overlay)
        if way is Way.OVERLAY and overlay is not None:
            inside = Question(overlay[address], Protocol.TCP, free)
            yield PeerQuestion(
                peer, address, inside, each.expect, each.description, way, tunnel=each.port
            )
        elif way is not None:
            yield PeerQuestion(peer, address, question, each.expect, each.description, way)


def _way(peer: Node, address: str, told: _Told, overlay: Mapping[str, str]) -> Way | None:
    """How to ask about a port of the overlay; ``None`` where nobody sends to it."""
    family = _family(address)
    known = {other.version for other in peer.addresses if str(other) in overlay}
    if family not in told.carried:
        return None if known.intersection(told.carried) else Way.DIRECT
    if address in overlay:
        return Way.OVERLAY
    if family in known:
        return None  # Flannel sends to another address of this peer.
    if told.port != VXLAN_PORT:
        return Way.DIRECT  # Which address it has in the overlay is not known.
    # Of a family that the overlay does not have nobody sends VXLAN there.
    return Way.NO_OVERLAY if family in (set(map(_family, overlay)) or {4}) else None


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


def _lets_in(row: Row, own: Node, asking: netaddr.IPAddress, tables: Tables) -> bool:
    """Whether the row names this node, where it asks from this address."""
    return any(_names(source, own, asking, tables) for source in row.sources)


def _names(source: Source, own: Node, asking: netaddr.IPAddress, tables: Tables) -> bool:
    if source.kind is SourceKind.ANY or source.kind.value == own.role.value:
        return True
    if source.kind is SourceKind.GROUP:
        return any(asking in network for network in tables.groups[source.value])
    return source.kind is SourceKind.CIDR and asking in netaddr.IPNetwork(source.value)


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
    redirected
        Questions that this host itself sent elsewhere, as kube-proxy does for a service.
    arrived
        Packets of peers that arrived at this node meanwhile, ``None`` where that was not watched.
    refused
        Those of them that this node itself did not let in, and ``refused_is_told`` whether they
        are reported.
    whole
        Whether all ports were asked, so that a silent peer is one that answers on none.
    """

    own: Node
    alive: Collection[str]
    left: Collection[Question] | None = None
    redirected: Collection[Question] = ()
    arrived: Collection[Arrival] | None = None
    refused: Collection[Arrival] = ()
    refused_is_told: bool = True
    whole: bool = True


def alive(asked: Sequence[PeerQuestion], answers: Sequence[Answer]) -> frozenset[str]:
    """The peers that sent anything back themselves."""
    return frozenset(
        each.peer.name
        for each, answer in zip(asked, answers)
        if (answer.outcome in (Outcome.OPEN, Outcome.NOBODY_LISTENS) and not each.is_by_word)
        or (answer.icmp is not None and _is_peer(answer.icmp.sender, each.peer))
    )


def judge(asked: PeerQuestion, answer: Answer, sight: Sight) -> Check:
    """The verdict on a question that was asked directly."""
    own, peer = sight.own.name, asked.peer.name
    outcome = answer.outcome
    if asked.question in sight.redirected:
        evidence = f"{own} itself redirects it, as for a service: {peer} was not asked"
        return _check(asked, sight, Status.UNPROVEN, evidence, by=own, hint=_ask_the_peer(peer))
    if outcome is Outcome.SILENCE and _never_left(asked.question, sight):
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


def _never_left(question: Question, sight: Sight) -> bool:
    return sight.left is not None and question not in sight.left


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
    if asked.question.protocol is Protocol.UDP and (peer in sight.alive or not sight.whole):
        evidence = "no reply and no rejection, as of a service that does not answer strangers"
        return _check(asked, sight, Status.UNPROVEN, evidence, hint=_ask_the_peer(peer))
    evidence = f"{answer.evidence}{_elsewhere(peer, sight)}"
    return _check(asked, sight, Status.NO_ANSWER, evidence, by=peer, hint=_ask_the_peer(peer))


def _elsewhere(peer: str, sight: Sight) -> str:
    if peer in sight.alive:
        return "; on other ports it answers"
    return "; it answers on no port" if sight.whole else ""


def _judge_closed(asked: PeerQuestion, answer: Answer, sight: Sight) -> Check:
    peer = asked.peer.name
    udp = asked.question.protocol is Protocol.UDP
    if udp and answer.outcome is Outcome.NOBODY_LISTENS:
        evidence = "port-unreachable: nobody listens there, or a rule rejects in these words"
        return _check(asked, sight, Status.UNPROVEN, evidence, hint=_ask_the_peer(peer))
    if answer.outcome in (Outcome.OPEN, Outcome.NOBODY_LISTENS):
        evidence = "it lets in what no row allows"
        if answer.outcome is Outcome.NOBODY_LISTENS:
            evidence += "; only that nobody listens there now keeps it shut"
        hint = f"{SEE}salt {peer} cmd.run 'firewall-cmd --list-all-zones' for what opens it"
        return _check(asked, sight, Status.EXPOSED, evidence, by=peer, hint=hint)
    if answer.outcome is Outcome.REJECTED:
        return _check(asked, sight, Status.OK, f"refused, as it should be: {answer.evidence}")
    if peer in sight.alive and not udp:
        return _check(asked, sight, Status.OK, f"dropped, as it should be: {answer.evidence}")
    if peer in sight.alive or not sight.whole:
        evidence = "silence: dropped, or the peer says nothing at all"
        return _check(asked, sight, Status.UNPROVEN, evidence, hint=_ask_the_peer(peer))
    # It says nothing to what it should answer either, and that is what is told.
    evidence = f"{answer.evidence}{_elsewhere(peer, sight)}"
    return _check(asked, sight, Status.NO_ANSWER, evidence, by=peer, hint=_ask_the_peer(peer))


def _rejected(asked: PeerQuestion, answer: Answer, sight: Sight) -> Check:
    assert answer.icmp is not None
    own, peer = sight.own, asked.peer
    if not _is_peer(answer.icmp.sender, peer):
        by = answer.icmp.sender
        hint = f"let it through at {by}; that is not {peer.name} but somebody on the way to it"
        return _check(asked, sight, Status.BLOCKED, answer.evidence, by=by, hint=hint)
    evidence = f"rejected by {peer.name} itself (firewalld)"
    hint = f"salt {peer.name} state.apply k3s.firewall"
    if answer.icmp.reason != "admin-prohibited":
        # Neither firewalld's zones nor its policies: a rich rule, or kube-proxy of a service that
        # has no endpoints.
        evidence = f"rejected by {peer.name} itself ({answer.icmp.reason})"
        hint = f"{SEE}salt {peer.name} cmd.run 'nft list ruleset' for the rule that does"
    if answer.source and netaddr.IPAddress(answer.source) not in own.addresses:
        evidence += f", asked from {answer.source}, which is no address of {own.name} in pillar"
        hint = f"{SEE}salt {own.name} k3sfw.check_routes"
    return _check(asked, sight, Status.BLOCKED, evidence, by=peer.name, hint=hint)


def judge_overlay(
    asked: PeerQuestion, answer: Answer, datagram: Answer | None, sight: Sight
) -> tuple[Check, ...]:
    """The verdicts on the overlay both ways, and on what the peer lets its pods' network do.

    answer
        What the peer's address in the overlay said; anything from there proves the overlay.
    datagram
        What a plain datagram to the overlay's port met, if one was sent: with VXLAN only where the
        overlay said nothing.
    """
    own, peer = sight.own.name, asked.peer.name
    outcome = answer.outcome
    outside = bool(answer.source) and netaddr.IPAddress(answer.source) in sight.own.addresses
    stranger = answer.icmp is not None and answer.icmp.sender != asked.question.address
    answering = outcome in (Outcome.OPEN, Outcome.NOBODY_LISTENS, Outcome.REJECTED)
    if answering and (outside or stranger):
        evidence = (
            f"packets to {asked.question.address} do not go through the overlay of {own}, but "
            f"leave with {answer.source or 'no address'}"
        )
        hint = f"{SEE}salt {own} k3sfw.check_routes"
        return (_check(asked, sight, Status.NO_ROUTE, evidence, by=own, hint=hint),)
    if answering:
        return _judge_answer(asked, answer, datagram, sight)
    if outcome is Outcome.LOCAL_BLOCK:
        return (judge(_plain(asked), answer, sight),)
    telling = _telling(asked, datagram, sight)
    if telling is not None:
        return (judge(_plain(asked), telling, sight),)
    if outcome in (Outcome.HOST_DOWN, Outcome.NO_ROUTE):
        evidence = f"the overlay of {own} does not lead to {peer}: {answer.evidence}"
        hint = f"{SEE}salt {own} k3sfw.check_routes"
        return (_check(asked, sight, Status.NO_ROUTE, evidence, by=own, hint=hint),)
    if _senders(asked, sight.refused):
        if sight.refused_is_told:
            return ()  # What came back was not let in here, which is told as such.
        evidence = f"{own} itself does not let in what comes back"
        return (_check(asked, sight, Status.UNPROVEN, evidence, by=own),)
    evidence = f"nothing comes back through the overlay, and {peer} rejects no {_tunnel(asked)}"
    hint = f"{_ask_the_peer(peer)} and salt {own} k3sfw.check_routes"
    if asked.is_by_word:
        hint += f"; {_if_elsewhere(asked)}"
    return (_check(asked, sight, Status.NO_ANSWER, evidence, by=peer, hint=hint),)


def _judge_answer(
    asked: PeerQuestion, answer: Answer, datagram: Answer | None, sight: Sight
) -> tuple[Check, ...]:
    """The verdicts on an answer that came through the overlay."""
    peer, inside = asked.peer.name, asked.question.address
    if asked.is_by_word and sight.arrived is not None:
        senders = _senders(asked, sight.arrived)
        if not senders:
            evidence = (
                f"{inside} answered through the overlay, and yet no {_tunnel(asked)} of {peer} "
                "arrived: those pods may be of another node"
            )
            hint = f"{SEE}{_if_elsewhere(asked)}"
            return (_check(asked, sight, Status.UNPROVEN, evidence, hint=hint),)
        if asked.address not in senders:
            asked = replace(asked, address=senders[0])
    evidence = f"{inside} answered through the overlay"
    pods = _pods(asked, sight, Status.OK, evidence)
    if answer.outcome is Outcome.REJECTED:
        evidence = "an answer came through the overlay"
        pods = _pods(
            asked,
            sight,
            Status.BLOCKED,
            f"{peer} takes {_tunnel(asked)} in, and rejects what comes out of it ({answer.icmp})",
            by=peer,
            hint=f"salt {peer} state.apply k3s.firewall",
        )
    telling = _telling(asked, datagram, sight)
    if telling is not None:
        # Between two nodes all of WireGuard is one flow, and an old one passes any firewall: what
        # becomes of a new one, only the datagram tells.
        return judge(_plain(asked), telling, sight), pods
    return _check(asked, sight, Status.OK, evidence), pods


def _telling(asked: PeerQuestion, datagram: Answer | None, sight: Sight) -> Answer | None:
    """The answer to the plain datagram, where it met more than silence."""
    if datagram is None or datagram.outcome is not Outcome.SILENCE:
        return datagram
    return datagram if _never_left(tunnel_datagram(asked), sight) else None


def _senders(asked: PeerQuestion, arrivals: Collection[Arrival]) -> list[str]:
    """Those of the peer's addresses from which packets of the overlay came, as far as it is meant.

    With VXLAN flannel's entry names the address; with WireGuard it may be any of the peer's.
    """
    addresses = map(str, asked.peer.addresses) if asked.is_by_word else [asked.address]
    return [each for each in addresses if Arrival(each, Protocol.UDP, asked.tunnel) in arrivals]


def _tunnel(asked: PeerQuestion) -> str:
    return "WireGuard" if asked.is_by_word else "VXLAN"


def _if_elsewhere(asked: PeerQuestion) -> str:
    peer = asked.peer.name
    return f"salt {peer} saltutil.refresh_grains, if {peer} has other pods by now"


def tunnel_datagram(asked: PeerQuestion) -> Question:
    """A plain datagram to the port through which the overlay goes."""
    return Question(asked.address, Protocol.UDP, asked.tunnel)


def _plain(asked: PeerQuestion) -> PeerQuestion:
    return PeerQuestion(
        asked.peer, asked.address, tunnel_datagram(asked), asked.expect, asked.description
    )


def _ask_the_peer(peer: str) -> str:
    return f"{SEE}salt {peer} k3sfw.check_ports"


def _is_peer(sender: str, peer: Node) -> bool:
    return netaddr.IPAddress(sender) in peer.addresses


def _check(
    asked: PeerQuestion, sight: Sight, status: Status, evidence: str, by: str = "", hint: str = ""
) -> Check:
    overlay = asked.way is Way.OVERLAY
    question = tunnel_datagram(asked) if overlay else asked.question
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
        if peer is None or peer.name == own.name or not narrow.wants(peer.name, own.name):
            continue
        rows = [
            row
            for row in tables.rows_of(own.role)
            if row.protocol is each.protocol
            and any(each.port in span for span in row.ports)
            and narrow.wants_row(row)
            and _lets_in(row, peer, netaddr.IPAddress(each.source), tables)
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
