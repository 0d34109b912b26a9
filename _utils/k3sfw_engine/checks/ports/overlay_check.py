"""The verdict on packets that were sent through the overlay (VXLAN, WireGuard). Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import netaddr

from k3sfw_engine.checks.ports import messages
from k3sfw_engine.checks.ports.port_check import ProbeContext, judge_answer, peer_check
from k3sfw_engine.checks.ports.questions_to_peers import Expect, PeerQuestion, tunnel_datagram
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.packet_question import Answer, Arrival, ProbeResult
from k3sfw_engine.model.rows import Protocol


def judge_overlay(
    asked: PeerQuestion, answer: Answer, datagram: Answer | None, context: ProbeContext
) -> tuple[Check, ...]:
    """The verdicts on the overlay in both directions, and on the peer's row for pods.

    answer
        What came back from the peer's address in the overlay; anything from there proves it.
    datagram
        What came back from a plain datagram to the overlay's port, if one was sent: with VXLAN
        only where nothing came through the overlay.
    """
    own, peer = context.own.name, asked.peer.name
    outcome = answer.outcome
    outside = bool(answer.source) and netaddr.IPAddress(answer.source) in context.own.addresses
    from_elsewhere = answer.icmp is not None and answer.icmp.sender != asked.question.address

    def verdict(status: Status, problem: Problem, by: str) -> tuple[Check, ...]:
        return (peer_check(asked, context, status, problem, by),)

    if outcome in (ProbeResult.OPEN, ProbeResult.NOTHING_LISTENS, ProbeResult.REJECTED):
        if outside or from_elsewhere:
            problem = messages.not_through_overlay(own, answer, asked.question.address)
            return verdict(Status.NO_ROUTE, problem, own)
        return _judge_overlay_answer(asked, answer, datagram, context)
    if outcome is ProbeResult.LOCAL_BLOCK:
        return (judge_answer(_plain(asked), answer, context),)
    telling = _unless_silent(asked, datagram, context)
    if telling is not None:
        return (judge_answer(_plain(asked), telling, context),)
    if outcome in (ProbeResult.HOST_DOWN, ProbeResult.NO_ROUTE):
        return verdict(Status.NO_ROUTE, messages.overlay_leads_nowhere(own, peer, answer), own)
    if _senders(asked, context.refused):
        if context.refused_is_reported:
            return ()  # This node dropped the reply, which has a verdict of its own.
        return verdict(Status.UNPROVEN, messages.replies_dropped_here(own), own)
    problem = messages.silent_overlay(own, peer, _tunnel(asked), asked.is_claimed)
    return verdict(Status.NO_ANSWER, problem, peer)


def _judge_overlay_answer(
    asked: PeerQuestion, answer: Answer, datagram: Answer | None, context: ProbeContext
) -> tuple[Check, ...]:
    """The verdicts on an answer that came through the overlay."""
    peer, inside = asked.peer.name, asked.question.address
    if asked.is_claimed and context.arrived is not None:
        senders = _senders(asked, context.arrived)
        if not senders:
            problem = messages.answered_by_other_pods(peer, inside, _tunnel(asked))
            return (peer_check(asked, context, Status.UNPROVEN, problem),)
        if asked.address not in senders:
            asked = replace(asked, address=senders[0])
    proven = messages.answered_through_overlay(inside)
    pods = _pods(asked, context, Status.OK, proven)
    if answer.outcome is ProbeResult.REJECTED:
        proven = messages.overlay_answered()
        problem = messages.pods_rejected(peer, _tunnel(asked), answer.icmp)
        pods = _pods(asked, context, Status.BLOCKED, problem, by=peer)
    telling = _unless_silent(asked, datagram, context)
    if telling is not None:
        # Between two nodes all of WireGuard is one flow, and an old flow passes any firewall: only
        # the datagram shows what happens to a new one.
        return judge_answer(_plain(asked), telling, context), pods
    return peer_check(asked, context, Status.OK, proven), pods


def _unless_silent(
    asked: PeerQuestion, datagram: Answer | None, context: ProbeContext
) -> Answer | None:
    """The answer to the plain datagram; None where it is mere silence."""
    if datagram is None or datagram.outcome is not ProbeResult.SILENCE:
        return datagram
    return datagram if context.never_left(tunnel_datagram(asked)) else None


def _senders(asked: PeerQuestion, arrivals: Collection[Arrival]) -> list[str]:
    """The addresses of the peer from which packets of the overlay arrived.

    With VXLAN flannel's entry names the address; with WireGuard it may be any of the peer's.
    """
    addresses = map(str, asked.peer.addresses) if asked.is_claimed else [asked.address]
    return [each for each in addresses if Arrival(each, Protocol.UDP, asked.tunnel) in arrivals]


def _tunnel(asked: PeerQuestion) -> str:
    return "WireGuard" if asked.is_claimed else "VXLAN"


def _plain(asked: PeerQuestion) -> PeerQuestion:
    return PeerQuestion(
        asked.peer, asked.address, tunnel_datagram(asked), asked.expect, asked.description
    )


def _pods(
    asked: PeerQuestion, context: ProbeContext, status: Status, problem: Problem, by: str = ""
) -> Check:
    """The verdict on the row for pods: the overlay's own address counts as one of them."""
    return Check(
        source=context.own.name,
        to=asked.peer.name,
        address=asked.question.address,
        protocol=Protocol.ANY.value,
        description=messages.PODS_THROUGH_OVERLAY,
        expect=Expect.OPEN.value,
        status=status,
        by=by,
        evidence=problem.text,
        fix=problem.fix,
        see=problem.see,
    )
