"""The rows of both port tables, and the operator's groups of addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import netaddr

from k3sfw_engine.model.addresses import parse_network
from k3sfw_engine.model.rows import (
    ROOT,
    Destination,
    FlannelBackend,
    PortRange,
    Protocol,
    Row,
    Source,
    SourceKind,
)
from k3sfw_engine.port_tables.defaults import (
    EVERYONE,
    GROUP_NAME,
    MOST_NETWORKS,
    ROW_NAME,
    TABLE_NAMES,
)
from k3sfw_engine.port_tables.findings import Findings, below, legible, short
from k3sfw_engine.port_tables.single_values import (
    boolean,
    choice,
    each,
    mapping,
    network,
    networks,
    port_range,
    protocol as read_protocol,
    refuse_unknown_keys,
    text,
)

Groups = Mapping[str, tuple[netaddr.IPNetwork, ...]]

_COLUMNS = {"protocol", "port", "source", "destination", "description", "enabled"}
_MISSING = object()


def read_groups(found: Findings, value: object) -> Groups:
    """Read ``k3s:groups``; the group ``clients`` is everyone unless a site narrows it."""
    path = f"{ROOT}:groups"
    read = {"clients": tuple(parse_network(each) for each in EVERYONE)}
    keywords = {kind.value for kind in SourceKind} | {"node"}
    groups = mapping(found, path, value)
    count = sum(len(members) for members in groups.values() if isinstance(members, list))
    if count > MOST_NETWORKS:
        found.fault(
            path,
            f"{count} networks are more than the {MOST_NETWORKS} that firewalld loads within "
            "seconds; while it loads, new connections are blocked",
            "give larger networks in place of many addresses",
        )
        return read
    for name, members in groups.items():
        if not isinstance(name, str) or not GROUP_NAME.match(name):
            found.fault(
                below(path, name),
                "a group's name has 1 to 20 lower-case letters, digits and hyphens",
            )
        elif name in keywords:
            found.fault(f"{path}:{name}", "this name is a keyword of the source column")
        else:
            read[name] = networks(found, f"{path}:{name}", members)
    return read


def read_ports(
    found: Findings, tree: Mapping[object, object], groups: Groups, backend: FlannelBackend | None
) -> tuple[Row, ...]:
    """Read ``k3s:ports``; both tables must be there: a missing one does not count as empty."""
    path = f"{ROOT}:ports"
    include = "include k3s.ports in the pillar of this minion"
    if "ports" not in tree:
        found.fault(path, "is missing", include)
        return ()
    value = tree["ports"]
    if isinstance(value, Mapping):
        for table in TABLE_NAMES:
            if table not in value:
                found.fault(
                    f"{path}:{table}", "is missing", f"{include}, or write {{}} for no rows"
                )
    return _tables(found, path, value, groups, backend)


def read_peer_ports(
    found: Findings, tree: Mapping[object, object], groups: Groups, backend: FlannelBackend | None
) -> tuple[Row, ...] | None:
    """Read ``k3s:peer_ports``, the rows of the other role, which are there on request only."""
    if "peer_ports" not in tree:
        return None
    return _tables(found, f"{ROOT}:peer_ports", tree["peer_ports"], groups, backend)


def _tables(
    found: Findings, path: str, value: object, groups: Groups, backend: FlannelBackend | None
) -> tuple[Row, ...]:
    """Read the rows of both tables, without those switched off or for another backend."""
    tables = mapping(found, path, value)
    refuse_unknown_keys(found, path, tables, set(TABLE_NAMES))
    rows: list[Row] = []
    for table in TABLE_NAMES:
        named = mapping(found, f"{path}:{table}", tables.get(table, {}))
        for name in sorted(named, key=legible):
            where = below(f"{path}:{table}", name)
            row = _row(found, where, table, name, named[name], groups, backend)
            if row is not None:
                rows.append(row)
    _refuse_duplicates(found, path, rows)
    return tuple(rows)


def _row(
    found: Findings,
    path: str,
    table: str,
    name: object,
    value: object,
    groups: Groups,
    backend: FlannelBackend | None,
) -> Row | None:
    own = Findings()
    columns = _columns(own, path, table, name, value)
    row = None if columns is None else _row_of_columns(own, path, table, str(name), columns, groups)
    only_for = None if columns is None else columns.get("flannel_backend")
    if only_for is not None:
        only_for = choice(own, f"{path}:flannel_backend", only_for, FlannelBackend)
    found.add(own)
    if own.faults or (only_for is not None and only_for is not backend):
        return None
    return row


def _columns(
    found: Findings, path: str, table: str, name: object, value: object
) -> Mapping[str, object] | None:
    """The columns of a row with their defaults; ``None`` for one that is switched off or faulty."""
    if not isinstance(name, str) or not ROW_NAME.match(name):
        found.fault(path, "a row's name has letters, digits, '_', '.' and '-', at most 64")
    columns = mapping(found, path, value)
    if found.faults:
        return None
    refuse_unknown_keys(found, path, columns, {*_COLUMNS, "flannel_backend"})
    if boolean(found, f"{path}:enabled", columns.get("enabled", True)) is False:
        return None
    defaults = {"source": "clients", "destination": "any"} if table == "manager" else {}
    columns = {**defaults, **columns}
    missing = [key for key in ("protocol", "source", "destination") if key not in columns]
    if missing:
        found.fault(
            path,
            f"has no {', no '.join(missing)}",
            "give the row all its columns; if this only changes a row of the other role, "
            "target it at the minions which hold that row",
        )
        return None
    return columns


def _row_of_columns(
    found: Findings,
    path: str,
    table: str,
    name: str,
    columns: Mapping[str, object],
    groups: Groups,
) -> Row | None:
    protocol = read_protocol(found, f"{path}:protocol", columns["protocol"])
    ports = _ports(found, f"{path}:port", protocol, columns.get("port", _MISSING))
    sources = _sources(found, f"{path}:source", columns["source"], groups)
    destination = choice(found, f"{path}:destination", columns["destination"], Destination)
    description = text(found, f"{path}:description", columns.get("description", ""), empty=True)
    if protocol is Protocol.ANY and any(_is_everyone(source, groups) for source in sources):
        found.fault(
            path,
            "any protocol from everyone would open the whole node",
            "name protocol and port, or a narrower source",
        )
    if protocol is None or destination is None:
        return None
    _refuse_other_family(found, f"{path}:source", protocol, sources, groups)
    return Row(table, name, protocol, ports, sources, destination, description)


def _ports(
    found: Findings, path: str, protocol: Protocol | None, value: object
) -> tuple[PortRange, ...]:
    if protocol is not None and not protocol.has_ports:
        if value is not _MISSING:
            found.fault(
                path,
                f"protocol {protocol.value} has no port",
                "remove it, or name another protocol",
            )
        return ()
    if value is _MISSING:
        if protocol is not None:
            found.fault(path, f"is missing; protocol {protocol.value} needs one")
        return ()
    ranges = sorted(each(found, path, value, port_range))
    for first, second in zip(ranges, ranges[1:]):
        if second.low <= first.high:
            found.fault(path, f"{first} and {second} overlap", "name every port once")
    return tuple(ranges)


def _sources(found: Findings, path: str, value: object, groups: Groups) -> tuple[Source, ...]:
    sources = each(found, path, value, partial(_source, groups=groups))
    if len(set(sources)) < len(sources):
        found.fault(path, "names a source twice", "name every source once")
    return tuple(sorted(set(sources)))


def _source(found: Findings, path: str, name: object, *, groups: Groups) -> Source | None:
    if isinstance(name, str):
        for kind in SourceKind:
            keyword = kind not in (SourceKind.GROUP, SourceKind.CIDR)
            if keyword and name.lower() == kind.value:
                return Source(kind)
        if name in groups:
            return Source(SourceKind.GROUP, name)
        if "/" in name or ":" in name or name.replace(".", "").isdigit():
            cidr = network(found, path, name)
            return None if cidr is None else Source(SourceKind.CIDR, str(cidr))
    found.fault(
        path,
        f"{short(name)} is not server, agent, any, pods, services, a group "
        f"({', '.join(sorted(groups))}) or a CIDR",
    )
    return None


def _is_everyone(source: Source, groups: Groups) -> bool:
    return any(network.prefixlen == 0 for network in _networks(source, groups))


def _networks(source: Source, groups: Groups) -> tuple[netaddr.IPNetwork, ...]:
    """The networks of a group or a CIDR; none for the other kinds of sources."""
    if source.kind is SourceKind.CIDR:
        return (netaddr.IPNetwork(source.value),)
    return groups.get(source.value, ()) if source.kind is SourceKind.GROUP else ()


def _refuse_other_family(
    found: Findings, path: str, protocol: Protocol, sources: Iterable[Source], groups: Groups
) -> None:
    """Note sources from which a protocol of one address family cannot come."""
    for source in sources:
        versions = {network.version for network in _networks(source, groups)}
        if versions and versions.isdisjoint(protocol.families):
            found.fault(
                path,
                f"{source} has no addresses of IPv{protocol.families[0]}, and {protocol.value} "
                "exists in that family alone",
                "name the protocol or the source of the other family",
            )


def _refuse_duplicates(found: Findings, path: str, rows: list[Row]) -> None:
    seen: dict[tuple[object, ...], Row] = {}
    for row in rows:
        opens = (row.table, row.protocol, row.ports, row.sources, row.destination)
        first = seen.setdefault(opens, row)
        if first is not row:
            found.fault(
                f"{path}:{row.table}:{row.name}",
                f"opens the same as row {first.name}",
                "remove one of them",
            )
