"""The command check_ports: compare this node's rows layer by layer, and send packets to peers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import netaddr

from k3sfw_engine.checks.lockout.allowed_by_other_rules import allows
from k3sfw_engine.checks.ports import arrival_check, overlay_check, port_check
from k3sfw_engine.checks.ports.defaults import (
    NETWORKS_JUDGED_BY_ZONES,
    PEERS_ASKED,
    PORTS_ASKED_ONE_BY_ONE,
)
from k3sfw_engine.checks.ports.opened_by_zones import zone_openings_for
from k3sfw_engine.checks.ports.port_check import ProbeContext
from k3sfw_engine.checks.ports.promised_packets import (
    PromisedAnswer,
    PromisedQuestion,
    judge_on_node,
    judge_packets,
    packets_beside,
    promised_questions,
)
from k3sfw_engine.checks.ports.questions_to_peers import (
    EVERYTHING,
    Filter,
    PeerQuestion,
    Via,
    peers_to_ask,
    questions,
    tunnel_datagram,
    unasked_peers,
    watched_packets,
    watched_protocols,
)
from k3sfw_engine.checks.ports.row_in_layers import check_rows
from k3sfw_engine.checks.ports.services_of_node import contradictions, unproven_pods
from k3sfw_engine.checks.report import PromiseHere, Report
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.errors import NetworkUnreadable
from k3sfw_engine.firewalld.dbus import Bus
from k3sfw_engine.firewalld.zones import read_others
from k3sfw_engine.host.iproute import read_network
from k3sfw_engine.host.live_connections import read_outer_interfaces
from k3sfw_engine.host.nat import read_redirections
from k3sfw_engine.host.node_services import read_node_services
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.echo import SMALL_ECHO, PathEchoes, as_answer
from k3sfw_engine.model.interfaces_and_routes import overlay_devices, overlay_peers
from k3sfw_engine.model.kubernetes_names import OVERLAY_DEVICES
from k3sfw_engine.model.nat import LocalAddresses, Redirection
from k3sfw_engine.model.overlay import OverlayFacts
from k3sfw_engine.model.packet_question import (
    NOTHING_CAME_THROUGH,
    Answer,
    PacketQuestion,
    ProbeResult,
    RecordedPackets,
)
from k3sfw_engine.model.rows import FlannelBackend, Node, Role, Tables
from k3sfw_engine.model.rule_matches_packet import Packet
from k3sfw_engine.model.zones import OtherRules
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.promises import PromisePart, is_destination
from k3sfw_engine.probes import connect, echo
from k3sfw_engine.probes.packet_recorder import PacketRecorder
from k3sfw_engine.transaction.compare import compare, layers_in_step

_ZonesHere = tuple[OtherRules, frozenset[str]]


def check_ports(
    tables: Tables,
    role: Role,
    node: str,
    *,
    count: int | None = PEERS_ASKED,
    only: Filter = EVERYTHING,
    turn: int = 0,
) -> Report:
    """Check the rows of this node in every layer, and by packets to its peers.

    node
        This node's minion id.
    count
        How many peers to ask; ``None`` for all.
    only
        Only these sources, targets and ports; targets that are named are all asked.
    turn
        Selects which peers are asked, and the port that no row names.

    Raises ``EngineError`` if firewalld or the kernel cannot be read.
    """
    own = next(each for each in tables.nodes if each.name == node)
    others = [each for each in tables.nodes if each is not own]
    overlay = read_overlay()
    checks: list[Check] = []
    notices: tuple[str, ...] = ()
    in_step: Mapping[str, bool | None] | None = None
    in_force = False
    answered = _PacketVerdicts()
    in_scope = not only.targets or node in only.targets
    if in_scope:
        checks, notices, in_step = _check_own_rows(tables, role, own, only, overlay)
        in_force = not any(check.status is Status.BLOCKED for check in checks)
    asked: tuple[PeerQuestion, ...] = ()
    if chosen := _chosen_peers(tables, node, count, only, turn):
        paths = _read_paths(tables, chosen)
        asked = questions(tables, own, chosen, paths.overlay, only, turn, paths.sources, overlay)
        promised = promised_questions(tables, own, chosen, only, turn, paths.sources)
        answered = _ask(tables, own, asked, promised, only, in_force=in_force)
        checks += answered.checks
        checks += unasked_peers(tables, own, chosen)
        notices += paths.unread
    promises, found = _judge_promises(tables, own, answered.promised)
    checks += found if in_scope else [each for each in found if each.to != node]
    probed = {each.peer.name for each in asked}
    scope = f"{len(probed)} of {len(others)} peers probed"
    return Report(tuple(checks), scope, notices, in_step, promises)


def _judge_promises(
    tables: Tables, own: Node, answered: Iterable[PromisedAnswer]
) -> tuple[tuple[PromiseHere, ...], tuple[Check, ...]]:
    zones = _zones_when_asked()
    return judge_on_node(
        tables,
        own,
        answered,
        _redirected(tables, own),
        _opened_by_zones(zones),
        lambda denied, wanted: zone_openings_for(*zones(), denied, wanted),
    )


def _chosen_peers(
    tables: Tables, node: str, count: int | None, only: Filter, turn: int
) -> tuple[Node, ...]:
    if only.sources and node not in only.sources:
        return ()
    if only.targets:
        return tuple(
            each for each in tables.nodes if each.name in only.targets and each.name != node
        )
    return peers_to_ask(tables.nodes, node, count, turn)


def _redirected(tables: Tables, own: Node) -> frozenset[Redirection]:
    """The ports that this node redirects, if a promise is about any port of it."""
    if not any(is_destination(promise, own) for promise in tables.promises):
        return frozenset()
    return read_redirections(LocalAddresses(frozenset(own.addresses))).found


def _zones_when_asked() -> Callable[[], _ZonesHere]:
    """Return what reads the zones and policies of others, once and only if that is needed."""

    @cache
    def read() -> _ZonesHere:
        interfaces = read_outer_interfaces()
        with Bus() as bus:
            return read_others(bus, interfaces)[0], interfaces

    return read


def _opened_by_zones(read: Callable[[], _ZonesHere]) -> Callable[[PromisePart], bool]:
    """Return whether zones of the operator open a part of a promise."""

    def opens(part: PromisePart) -> bool:
        span = part.ports
        if span is None or span.high - span.low >= PORTS_ASKED_ONE_BY_ONE:
            return False
        if len(part.sources.ranges) > NETWORKS_JUDGED_BY_ZONES:
            return False
        rules, interfaces = read()
        return all(
            allows(rules, Packet(network, part.protocol, port), interfaces)
            for network in part.sources.networks()
            for port in range(span.low, span.high + 1)
        )

    return opens


def _check_own_rows(
    tables: Tables, role: Role, own: Node, only: Filter, overlay: OverlayFacts
) -> tuple[list[Check], tuple[str, ...], Mapping[str, bool | None]]:
    """The verdicts on the rows of this node, notices about the comparison, and the layers."""
    wanted = compute_desired(tables, role, overlay)
    wanted = replace(wanted, rows=tuple(filter(only.wants_row, wanted.rows)))
    with ThreadPoolExecutor(max_workers=1) as beside:
        # Meanwhile firewalld and nft are read.
        reading = beside.submit(read_node_services, own.addresses, wanted.rows, overlay)
        plan, observed = compare(tables, role, overlay)
    services = reading.result()
    against = [
        each
        for each in contradictions(tables, role, services)
        if any(only.wants_port(each.protocol, port) for port in each.ports)
    ]
    checks = check_rows(
        own.name,
        wanted,
        plan.differences,
        services,
        [each.row for each in against if each.row],
        kernel_read=observed.kernel is not None,
    )
    checks_of_node = [each.as_check(own.name) for each in against]
    if only.ports is None:
        checks_of_node += unproven_pods(own.name, tables, role)
    return [*checks_of_node, *checks], tuple(plan.notices), layers_in_step(plan, observed)


# -- packets to peers -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _PacketVerdicts:
    """The verdicts on rows, and on the packets of promises."""

    checks: tuple[Check, ...] = ()
    promised: tuple[PromisedAnswer, ...] = ()


def _ask(
    tables: Tables,
    own: Node,
    asked: tuple[PeerQuestion, ...],
    promised: tuple[PromisedQuestion, ...],
    only: Filter,
    *,
    in_force: bool,
) -> _PacketVerdicts:
    """The verdicts on all these questions, and on what peers sent here meanwhile.

    in_force
        Whether this node's own rows are in force. Then another rule dropped what was not accepted.
    """
    every = (*asked, *packets_beside(promised, asked))
    if not every:
        return _PacketVerdicts()
    overlay = [each for each in every if each.via is Via.OVERLAY]
    claimed = {each.tunnel for each in overlay if each.is_claimed}
    asked_ports = [each.question for each in every if each.question.protocol.has_ports]
    recorded = [*asked_ports, *map(tunnel_datagram, overlay)]
    watched = watched_packets(tables, own, claimed)
    with PacketRecorder(watched, recorded, watched_protocols(tables, own)) as recorder:
        answers, datagrams = _send(every)
        recording = recorder.read()
    seen = recording or RecordedPackets()
    context = ProbeContext(
        own,
        port_check.alive(every, answers),
        left=seen.left if recording else None,
        redirected=seen.redirected,
        arrived=seen.arrived if recording else None,
        refused=seen.arrived - seen.passed,
        refused_is_reported=in_force,
        all_ports=only.ports is None,
    )
    checks = [
        (each, check)
        for each, answer in zip(asked, answers)
        for check in _verdicts(each, answer, datagrams.get(each), context)
    ]
    of_promises = judge_packets(promised, zip(every, answers), checks, context)
    arrived = arrival_check.judge_arrivals(tables, context, only) if in_force else ()
    return _PacketVerdicts((*(check for _each, check in checks), *arrived), tuple(of_promises))


def _verdicts(
    asked: PeerQuestion, answer: Answer, datagram: Answer | None, context: ProbeContext
) -> tuple[Check, ...]:
    if asked.via is Via.OVERLAY:
        return tuple(overlay_check.judge_overlay(asked, answer, datagram, context))
    return (port_check.judge_answer(asked, answer, context),)


def _send(asked: tuple[PeerQuestion, ...]) -> tuple[list[Answer], dict[PeerQuestion, Answer]]:
    """Send all questions; and plain datagrams where the overlay's answer does not tell enough."""
    overlay = {place: each for place, each in enumerate(asked) if each.via is Via.OVERLAY}
    plain = dict(enumerate(overlay, len(asked)))
    # In one call, so that a question whose rejection the rate limit of ICMP errors held back is
    # asked again, and silence is waited for once. What comes through VXLAN tells enough.
    answers = _answers(
        [each.question for each in asked] + [*map(tunnel_datagram, overlay.values())],
        {at: place for at, place in plain.items() if not overlay[place].is_claimed},
    )
    datagrams = {
        overlay[place]: answers[at]
        for at, place in plain.items()
        if overlay[place].is_claimed or answers[place].outcome in NOTHING_CAME_THROUGH
    }
    return answers[: len(asked)], datagrams


def _answers(asked: Sequence[PacketQuestion], spared_by: Mapping[int, int]) -> list[Answer]:
    """The answers to packets that ask a port, and to echoes."""
    echoes = [each.address for each in asked if not each.protocol.has_ports]
    ports = [place for place, each in enumerate(asked) if each.protocol.has_ports]
    places = {place: at for at, place in enumerate(ports)}
    with ThreadPoolExecutor(max_workers=1) as beside:
        # Silence takes all the patience: for both at the same time.
        echoed = beside.submit(echo.probe, dict.fromkeys(echoes, SMALL_ECHO))
        answers = connect.ask(
            [asked[place] for place in ports],
            spared_by={places[spared]: places[by] for spared, by in spared_by.items()},
        )
        paths = echoed.result() or {}
    return [
        answers[places[place]] if place in places else _echoed(each.address, paths)
        for place, each in enumerate(asked)
    ]


def _echoed(address: str, paths: Mapping[str, PathEchoes]) -> Answer:
    """The answer of an echo; without root none can be sent."""
    if address not in paths:
        return Answer(ProbeResult.ERROR, "echoes need root")
    return as_answer(paths[address].small, 6 if ":" in address else 4)


# -- the paths to peers ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Paths:
    """How packets go to the peers.

    overlay
        The peers' overlay addresses by their node addresses; ``None`` if this node has no overlay
        device.
    sources
        The address from which packets to each address leave.
    unread
        Sentences about what could not be read.
    """

    overlay: Mapping[str, str] | None
    sources: Mapping[str, str]
    unread: tuple[str, ...] = ()


def _read_paths(tables: Tables, chosen: Iterable[Node]) -> _Paths:
    addresses = [str(address) for peer in chosen for address in peer.addresses]
    claimed = dict(_claimed_overlay(tables, chosen))
    try:
        network = read_network([*addresses, *claimed.values()])
    except NetworkUnreadable as error:
        return _Paths(None, {}, error.sentences)
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
            for address, inside in claimed.items()
            if network.lookups[inside].device == devices[netaddr.IPAddress(inside).version]
        }
    return _Paths(overlay, sources)


def _claimed_overlay(tables: Tables, chosen: Iterable[Node]) -> Iterator[tuple[str, str]]:
    """The address that each peer claims in the overlay of WireGuard, by its node address.

    ``ip`` does not show which peer has which key, so the pod network in pillar is believed. Nor is
    it known to which of a peer's addresses flannel sends: the first one of a family stands for all.
    """
    if tables.flannel_backend is not FlannelBackend.WIREGUARD:
        return
    for peer in chosen:
        for pods in peer.pod_cidrs:
            address = next((a for a in peer.addresses if a.version == pods.version), None)
            if address is not None:
                # flannel's device has the first address of the network, the bridge the second.
                yield str(address), str(netaddr.IPAddress(pods.first, pods.version))
