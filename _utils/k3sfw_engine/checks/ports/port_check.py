"""The verdict on a packet that was sent to a peer, by what came back. Pure.

Ports that must be open to this node are judged, and ports that must be closed to it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import netaddr

from k3sfw_engine.checks.ports import messages
from k3sfw_engine.checks.ports.questions_to_peers import Expect, PeerQuestion, Via, tunnel_datagram
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.packet_question import Answer, Arrival, PacketQuestion, ProbeResult
from k3sfw_engine.model.rows import Node, Protocol


@dataclass(frozen=True)
class ProbeContext:
    """What is known besides the answer itself.

    own
        This node.
    alive
        The names of peers that sent anything back.
    left
        The questions whose packets were seen to leave this host; ``None`` if that was not watched.
    redirected
        Questions that this host itself sent elsewhere, as kube-proxy does for a service.
    arrived
        Packets of peers that arrived at this node meanwhile; ``None`` if that was not watched.
    refused
        Those of them that this node dropped.
    refused_is_reported
        Whether ``refused`` gets verdicts of its own.
    all_ports
        Whether all ports were asked, so that a silent peer is one that answers on none.
    """

    own: Node
    alive: Collection[str]
    left: Collection[PacketQuestion] | None = None
    redirected: Collection[PacketQuestion] = ()
    arrived: Collection[Arrival] | None = None
    refused: Collection[Arrival] = ()
    refused_is_reported: bool = True
    all_ports: bool = True

    def never_left(self, question: PacketQuestion) -> bool:
        """Whether the packets of this question never left this host; echoes are not watched."""
        watched = self.left is not None and question.protocol.has_ports
        return watched and question not in (self.left or ())


def alive(asked: Sequence[PeerQuestion], answers: Sequence[Answer]) -> frozenset[str]:
    """The peers that sent back anything themselves, not a router for them."""
    came_back = (ProbeResult.OPEN, ProbeResult.NOTHING_LISTENS)
    return frozenset(
        each.peer.name
        for each, answer in zip(asked, answers)
        if (answer.outcome in came_back and not each.is_claimed)
        or (answer.icmp is not None and _is_peer(answer.icmp.sender, each.peer))
    )


def judge_answer(asked: PeerQuestion, answer: Answer, context: ProbeContext) -> Check:
    """The verdict on a question that was asked directly."""
    own, peer = context.own.name, asked.peer.name
    outcome = answer.outcome

    def verdict(status: Status, problem: Problem, by: str) -> Check:
        return peer_check(asked, context, status, problem, by)

    if asked.question in context.redirected:
        return verdict(Status.UNPROVEN, messages.redirected_here(own, peer), own)
    if outcome is ProbeResult.SILENCE and context.never_left(asked.question):
        outcome = ProbeResult.LOCAL_BLOCK
    if outcome is ProbeResult.SILENCE and asked.via is Via.NO_OVERLAY:
        return verdict(Status.NO_ROUTE, messages.no_overlay_entry(own, peer), own)
    if outcome is ProbeResult.LOCAL_BLOCK:
        return verdict(Status.LOCAL_BLOCK, messages.blocked_here(own, answer.evidence), own)
    if outcome is ProbeResult.HOST_DOWN:
        return verdict(Status.HOST_DOWN, messages.host_down(peer, answer), peer)
    if outcome is ProbeResult.NO_ROUTE:
        by = answer.icmp.sender if answer.icmp else own
        return verdict(Status.NO_ROUTE, messages.no_route(own, answer), by)
    if outcome is ProbeResult.ERROR:
        return verdict(Status.ERROR, messages.not_asked(answer), own)
    judge = _judge_closed if asked.expect is Expect.CLOSED else _judge_open
    return judge(asked, answer, context)


def peer_check(
    asked: PeerQuestion, context: ProbeContext, status: Status, problem: Problem, by: str = ""
) -> Check:
    """One verdict on a question to a peer."""
    overlay = asked.via is Via.OVERLAY
    question = tunnel_datagram(asked) if overlay else asked.question
    return Check(
        source=context.own.name,
        to=asked.peer.name,
        address=asked.address,
        protocol=question.protocol.value,
        port=str(question.port) if question.protocol.has_ports else "",
        description=asked.description,
        expect=asked.expect.value,
        status=status,
        by=by,
        evidence=problem.text,
        fix=problem.fix,
        see=problem.see,
    )


def _judge_open(asked: PeerQuestion, answer: Answer, context: ProbeContext) -> Check:
    peer = asked.peer.name
    if answer.outcome is ProbeResult.OPEN:
        return peer_check(asked, context, Status.OK, Problem(answer.evidence))
    if answer.outcome is ProbeResult.NOTHING_LISTENS:
        return peer_check(asked, context, Status.NO_LISTENER, messages.nothing_listens(), peer)
    if answer.outcome is ProbeResult.REJECTED:
        return _rejected(asked, answer, context)
    udp = asked.question.protocol is Protocol.UDP
    if udp and (peer in context.alive or not context.all_ports):
        return peer_check(asked, context, Status.UNPROVEN, messages.silent_service(peer))
    return _silent(asked, answer, context)


def _judge_closed(asked: PeerQuestion, answer: Answer, context: ProbeContext) -> Check:
    peer = asked.peer.name
    udp = asked.question.protocol is Protocol.UDP
    if udp and answer.outcome is ProbeResult.NOTHING_LISTENS:
        return peer_check(asked, context, Status.UNPROVEN, messages.closed_or_unused(peer))
    if answer.outcome in (ProbeResult.OPEN, ProbeResult.NOTHING_LISTENS):
        problem = messages.open_without_a_row(peer, answer.outcome)
        return peer_check(asked, context, Status.EXPOSED, problem, peer)
    if answer.outcome is ProbeResult.REJECTED:
        return peer_check(asked, context, Status.OK, messages.rejected_as_expected(answer))
    if peer in context.alive and not udp:
        return peer_check(asked, context, Status.OK, messages.dropped_as_expected(answer))
    if peer in context.alive or not context.all_ports:
        return peer_check(asked, context, Status.UNPROVEN, messages.dropped_or_dead(peer))
    # It does not answer where it should either, and that is what is reported.
    return _silent(asked, answer, context)


def _silent(asked: PeerQuestion, answer: Answer, context: ProbeContext) -> Check:
    peer = asked.peer.name
    elsewhere = messages.ANSWERS_NOWHERE if context.all_ports else ""
    if peer in context.alive:
        elsewhere = messages.ANSWERS_ELSEWHERE
    problem = messages.silent(peer, answer, elsewhere)
    return peer_check(asked, context, Status.NO_ANSWER, problem, peer)


def _rejected(asked: PeerQuestion, answer: Answer, context: ProbeContext) -> Check:
    assert answer.icmp is not None
    own, peer = context.own, asked.peer
    if not _is_peer(answer.icmp.sender, peer):
        by = answer.icmp.sender
        problem = messages.rejected_on_the_way(peer.name, answer, by)
        return peer_check(asked, context, Status.BLOCKED, problem, by)
    problem = messages.rejected_by_peer(peer.name, answer.icmp)
    if answer.source and netaddr.IPAddress(answer.source) not in own.addresses:
        problem = messages.asked_from_unknown_address(own.name, answer.source, problem)
    return peer_check(asked, context, Status.BLOCKED, problem, peer.name)


def _is_peer(sender: str, peer: Node) -> bool:
    return netaddr.IPAddress(sender) in peer.addresses
