"""Pillar data in, typed rows or a full list of faults out.

This is the edge. Behind it nothing is checked again. Pure: plain data in, frozen data out; it knows
neither Salt nor firewalld.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from typing import Any, NamedTuple, TypeVar

import netaddr

from k3sfw_engine.errors import BadTables, Fault
from k3sfw_engine.model.addresses import parse_address, parse_network, without_contained
from k3sfw_engine.model.rows import (
    ROOT,
    Destination,
    FlannelBackend,
    Node,
    PodsFrom,
    PortRange,
    Protocol,
    Role,
    Row,
    Source,
    SourceKind,
    Tables,
)

TABLE_NAMES = ("cluster", "manager")

# What K3s itself uses where nothing else is configured.
# https://docs.k3s.io/cli/server#networking
DEFAULT_POD_CIDRS = ("10.42.0.0/16",)
DEFAULT_SERVICE_CIDRS = ("10.43.0.0/16",)
EVERYONE = ("0.0.0.0/0", "::/0")

# An ipset is named k3s-group-NAME-4, and names longer than 32 characters should not be made.
_GROUP_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,18}[a-z0-9]?\Z")
_ROW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_MINION_ID = re.compile(r"[^\s/\x00-\x1f\x7f]{1,255}\Z")
_PORT_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})\Z")
_LONGEST_DESCRIPTION = 200


# A reload takes 1.2 seconds with 10,000 entries in ipsets and more than 25 with 100,000 (measured);
# no new connection is let in meanwhile.
MOST_NETWORKS = 20_000


def parse_tables(pillar: object, *, minion_id: str, role: str | None) -> Tables:
    """Turn the pillar tree below ``k3s`` into ``Tables``.

    pillar
        What stands below the key ``k3s``, as plain Python data; ``None`` if there is nothing.
    minion_id
        The node that the tables are for; it must be one of the nodes.
    role
        The role that this node's grain gives, ``None`` if it has none.

    Raises ``BadTables`` with every fault that was found.
    """
    return _Reader().tables(pillar, minion_id, role)


_MISSING = object()
_Enum = TypeVar("_Enum", bound=Enum)
_Value = TypeVar("_Value")


class _FirewallSettings(NamedTuple):
    """What stands below ``k3s:firewall``."""

    pods_from: PodsFrom | None
    expected_nodes: int | None
    allow_lockout: bool


class _Reader:
    """One pass over the pillar, collecting faults as it goes."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.notices: list[str] = []
        self.unsure: list[str] = []

    def fault(self, path: str, problem: str, mend: str = "") -> None:
        legible = path if path.isprintable() and len(path) <= 200 else _short(path)
        self.faults.append(Fault(legible, problem, mend))

    # -- the tree, from the top down ------------------------------------------------------------

    def tables(self, pillar: object, minion_id: str, role: str | None) -> Tables:
        if pillar is None:
            raise BadTables(
                [
                    Fault(
                        ROOT,
                        f"there is no such key for minion {minion_id}",
                        "target pillar/k3s at this minion in the pillar top file (it needs the "
                        "grain k3s_role), then run saltutil.refresh_pillar",
                    )
                ]
            )
        tree = self.mapping(ROOT, pillar)
        known = {"cluster", "flannel_backend", "pod_cidrs", "service_cidrs", "ports", "groups"}
        # The schedule is read by k3s.schedule; here its key is only known to be no typing error.
        known |= {"nodes", "unheard_minions", "node_cidrs", "firewall", "schedule", "peer_ports"}
        self.unknown_keys(ROOT, tree, known)

        cluster = self.text(f"{ROOT}:cluster", tree.get("cluster", "default"))
        backend = self.choice(
            f"{ROOT}:flannel_backend", tree.get("flannel_backend", "vxlan"), FlannelBackend
        )
        before = len(self.faults)
        pod_cidrs = self.networks(f"{ROOT}:pod_cidrs", tree.get("pod_cidrs", DEFAULT_POD_CIDRS))
        readable = pod_cidrs if len(self.faults) == before else ()
        service_cidrs = self.networks(
            f"{ROOT}:service_cidrs", tree.get("service_cidrs", DEFAULT_SERVICE_CIDRS)
        )
        groups = self.groups(tree.get("groups", {}))
        rows = self.rows(tree.get("ports", _MISSING), groups, backend)
        peer_rows = (
            self.rows_of_tables(f"{ROOT}:peer_ports", tree["peer_ports"], groups, backend)
            if "peer_ports" in tree
            else None
        )
        node_cidrs = (
            self.networks(f"{ROOT}:node_cidrs", tree["node_cidrs"]) if "node_cidrs" in tree else ()
        )
        nodes = self.nodes(tree.get("nodes", _MISSING), node_cidrs)
        nodes = self.pods_of_nodes(nodes, tree.get("nodes"), readable)
        self.unheard_minions(tree.get("unheard_minions", ()), nodes)
        firewall = self.firewall(tree.get("firewall", {}), nodes)
        self.this_node(minion_id, role, tree.get("nodes"), nodes)
        if self.faults or backend is None:
            raise BadTables(self.faults)
        return Tables(
            cluster=cluster,
            flannel_backend=backend,
            rows=rows,
            peer_rows=peer_rows,
            groups=groups,
            pod_cidrs=pod_cidrs,
            service_cidrs=service_cidrs,
            nodes=nodes,
            unsure=tuple(self.unsure),
            notices=tuple(self.notices),
            pods_by_address=firewall.pods_from is PodsFrom.ADDRESSES,
            expected_nodes=firewall.expected_nodes,
            allow_lockout=firewall.allow_lockout,
        )

    def groups(self, value: object) -> dict[str, tuple[netaddr.IPNetwork, ...]]:
        path = f"{ROOT}:groups"
        found = {"clients": tuple(parse_network(text) for text in EVERYONE)}
        keywords = {kind.value for kind in SourceKind} | {"node"}
        groups = self.mapping(path, value)
        count = sum(len(members) for members in groups.values() if isinstance(members, list))
        if count > MOST_NETWORKS:
            self.fault(
                path,
                f"{count} networks are more than the {MOST_NETWORKS} with which firewalld still "
                "loads within seconds, and lets nobody in meanwhile",
                "give larger networks in place of many addresses",
            )
            return found
        for name, members in groups.items():
            if not isinstance(name, str) or not _GROUP_NAME.match(name):
                self.fault(
                    _below(path, name),
                    "a group's name has 1 to 20 lower-case letters, digits and hyphens",
                )
            elif name in keywords:
                self.fault(f"{path}:{name}", "this name is a keyword of the source column")
            else:
                found[name] = self.networks(f"{path}:{name}", members)
        return found

    def rows(
        self,
        value: object,
        groups: Mapping[str, Any],
        backend: FlannelBackend | None,
    ) -> tuple[Row, ...]:
        path = f"{ROOT}:ports"
        if value is _MISSING:
            self.fault(path, "is missing", "include k3s.ports in the pillar of this minion")
            return ()
        if isinstance(value, Mapping):
            for table in TABLE_NAMES:
                if table not in value:
                    self.fault(
                        f"{path}:{table}",
                        "is missing",
                        "include k3s.ports in the pillar of this minion, or write {} for no rows",
                    )
        return self.rows_of_tables(path, value, groups, backend)

    def rows_of_tables(
        self,
        path: str,
        value: object,
        groups: Mapping[str, Any],
        backend: FlannelBackend | None,
    ) -> tuple[Row, ...]:
        tables = self.mapping(path, value)
        self.unknown_keys(path, tables, set(TABLE_NAMES))
        rows: list[Row] = []
        for table in TABLE_NAMES:
            named = self.mapping(f"{path}:{table}", tables.get(table, {}))
            for name in sorted(named, key=_legible):
                row = self.row(
                    _below(f"{path}:{table}", name), table, name, named[name], groups, backend
                )
                if row is not None:
                    rows.append(row)
        self.duplicate_rows(path, rows)
        return tuple(rows)

    def row(
        self,
        path: str,
        table: str,
        name: object,
        value: object,
        groups: Mapping[str, Any],
        backend: FlannelBackend | None,
    ) -> Row | None:
        before = len(self.faults)
        if not isinstance(name, str) or not _ROW_NAME.match(name):
            self.fault(path, "a row's name has letters, digits, '_', '.' and '-', at most 64")
        columns = self.mapping(path, value)
        if len(self.faults) > before:
            return None
        self.unknown_keys(
            path,
            columns,
            {"protocol", "port", "source", "destination", "description", "enabled"}
            | {"flannel_backend"},
        )
        enabled = columns.get("enabled", True)
        if not isinstance(enabled, bool):
            self.fault(f"{path}:enabled", f"{_short(enabled)} is not true or false")
        if enabled is False:
            return None
        defaults = {"source": "clients", "destination": "any"} if table == "manager" else {}
        columns = {**defaults, **columns}
        missing = [key for key in ("protocol", "source", "destination") if key not in columns]
        if missing:
            self.fault(
                path,
                f"has no {', no '.join(missing)}",
                "give the row all its columns; if this only changes a row of the other role, "
                "target it at the minions which hold that row",
            )
            return None

        protocol = self.choice(f"{path}:protocol", columns["protocol"], Protocol)
        ports = self.ports(path, protocol, columns.get("port", _MISSING))
        sources = self.sources(f"{path}:source", columns["source"], groups)
        destination = self.choice(f"{path}:destination", columns["destination"], Destination)
        description = self.text(f"{path}:description", columns.get("description", ""), empty=True)
        only_for = columns.get("flannel_backend")
        if only_for is not None:
            only_for = self.choice(f"{path}:flannel_backend", only_for, FlannelBackend)
        if protocol is Protocol.ANY and any(_is_everyone(source, groups) for source in sources):
            self.fault(
                path,
                "any protocol from everyone would open the whole node",
                "name protocol and port, or a narrower source",
            )
        if len(self.faults) > before or protocol is None or destination is None:
            return None
        if only_for is not None and only_for is not backend:
            return None
        return Row(table, str(name), protocol, ports, sources, destination, description)

    def ports(
        self, row_path: str, protocol: Protocol | None, value: object
    ) -> tuple[PortRange, ...]:
        path = f"{row_path}:port"
        if protocol is Protocol.ANY:
            if value is not _MISSING:
                self.fault(path, "protocol any has no port", "remove it, or name the protocol")
            return ()
        if value is _MISSING:
            if protocol is not None:
                self.fault(path, f"is missing; protocol {protocol.value} needs one")
            return ()
        ranges = self.each(path, value, self.port_range)
        for first, second in zip(sorted(ranges), sorted(ranges)[1:]):
            if second.low <= first.high:
                self.fault(path, f"{first} and {second} overlap", "name every port once")
        return tuple(sorted(ranges))

    def port_range(self, path: str, value: object) -> PortRange | None:
        if isinstance(value, int) and not isinstance(value, bool):
            low = high = value
        elif isinstance(value, str) and (match := _PORT_RANGE.match(value)):
            low, high = int(match[1]), int(match[2])
        else:
            self.fault(
                path, f"{_short(value)} is not a port: an integer, or low-high such as 2379-2380"
            )
            return None
        outside = sorted({port for port in (low, high) if not 1 <= port <= 65535})
        if outside:
            self.fault(path, f"port {', '.join(map(_short, outside))} is not in 1-65535")
            return None
        if low > high:
            self.fault(path, f"port range {value} is reversed", f"write {high}-{low}")
            return None
        return PortRange(low, high)

    def sources(self, path: str, value: object, groups: Mapping[str, Any]) -> tuple[Source, ...]:
        def source(where: str, name: object) -> Source | None:
            if isinstance(name, str):
                for kind in SourceKind:
                    keyword = kind not in (SourceKind.GROUP, SourceKind.CIDR)
                    if keyword and name.lower() == kind.value:
                        return Source(kind)
                if name in groups:
                    return Source(SourceKind.GROUP, name)
                if "/" in name or ":" in name or name.replace(".", "").isdigit():
                    network = self.network(where, name)
                    return None if network is None else Source(SourceKind.CIDR, str(network))
            self.fault(
                where,
                f"{_short(name)} is not server, agent, any, pods, services, a group "
                f"({', '.join(sorted(groups))}) or a CIDR",
            )
            return None

        found = self.each(path, value, source)
        if len(set(found)) < len(found):
            self.fault(path, "names a source twice", "name every source once")
        return tuple(sorted(set(found)))

    def duplicate_rows(self, path: str, rows: list[Row]) -> None:
        seen: dict[tuple[object, ...], Row] = {}
        for row in rows:
            opens = (row.table, row.protocol, row.ports, row.sources, row.destination)
            first = seen.setdefault(opens, row)
            if first is not row:
                self.fault(
                    f"{path}:{row.table}:{row.name}",
                    f"opens the same as row {first.name}",
                    "remove one of them",
                )

    def nodes(self, value: object, node_cidrs: tuple[netaddr.IPNetwork, ...]) -> tuple[Node, ...]:
        path = f"{ROOT}:nodes"
        mend = (
            "include k3s.nodes in the pillar of this minion (it reads the grains cache of the "
            "master), or list the nodes by hand"
        )
        if value is _MISSING:
            self.fault(path, "the nodes of the cluster are not known", mend)
            return ()
        entries = self.mapping(path, value)
        if isinstance(value, Mapping) and not entries:
            self.fault(path, "no node is known, not even this one", mend)
        nodes = []
        for name in sorted(entries, key=_legible):
            node = self.node(name, entries[name], node_cidrs)
            if node is not None:
                nodes.append(node)
        return tuple(nodes)

    def node(
        self, name: object, value: object, node_cidrs: tuple[netaddr.IPNetwork, ...]
    ) -> Node | None:
        path = _below(f"{ROOT}:nodes", name)
        before = len(self.faults)
        if not isinstance(name, str) or not name.isprintable() or not _MINION_ID.match(name):
            self.fault(path, f"{_short(name)} is not a minion id")
        columns = self.mapping(path, value)
        if len(self.faults) > before:
            return None
        self.unknown_keys(path, columns, {"role", "addresses", "pod_cidrs", "claimed"})
        claimed = self.mapping(f"{path}:claimed", columns.get("claimed", {}))
        before += len(self.unsure)
        with self.believing_less(name, columns, claimed, "role"):
            role = self.choice(f"{path}:role", columns.get("role"), Role)
        with self.believing_less(name, columns, claimed, "addresses"):
            addresses = self.each(f"{path}:addresses", columns.get("addresses"), self.address)
        if role is None or len(self.faults) + len(self.unsure) > before:
            return None
        believed = _addresses(claimed.get("addresses"))
        for address in addresses:
            inside = any(address in network for network in node_cidrs)
            if node_cidrs and not inside and address in believed:
                self.notices.append(
                    f"{path}: {name} claims {address}, which is in none of {ROOT}:node_cidrs "
                    f"({', '.join(map(str, node_cidrs))}); it is not let in. Fix: add its "
                    "network there, or correct node-ip on that node"
                )
                addresses = [kept for kept in addresses if kept != address]
        return Node(str(name), role, tuple(sorted(set(addresses))))

    def pods_of_nodes(
        self, nodes: tuple[Node, ...], entries: object, cluster: tuple[netaddr.IPNetwork, ...]
    ) -> tuple[Node, ...]:
        """The nodes, each with the networks of its pods as far as they can be believed.

        These serve the checks alone, so a claim that cannot be believed leaves the membership as
        sure as it is.
        """
        networks: dict[str, tuple[netaddr.IPNetwork, ...]] = {}
        claims = set()
        for node in nodes:
            columns = self.mapping(f"{ROOT}:nodes", entries)[node.name]
            if "pod_cidrs" not in columns:
                continue
            path = f"{ROOT}:nodes:{node.name}:pod_cidrs"
            before = len(self.faults)
            networks[node.name] = self.pods_of_node(path, columns["pod_cidrs"], cluster)
            if columns["pod_cidrs"] != columns.get("claimed", {}).get("pod_cidrs", _MISSING):
                continue
            claims.add(node.name)
            if len(self.faults) > before:
                self.notices += [
                    f"{fault}; minion {node.name} says so of itself, and no check goes by it. "
                    f"Fix: {_refresh([node.name])}"
                    for fault in self.faults[before:]
                ]
                networks[node.name] = ()
                del self.faults[before:]
        refused = self.common_pods(networks, claims)
        return tuple(
            replace(node, pod_cidrs=tuple(n for n in networks[node.name] if n not in refused))
            if node.name in claims
            else replace(node, pod_cidrs=networks.get(node.name, ()))
            for node in nodes
        )

    def pods_of_node(
        self, path: str, value: object, cluster: tuple[netaddr.IPNetwork, ...]
    ) -> tuple[netaddr.IPNetwork, ...]:
        found = self.each(path, value, self.network)
        for network in found:
            # Of a cluster whose own networks cannot be read, those are the fault.
            if cluster and not any(network in cidr for cidr in cluster):
                cidrs = ", ".join(map(str, cluster))
                self.fault(path, f"{network} is in none of {ROOT}:pod_cidrs ({cidrs})")
        if len({network.version for network in found}) < len(found):
            self.fault(path, "names more than one network of a family")
        return tuple(sorted(found, key=lambda network: (network.version, network.first)))

    def common_pods(
        self, networks: Mapping[str, tuple[netaddr.IPNetwork, ...]], claims: Set[str]
    ) -> frozenset[netaddr.IPNetwork]:
        """The networks that nobody is believed to have, as another node has a part of them.

        What a hand wrote stands against a claim, and is a fault against what a hand wrote.
        """
        owned = [(network, name) for name, each in networks.items() for network in each]
        for group in _overlapping([each for each in owned if each[1] not in claims]):
            (first, owner), *others = group
            for network, name in others:
                self.fault(
                    f"{ROOT}:nodes:{name}:pod_cidrs",
                    f"{network} has addresses of {first}, which is {owner}'s",
                    "give every node a network of its own",
                )
        refused: set[netaddr.IPNetwork] = set()
        for group in _overlapping(owned):
            claimants = sorted({name for _network, name in group} & claims)
            if claimants:
                refused.update(network for network, name in group if name in claims)
                shared = ", ".join(f"{network} of {name}" for network, name in group)
                self.notices.append(
                    f"{ROOT}:nodes: {shared} have addresses in common; no check goes by what "
                    f"{', '.join(claimants)} say. Fix: {_refresh(claimants)}"
                )
        return frozenset(refused)

    @contextmanager
    def believing_less(
        self, name: object, columns: Mapping[Any, Any], claimed: Mapping[Any, Any], column: str
    ) -> Iterator[None]:
        """Turn the faults of a column into notices if the minion itself, not a hand, wrote it.

        One broken minion must not take the firewall from all the others; nor is it let go, if it
        was a member before.
        """
        before = len(self.faults)
        yield
        by_itself = column in claimed and columns.get(column) == claimed[column]
        if len(self.faults) > before and by_itself:
            self.notices += [
                f"{fault}; minion {name} says so of itself" for fault in self.faults[before:]
            ]
            self.unsure.append(f"what minion {name} says of its {column} cannot be read")
            del self.faults[before:]

    def unheard_minions(self, value: object, nodes: tuple[Node, ...]) -> None:
        """Accepted minions of which the master holds no grains: each may be a node."""
        known = {node.name for node in nodes}
        path = f"{ROOT}:unheard_minions"
        if not isinstance(value, (list, tuple)):
            self.fault(path, f"{_short(value)} is not a list of minion ids")
            return
        named = [self.text(f"{path}:{index}", item) for index, item in enumerate(value)]
        silent = sorted(set(named) - known)
        if silent:
            self.unsure.append(
                f"the master holds no grains of the accepted minions {', '.join(silent)}; start "
                "them once, or delete their keys"
            )

    def this_node(
        self, minion_id: str, role: str | None, entries: object, nodes: tuple[Node, ...]
    ) -> None:
        if role is None:
            self.fault(
                ROOT,
                f"minion {minion_id} has no grain k3s_role",
                "install K3s on it, or set the grain to server or agent in its minion "
                "configuration, then run saltutil.refresh_grains",
            )
            return
        own_role = next((each for each in Role if each.value == str(role).lower()), None)
        if own_role is None:
            self.fault(
                ROOT,
                f"the grain k3s_role of minion {minion_id} is {_short(role)}",
                "set it to server or agent, then run saltutil.refresh_grains",
            )
        if own_role is None or not isinstance(entries, Mapping) or not entries:
            return
        path = f"{ROOT}:nodes:{minion_id}"
        own = next((node for node in nodes if node.name == minion_id), None)
        if minion_id not in entries:
            self.fault(
                path,
                f"this node is not among the nodes ({', '.join(sorted(map(_printable, entries)))})",
                "add it, with its role and addresses",
            )
        elif own is not None and own.role is not own_role:
            self.fault(
                f"{path}:role",
                f"pillar says {own.role.value} and the grain k3s_role of the node says "
                f"{own_role.value}",
                "correct the pin in pillar, or the grain on the node and then run "
                "saltutil.refresh_grains",
            )

    def firewall(self, value: object, nodes: tuple[Node, ...]) -> _FirewallSettings:
        path = f"{ROOT}:firewall"
        settings = self.mapping(path, value)
        self.unknown_keys(path, settings, {"expected_nodes", "pods_from", "allow_lockout"})
        expected = None
        if "expected_nodes" in settings:
            where = f"{path}:expected_nodes"
            expected = self.expected_nodes(where, settings["expected_nodes"], nodes)
        pods_from = settings.get("pods_from", PodsFrom.INTERFACES.value)
        allow_lockout = settings.get("allow_lockout", False)
        if not isinstance(allow_lockout, bool):
            self.fault(f"{path}:allow_lockout", f"{_short(allow_lockout)} is not true or false")
        return _FirewallSettings(
            pods_from=self.choice(f"{path}:pods_from", pods_from, PodsFrom),
            expected_nodes=expected,
            allow_lockout=allow_lockout is True,
        )

    def expected_nodes(self, path: str, expected: object, nodes: tuple[Node, ...]) -> int | None:
        if not isinstance(expected, int) or isinstance(expected, bool) or expected < 1:
            self.fault(path, f"{_short(expected)} is not a number of nodes")
            return None
        if len(nodes) < expected:
            self.unsure.append(f"{len(nodes)} nodes are known and {path} is {_short(expected)}")
        return expected

    # -- the leaves -----------------------------------------------------------------------------

    def mapping(self, path: str, value: object) -> Mapping[Any, Any]:
        if isinstance(value, Mapping):
            return value
        self.fault(path, f"{_short(value)} is not a map")
        return {}

    def unknown_keys(self, path: str, tree: Mapping[Any, Any], known: set[str]) -> None:
        for key in tree:
            if key not in known:
                self.fault(
                    _below(path, key), "is not known", f"known here: {', '.join(sorted(known))}"
                )

    def text(self, path: str, value: object, *, empty: bool = False) -> str:
        if not isinstance(value, str) or not (value or empty):
            self.fault(path, f"{_short(value)} is not a text")
        elif len(value) > _LONGEST_DESCRIPTION or not value.isprintable():
            self.fault(path, f"is longer than {_LONGEST_DESCRIPTION} characters or not printable")
        else:
            return value
        return ""

    def choice(self, path: str, value: object, among: type[_Enum]) -> _Enum | None:
        if isinstance(value, str):
            for member in among:
                if member.value == value.lower():
                    return member
        self.fault(path, f"{_short(value)} is not one of {', '.join(each.value for each in among)}")
        return None

    def each(
        self, path: str, value: object, read: Callable[[str, object], _Value | None]
    ) -> list[_Value]:
        """Read a list, or a single value in its place; an empty list is a fault, not nothing."""
        if isinstance(value, (list, tuple)):
            if not value:
                self.fault(path, "is empty")
            items: Iterator[tuple[str, object]] = (
                (f"{path}:{index}", item) for index, item in enumerate(value)
            )
        else:
            items = iter([(path, value)])
        found = (read(where, item) for where, item in items)
        return [item for item in found if item is not None]

    def networks(self, path: str, value: object) -> tuple[netaddr.IPNetwork, ...]:
        return without_contained(self.each(path, value, self.network))

    def network(self, path: str, value: object) -> netaddr.IPNetwork | None:
        try:
            return parse_network(value)
        except ValueError as error:
            self.fault(path, str(error))
            return None

    def address(self, path: str, value: object) -> netaddr.IPAddress | None:
        try:
            return parse_address(value)
        except ValueError as error:
            self.fault(path, str(error))
            return None


def _is_everyone(source: Source, groups: Mapping[str, tuple[netaddr.IPNetwork, ...]]) -> bool:
    networks = {
        SourceKind.GROUP: groups.get(source.value, ()),
        SourceKind.CIDR: (source.value,) if source.value else (),
    }.get(source.kind, ())
    return any(netaddr.IPNetwork(network).prefixlen == 0 for network in networks)


def _overlapping(
    owned: Iterable[tuple[netaddr.IPNetwork, str]],
) -> Iterator[list[tuple[netaddr.IPNetwork, str]]]:
    """The groups of networks that have addresses in common, each with who has it."""
    group: list[tuple[netaddr.IPNetwork, str]] = []
    # Sorted, a network comes directly before all that it contains.
    for each in sorted(owned, key=lambda e: (e[0].version, e[0].first, e[0].prefixlen, e[1])):
        if group and each[0].version == group[0][0].version and each[0] in group[0][0]:
            group.append(each)
            continue
        if len(group) > 1:
            yield group
        group = [each]
    if len(group) > 1:
        yield group


def _refresh(minions: Iterable[str]) -> str:
    names = shlex.quote(",".join(minions))
    return f"salt -L {names} saltutil.refresh_grains, or enter them into {ROOT}:nodes by hand"


def _addresses(value: object) -> frozenset[netaddr.IPAddress]:
    """What can be read of a list of addresses, however they are spelled."""
    found = set()
    for item in value if isinstance(value, (list, tuple)) else ():
        try:
            found.add(parse_address(item))
        except ValueError:
            continue  # It cannot be in force, so it need not be judged.
    return frozenset(found)


def _below(path: str, key: object) -> str:
    return f"{path}:{_legible(key)}"


def _legible(key: object) -> str:
    return key if isinstance(key, str) else _short(key)


def _printable(key: object) -> str:
    return key if isinstance(key, str) and key.isprintable() else _short(key)


def _short(value: object) -> str:
    """A value as it may stand in a sentence."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write out integers of more than some thousand digits.
        text = "an integer of very many digits"
    except RecursionError:
        text = "a value that is nested too deeply to show"
    return text if len(text) <= 60 else f"{text[:57]}..."
