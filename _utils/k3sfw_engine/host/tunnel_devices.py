"""The tunnel devices of this host and its routes by gateways, asked over rtnetlink: no process.

The constants are those of the kernel's linux/rtnetlink.h and linux/if_link.h.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import Literal

import netaddr

from k3sfw_engine.host.netlink import ask_each, attribute, attributes, dump
from k3sfw_engine.host.wireguard_port import read_wireguard_port
from k3sfw_engine.model.kubernetes_names import is_flannel_device, is_interface_of_one_pod
from k3sfw_engine.model.overlay import OverlayDevice, PodRoute

_NETLINK_ROUTE = 0
_GET_LINK, _GET_ROUTE = 18, 26
_LINK_HEADER, _ROUTE_HEADER = 16, 12
_LINK_NAME, _LINK_INFO, _LINK_EXT_MASK = 3, 18, 29
_KIND, _DATA = 1, 2
_WITHOUT_STATISTICS = attribute(_LINK_EXT_MASK, struct.pack("=I", 8))
_MAIN_TABLE, _UNICAST = 254, 1
_ROUTE_DESTINATION, _ROUTE_DEVICE, _ROUTE_GATEWAY, _ROUTE_TABLE = 1, 4, 5, 15
_ROUTE_HOPS = 9

# Of WireGuard in user space.
_USER_SPACE = "tun"
# By kind: the attributes of the virtual network, the port, the addresses and the link; 0 for none.
_ATTRIBUTES: Mapping[str, tuple[int, int, tuple[int, ...], int]] = {
    "vxlan": (1, 15, (4, 17), 3),
    "geneve": (1, 5, (), 0),
    "ipip": (0, 0, (2,), 1),
    "ip6tnl": (0, 0, (2,), 1),
    "wireguard": (0, 0, (), 0),
    _USER_SPACE: (0, 0, (), 0),
}


def read_tunnel_devices() -> tuple[OverlayDevice, ...]:
    """Read the tunnel devices.

    Raises ``OSError`` if the kernel cannot be asked.
    """
    # A node has hundreds of pods' interfaces. The kernel could list the devices of one kind, but
    # lists all if it has no module for that kind.
    asked = (
        struct.pack("=BBHiII", 0, 0, 0, index, 0, 0) + _WITHOUT_STATISTICS
        for index, name in socket.if_nameindex()
        if not is_interface_of_one_pod(name)
    )
    found = (_device(body) for body in ask_each(_NETLINK_ROUTE, _GET_LINK, asked))
    return tuple(sorted(filter(None, found), key=lambda each: each.name))


def _device(body: bytes) -> OverlayDevice | None:
    about = dict(attributes(body[_LINK_HEADER:]))
    info = dict(attributes(about.get(_LINK_INFO, b"")))
    name, kind = _text(about[_LINK_NAME]), _text(info.get(_KIND, b""))
    if kind == _USER_SPACE and not is_flannel_device(name):
        return None  # Others have such devices for other purposes.
    if kind not in _ATTRIBUTES:
        return None
    vni, port, local, link = _ATTRIBUTES[kind]
    found = dict(attributes(info.get(_DATA, b"")))
    addresses = (found[each] for each in local if any(found.get(each, b"")))
    return OverlayDevice(
        name,
        kind,
        vni=_number(found.get(vni, b"")),
        port=_number(found.get(port, b""), "big") or _wireguard_port(name, kind),
        local=next(map(_address, addresses), None),
        link=_name(_number(found.get(link, b""))),
    )


def _wireguard_port(name: str, kind: str) -> int | None:
    return read_wireguard_port(name) if kind in ("wireguard", _USER_SPACE) else None


def read_gateway_routes() -> tuple[PodRoute, ...]:
    """Read the routes of the main table that go by a gateway, without default routes.

    Raises ``OSError`` if the kernel cannot be asked.
    """
    return tuple(
        route
        for family in (socket.AF_INET, socket.AF_INET6)
        for body in _routes(family)
        for route in _gateway_routes(body)
    )


def _routes(family: socket.AddressFamily) -> Iterator[bytes]:
    header = struct.pack("=BBBBBBBBI", family, *bytes(7), 0)
    try:
        yield from dump(_NETLINK_ROUTE, _GET_ROUTE, header)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:  # A kernel without IPv6.
            raise


def _gateway_routes(body: bytes) -> Iterator[PodRoute]:
    _family, length, _source, _tos, table, _protocol, _scope, kind = struct.unpack_from("=8B", body)
    found = dict(attributes(body[_ROUTE_HEADER:]))
    table = _number(found.get(_ROUTE_TABLE, b"")) or table
    if table != _MAIN_TABLE or kind != _UNICAST or _ROUTE_DESTINATION not in found:
        return
    destination = netaddr.IPNetwork(f"{_address(found[_ROUTE_DESTINATION])}/{length}")
    for hop in (found, *_hops(found.get(_ROUTE_HOPS, b""))):
        if _ROUTE_GATEWAY in hop:
            device = _name(_number(hop.get(_ROUTE_DEVICE, b"")))
            yield PodRoute(destination, _address(hop[_ROUTE_GATEWAY]), device)


def _hops(data: bytes) -> Iterator[Mapping[int, bytes]]:
    """The attributes of each hop of a route that has several; its device in the same form."""
    while len(data) >= 8:
        length, _flags, _hops, device = struct.unpack_from("=HBBi", data)
        yield {**dict(attributes(data[8:length])), _ROUTE_DEVICE: struct.pack("=i", device)}
        data = data[max(8, length + -length % 4) :]


def _name(index: int | None) -> str:
    try:
        return socket.if_indextoname(index) if index else ""
    except OSError:  # It was removed meanwhile.
        return ""


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(value: bytes, order: Literal["little", "big"] = sys.byteorder) -> int | None:
    return int.from_bytes(value, order) if value else None


def _address(value: bytes) -> netaddr.IPAddress:
    return netaddr.IPAddress(int.from_bytes(value, "big"), 4 if len(value) == 4 else 6)
