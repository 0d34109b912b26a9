"""The addresses of this minion's Salt masters, and the names that /etc/hosts has for addresses."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import netaddr

from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.host.live_connections import parse_socket_address


def resolve_masters(names: Iterable[str]) -> tuple[netaddr.IPAddress, ...]:
    """Look up the names or addresses of masters, in every address family.

    Raises ``EngineError`` that names each master that does not resolve.
    """
    found: set[netaddr.IPAddress] = set()
    unknown: list[Problem] = []
    for name in names:
        try:
            answers = socket.getaddrinfo(_host(name), None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            unknown.append(
                Problem(
                    f"the name of the Salt master {name} does not resolve ({error}), so its "
                    "connection to this minion cannot be kept open",
                    "make the name resolve, or give its address in the minion's configuration",
                )
            )
        else:
            # A link-local address has its interface after a percent sign.
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
    """Read the names of addresses from /etc/hosts.

    Name servers are not asked: a firewall that is being changed may be closing the way to them.
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
