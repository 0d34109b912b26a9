"""What an operator asks about the tables, as it is typed: ports, sources and destinations. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

import netaddr

from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.model.address_set import AddressSet, everyone, set_of_networks, union
from k3sfw_engine.model.addresses import FAMILIES, parse_network
from k3sfw_engine.model.names_of_addresses import ANYONE, AddressNames
from k3sfw_engine.model.port_ranges import EVERY_PORT, parse_span
from k3sfw_engine.model.protocol_names import parse_protocol
from k3sfw_engine.model.rows import Node, PortRange, Protocol, Tables
from k3sfw_engine.plan.intended_change import IntendedChange
from k3sfw_engine.plan.reach import WITH_PORTS

_INTENDED = ("from", "to", "port")


class AskedPorts(NamedTuple):
    """Ports of some protocols; ``None`` for protocols without ports."""

    protocols: tuple[Protocol, ...]
    ports: PortRange | None


def parse_asked_ports(text: object) -> AskedPorts:
    """Read ``2379``, ``2379-2380``, ``udp/8472``, ``tcp`` or ``vrrp``.

    Raises ``EngineError`` for anything else.
    """
    name, slash, span = str(text).strip().rpartition("/")
    try:
        if not slash and span[:1].isalpha():
            protocol = parse_protocol(span)
            return AskedPorts((protocol,), EVERY_PORT if protocol.has_ports else None)
        ports = parse_span(span)
        if not 1 <= ports.low <= ports.high <= EVERY_PORT.high:
            raise ValueError("no such port")
        if not slash:
            return AskedPorts(WITH_PORTS, ports)
        protocol = parse_protocol(name)
        if not protocol.has_ports:
            raise ValueError("it has no ports")
        return AskedPorts((protocol,), ports)
    except ValueError as error:
        raise EngineError(
            [
                Problem(
                    f"port={text!r} is not a port",
                    "give one such as 2379, 2379-2380, udp/8472, or an IP protocol such as vrrp",
                )
            ]
        ) from error


def nodes_named(text: object, tables: Tables) -> tuple[Node, ...]:
    """Return the nodes of a name: a minion id or a glob, a role, ``any``; several with commas.

    Raises ``EngineError`` if there is no such node.
    """
    names = [each.strip() for each in str(text).split(",")]
    found = [node for node in tables.nodes if any(_is_of(node, name) for name in names)]
    unknown = [name for name in names if not any(_is_of(node, name) for node in tables.nodes)]
    if unknown or not found:
        listed = ", ".join(sorted(node.name for node in tables.nodes))
        raise EngineError(
            [
                Problem(
                    f"to={', '.join(unknown) or text}: no such node in this cluster",
                    f"give server, agent, any, or one of {listed}",
                )
            ]
        )
    return tuple(found)


def _is_of(node: Node, name: str) -> bool:
    return name in (node.role.value, "any") or fnmatchcase(node.name, name)


def sources_named(text: object, tables: Tables) -> Mapping[int, AddressSet]:
    """Return the addresses of a name: a node or a glob, a role, a group, pods, anyone, a CIDR.

    Several are separated by commas. Raises ``EngineError`` if one is none of them.
    """
    several = [_addresses(each.strip(), tables) for each in str(text).split(",")]
    return {family: union(family, (each[family] for each in several)) for family in FAMILIES}


def _addresses(name: str, tables: Tables) -> Mapping[int, AddressSet]:
    nodes = [node for node in tables.nodes if fnmatchcase(node.name, name)]
    names = AddressNames(tables)
    if nodes:
        networks = tuple(netaddr.IPNetwork(each) for node in nodes for each in node.addresses)
        return {family: set_of_networks(family, networks) for family in FAMILIES}
    if name in names.sets:
        return names.sets[name]
    if name == ANYONE:
        return {family: everyone(family) for family in FAMILIES}
    if name == "any":
        return names.nodes
    try:
        network = parse_network(name)
    except ValueError as error:
        listed = ", ".join(sorted({*names.sets, *(node.name for node in tables.nodes)}))
        raise EngineError(
            [
                Problem(
                    f"from={name}: no such source in these tables",
                    f"give an address, a CIDR, {ANYONE}, or one of {listed}",
                )
            ]
        ) from error
    return {family: set_of_networks(family, (network,)) for family in FAMILIES}


def parse_intended(value: object, tables: Tables) -> IntendedChange:
    """Read ``{from: a*, to: server, port: 3100}``; a port without a protocol is one of TCP.

    Raises ``EngineError`` if it cannot be read, or names what the tables do not have.
    """
    if not isinstance(value, Mapping) or sorted(map(str, value)) != sorted(_INTENDED):
        raise EngineError(
            [
                Problem(
                    f"intended={value!r} is not a map of from, to and port",
                    "intended='{from: admins, to: agent, port: 3100}'",
                )
            ]
        )
    asked = parse_asked_ports(value["port"])
    return IntendedChange(
        nodes=frozenset(node.name for node in nodes_named(value["to"], tables)),
        sources=sources_named(value["from"], tables),
        protocols=(Protocol.TCP,) if asked.protocols == WITH_PORTS else asked.protocols,
        ports=asked.ports,
    )
