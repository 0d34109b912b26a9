"""The UDP port on which a WireGuard device of this host listens, without the program wg.

In the kernel it is asked over generic netlink, in user space by the socket of the process.
https://www.wireguard.com/xplatform/ and the kernel's linux/wireguard.h
"""

from __future__ import annotations

import re
import socket
import struct
import sys
from pathlib import Path

from k3sfw_engine.host.defaults import NETLINK_SECONDS
from k3sfw_engine.host.netlink import attribute, attributes, dump

_NETLINK_GENERIC = 16
_HEADER = 4
_CONTROLLER, _GET_FAMILY = 16, 3
_FAMILY_ID, _FAMILY_NAME = 1, 2
_GET_DEVICE = 0
_DEVICE_NAME, _LISTEN_PORT = 2, 6
WIREGUARD_SOCKETS = Path("/var/run/wireguard")
_PORT = re.compile(rb"^listen_port=([0-9]+)$", re.MULTILINE)


def read_wireguard_port(name: str) -> int | None:
    """Read the port of the device of this name; ``None`` if it cannot be read."""
    try:
        return _of_process(name) or _of_kernel(name)
    except OSError:
        return None


def _of_process(name: str) -> int | None:
    path = WIREGUARD_SOCKETS / f"{name}.sock"
    if not path.is_socket():
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as process:
        process.settimeout(NETLINK_SECONDS)
        process.connect(str(path))
        process.sendall(b"get=1\n\n")
        answer = b""
        # An empty line ends the answer.
        while not answer.endswith(b"\n\n") and (more := process.recv(1 << 16)):
            answer += more
    found = _PORT.search(answer)
    return int(found[1]) if found else None


def _of_kernel(name: str) -> int | None:
    asked = _request(_GET_DEVICE) + attribute(_DEVICE_NAME, name.encode() + b"\0")
    for body in dump(_NETLINK_GENERIC, _wireguard(), asked):
        device = dict(attributes(body[_HEADER:]))
        if _LISTEN_PORT in device:
            return int.from_bytes(device[_LISTEN_PORT], sys.byteorder) or None
    return None


def _wireguard() -> int:
    """The number that the kernel gave its protocol for WireGuard."""
    for body in dump(_NETLINK_GENERIC, _CONTROLLER, _request(_GET_FAMILY)):
        family = dict(attributes(body[_HEADER:]))
        if family.get(_FAMILY_NAME) == b"wireguard\0":
            (number,) = struct.unpack("=H", family[_FAMILY_ID])
            return int(number)
    raise OSError("this kernel has no WireGuard")


def _request(command: int) -> bytes:
    return struct.pack("=BBH", command, 1, 0)
