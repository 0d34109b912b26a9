"""Find and remove single nf_tables tables over netlink: in microseconds, without a process.

It does not know what a table is for. The constants are those of the kernel's
linux/netfilter/nf_tables.h and nfnetlink.h.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from k3sfw_engine.errors import FirewalldUnavailable
from k3sfw_engine.host import netlink
from k3sfw_engine.host.defaults import NETLINK_SECONDS
from k3sfw_engine.host.netlink import ACK, ERROR, REQUEST, attribute, error_number

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_BATCH_GENERATION = 1
_GET_TABLE, _DELETE_TABLE, _GET_CHAIN, _GET_GENERATION = 1, 2, 4, 16
_TABLE_NAME, _TABLE_HANDLE = 1, 4
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_USE = 1, 3, 6
_GENERATION_ID = 1
_INET = 1
# How the kernel numbers the families of IPv4 and IPv6.
_FAMILIES = {4: 2, 6: 10}


# The kernel has no nf_tables, so it has no table.
_NO_NF_TABLES = (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP)
# Internal to the kernel, so it is not in the errno module.
_ERESTART = 85


@dataclass(frozen=True)
class NftTable:
    """One table of the family inet; the kernel gives each new one its own handle."""

    name: str
    handle: int


class NftNetlink:
    """The kernel's tables, those of the family inet unless it is named; a context manager.

    Its methods raise ``FirewalldUnavailable`` if the tables cannot be read.
    """

    def __init__(self) -> None:
        self._serials = itertools.count(1)
        self._socket: socket.socket | None = None
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
            )
        except OSError as error:
            if error.errno not in _NO_NF_TABLES:
                raise _failed("asked for its tables", error) from error
        else:
            self._socket.settimeout(NETLINK_SECONDS)

    def __enter__(self) -> NftNetlink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            self._socket.close()

    def generation(self) -> int:
        """A number that every change of any rule in this network namespace increases."""
        answer = self._ask(_GET_GENERATION, b"") or {}
        return int.from_bytes(answer.get(_GENERATION_ID, b""), "big")

    def find(self, name: str) -> NftTable | None:
        """The table of this name, if there is one."""
        answer = self._ask(_GET_TABLE, attribute(_TABLE_NAME, _text(name)))
        if answer is None:
            return None
        return NftTable(name, int.from_bytes(answer.get(_TABLE_HANDLE, b""), "big"))

    def has_chain(self, table: str, chain: str) -> bool:
        """Whether the table has a chain of this name."""
        return self._ask(_GET_CHAIN, _chain(table, chain)) is not None

    def uses_of_chain(self, family: int, table: str, chain: str) -> int:
        """How many rules a chain of a table for IPv4 or IPv6 has, and how many jump to it.

        0 too if there is no such chain.
        """
        answer = self._ask(_GET_CHAIN, _chain(table, chain), _FAMILIES[family]) or {}
        return int.from_bytes(answer.get(_CHAIN_USE, b""), "big")

    def delete(self, table: NftTable, generation: int) -> bool:
        """Remove the table, unless any rule has changed since that generation; tell if it is gone.

        So what was seen of the table still holds when it is removed, whatever runs meanwhile.
        """
        serial = next(self._serials)
        handle = attribute(_TABLE_HANDLE, struct.pack("!Q", table.handle))
        batch = (
            _message(
                _BATCH_BEGIN,
                serial,
                attribute(_BATCH_GENERATION, struct.pack("!I", generation)),
                resource=_SUBSYSTEM,
            ),
            _message(
                _SUBSYSTEM << 8 | _DELETE_TABLE, serial, handle, family=_INET, flags=REQUEST | ACK
            ),
            _message(_BATCH_END, serial, b"", resource=_SUBSYSTEM),
        )
        what = f"made to remove the table inet {table.name}"
        _kind, payload = self._exchange(serial, b"".join(batch), what)
        number = error_number(payload)
        if number in (_ERESTART, errno.ENOENT):
            return False
        if number:
            raise _failed(what, OSError(number, os.strerror(number)))
        return True

    def _ask(self, what: int, attributes: bytes, family: int = _INET) -> Mapping[int, bytes] | None:
        serial = next(self._serials)
        message = _message(_SUBSYSTEM << 8 | what, serial, attributes, family=family)
        kind, payload = self._exchange(serial, message, "asked for its tables")
        if kind != ERROR:
            return dict(netlink.attributes(payload[4:]))
        number = error_number(payload)
        if number == errno.ENOENT or number in _NO_NF_TABLES:
            return None
        raise _failed("asked for its tables", OSError(number, os.strerror(number)))

    def _exchange(self, serial: int, request: bytes, what: str) -> tuple[int, bytes]:
        """Kind and payload of the first message that answers the one with this serial."""
        if self._socket is None:
            return ERROR, struct.pack("=i", -errno.ENOENT)
        try:
            self._socket.send(request)
            while True:
                for kind, answered, payload in netlink.messages(self._socket.recv(65536)):
                    if answered == serial:
                        return kind, payload
        except OSError as error:
            raise _failed(what, error) from error


def _chain(table: str, chain: str) -> bytes:
    return attribute(_CHAIN_TABLE, _text(table)) + attribute(_CHAIN_NAME, _text(chain))


def _text(name: str) -> bytes:
    return name.encode() + b"\0"


def _message(
    kind: int,
    serial: int,
    attributes: bytes,
    *,
    family: int = 0,
    resource: int = 0,
    flags: int = REQUEST,
) -> bytes:
    body = struct.pack("!BBH", family, 0, resource) + attributes
    return netlink.message(kind, flags, serial, body)


def _failed(what: str, error: OSError) -> FirewalldUnavailable:
    return FirewalldUnavailable(
        f"the kernel's nf_tables cannot be {what} ({error.strerror or error})",
        "run the minion as root, with a kernel that supports nf_tables",
    )
