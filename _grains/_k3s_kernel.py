"""The links, addresses and default routes of this host, asked of the kernel over netlink."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Union

from . import _k3s_files

IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_EXT_MASK = 3, 18, 29
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_VXLAN_LOCAL, _IFLA_VXLAN_LOCAL6 = 4, 17
_SKIP_STATISTICS = 1 << 3
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_F_SECONDARY_OR_TEMPORARY, _F_DADFAILED, _F_DEPRECATED, _F_TENTATIVE = 0x01, 0x08, 0x20, 0x40
_F_PERMANENT = 0x80
_IFF_UP = 1
_TYPE_OF_ATTRIBUTE = 0x3FFF
_OF_PODS = (b"azv", b"cali", b"eni", b"lxc", b"veth")
_LONGEST_ROUTES = 1024 * 1024
_SECONDS = 2.0


@dataclass(frozen=True)
class Link:
    """An interface; ``sends_from`` are the source addresses that it is set to (VXLAN)."""

    name: str
    kind: str = ""
    is_up: bool = True
    sends_from: tuple[IP, ...] = ()


@dataclass(frozen=True)
class Address:
    """An address of an interface, with what the kernel says of it.

    lasting
        It has no end of its life: set by hand or by a program, not leased and not announced.
    usable
        It is neither being checked for duplicates, nor found to be one, nor deprecated.
    """

    interface: str
    ip: IP
    prefix: int
    lasting: bool = True
    temporary: bool = False
    usable: bool = True


@dataclass(frozen=True)
class Network:
    """What the kernel says about this host's network.

    gateways
        The interfaces of default routes, by address family, the best first.
    source
        The address from which a packet to this one would be sent; None without a route.
    """

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    gateways: tuple[tuple[int, str], ...] = ()
    source: Callable[[IP], IP | None] = field(default=lambda _to: None)

    def link(self, name: str) -> Link | None:
        return next((link for link in self.links if link.name == name), None)

    def of(self, interface: str) -> list[Address]:
        """The addresses of an interface, in the kernel's order."""
        return [address for address in self.addresses if address.interface == interface]

    def holders(self, ip: IP) -> list[Address]:
        """Where this address is."""
        return [address for address in self.addresses if address.ip == ip]


def read_network() -> Network:
    """Ask the kernel; nothing is sent."""
    links, names = [], {}
    for kind, payload in _dump(_GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _mask()):
        if kind == _NEWLINK:
            index, link = _link(payload)
            names[index] = link.name
            links.append(link)
    addresses = [
        _address(payload, names)
        for kind, payload in _dump(_GETADDR, struct.pack("=BBBBi", 0, 0, 0, 0, 0))
        if kind == _NEWADDR
    ]
    found = tuple(address for address in addresses if address is not None)
    return Network(tuple(links), found, tuple(_gateways(Path("/proc/net"))), source_towards)


def source_towards(to: IP) -> IP | None:
    """The address that the kernel picks for packets to this one. No packet is sent."""
    family = socket.AF_INET if to.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            probe.connect((str(to), 6443))
            return ipaddress.ip_address(probe.getsockname()[0].partition("%")[0])
    except (OSError, ValueError):
        return None


def _mask() -> bytes:
    return struct.pack("=HHI", 8, _IFLA_EXT_MASK, _SKIP_STATISTICS)


def _dump(kind: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """The answers of the kernel to a request for everything."""
    request = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST_DUMP, 1, 0) + body
    family, protocol = socket.AF_NETLINK, socket.NETLINK_ROUTE
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as kernel:
        kernel.settimeout(_SECONDS)
        kernel.sendto(request, (0, 0))
        while True:
            data = kernel.recv(1 << 18)
            offset = 0
            while offset + 16 <= len(data):
                length, answer, _flags = struct.unpack_from("=IHH", data, offset)
                if answer in (_ERROR, _DONE) or length < 16:
                    return
                yield answer, data[offset + 16 : offset + length]
                offset += (length + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & _TYPE_OF_ATTRIBUTE, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _link(payload: bytes) -> tuple[int, Link]:
    _family, _type, index, flags = struct.unpack_from("=BxHiI", payload)
    first = next(_attributes(payload[16:]), (0, b""))
    if first[0] == _IFLA_IFNAME and first[1].startswith(_OF_PODS):
        # There are hundreds of them, and nothing else about them matters.
        return index, Link(_text(first[1]), is_up=bool(flags & _IFF_UP))
    attributes = dict(_attributes(payload[16:]))
    information = dict(_attributes(attributes.get(_IFLA_LINKINFO, b"")))
    kind = _text(information.get(_IFLA_INFO_KIND, b""))
    sends_from: tuple[IP, ...] = ()
    if kind == "vxlan":
        data = dict(_attributes(information.get(_IFLA_INFO_DATA, b"")))
        locals_ = (data.get(_IFLA_VXLAN_LOCAL), data.get(_IFLA_VXLAN_LOCAL6))
        sends_from = tuple(ipaddress.ip_address(each) for each in locals_ if each and any(each))
    name = _text(attributes.get(_IFLA_IFNAME, b""))
    return index, Link(name, kind, bool(flags & _IFF_UP), sends_from)


def _address(payload: bytes, names: dict[int, str]) -> Address | None:
    family, prefix, flags, _scope, index = struct.unpack_from("=BBBBi", payload)
    attributes = dict(_attributes(payload[8:]))
    packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if index not in names or not packed or len(packed) not in (4, 16):
        return None
    if len(attributes.get(_IFA_FLAGS, b"")) == 4:
        (flags,) = struct.unpack("=I", attributes[_IFA_FLAGS])
    unusable = _F_DADFAILED | _F_DEPRECATED | _F_TENTATIVE
    return Address(
        interface=names[index],
        ip=ipaddress.ip_address(packed),
        prefix=prefix,
        lasting=bool(flags & _F_PERMANENT),
        # One flag with two meanings, by family.
        temporary=family == socket.AF_INET6 and bool(flags & _F_SECONDARY_OR_TEMPORARY),
        usable=not flags & unusable,
    )


def _text(value: bytes) -> str:
    return os.fsdecode(value.rstrip(b"\0"))


def _gateways(folder: Path) -> Iterator[tuple[int, str]]:
    # The files that Kubernetes reads to choose an address, in their order.
    # https://github.com/kubernetes/apimachinery/blob/master/pkg/util/net/interface.go
    for line in _k3s_files.read_text(folder / "route", _LONGEST_ROUTES).splitlines():
        columns = line.split()
        if len(columns) > 7 and columns[1] == columns[7] == "00000000" and int(columns[3], 16) & 1:
            yield 4, columns[0]
    nowhere = "0" * 32 + " 00 "
    for line in _k3s_files.read_text(folder / "ipv6_route", _LONGEST_ROUTES).splitlines():
        columns = line.split()
        if line.startswith(nowhere) and len(columns) > 9 and columns[9] != "lo":
            yield 6, columns[9]
