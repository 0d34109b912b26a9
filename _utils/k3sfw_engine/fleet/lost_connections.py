"""Which live connections a change would refuse, when they are opened again. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import netaddr

from k3sfw_engine.fleet.defaults import NAMES_OF_A_CHANGE
from k3sfw_engine.fleet.tables_difference import JoinedChange
from k3sfw_engine.model.port_ranges import parse_span
from k3sfw_engine.model.rows import PortRange
from k3sfw_engine.plan.reach_difference import ChangeKind

# A shorter form is not an address that a node writes.
_STRICT = netaddr.INET_PTON


def lost_connections(change: JoinedChange, connections: Mapping[str, object]) -> list[str]:
    """Return a sentence for each peer and node that would be cut off by this change.

    connections
        What each node answered: a list of maps with ``place`` and ``peer``.
    """
    if change.kind is not ChangeKind.CLOSED:
        return []
    found: Counter[tuple[str, str, str]] = Counter()
    for node in change.nodes:
        for place, peer in _believed(connections.get(node)):
            if _is_closed(change, place, peer):
                found[node, place, str(peer)] += 1
    sentences = [
        f"{number} live connection{'' if number == 1 else 's'} from {peer} to {place} of {node}: "
        "the next one would be refused"
        for (node, place, peer), number in sorted(found.items())
    ]
    left = len(sentences) - NAMES_OF_A_CHANGE
    return sentences if left <= 0 else [*sentences[:NAMES_OF_A_CHANGE], f"and {left} more"]


def _believed(answer: object) -> Iterator[tuple[str, netaddr.IPAddress]]:
    """The connections in an answer of a minion; what makes no sense is left out."""
    for each in answer if isinstance(answer, list) else ():
        if isinstance(each, Mapping) and isinstance(each.get("place"), str):
            try:
                yield each["place"], netaddr.IPAddress(str(each.get("peer")), flags=_STRICT)
            except (netaddr.AddrFormatError, ValueError):
                continue


def _is_closed(change: JoinedChange, place: str, peer: netaddr.IPAddress) -> bool:
    name, _slash, port = place.partition("/")
    return any(
        protocol.value == name
        and (ports is None or _has(ports, port))
        and any(sources.family == peer.version and peer in sources for sources in change.sources)
        for protocol, ports in change.ports
    )


def _has(ports: PortRange, port: str) -> bool:
    try:
        return parse_span(port).low in ports
    except ValueError:
        return False
