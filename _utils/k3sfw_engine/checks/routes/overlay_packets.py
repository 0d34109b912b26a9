"""The verdict on what passes through the overlay to each peer: an echo, and TCP as well. Pure.

Where a card or a hypervisor computes wrong checksums for VXLAN, echoes pass and TCP does not. What
does not even pass an echo is reported by check_ports, which also sees who rejects it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import pod_messages as messages
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.echo import EchoResult, PathEchoes
from k3sfw_engine.model.interfaces_and_routes import overlay_neighbours, overlay_peers
from k3sfw_engine.model.packet_question import PacketQuestion, ProbeResult
from k3sfw_engine.model.rows import Node, Protocol

# Discard. Whether a program listens does not matter: its absence is an answer, too.
_PORT = 9


def overlay_addresses(at: NodeFacts) -> dict[str, Node]:
    """The overlay address of each peer, as far as this node's entries show it."""
    inside = overlay_peers(at.network)
    return {
        inside[str(address)]: peer
        for peer, address in at.addresses_of(at.peers)
        if str(address) in inside
    }


def tcp_questions(
    at: NodeFacts, paths: Mapping[str, PathEchoes] | None
) -> tuple[PacketQuestion, ...]:
    """A connection to each overlay address that answered an echo."""
    return tuple(
        PacketQuestion(address, Protocol.TCP, _PORT)
        for address in overlay_addresses(at)
        if paths and address in paths and paths[address].small.result is EchoResult.ANSWERED
    )


def judge_overlay_packets(at: NodeFacts) -> Iterator[Check]:
    """Whether TCP passes wherever an echo did."""
    devices = {each.address: each.device for each in overlay_neighbours(at.network)}
    for address, peer in overlay_addresses(at).items():
        result = at.tcp.get(address)
        if result is None:
            continue
        if result is ProbeResult.SILENCE:
            status, by = Status.NO_ANSWER, peer.name
            problem = messages.only_echoes_pass(at.node.name, peer.name, devices[address])
            yield at.check(peer, "overlay", status, problem, by=by, address=address)
        else:
            evidence = f"TCP and echoes pass through {devices[address]}"
            yield at.check(peer, "overlay", Status.OK, evidence, address=address)
