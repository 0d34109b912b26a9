"""Verdicts on questions that travel through the overlay (VXLAN, WireGuard). Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import netaddr

from k3sfw_engine.checks.ports.port_check import (
    ProbeContext,
    ask_the_peer,
    judge_answer,
    never_left,
    peer_check,
)
from k3sfw_engine.checks.ports.questions_to_peers import Expect, PeerQuestion, tunnel_datagram
from k3sfw_engine.checks.verdicts import SEE, Check, Status
from k3sfw_engine.model.packet_question import Answer, Arrival, ProbeResult
from k3sfw_engine.model.rows import Protocol


def judge_overlay(
    asked: PeerQuestion, answer: Answer, datagram: Answer | None, sight: ProbeContext
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
    answering = outcome in (ProbeResult.OPEN, ProbeResult.NOBODY_LISTENS, ProbeResult.REJECTED)
    if answering and (outside or stranger):
        evidence = (
            f"packets to {asked.question.address} do not go through the overlay of {own}, but "
            f"leave with {answer.source or 'no address'}"
        )
        hint = f"{SEE}salt {own} k3sfw.check_routes"
        return (peer_check(asked, sight, Status.NO_ROUTE, evidence, by=own, hint=hint),)
    if answering:
        return _judge_overlay_answer(asked, answer, datagram, sight)
    if outcome is ProbeResult.LOCAL_BLOCK:
        return (judge_answer(_plain(asked), answer, sight),)
    telling = _telling(asked, datagram, sight)
    if telling is not None:
        return (judge_answer(_plain(asked), telling, sight),)
    if outcome in (ProbeResult.HOST_DOWN, ProbeResult.NO_ROUTE):
        evidence = f"the overlay of {own} does not lead to {peer}: {answer.evidence}"
        hint = f"{SEE}salt {own} k3sfw.check_routes"
        return (peer_check(asked, sight, Status.NO_ROUTE, evidence, by=own, hint=hint),)
    if _senders(asked, sight.refused):
        if sight.refused_is_told:
            return ()  # What came back was not let in here, which is told as such.
        evidence = f"{own} itself does not let in what comes back"
        return (peer_check(asked, sight, Status.UNPROVEN, evidence, by=own),)
    evidence = f"nothing comes back through the overlay, and {peer} rejects no {_tunnel(asked)}"
    hint = f"{ask_the_peer(peer)} and salt {own} k3sfw.check_routes"
    if asked.is_by_word:
        hint += f"; {_if_elsewhere(asked)}"
    return (peer_check(asked, sight, Status.NO_ANSWER, evidence, by=peer, hint=hint),)


def _judge_overlay_answer(
    asked: PeerQuestion, answer: Answer, datagram: Answer | None, sight: ProbeContext
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
            return (peer_check(asked, sight, Status.UNPROVEN, evidence, hint=hint),)
        if asked.address not in senders:
            asked = replace(asked, address=senders[0])
    evidence = f"{inside} answered through the overlay"
    pods = _pods(asked, sight, Status.OK, evidence)
    if answer.outcome is ProbeResult.REJECTED:
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
        return judge_answer(_plain(asked), telling, sight), pods
    return peer_check(asked, sight, Status.OK, evidence), pods


def _telling(asked: PeerQuestion, datagram: Answer | None, sight: ProbeContext) -> Answer | None:
    """The answer to the plain datagram, where it met more than silence."""
    if datagram is None or datagram.outcome is not ProbeResult.SILENCE:
        return datagram
    return datagram if never_left(tunnel_datagram(asked), sight) else None


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


def _plain(asked: PeerQuestion) -> PeerQuestion:
    return PeerQuestion(
        asked.peer, asked.address, tunnel_datagram(asked), asked.expect, asked.description
    )


def _pods(
    asked: PeerQuestion,
    sight: ProbeContext,
    status: Status,
    evidence: str,
    by: str = "",
    hint: str = "",
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
