"""Promises asked by minions outside of the cluster: their packets, and what the answers mean. Pure.

What such a minion answers is data of a stranger: it is believed as far as it is an answer to what
was asked, and no further.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import netaddr

from k3sfw_engine.checks.ports.promised_packets import ports_to_ask
from k3sfw_engine.checks.ports.questions_to_peers import first_in_ring
from k3sfw_engine.errors import Problem
from k3sfw_engine.fleet.answers import NodePromise
from k3sfw_engine.fleet.defaults import NODES_ASKED_FROM_OUTSIDE, PACKETS_FROM_OUTSIDE
from k3sfw_engine.model.packet_question import ProbeResult
from k3sfw_engine.model.rows import Node, Promise, Protocol, Tables
from k3sfw_engine.plan.promises import PromiseValue, WantedSources, is_destination

_Item = TypeVar("_Item")
_ARRIVED = (ProbeResult.OPEN, ProbeResult.NOTHING_LISTENS)


@dataclass(frozen=True)
class OutsidePacket:
    """A packet of a promise; ``str`` is the form in which a minion is asked to send it.

    must_arrive
        Whether the promise accepts it.
    """

    promise: str
    node: str
    address: str
    protocol: Protocol
    port: int
    must_arrive: bool

    def __str__(self) -> str:
        return f"{self.protocol.value}/{self.port} {self.address}"


def outside_packets(tables: Tables, turn: int) -> dict[str, tuple[OutsidePacket, ...]]:
    """Return the packets that each minion of ``ask_from`` is to send.

    turn
        The minutes since 1970: of many nodes and packets, others are asked each time.
    """
    found: defaultdict[str, list[OutsidePacket]] = defaultdict(list)
    wanted = WantedSources(tables)
    for promise in tables.promises:
        for minion in promise.ask_from:
            found[minion] += _packets(promise, tables, wanted, turn)
    return {
        minion: tuple(_turned(packets, PACKETS_FROM_OUTSIDE, turn))
        for minion, packets in sorted(found.items())
    }


def judge_outside(
    minion: str, packets: Sequence[OutsidePacket], raw: object, tables: Tables
) -> dict[str, NodePromise]:
    """Return what the answers of a minion make of each promise that it asked."""
    if not isinstance(raw, list) or len(raw) != len(packets):
        return not_asked(packets, _unusable(minion))
    answers: defaultdict[str, list[tuple[OutsidePacket, object]]] = defaultdict(list)
    for packet, answer in zip(packets, raw):
        answers[packet.promise].append((packet, answer))
    promises = {promise.name: promise for promise in tables.promises}
    wanted = WantedSources(tables)
    return {name: _judged(minion, promises[name], asked, wanted) for name, asked in answers.items()}


def not_asked(packets: Sequence[OutsidePacket], why: Problem) -> dict[str, NodePromise]:
    """Return that these promises stay unproven from outside, with the reason."""
    names = dict.fromkeys(packet.promise for packet in packets)
    return {name: NodePromise(PromiseValue.UNPROVEN.value, parts=(str(why),)) for name in names}


def silent_outsider(minion: str) -> Problem:
    """A minion of ``ask_from`` that did not answer."""
    return Problem(
        f"{minion}, which is to ask from outside, did not answer",
        f"salt {minion} saltutil.sync_all, or correct ask_from in k3s:tests",
    )


def _unusable(minion: str) -> Problem:
    return Problem(
        f"{minion}, which is to ask from outside, answered something else than was asked",
        f"salt {minion} saltutil.sync_all",
    )


def _packets(
    promise: Promise, tables: Tables, wanted: WantedSources, turn: int
) -> Iterator[OutsidePacket]:
    nodes = [node for node in tables.nodes if is_destination(promise, node)]
    for node in _turned(nodes, NODES_ASKED_FROM_OUTSIDE, turn):
        for must_arrive, listed in ((True, promise.accept), (False, promise.deny)):
            for each in listed:
                for port in ports_to_ask(each):
                    for address in _addresses(node, promise, wanted):
                        yield OutsidePacket(
                            promise.name, node.name, address, each.protocol, port, must_arrive
                        )


def _addresses(node: Node, promise: Promise, wanted: WantedSources) -> Iterator[str]:
    """The first address of each family in which the promise has sources."""
    seen: set[int] = set()
    for address in node.addresses:
        if address.version not in seen and wanted.of(promise, address.version):
            seen.add(address.version)
            yield str(address)


def _turned(items: Sequence[_Item], most: int, turn: int) -> Sequence[_Item]:
    if len(items) <= most:
        return items
    first = first_in_ring(turn, len(items))
    return [*items, *items][first : first + most]


def _judged(
    minion: str,
    promise: Promise,
    asked: Sequence[tuple[OutsidePacket, object]],
    wanted: WantedSources,
) -> NodePromise:
    kept, contrary, others = 0, [], []
    for packet, raw in asked:
        answer = raw if isinstance(raw, Mapping) else {}
        if answer.get("packet") != str(packet):
            others.append(str(_unusable(minion)))
        elif not _is_source(answer.get("source"), promise, wanted):
            others.append(str(_no_source(minion, promise)))
        elif (arrived := _arrived(packet, answer.get("result"))) is None:
            others.append(f"{packet} of {packet.node}: nothing came back to {minion}")
        elif arrived == packet.must_arrive:
            kept += 1
        else:
            state = "open" if arrived else "closed"
            port = f"{packet.protocol.value}/{packet.port}"
            contrary.append(f"{port} of {packet.node} ({packet.address}) is {state} to {minion}")
    if contrary:
        return NodePromise(PromiseValue.BROKEN.value, kept, tuple(dict.fromkeys(contrary)))
    value = PromiseValue.KEPT if kept else PromiseValue.UNPROVEN
    return NodePromise(value.value, kept, () if kept else tuple(dict.fromkeys(others)))


def _no_source(minion: str, promise: Promise) -> Problem:
    return Problem(
        f"{minion} asks from an address that is not a source of test {promise.name}",
        f"name another minion in {promise.path}:ask_from",
    )


def _is_source(source: object, promise: Promise, wanted: WantedSources) -> bool:
    try:
        address = netaddr.IPAddress(str(source), flags=netaddr.INET_PTON)
    except netaddr.AddrFormatError:
        return False
    return address in wanted.of(promise, address.version)


def _arrived(packet: OutsidePacket, result: object) -> bool | None:
    """Whether the packet arrived; None if that is not known."""
    found = next((each for each in ProbeResult if each.value == result), None)
    if found is ProbeResult.REJECTED:
        return False
    if found is ProbeResult.SILENCE and packet.must_arrive and packet.protocol is Protocol.TCP:
        return False
    return True if found in _ARRIVED else None
