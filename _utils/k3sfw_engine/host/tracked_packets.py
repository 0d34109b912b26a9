"""The peers whose packets the kernel tracks: of UDP and of IP protocols, which have no connections.

Asked over netlink. The constants are those of linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import netaddr

from k3sfw_engine.host.defaults import TRACKED_ENTRIES
from k3sfw_engine.host.netlink import attributes, dump
from k3sfw_engine.model.protocol_names import protocol_of_number
from k3sfw_engine.model.rows import WHOLE_PROTOCOLS, Protocol

_NETLINK_NETFILTER = 12
_GET_ENTRIES = 1 << 8 | 1
_HEADER = 4
_ORIGINAL = 1
_ADDRESSES, _PORTS = 1, 2
# By family, where there are two.
_SOURCES: Mapping[Literal[4, 6], int] = {4: 1, 6: 3}
_DESTINATIONS: Mapping[Literal[4, 6], int] = {4: 2, 6: 4}
_NUMBER, _DESTINATION_PORT = 1, 3
_UDP = 17
_PING = frozenset((1, 58))
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")


@dataclass(frozen=True)
class TrackedPackets:
    """Packets that a peer began to send, by protocol, peer and destination."""

    protocol: Protocol
    source: netaddr.IPAddress
    destination: netaddr.IPAddress
    port: int | None


def read_tracked_packets() -> tuple[TrackedPackets, ...]:
    """Read what the kernel tracks now; nothing if it tracks nothing, or cannot be asked.

    A busy node tracks a hundred thousand connections, so only so many entries are read.
    """
    try:
        # Asking a kernel that tracks nothing would load modules.
        if int(_COUNT.read_text()) == 0:
            return ()
        entries = dump(_NETLINK_NETFILTER, _GET_ENTRIES, struct.pack("!BBH", 0, 0, 0))
        found = map(_packets, itertools.islice(entries, TRACKED_ENTRIES))
        return tuple(dict.fromkeys(each for each in found if each is not None))
    except (OSError, ValueError, IndexError):
        return ()


def _packets(body: bytes) -> TrackedPackets | None:
    parts = dict(attributes(_first(body[_HEADER:], _ORIGINAL)))
    ports = dict(attributes(parts.get(_PORTS, b"")))
    number = ports.get(_NUMBER, b"\0")[0]
    if number == _UDP:
        port = int.from_bytes(ports.get(_DESTINATION_PORT, b""), "big")
        protocol = Protocol.UDP
    elif number in WHOLE_PROTOCOLS - _PING:
        port, protocol = None, protocol_of_number(number)
    else:
        return None
    addresses = dict(attributes(parts.get(_ADDRESSES, b"")))
    source, destination = _address(addresses, _SOURCES), _address(addresses, _DESTINATIONS)
    if source is None or destination is None:
        return None
    return TrackedPackets(protocol, source, destination, port)


def _first(data: bytes, kind: int) -> bytes:
    """The first attribute of this kind; what follows is not unpacked."""
    return next((value for found, value in attributes(data) if found == kind), b"")


def _address(
    addresses: Mapping[int, bytes], kinds: Mapping[Literal[4, 6], int]
) -> netaddr.IPAddress | None:
    for version, kind in kinds.items():
        if kind in addresses:
            return netaddr.IPAddress(int.from_bytes(addresses[kind], "big"), version)
    return None
