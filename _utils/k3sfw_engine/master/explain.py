"""The function explain: the way of one packet to a node, as that node tells it, and the packet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import netaddr

from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.fleet.asked_of_tables import parse_asked_ports
from k3sfw_engine.fleet.packet_evidence import (
    SentPacket,
    contradictions,
    read_packets,
    read_walk,
)
from k3sfw_engine.fleet.returned import Returned
from k3sfw_engine.model.rows import Node, Protocol

# Call a function on minions; what each returned.
AskMinions = Callable[[Sequence[str], str, Mapping[str, object]], Iterable[tuple[str, object]]]


@dataclass(frozen=True)
class PacketToNode:
    """The packet that an operator asks about.

    source, to
        A minion id, or an address.
    port
        None with a protocol that has no ports.
    is_sent
        Whether the source sends it as well.
    """

    source: str
    to: str
    protocol: str
    port: str = ""
    is_sent: bool = False

    @property
    def title(self) -> str:
        """The protocol with its port."""
        return f"{self.protocol}/{self.port}" if self.port else self.protocol


def parse_question(source: object, to: object, port: object, packet: object) -> PacketToNode:
    """Read what an operator typed.

    Raises ``EngineError`` if it is not one packet.
    """
    if not str(source or ""):
        raise EngineError(
            [Problem("from= is missing: who sends the packet?", "from=MINION or from=ADDRESS")]
        )
    asked = parse_asked_ports(port)
    # A number alone is a port of TCP, as for check_ports' reader.
    protocol = Protocol.TCP if Protocol.TCP in asked.protocols else asked.protocols[0]
    if not protocol.has_ports:
        return PacketToNode(str(source), str(to), protocol.value, "", packet is True)
    if asked.ports is None or asked.ports.low != asked.ports.high:
        raise EngineError([Problem(f"port={port!r} is not one port", "give one, such as 2379")])
    return PacketToNode(str(source), str(to), protocol.value, str(asked.ports), packet is True)


def explain(found: ClusterTables, question: PacketToNode, ask: AskMinions) -> Returned:
    """Ask the node for the packet's way; and its source, if it is a node, to send it.

    Raises ``EngineError`` if a node is not known or does not answer.
    """
    to, to_address = _place(found.tables.nodes, question.to)
    if to is None:
        raise EngineError([_not_a_node("to", question.to, found)])
    source, address = _place(found.tables.nodes, question.source)
    if address is None and source is not None:
        address = _own_address(source, to_address)
    if address is None:
        raise EngineError([_not_a_node("from", question.source, found)])
    if to_address is None:
        to_address = _own_address(to, address)
    if address.version != to_address.version:
        raise EngineError(
            [f"{address} and {to_address} are of different families. Fix: give two of one family"]
        )
    options: dict[str, object] = {"source": str(address), "protocol": question.protocol}
    if question.port:
        options["port"] = question.port
    walk = read_walk(_answer(ask, to.name, "k3sfw.explain", options), to.name)
    packets: tuple[SentPacket, ...] = ()
    if question.is_sent:
        packets = _send(question, source, to, str(to_address), ask)
    return Returned(
        {
            "view": "explain",
            "from": {"name": source.name if source else "", "address": str(address)},
            "to": {"name": to.name, "address": str(to_address)},
            "port": question.title,
            **walk.as_dict(),
            "packet_asked": question.is_sent,
            "packets": [vars(each) for each in packets],
            "contradictions": list(map(str, contradictions(walk, packets, to.name))),
        }
    )


def _send(
    question: PacketToNode, source: Node | None, to: Node, address: str, ask: AskMinions
) -> tuple[SentPacket, ...]:
    if source is None:
        raise EngineError(
            [
                Problem(
                    f"{question.source} is not a node, so no packet can be sent from there",
                    "leave out packet=True, or name a node in from=",
                )
            ]
        )
    only = {"from": source.name, "to": to.name, "port": question.port or question.protocol}
    if question.port and question.protocol in ("tcp", "udp"):
        only["port"] = question.title
    answer = _answer(ask, source.name, "k3sfw.check_ports", {**only, "full": True})
    return read_packets(answer, source.name, to.name, address)


def _answer(ask: AskMinions, node: str, function: str, options: Mapping[str, object]) -> object:
    for name, answer in ask([node], function, options):
        if name == node:
            return answer
    raise EngineError(
        [Problem(f"{node} did not answer", f"salt {node} test.ping shows whether its minion runs")]
    )


def _place(nodes: Iterable[Node], text: str) -> tuple[Node | None, netaddr.IPAddress | None]:
    """The node that an operator named by its id or by an address, and the address."""
    try:
        address = netaddr.IPAddress(text, flags=netaddr.INET_PTON)
    except (netaddr.AddrFormatError, ValueError):
        return next((each for each in nodes if each.name == text), None), None
    return next((each for each in nodes if address in each.addresses), None), address


def _own_address(node: Node, other: netaddr.IPAddress | None) -> netaddr.IPAddress:
    """The first address of a node that is of the other's family."""
    for address in node.addresses:
        if other is None or address.version == other.version:
            return address
    family = "" if other is None else f" of the family of {other}"
    raise EngineError([f"{node.name} has no address{family} in the tables"])


def _not_a_node(argument: str, text: str, found: ClusterTables) -> Problem:
    names = ", ".join(sorted(each.name for each in found.tables.nodes)[:20])
    also = "" if argument == "to" else " nor an address"
    return Problem(
        f"{argument}={text!r} is not a node of cluster {found.tables.cluster}{also}",
        f"name one of {names}",
    )
