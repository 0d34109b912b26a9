"""The addresses to which each tunnel device of this host sends, from its forwarding entries.

Asked over rtnetlink. The constants are those of linux/neighbour.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

import netaddr

from k3sfw_engine.host.netlink import attributes, dump

_NETLINK_ROUTE = 0
_GET_NEIGHBOURS = 30
_BRIDGE = 7
# struct ndmsg: the family, then padding, the interface, the state, flags and a type.
_HEADER = struct.Struct("=BxxxiHBB")
_DESTINATION = 1


def read_tunnel_peers() -> Mapping[str, frozenset[netaddr.IPAddress]]:
    """Read the addresses of the peers, by the device; nothing if the kernel cannot be asked."""
    found: dict[str, frozenset[netaddr.IPAddress]] = {}
    try:
        names = dict(socket.if_nameindex())
        for body in dump(_NETLINK_ROUTE, _GET_NEIGHBOURS, _HEADER.pack(_BRIDGE, 0, 0, 0, 0)):
            packed = dict(attributes(body[_HEADER.size :])).get(_DESTINATION, b"")
            if not any(packed):
                continue
            address = netaddr.IPAddress(int.from_bytes(packed, "big"), 4 if len(packed) == 4 else 6)
            name = names.get(_HEADER.unpack_from(body)[1], "")
            if not address.is_multicast():
                found[name] = found.get(name, frozenset()) | {address}
    except (OSError, struct.error):
        return {}
    return found
