"""check_ports as a whole: the layers of this node, its listeners, and packets to its peers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import netaddr

from . import peers, probe
from .answers import Outcome
from .desired import desired
from .errors import NetworkUnreadable
from .listeners import Listener, listening_on, read_listeners
from .network import overlay_devices, overlay_peers, read_network
from .peers import Narrowing, PeerQuestion, Sight, Way
from .ports import check_locally, has_listeners
from .redirection_facts import read_redirections
from .redirections import Here, Redirection
from .rows import FlannelBackend, Node, PortRange, Protocol, Role, Row, Tables
from .situation import OVERLAYS
from .transaction import compare
from .verdicts import SEE, Check, Status, worst_first
from .witness import Sighting, Witness


@dataclass(frozen=True)
class Inspection:
    """What was found.

    scope
        How far the questions reached, as a phrase.
    notices
        What is to be told besides.
    """

    checks: tuple[Check, ...]
    scope: str
    notices: tuple[str, ...] = ()


def inspect_ports(
    tables: Tables,
    role: Role,
    node: str,
    *,
    count: int | None = peers.SAMPLE,
    narrow: Narrowing = peers.EVERYTHING,
    turn: int = 0,
) -> Inspection:
    """Check the rows of this node in every layer, and by packets to its peers.

    node
        This node's minion id.
    count
        How many peers to ask; ``None`` for all.
    narrow
        Only these sources, targets and ports; targets that are named are all asked.
    turn
        Chooses which peers are asked, and the port that no row names.

    Raises ``EngineError`` if firewalld or the kernel cannot be read.
    """
    own = next(each for each in tables.nodes if each.name == node)
    others = [each for each in tables.nodes if each is not own]
    checks: list[Check] = []
    notices: list[str] = []
    in_force = False
    if not narrow.targets or node in narrow.targets:
        wanted = desired(tables, role)
        wanted = replace(wanted, rows=tuple(filter(narrow.wants_row, wanted.rows)))
        with ThreadPoolExecutor(max_workers=1) as beside:
            # While firewalld and nft are waited for.
            serving = beside.submit(_serving, own, wanted.rows)
            plan, observed = compare(tables, role)
        listeners, redirected = serving.result()
        kernel_read = observed.kernel is not None
        checks += check_locally(
            node, wanted, plan.changes, listeners, redirected, kernel_read=kernel_read
        )
        notices += plan.notices
        in_force = not any(check.status is Status.BLOCKED for check in checks)
    probed: frozenset[str] = frozenset()
    chosen: tuple[Node, ...] = ()
    if not narrow.sources or node in narrow.sources:
        chosen = peers.sample(tables.nodes, node, count, turn)
        if narrow.targets:
            chosen = tuple(each for each in others if each.name in narrow.targets)
    if chosen:
        overlay, sources, unread = _ways(tables, chosen)
        asked = peers.questions(tables, own, chosen, overlay, narrow, turn, sources)
        checks += _ask(tables, own, asked, narrow, in_force=in_force)
        checks += _unasked(tables, own, chosen)
        notices += unread
        probed = frozenset(each.peer.name for each in asked)
    scope = f"{len(probed)} of {len(others)} peers probed"
    return Inspection(worst_first(checks), scope, tuple(notices))


def _serving(own: Node, rows: Iterable[Row]) -> tuple[tuple[Listener, ...], frozenset[Redirection]]:
    """Who listens here; and what is redirected, if a row has no listener for that."""
    listeners = read_listeners()
    if all(listening_on(listeners, row.protocol, row.ports) for row in rows if has_listeners(row)):
        return listeners, frozenset()
    return listeners, read_redirections(Here(frozenset(own.addresses))).found


def _ask(
    tables: Tables,
    own: Node,
    asked: tuple[PeerQuestion, ...],
    narrow: Narrowing,
    *,
    in_force: bool,
) -> Iterator[Check]:
    """The verdicts on all these questions, and on what peers sent here meanwhile.

    in_force
        Whether this node's own rows are, so that what it refuses is somebody else's rule.
    """
    if not asked:
        return
    overlay = [each for each in asked if each.way is Way.OVERLAY]
    plain = [each for each in overlay if each.is_by_word]
    direct = [each.question for each in asked]
    watched = _watched(tables, own, {each.tunnel for each in plain})
    with Witness(watched, [*direct, *map(peers.tunnel_datagram, overlay)]) as witness:
        # Together, so that a rejection which the limit of ICMP errors held back is asked for again.
        answers = probe.ask([*direct, *map(peers.tunnel_datagram, plain)])
        datagrams = dict(zip(plain, answers[len(asked) :]))
        doubtful = [
            each
            for each, answer in zip(asked, answers)
            if each.way is Way.OVERLAY
            and each not in datagrams
            and answer.outcome in _NOTHING_CAME_THROUGH
        ]
        datagrams.update(zip(doubtful, probe.ask([*map(peers.tunnel_datagram, doubtful)])))
        sighting = witness.sighting()
    seen = sighting or Sighting()
    sight = Sight(
        own,
        peers.alive(asked, answers),
        left=seen.left if sighting else None,
        redirected=seen.redirected,
        arrived=seen.arrived if sighting else None,
        refused=seen.arrived - seen.passed,
        refused_is_told=in_force,
        whole=narrow.ports is None,
    )
    for each, answer in zip(asked, answers):
        if each.way is Way.OVERLAY:
            yield from peers.judge_overlay(each, answer, datagrams.get(each), sight)
        else:
            yield peers.judge(each, answer, sight)
    if in_force:
        yield from peers.judge_arrivals(tables, sight, narrow)


_NOTHING_CAME_THROUGH = (Outcome.SILENCE, Outcome.HOST_DOWN, Outcome.NO_ROUTE)


def _ways(
    tables: Tables, chosen: Iterable[Node]
) -> tuple[Mapping[str, str] | None, Mapping[str, str], tuple[str, ...]]:
    """How packets go to these peers: their overlay addresses, and from which address they leave.

    The first is ``None`` if this node has no flannel device. The last are sentences about what
    could not be read.
    """
    addresses = [str(address) for peer in chosen for address in peer.addresses]
    by_word = dict(_overlay_by_word(tables, chosen))
    try:
        network = read_network([*addresses, *by_word.values()])
    except NetworkUnreadable as error:
        return None, {}, error.sentences
    sources = {
        address: found.source
        for address, found in network.lookups.items()
        if found.source and not found.error
    }
    overlay: Mapping[str, str] | None = None
    if tables.flannel_backend is FlannelBackend.VXLAN and overlay_devices(network):
        overlay = overlay_peers(network)
    elif tables.flannel_backend is FlannelBackend.WIREGUARD:
        devices = OVERLAYS[FlannelBackend.WIREGUARD]
        overlay = {
            address: inside
            for address, inside in by_word.items()
            if network.lookups[inside].device == devices[netaddr.IPAddress(inside).version]
        }
    return overlay, sources, ()


def _overlay_by_word(tables: Tables, chosen: Iterable[Node]) -> Iterator[tuple[str, str]]:
    """The address of each peer in the overlay of WireGuard, by its node address.

    Whose key is whose the device does not tell to ``ip``, so it is by the peers' word. To which
    address of a peer flannel sends is not known: one stands for all of a family.
    """
    if tables.flannel_backend is not FlannelBackend.WIREGUARD:
        return
    for peer in chosen:
        for pods in peer.pod_cidrs:
            address = next((a for a in peer.addresses if a.version == pods.version), None)
            if address is not None:
                # Flannel's device has the first address of the network, and the bridge the second.
                yield str(address), str(netaddr.IPAddress(pods.first, pods.version))


def _watched(tables: Tables, own: Node, tunnels: Iterable[int]) -> list[tuple[Protocol, PortRange]]:
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


def _unasked(tables: Tables, own: Node, chosen: Iterable[Node]) -> Iterator[Check]:
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
