"""The addresses of this minion's Salt masters."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import netaddr

from k3sfw_engine.errors import EngineError
from k3sfw_engine.host.live_connections import parse_socket_address


def resolve_masters(names: Iterable[str]) -> tuple[netaddr.IPAddress, ...]:
    """Look up names or addresses of masters, all families.

    Raises ``EngineError`` that names each one which cannot be found.
    """
    found: set[netaddr.IPAddress] = set()
    unknown: list[str] = []
    for name in names:
        try:
            answers = socket.getaddrinfo(_host(name), None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            unknown.append(
                f"the address of the Salt master {name} is not known ({error}), so its way back "
                "to this minion cannot be kept open. Fix: make the name resolve, or give the "
                "address in the minion's configuration"
            )
        else:
            # A link-local address carries its interface behind a percent sign.
            hosts = {str(answer[4][0]).partition("%")[0] for answer in answers}
            found |= {netaddr.IPAddress(host) for host in hosts}
    if unknown:
        raise EngineError(unknown)
    return tuple(sorted(found))


def _host(name: str) -> str:
    """The host of ``host``, ``host:port``, ``[address]:port`` or a bare IPv6 address."""
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0] if name.count(":") == 1 else name


HOSTS = Path("/etc/hosts")


def read_names(path: Path = HOSTS) -> Mapping[netaddr.IPAddress, str]:
    """The names that this host's own file has for addresses. Name servers are not asked.

    These may be what a firewall is closing.
    """
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    names: dict[netaddr.IPAddress, str] = {}
    for line in lines:
        words = line.partition("#")[0].split()
        address = parse_socket_address(words[0]) if len(words) > 1 else None
        if address is not None:
            names.setdefault(address, words[1])
    return names
