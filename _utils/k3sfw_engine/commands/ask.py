"""The command ask: send packets to named ports, and tell what came back. It needs no tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import netaddr

from k3sfw_engine.model.packet_question import PacketQuestion
from k3sfw_engine.model.port_ranges import parse_span
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.probes import connect

_ASKED = (Protocol.TCP, Protocol.UDP)


def parse_packets(texts: Iterable[object]) -> list[PacketQuestion]:
    """Read ``tcp/2379 192.0.2.11``. Raises ``ValueError`` for anything else."""
    return [_packet(str(text)) for text in texts]


def ask(packets: Iterable[PacketQuestion]) -> list[dict[str, Any]]:
    """Send the packets over new connections, and return what came back, in their order."""
    asked = list(packets)
    return [
        {
            "packet": f"{each.protocol.value}/{each.port} {each.address}",
            "result": answer.outcome.value,
            "source": answer.source,
            "evidence": answer.evidence,
        }
        for each, answer in zip(asked, connect.ask(asked))
    ]


def _packet(text: str) -> PacketQuestion:
    name, _slash, rest = text.partition("/")
    port, _space, address = rest.partition(" ")
    span = parse_span(port)
    protocol = next((each for each in _ASKED if each.value == name.lower()), None)
    if protocol is None or span.low != span.high or not 1 <= span.low <= 65535:
        raise ValueError(f"{text!r} is not a port of tcp or udp")
    try:
        found = netaddr.IPAddress(address, flags=netaddr.INET_PTON)
    except netaddr.AddrFormatError as error:
        raise ValueError(f"{address!r} is not an address") from error
    return PacketQuestion(str(found), protocol, span.low)
