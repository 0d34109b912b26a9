"""What a node asks of its peers, and what their answers mean. Pure: no socket, no clock.

Both signs are asked: what the rows let this node reach, and what they must keep from it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import netaddr

from k3sfw_engine.checks.ports.questions_to_peers import Expect, PeerQuestion, Via, tunnel_datagram
from k3sfw_engine.checks.verdicts import SEE, Check, Status
from k3sfw_engine.model.packet_question import Answer, Arrival, PacketQuestion, ProbeResult
from k3sfw_engine.model.rows import Node, Protocol


@dataclass(frozen=True)
class ProbeContext:
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
    left: Collection[PacketQuestion] | None = None
    redirected: Collection[PacketQuestion] = ()
    arrived: Collection[Arrival] | None = None
    refused: Collection[Arrival] = ()
    refused_is_told: bool = True
    whole: bool = True


def alive(asked: Sequence[PeerQuestion], answers: Sequence[Answer]) -> frozenset[str]:
    """The peers that sent anything back themselves."""
    return frozenset(
        each.peer.name
        for each, answer in zip(asked, answers)
        if (
            answer.outcome in (ProbeResult.OPEN, ProbeResult.NOBODY_LISTENS) and not each.is_by_word
        )
        or (answer.icmp is not None and _is_peer(answer.icmp.sender, each.peer))
    )


def judge_answer(asked: PeerQuestion, answer: Answer, sight: ProbeContext) -> Check:
    """The verdict on a question that was asked directly."""
    own, peer = sight.own.name, asked.peer.name
    outcome = answer.outcome
    if asked.question in sight.redirected:
        evidence = f"{own} itself redirects it, as for a service: {peer} was not asked"
        return peer_check(asked, sight, Status.UNPROVEN, evidence, by=own, hint=ask_the_peer(peer))
    if outcome is ProbeResult.SILENCE and never_left(asked.question, sight):
        outcome = ProbeResult.LOCAL_BLOCK
    if outcome is ProbeResult.SILENCE and asked.way is Via.NO_OVERLAY:
        evidence = f"the overlay of {own} has no entry for {peer}"
        hint = f"{SEE}salt {own} k3sfw.check_routes"
        return peer_check(asked, sight, Status.NO_ROUTE, evidence, by=own, hint=hint)
    if outcome is ProbeResult.LOCAL_BLOCK:
        return peer_check(
            asked,
            sight,
            Status.LOCAL_BLOCK,
            f"a rule of {own} itself keeps it in ({answer.evidence})",
            by=own,
            hint=f"{SEE}salt {own} cmd.run 'nft list ruleset', the chains at the hook output",
        )
    if outcome is ProbeResult.HOST_DOWN:
        hint = f"start {peer} and its network; if it has left for good: salt-key -d {peer}"
        return peer_check(asked, sight, Status.HOST_DOWN, answer.evidence, by=peer, hint=hint)
    if outcome is ProbeResult.NO_ROUTE:
        by = answer.icmp.sender if answer.icmp else own
        hint = f"{SEE}salt {own} k3sfw.check_routes"
        return peer_check(asked, sight, Status.NO_ROUTE, answer.evidence, by=by, hint=hint)
    if outcome is ProbeResult.ERROR:
        return peer_check(
            asked, sight, Status.ERROR, f"could not be asked: {answer.evidence}", by=own
        )
    if asked.expect is Expect.CLOSED:
        return _judge_closed(asked, answer, sight)
    return _judge_open(asked, answer, sight)


def never_left(question: PacketQuestion, sight: ProbeContext) -> bool:
    return sight.left is not None and question not in sight.left


def _judge_open(asked: PeerQuestion, answer: Answer, sight: ProbeContext) -> Check:
    peer = asked.peer.name
    if answer.outcome is ProbeResult.OPEN:
        return peer_check(asked, sight, Status.OK, answer.evidence)
    if answer.outcome is ProbeResult.NOBODY_LISTENS:
        evidence = "the packet arrives, but nobody listens there"
        hint = "start the service there, or switch its row off (enabled: false)"
        return peer_check(asked, sight, Status.NO_LISTENER, evidence, by=peer, hint=hint)
    if answer.outcome is ProbeResult.REJECTED:
        return _rejected(asked, answer, sight)
    if asked.question.protocol is Protocol.UDP and (peer in sight.alive or not sight.whole):
        evidence = "no reply and no rejection, as of a service that does not answer strangers"
        return peer_check(asked, sight, Status.UNPROVEN, evidence, hint=ask_the_peer(peer))
    evidence = f"{answer.evidence}{_elsewhere(peer, sight)}"
    return peer_check(asked, sight, Status.NO_ANSWER, evidence, by=peer, hint=ask_the_peer(peer))


def _elsewhere(peer: str, sight: ProbeContext) -> str:
    if peer in sight.alive:
        return "; on other ports it answers"
    return "; it answers on no port" if sight.whole else ""


def _judge_closed(asked: PeerQuestion, answer: Answer, sight: ProbeContext) -> Check:
    peer = asked.peer.name
    udp = asked.question.protocol is Protocol.UDP
    if udp and answer.outcome is ProbeResult.NOBODY_LISTENS:
        evidence = "port-unreachable: nobody listens there, or a rule rejects in these words"
        return peer_check(asked, sight, Status.UNPROVEN, evidence, hint=ask_the_peer(peer))
    if answer.outcome in (ProbeResult.OPEN, ProbeResult.NOBODY_LISTENS):
        evidence = "it lets in what no row allows"
        if answer.outcome is ProbeResult.NOBODY_LISTENS:
            evidence += "; only that nobody listens there now keeps it shut"
        hint = f"{SEE}salt {peer} cmd.run 'firewall-cmd --list-all-zones' for what opens it"
        return peer_check(asked, sight, Status.EXPOSED, evidence, by=peer, hint=hint)
    if answer.outcome is ProbeResult.REJECTED:
        return peer_check(asked, sight, Status.OK, f"refused, as it should be: {answer.evidence}")
    if peer in sight.alive and not udp:
        return peer_check(asked, sight, Status.OK, f"dropped, as it should be: {answer.evidence}")
    if peer in sight.alive or not sight.whole:
        evidence = "silence: dropped, or the peer says nothing at all"
        return peer_check(asked, sight, Status.UNPROVEN, evidence, hint=ask_the_peer(peer))
    # It says nothing to what it should answer either, and that is what is told.
    evidence = f"{answer.evidence}{_elsewhere(peer, sight)}"
    return peer_check(asked, sight, Status.NO_ANSWER, evidence, by=peer, hint=ask_the_peer(peer))


def _rejected(asked: PeerQuestion, answer: Answer, sight: ProbeContext) -> Check:
    assert answer.icmp is not None
    own, peer = sight.own, asked.peer
    if not _is_peer(answer.icmp.sender, peer):
        by = answer.icmp.sender
        hint = f"let it through at {by}; that is not {peer.name} but somebody on the way to it"
        return peer_check(asked, sight, Status.BLOCKED, answer.evidence, by=by, hint=hint)
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
    return peer_check(asked, sight, Status.BLOCKED, evidence, by=peer.name, hint=hint)


def ask_the_peer(peer: str) -> str:
    return f"{SEE}salt {peer} k3sfw.check_ports"


def _is_peer(sender: str, peer: Node) -> bool:
    return netaddr.IPAddress(sender) in peer.addresses


def peer_check(
    asked: PeerQuestion,
    sight: ProbeContext,
    status: Status,
    evidence: str,
    by: str = "",
    hint: str = "",
) -> Check:
    overlay = asked.way is Via.OVERLAY
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
