"""What a change would close without being refused: peers and sockets, each with a row. Pure.

One line for each port, however many peers it has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from k3sfw_engine.checks.lockout import messages
from k3sfw_engine.checks.lockout.defaults import PEERS_IN_A_SENTENCE
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import entry, without_contained
from k3sfw_engine.model.critical_processes import CriticalService
from k3sfw_engine.model.live_connections import LiveConnection, WaitingSocket
from k3sfw_engine.model.rows import Protocol, SourceKind, Tables

_EVERYONE = "['0.0.0.0/0', '::/0']"
_NOT_IN_A_NAME = re.compile("[^a-z0-9]+")


def listed(
    closed: Iterable[LiveConnection], sockets: Iterable[WaitingSocket], tables: Tables
) -> Iterator[Problem]:
    """The peers of each port that lose it, and the ports on which something waits for peers."""
    by_place: dict[str, list[LiveConnection]] = {}
    for each in sorted(closed, key=lambda each: each.order):
        by_place.setdefault(each.place, []).append(each)
    for place, same in by_place.items():
        peers = without_contained(each.peer for each in same)
        names = [entry(peer) for peer in peers]
        more = len(names) - PEERS_IN_A_SENTENCE
        told = ", ".join(names[:PEERS_IN_A_SENTENCE]) + (f" and {more} more" if more > 0 else "")
        yield messages.closes_peers(place, same[0].process, told, _row_for(same, names, tables))
    for socket in sorted(sockets, key=lambda each: each.order):
        what = socket.process or "a process"
        yield messages.closes_socket(socket.place, what, row_of(socket))


def refused_sockets(sockets: Iterable[WaitingSocket]) -> Iterator[Problem]:
    """The sockets without which the node or its cluster is lost."""
    for each in sockets:
        yield messages.socket_would_close(each.place, each.process, row_of(each))


def row_of(socket: WaitingSocket) -> str:
    """A row that keeps the socket open: to the nodes, as its peers are not known.

    The nodes' own addresses may be those inside a WireGuard tunnel, and its packets come from
    others. WireGuard answers none that it cannot authenticate.
    """
    name = _name(socket.process, socket.protocol, socket.port)
    if socket.service is CriticalService.WIREGUARD:
        return messages.row("manager", name, _columns(socket.protocol, socket.port, _EVERYONE))
    columns = _columns(socket.protocol, socket.port, SourceKind.ANY.value)
    return messages.row("cluster", name, f"{columns}, destination: any")


def _row_for(same: list[LiveConnection], names: list[str], tables: Tables) -> str:
    first = same[0]
    name = _name(first.process, first.protocol, first.port)
    nodes = {address for node in tables.nodes for address in node.addresses}
    if all(each.peer.ip in nodes for each in same):
        columns = _columns(first.protocol, first.port, SourceKind.ANY.value)
        return messages.row("cluster", name, f"{columns}, destination: any")
    # All or none are named: a row for some would cut the others off.
    if len(names) > PEERS_IN_A_SENTENCE:
        columns = _columns(first.protocol, first.port, "clients")
        return messages.row("manager", name, columns)
    quoted = ", ".join(f"'{each}'" if ":" in each else each for each in names)
    return messages.row("manager", name, _columns(first.protocol, first.port, f"[{quoted}]"))


def _columns(protocol: Protocol, port: int | None, source: str) -> str:
    ports = "" if port is None else f", port: {port}"
    return f"protocol: {protocol.value}{ports}, source: {source}"


def _name(process: str, protocol: Protocol, port: int | None) -> str:
    """A name for the row: the program that is served, and the port, as a program has several."""
    words = _NOT_IN_A_NAME.sub("_", process.lower()).strip("_") if port is not None else ""
    return "_".join(filter(None, (words[:40] or protocol.value, str(port or ""))))
