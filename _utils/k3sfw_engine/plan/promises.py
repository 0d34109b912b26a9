"""Judge promises by the reach of the tables: which are kept, and which part of one is not. Pure.

A promise to accept holds if every source gets in at every port of every destination, and a promise
to deny if none does. What lies between is broken, and its parts are named: half of a group, or one
port of a range, is not "kept".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import netaddr

from k3sfw_engine.model.address_set import AddressSet, everyone, set_of_networks, union
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.port_ranges import EVERY_PORT, ZonePort, in_common, without
from k3sfw_engine.model.row_sources import NODE_SETS
from k3sfw_engine.model.rows import (
    Endpoint,
    EndpointKind,
    Node,
    OpenedBy,
    PortRange,
    Promise,
    PromisedPorts,
    Protocol,
    Role,
    Row,
    Tables,
    WhenAbsent,
)
from k3sfw_engine.plan.reach import WITH_PORTS, Reach, ReachSpan


class PromiseValue(str, Enum):
    """What a promise is worth, the worst first."""

    BROKEN = "broken"
    NOT_ENFORCEABLE = "not enforceable"
    UNPROVEN = "unproven"
    KEPT = "kept"


class PartReason(str, Enum):
    """Why a part of a promise is not kept."""

    LET_IN = "let in by a row"
    NOT_LET_IN = "not let in by any row"
    REDIRECTED = "redirected before any rule"
    LEFT_TO_ZONES = "left to the zones"
    FORMER_NODES = "let in by a row, if it was a node before"
    ROWS_UNKNOWN = "its rows are not in this pillar"


_VALUES: Mapping[PartReason, PromiseValue] = {
    PartReason.LET_IN: PromiseValue.BROKEN,
    PartReason.NOT_LET_IN: PromiseValue.BROKEN,
    PartReason.REDIRECTED: PromiseValue.NOT_ENFORCEABLE,
    PartReason.LEFT_TO_ZONES: PromiseValue.UNPROVEN,
    PartReason.FORMER_NODES: PromiseValue.UNPROVEN,
    PartReason.ROWS_UNKNOWN: PromiseValue.UNPROVEN,
}


@dataclass(frozen=True)
class PromisePart:
    """Packets of a promise for which it is not kept: all from these sources to these ports.

    nodes
        The destinations, all of one role; none if no node has it yet.
    ports
        ``None`` with a protocol that has none.
    rows
        The rows that let the packets in.
    all_sources
        Whether these are all sources of the promise in their family.
    """

    reason: PartReason
    role: Role
    nodes: tuple[str, ...]
    protocol: Protocol
    ports: PortRange | None
    sources: AddressSet
    rows: tuple[Row, ...] = ()
    all_sources: bool = False

    @property
    def value(self) -> PromiseValue:
        """What this part makes of the promise."""
        return _VALUES[self.reason]


@dataclass(frozen=True)
class PromiseVerdict:
    """What is known of one promise.

    parts
        Where it is not kept.
    absent
        The names in it that stand for nothing.
    tests_nothing
        Whether no packet at all is meant: it cannot fail before a node has the role.
    """

    promise: Promise
    parts: tuple[PromisePart, ...]
    absent: tuple[str, ...] = ()
    tests_nothing: bool = False

    @property
    def value(self) -> PromiseValue:
        """The worst of its parts."""
        absent = bool(self.absent) or self.tests_nothing
        if absent and self.promise.expect is WhenAbsent.PRESENT:
            return PromiseValue.BROKEN
        values = {part.value for part in self.parts}
        if self.tests_nothing:
            values.add(PromiseValue.UNPROVEN)
        return next((each for each in PromiseValue if each in values), PromiseValue.KEPT)

    @property
    def is_told(self) -> bool:
        """Whether the operator hears that it tests less than it says."""
        absent = bool(self.absent) or self.tests_nothing
        return absent and self.promise.expect is not WhenAbsent.OPTIONAL

    @property
    def is_left_out(self) -> bool:
        """Whether nothing is said of it, as it may test nothing and does."""
        optional = self.promise.expect is WhenAbsent.OPTIONAL
        return optional and self.tests_nothing and not self.parts


# The ports that a node redirects before any rule of ours is asked, by the name of the node.
Redirected = Mapping[str, tuple[ZonePort, ...]]


def judge_promises(
    tables: Tables,
    reach: Reach,
    redirected: Redirected | None = None,
    apart: Iterable[Protocol] = (),
) -> tuple[PromiseVerdict, ...]:
    """Judge every promise of the tables. Destinations whose rows are not known stay unproven.

    apart
        Protocols that have parts of their own in a promise about ``any``, besides those that a row
        of the reach names.
    """
    judge = _Judge(tables, reach, redirected or {}, apart)
    return tuple(judge.verdict(promise) for promise in tables.promises)


class _MeantPorts(NamedTuple):
    """Ports of one protocol, as a promise means them."""

    protocol: Protocol
    ports: PortRange | None


class _AlikeNodes(NamedTuple):
    """Nodes for which the same rules hold."""

    role: Role
    nodes: tuple[Node, ...]
    redirected: tuple[ZonePort, ...]


class _Judge:
    """The tables and their reach."""

    def __init__(
        self, tables: Tables, reach: Reach, redirected: Redirected, apart: Iterable[Protocol]
    ) -> None:
        self._tables = tables
        self._reach = reach
        self._redirected = redirected
        named = dict.fromkeys((*WITH_PORTS, *reach.protocols, *apart))
        self._protocols = (*(each for each in named if each is not Protocol.ANY), Protocol.ANY)
        self._wanted = WantedSources(tables)
        self._names = {node.name for node in tables.nodes}

    def verdict(self, promise: Promise) -> PromiseVerdict:
        nodes = _named(promise.destinations, self._tables)
        grouped = (*self._grouped(nodes), *self._awaited(promise))
        both = (self._wanted.of(promise, family) for family in FAMILIES)
        wanted = [sources for sources in both if sources]
        parts = tuple(
            part
            for sources in wanted
            for destination in grouped
            for part in self._parts(promise, destination, sources)
        )
        return PromiseVerdict(
            promise,
            parts,
            tuple(self._absent(promise)),
            tests_nothing=not any(_means_packets(promise, nodes, each.family) for each in wanted),
        )

    def _absent(self, promise: Promise) -> Iterator[str]:
        """Names of nodes that do not exist. That no node has a role is usual beside others."""
        for each in (*promise.sources, *promise.exceptions, *promise.destinations):
            if each.kind is EndpointKind.NODE and each.value not in self._names:
                yield each.value

    def _grouped(self, nodes: Iterable[Node]) -> Iterator[_AlikeNodes]:
        groups: defaultdict[tuple[Role, tuple[ZonePort, ...]], list[Node]] = defaultdict(list)
        for node in nodes:
            groups[node.role, tuple(sorted(self._redirected.get(node.name, ())))].append(node)
        for (role, redirected), members in groups.items():
            yield _AlikeNodes(role, tuple(members), redirected)

    def _awaited(self, promise: Promise) -> Iterator[_AlikeNodes]:
        """The roles that no node has, of which a node to come is a destination."""
        present = {node.role for node in self._tables.nodes}
        for role in self._reach.roles:
            if role not in present and is_destination(promise, Node("", role, ())):
                yield _AlikeNodes(role, (), ())

    def _parts(
        self, promise: Promise, destination: _AlikeNodes, wanted: AddressSet
    ) -> Iterator[PromisePart]:
        for ports in (*promise.deny, *promise.accept):
            accept = ports in promise.accept
            nodes = _reachable(destination.nodes, wanted.family, accept)
            awaited = not (destination.nodes or accept)
            for asked in self._asked(ports):
                if (nodes or awaited) and wanted.family in asked.protocol.families:
                    found = self._of_ports(promise, asked, destination, wanted, ports)
                    names = tuple(sorted(node.name for node in nodes))
                    for part in _joined(found):
                        whole = part.sources == wanted
                        yield replace(part, nodes=names, all_sources=whole)

    def _asked(self, ports: PromisedPorts) -> Iterator[_MeantPorts]:
        if ports.protocol is not Protocol.ANY:
            yield _MeantPorts(ports.protocol, ports.ports)
            return
        for protocol in self._protocols:
            yield _MeantPorts(protocol, EVERY_PORT if protocol.has_ports else None)

    def _of_ports(
        self,
        promise: Promise,
        asked: _MeantPorts,
        destination: _AlikeNodes,
        wanted: AddressSet,
        ports: PromisedPorts,
    ) -> Iterator[PromisePart]:
        role = destination.role
        if role not in self._reach.roles:
            yield PromisePart(PartReason.ROWS_UNKNOWN, role, (), *asked, wanted)
            return
        taken = _taken(asked, destination.redirected)
        for each in taken:
            yield PromisePart(PartReason.REDIRECTED, role, (), asked.protocol, each, wanted)
        spans = self._reach.spans_of(role, wanted.family, asked.protocol)
        for span in without(asked.ports, taken) if asked.ports else (None,):
            if ports in promise.deny:
                yield from _let_in(role, asked.protocol, span, wanted, spans)
                if self._tables.unsure:
                    yield from _of_former_nodes(role, asked.protocol, span, wanted, spans)
            else:
                reason = (
                    PartReason.NOT_LET_IN
                    if promise.opened_by is OpenedBy.ROWS
                    else PartReason.LEFT_TO_ZONES
                )
                for left, missing in _not_covered(span, wanted, spans):
                    yield PromisePart(reason, role, (), asked.protocol, left, missing)


class WantedSources:
    """The addresses that promises are about; those of each name are computed once."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: dict[tuple[Endpoint, int], AddressSet] = {}
        self._wanted: dict[tuple[str, int], AddressSet] = {}

    def of(self, promise: Promise, family: int) -> AddressSet:
        """The addresses of this family from which the promise is about packets."""
        key = (promise.name, family)
        if key not in self._wanted:
            named = union(family, (self._addresses(each, family) for each in promise.sources))
            excepted = [self._addresses(each, family) for each in promise.exceptions]
            self._wanted[key] = named - union(family, excepted) if excepted else named
        return self._wanted[key]

    def _addresses(self, endpoint: Endpoint, family: int) -> AddressSet:
        key = (endpoint, family)
        if key not in self._known:
            self._known[key] = addresses_of(endpoint, family, self._tables)
        return self._known[key]


def is_destination(promise: Promise, node: Node) -> bool:
    """Whether the promise is about packets to this node."""
    return any(
        each.kind is EndpointKind.ANY
        or each.kind.value == node.role.value
        or (each.kind is EndpointKind.NODE and each.value == node.name)
        for each in promise.destinations
    )


def addresses_of(endpoint: Endpoint, family: int, tables: Tables) -> AddressSet:
    """Return the addresses that a name in a promise stands for."""
    kind = endpoint.kind
    if kind is EndpointKind.ANYONE:
        return everyone(family)
    if kind in (EndpointKind.PODS, EndpointKind.SERVICES):
        pods = kind is EndpointKind.PODS
        return set_of_networks(family, tables.pod_cidrs if pods else tables.service_cidrs)
    if kind is EndpointKind.GROUP:
        return set_of_networks(family, tables.groups.get(endpoint.value, ()))
    if kind is EndpointKind.CIDR:
        return set_of_networks(family, (netaddr.IPNetwork(endpoint.value),))
    nodes = _named((endpoint,), tables)
    return set_of_networks(
        family, (netaddr.IPNetwork(address) for node in nodes for address in node.addresses)
    )


def _named(endpoints: Iterable[Endpoint], tables: Tables) -> tuple[Node, ...]:
    """The nodes for which one of them stands."""
    listed = tuple(endpoints)
    kinds = {each.kind.value for each in listed}
    names = {each.value for each in listed if each.kind is EndpointKind.NODE}
    if EndpointKind.ANY.value in kinds:
        return tables.nodes
    return tuple(node for node in tables.nodes if node.name in names or node.role.value in kinds)


def _means_packets(promise: Promise, nodes: Iterable[Node], family: int) -> bool:
    """Whether any packet of this family is meant at all."""
    return any(
        family in ports.protocol.families and _reachable(nodes, family, ports in promise.accept)
        for ports in (*promise.deny, *promise.accept)
    )


def _reachable(nodes: Iterable[Node], family: int, accept: bool) -> tuple[Node, ...]:
    """Those to which packets of the family can come.

    A node may have addresses that it does not claim, so what is denied is denied in both families.
    What is to be accepted needs an address to which it can be sent.
    """
    return tuple(
        node
        for node in nodes
        if not accept or any(address.version == family for address in node.addresses)
    )


def _taken(asked: _MeantPorts, redirected: Iterable[ZonePort]) -> tuple[PortRange, ...]:
    if asked.ports is None:
        return ()
    same = (each.ports for each in redirected if each.protocol is asked.protocol)
    return in_common((asked.ports,), same)


def _let_in(
    role: Role,
    protocol: Protocol,
    ports: PortRange | None,
    wanted: AddressSet,
    spans: Iterable[ReachSpan],
) -> Iterator[PromisePart]:
    """What of the wanted packets gets in, by which rows."""
    for span in spans:
        met = in_common((ports,), (span.ports,)) if ports and span.ports else (None,)
        found = wanted & span.sources if met else None
        if found:
            rows = tuple(part.row for part in span.parts if part.sources & wanted)
            for each in met:
                yield PromisePart(PartReason.LET_IN, role, (), protocol, each, found, rows)


def _of_former_nodes(
    role: Role,
    protocol: Protocol,
    ports: PortRange | None,
    wanted: AddressSet,
    spans: Iterable[ReachSpan],
) -> Iterator[PromisePart]:
    """What may get in by a row for nodes while no node is removed from any ipset."""
    for span in spans:
        met = in_common((ports,), (span.ports,)) if ports and span.ports else (None,)
        rows = tuple(part.row for part in span.parts if _is_for_nodes(part.row))
        left = wanted - span.sources
        if rows and left:
            for each in met:
                yield PromisePart(PartReason.FORMER_NODES, role, (), protocol, each, left, rows)


def _is_for_nodes(row: Row) -> bool:
    return any(source.kind in NODE_SETS for source in row.sources)


def _not_covered(
    ports: PortRange | None, wanted: AddressSet, spans: Iterable[ReachSpan]
) -> Iterator[tuple[PortRange | None, AddressSet]]:
    """What of the wanted packets does not get in."""
    if ports is None:
        missing = wanted - union(wanted.family, (span.sources for span in spans))
        if missing:
            yield None, missing
        return
    pieces: list[tuple[PortRange, AddressSet]] = []
    covered = []
    for span in spans:
        for each in in_common((ports,), (span.ports or EVERY_PORT,)):
            covered.append(each)
            pieces.append((each, wanted - span.sources))
    pieces += [(each, wanted) for each in without(ports, covered)]
    yield from sorted((each for each in pieces if each[1]), key=lambda piece: piece[0])


def _joined(parts: Iterable[PromisePart]) -> Iterator[PromisePart]:
    """The same parts, adjacent ports of which the same is true as one."""
    last: PromisePart | None = None
    for part in parts:
        if last and last.ports and part.ports and _continues(last, part):
            last = replace(last, ports=PortRange(last.ports.low, part.ports.high))
            continue
        if last:
            yield last
        last = part
    if last:
        yield last


def _continues(last: PromisePart, part: PromisePart) -> bool:
    return (
        last.ports is not None
        and part.ports is not None
        and last.ports.high + 1 == part.ports.low
        and (last.reason, last.rows, last.sources) == (part.reason, part.rows, part.sources)
    )
