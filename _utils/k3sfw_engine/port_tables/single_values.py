"""Single values of the pillar: ports such as 2379-2380, networks, addresses, texts, choices.

Each function returns the value, or ``None`` (an empty collection, an empty text) after it noted a
fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar

import netaddr

from k3sfw_engine.model.addresses import parse_address, parse_network, without_contained
from k3sfw_engine.model.port_ranges import parse_span
from k3sfw_engine.model.protocol_names import parse_protocol
from k3sfw_engine.model.rows import PortRange, Protocol
from k3sfw_engine.port_tables.defaults import LONGEST_TEXT
from k3sfw_engine.port_tables.findings import Findings, below, short

_Enum = TypeVar("_Enum", bound=Enum)
_Value = TypeVar("_Value")


def mapping(found: Findings, path: str, value: object) -> Mapping[Any, Any]:
    """Read a map."""
    if isinstance(value, Mapping):
        return value
    found.fault(path, f"{short(value)} is not a map")
    return {}


def refuse_unknown_keys(
    found: Findings, path: str, tree: Mapping[Any, Any], known: set[str]
) -> None:
    """Note every key that is not known: it would be a spelling error without effect."""
    for key in tree:
        if key not in known:
            found.fault(below(path, key), "is not known", f"known here: {', '.join(sorted(known))}")


def boolean(found: Findings, path: str, value: object) -> bool | None:
    """Read ``true`` or ``false``."""
    if isinstance(value, bool):
        return value
    found.fault(path, f"{short(value)} is not true or false")
    return None


def text(found: Findings, path: str, value: object, *, empty: bool = False) -> str:
    """Read a short, printable text."""
    if not isinstance(value, str) or not (value or empty):
        found.fault(path, f"{short(value)} is not a text")
    elif len(value) > LONGEST_TEXT or not value.isprintable():
        found.fault(path, f"is longer than {LONGEST_TEXT} characters or not printable")
    else:
        return value
    return ""


def choice(found: Findings, path: str, value: object, among: type[_Enum]) -> _Enum | None:
    """Read a member of an enumeration by its value, in upper or lower case."""
    if isinstance(value, str):
        for member in among:
            if member.value == value.lower():
                return member
    found.fault(path, f"{short(value)} is not one of {', '.join(each.value for each in among)}")
    return None


def protocol(found: Findings, path: str, value: object) -> Protocol | None:
    """Read a protocol by its name or its number."""
    try:
        return parse_protocol(value)
    except ValueError as error:
        found.fault(path, f"{short(value)} {error}")
        return None


def each(
    found: Findings,
    path: str,
    value: object,
    read: Callable[[Findings, str, object], _Value | None],
) -> list[_Value]:
    """Read a list, or a single value in its place; an empty list is a fault, not nothing."""
    if isinstance(value, (list, tuple)):
        if not value:
            found.fault(path, "is empty")
        items: Iterator[tuple[str, object]] = (
            (f"{path}:{index}", item) for index, item in enumerate(value)
        )
    else:
        items = iter([(path, value)])
    values = (read(found, where, item) for where, item in items)
    return [item for item in values if item is not None]


def networks(found: Findings, path: str, value: object) -> tuple[netaddr.IPNetwork, ...]:
    """Read one network or a list of them, without those that another one contains."""
    return without_contained(each(found, path, value, network))


def network(found: Findings, path: str, value: object) -> netaddr.IPNetwork | None:
    """Read one network."""
    try:
        return parse_network(value)
    except ValueError as error:
        found.fault(path, str(error))
        return None


def address(found: Findings, path: str, value: object) -> netaddr.IPAddress | None:
    """Read one address of a node."""
    try:
        return parse_address(value)
    except ValueError as error:
        found.fault(path, str(error))
        return None


def port_range(found: Findings, path: str, value: object) -> PortRange | None:
    """Read ``6443`` or ``2379-2380``."""
    span = _span(value)
    if span is None:
        found.fault(
            path, f"{short(value)} is not a port: an integer, or low-high such as 2379-2380"
        )
        return None
    low, high = span.low, span.high
    outside = sorted({port for port in (low, high) if not 1 <= port <= 65535})
    if outside:
        found.fault(path, f"port {', '.join(map(short, outside))} is not in 1-65535")
        return None
    if low > high:
        found.fault(path, f"port range {value} is reversed", f"write {high}-{low}")
        return None
    return span


def _span(value: object) -> PortRange | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return PortRange(value, value)
    try:
        return parse_span(value) if isinstance(value, str) and "-" in value else None
    except ValueError:
        return None
