"""check_ports as a whole: the layers of this node, its listeners, and packets to its peers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import netaddr

from k3sfw_engine.checks.ports import arrival_check, overlay_check, port_check, questions_to_peers
from k3sfw_engine.checks.ports.port_check import ProbeContext
from k3sfw_engine.checks.ports.questions_to_peers import (
    Filter,
    PeerQuestion,
    Via,
    unasked_rows,
    watched_packets,
)
from k3sfw_engine.checks.ports.row_in_layers import check_rows, has_listeners
from k3sfw_engine.checks.verdicts import Check, Status, worst_first
from k3sfw_engine.errors import NetworkUnreadable
from k3sfw_engine.host.iproute import read_network
from k3sfw_engine.host.listeners import read_listeners
from k3sfw_engine.host.nat import read_redirections
from k3sfw_engine.model.interfaces_and_routes import overlay_devices, overlay_peers
from k3sfw_engine.model.kubernetes_names import OVERLAY_DEVICES
from k3sfw_engine.model.listeners import Listener, listening_on
from k3sfw_engine.model.nat import LocalAddresses, Redirection
from k3sfw_engine.model.packet_question import ProbeResult, RecordedPackets
from k3sfw_engine.model.rows import FlannelBackend, Node, Role, Row, Tables
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.probes import connect
from k3sfw_engine.probes.packet_recorder import PacketRecorder
from k3sfw_engine.transaction.compare import compare


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
    count: int | None = questions_to_peers.SAMPLE,
    narrow: Filter = questions_to_peers.EVERYTHING,
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
        wanted = compute_desired(tables, role)
        wanted = replace(wanted, rows=tuple(filter(narrow.wants_row, wanted.rows)))
        with ThreadPoolExecutor(max_workers=1) as beside:
            # While firewalld and nft are waited for.
            serving = beside.submit(_serving, own, wanted.rows)
            plan, observed = compare(tables, role)
        listeners, redirected = serving.result()
        kernel_read = observed.kernel is not None
        checks += check_rows(
            node, wanted, plan.differences, listeners, redirected, kernel_read=kernel_read
        )
        notices += plan.notices
        in_force = not any(check.status is Status.BLOCKED for check in checks)
    probed: frozenset[str] = frozenset()
    chosen: tuple[Node, ...] = ()
    if not narrow.sources or node in narrow.sources:
        chosen = questions_to_peers.peers_to_ask(tables.nodes, node, count, turn)
        if narrow.targets:
            chosen = tuple(each for each in others if each.name in narrow.targets)
    if chosen:
        overlay, sources, unread = _ways(tables, chosen)
        asked = questions_to_peers.questions(tables, own, chosen, overlay, narrow, turn, sources)
        checks += _ask(tables, own, asked, narrow, in_force=in_force)
        checks += unasked_rows(tables, own, chosen)
        notices += unread
        probed = frozenset(each.peer.name for each in asked)
    scope = f"{len(probed)} of {len(others)} peers probed"
    return Inspection(worst_first(checks), scope, tuple(notices))


def _serving(own: Node, rows: Iterable[Row]) -> tuple[tuple[Listener, ...], frozenset[Redirection]]:
    """Who listens here; and what is redirected, if a row has no listener for that."""
    listeners = read_listeners()
    if all(listening_on(listeners, row.protocol, row.ports) for row in rows if has_listeners(row)):
        return listeners, frozenset()
    return listeners, read_redirections(LocalAddresses(frozenset(own.addresses))).found


def _ask(
    tables: Tables,
    own: Node,
    asked: tuple[PeerQuestion, ...],
    narrow: Filter,
    *,
    in_force: bool,
) -> Iterator[Check]:
    """The verdicts on all these questions, and on what peers sent here meanwhile.

    in_force
        Whether this node's own rows are, so that what it refuses is somebody else's rule.
    """
    if not asked:
        return
    overlay = [each for each in asked if each.way is Via.OVERLAY]
    plain = [each for each in overlay if each.is_by_word]
    direct = [each.question for each in asked]
    watched = watched_packets(tables, own, {each.tunnel for each in plain})
    with PacketRecorder(
        watched, [*direct, *map(questions_to_peers.tunnel_datagram, overlay)]
    ) as witness:
        # Together, so that a rejection which the limit of ICMP errors held back is asked for again.
        answers = connect.ask([*direct, *map(questions_to_peers.tunnel_datagram, plain)])
        datagrams = dict(zip(plain, answers[len(asked) :]))
        doubtful = [
            each
            for each, answer in zip(asked, answers)
            if each.way is Via.OVERLAY
            and each not in datagrams
            and answer.outcome in _NOTHING_CAME_THROUGH
        ]
        datagrams.update(
            zip(doubtful, connect.ask([*map(questions_to_peers.tunnel_datagram, doubtful)]))
        )
        sighting = witness.sighting()
    seen = sighting or RecordedPackets()
    sight = ProbeContext(
        own,
        port_check.alive(asked, answers),
        left=seen.left if sighting else None,
        redirected=seen.redirected,
        arrived=seen.arrived if sighting else None,
        refused=seen.arrived - seen.passed,
        refused_is_told=in_force,
        whole=narrow.ports is None,
    )
    for each, answer in zip(asked, answers):
        if each.way is Via.OVERLAY:
            yield from overlay_check.judge_overlay(each, answer, datagrams.get(each), sight)
        else:
            yield port_check.judge_answer(each, answer, sight)
    if in_force:
        yield from arrival_check.judge_arrivals(tables, sight, narrow)


_NOTHING_CAME_THROUGH = (ProbeResult.SILENCE, ProbeResult.HOST_DOWN, ProbeResult.NO_ROUTE)


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
        devices = OVERLAY_DEVICES[FlannelBackend.WIREGUARD]
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
