"""The IP protocols without ports that are in use here: raw sockets, and the peers of IPsec.

The kernel's lists are read from procfs and over netlink; no kernel module is loaded for it. The
constants are those of linux/xfrm.h.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import netaddr

from k3sfw_engine.host.netlink import attributes, dump
from k3sfw_engine.model.protocol_names import protocol_of_number
from k3sfw_engine.model.rows import WHOLE_PROTOCOLS, Protocol

_RAW = (Path("/proc/net/raw"), Path("/proc/net/raw6"))
_RAW_PROTOCOL = re.compile(r"^ *\d+: [0-9A-F]+:([0-9A-F]{4}) ", re.MULTILINE)
# Ping, and neighbour discovery of IPv6: every host has them, and firewalld allows what it needs.
_OF_EVERY_HOST = frozenset((1, 2, 58))

_NETLINK_XFRM = 6
_SOCKETS = Path("/proc/net/netlink")
_GET_STATE = 18
_EMPTY_STATE_ID = bytes(24)
# struct xfrm_usersa_info: the destination and the protocol, the source, the family.
_DESTINATION, _PROTOCOL, _SOURCE, _FAMILY, _LENGTH = 56, 76, 80, 212, 224
_ENCAPSULATION = 4
_INET = 2


def read_raw_sockets() -> tuple[Protocol, ...]:
    """Read the IP protocols for which a raw socket waits."""
    found = set()
    for path in _RAW:
        try:
            text = path.read_text()
        except OSError:
            continue  # A kernel without IPv6.
        # Where other lists have the port, this one has the protocol.
        for number in _RAW_PROTOCOL.findall(text):
            if int(number, 16) in WHOLE_PROTOCOLS - _OF_EVERY_HOST:
                found.add(protocol_of_number(int(number, 16)))
    return tuple(sorted(found))


def read_ipsec_peers() -> Iterator[tuple[Protocol, netaddr.IPAddress, netaddr.IPAddress]]:
    """Read protocol, peer and own address of each association; none if they cannot be read.

    Those that travel in UDP are left out: their packets are those of a UDP port.
    """
    if not _is_loaded(_NETLINK_XFRM):
        return
    try:
        for body in dump(_NETLINK_XFRM, _GET_STATE, _EMPTY_STATE_ID):
            if any(kind == _ENCAPSULATION for kind, _value in attributes(body[_LENGTH:])):
                continue
            (family,) = struct.unpack_from("=H", body, _FAMILY)
            number = body[_PROTOCOL]
            if number in WHOLE_PROTOCOLS:
                yield (
                    protocol_of_number(number),
                    _address(body, _SOURCE, family),
                    _address(body, _DESTINATION, family),
                )
    except (OSError, struct.error):
        return


def _is_loaded(protocol: int) -> bool:
    """Whether the kernel has this netlink protocol now: asking for one loads its module."""
    try:
        lines = _SOCKETS.read_text().splitlines()[1:]
    except OSError:
        return False
    return any(line.split()[1] == str(protocol) for line in lines)


def _address(body: bytes, offset: int, family: int) -> netaddr.IPAddress:
    length = 4 if family == _INET else 16
    packed = body[offset : offset + length]
    return netaddr.IPAddress(int.from_bytes(packed, "big"), 4 if family == _INET else 6)
