"""A protocol as it is written in pillar or on a command line: by its name or its number. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from k3sfw_engine.model.rows import NUMBERS, WHOLE_PROTOCOLS, Protocol

# Other names that mean the same beyond doubt.
_ALSO: Mapping[str, str] = {
    "ipencap": "ipip",  # /etc/protocols of Debian
    "icmpv6": "ipv6-icmp",  # nft
    "icmp6": "ipv6-icmp",
}
# /etc/protocols has them for IP in IP and IPv6 in IP; a reader takes them for all of a family.
_DOUBTFUL: Mapping[str, str] = {
    "ipv4": "ipip for IP in IP, or any",
    "ipv6": "41 for IPv6 in IP, or any",
}


def parse_protocol(value: object) -> Protocol:
    """Read ``tcp``, ``vrrp``, ``112`` or 112, in upper or lower case.

    Raises ``ValueError`` if a row cannot have it; the text goes on after the value.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return _of_number(value)
    name = value.lower() if isinstance(value, str) else ""
    if re.fullmatch("[0-9]{1,3}", name):
        return _of_number(int(name))
    if name in _DOUBTFUL:
        raise ValueError(f"can be understood in two ways: write {_DOUBTFUL[name]}")
    name = _ALSO.get(name, name)
    if name not in [each.value for each in Protocol]:
        raise ValueError(
            "is not one of tcp, udp, sctp, any, nor an IP protocol "
            f"({', '.join(each.value for each in Protocol if each.is_whole)}, or a number)"
        )
    return Protocol(name)


def protocol_of_number(number: int) -> Protocol:
    """Return the protocol with this number. Raises ``ValueError`` if a row cannot have it."""
    name = next((name for name, each in NUMBERS.items() if each == number), str(number))
    return Protocol(name)


def _of_number(number: int) -> Protocol:
    if number in WHOLE_PROTOCOLS:
        return protocol_of_number(number)
    if number in NUMBERS.values():
        name = protocol_of_number(number).value
        raise ValueError(f"is {name}, which has ports: write {name}, and the port")
    raise ValueError(
        "is not the number of a protocol: those are 1 to 254, without the headers that IPv6 puts "
        "before a protocol (43, 44, 59, 60)"
    )
