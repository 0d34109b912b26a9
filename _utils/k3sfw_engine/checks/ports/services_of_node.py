"""What serves the rows of this node, and services of K3s here that no row opens. Pure.

Facts of the node against pillar: K3s on another port than its row, an overlay on another port, the
registry that agents have, a row for an etcd that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from k3sfw_engine.checks.ports import messages
from k3sfw_engine.checks.ports.defaults import K3S_LISTENERS_WITHOUT_ROW, NODE_PORTS
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.datastore import Datastore
from k3sfw_engine.model.kubernetes_names import (
    K3S_PROCESSES,
    OVERLAY_PORTS,
    is_tunnel_of_other_plugin,
)
from k3sfw_engine.model.listeners import KERNEL, Listener, listening_on
from k3sfw_engine.model.nat import Redirection
from k3sfw_engine.model.node_services import NodeServices
from k3sfw_engine.model.overlay import OverlayFacts
from k3sfw_engine.model.port_ranges import common
from k3sfw_engine.model.row_sources import is_pod_row
from k3sfw_engine.model.rows import FlannelBackend, PortRange, Protocol, Role, Row, Tables

_API_PORT, _KUBELET_PORT, _REGISTRY_PORT = 6443, 10250, 5001
_ETCD_PORTS = (2379, 2380)
# What may listen elsewhere (https-listen-port, the kubelet's port), by its usual port: its row.
_MOVABLE = {_API_PORT: "supervisor", _KUBELET_PORT: "kubelet"}


def served_by(row: Row, services: NodeServices) -> tuple[str, ...]:
    """What on this node serves the row: its listeners, or what is redirected instead."""
    found = listening_on(services.listeners, row.protocol, row.ports)
    if found:
        return tuple(sorted({_listener(each, services.overlay) for each in found}))
    if row.protocol.is_whole:
        # The kernel calls its tunnels as the protocol that they are of: ipip.
        devices = services.overlay.devices or ()
        return tuple(each.name for each in devices if each.kind == row.protocol.value)
    return tuple(sorted({str(each) for each in services.redirected if _is_for(each, row)}))


def _listener(each: Listener, overlay: OverlayFacts) -> str:
    """The process and the port; for the kernel's own sockets the tunnel behind it."""
    devices = [
        device.name
        for device in overlay.devices or ()
        if each.process == KERNEL and device.port == each.port
    ]
    return f"{' and '.join(devices) or each.process} on {each.port}"


def _is_for(redirection: Redirection, row: Row) -> bool:
    return redirection.protocol is row.protocol and any(
        common(redirection.ports, span) for span in row.ports
    )


# -- facts that contradict pillar -----------------------------------------------------------------


@dataclass(frozen=True)
class Contradiction:
    """A port of this node about which pillar says something else.

    row
        The row that pillar has for it; ``None`` if it has none.
    """

    protocol: Protocol
    ports: tuple[int, ...]
    problem: Problem
    row: Row | None = None

    def as_check(self, node: str) -> Check:
        """The verdict for the report."""
        return Check(
            source="",
            to=node,
            description=(self.row.description or self.row.name) if self.row else "services",
            status=Status.CONFLICT,
            by=node,
            protocol=self.protocol.value,
            port=",".join(map(str, self.ports)),
            evidence=self.problem.text,
            fix=self.problem.fix,
        )


def contradictions(tables: Tables, role: Role, services: NodeServices) -> tuple[Contradiction, ...]:
    """Everything on this node that contradicts its rows."""
    rows = tables.rows_of(role)
    ours = [
        each
        for each in services.listeners
        if each.process in K3S_PROCESSES and each.protocol is Protocol.TCP
    ]
    unnamed = [
        each
        for each in ours
        if not _named(rows, Protocol.TCP, each.port)
        and each.port not in K3S_LISTENERS_WITHOUT_ROW
        and each.port not in NODE_PORTS
    ]
    found = [*_overlay(tables, rows, services.overlay), *_plugin(tables, rows, services.overlay)]
    if role is Role.SERVER:
        found += [*_moved(rows, services, unnamed), *_without_row(unnamed)]
        found += _no_etcd(rows, services) if ours else ()
    else:
        of_registry = [each for each in unnamed if each.port in (_REGISTRY_PORT, _API_PORT)]
        found += _registry(tables, of_registry)
        found += _moved(rows, services, [each for each in unnamed if each not in of_registry])
    return tuple(found)


def _named(rows: Iterable[Row], protocol: Protocol, port: int) -> bool:
    return any(row.protocol is protocol and any(port in span for span in row.ports) for row in rows)


def _rows_at(rows: Iterable[Row], protocol: Protocol, ports: Iterable[int]) -> list[Row]:
    wanted = tuple(ports)
    return [
        row
        for row in rows
        if row.protocol is protocol and any(port in span for span in row.ports for port in wanted)
    ]


# -- the overlay ----------------------------------------------------------------------------------


def _overlay(
    tables: Tables, rows: tuple[Row, ...], overlay: OverlayFacts
) -> Iterator[Contradiction]:
    """A tunnel whose port no row names; nothing if pillar has another backend altogether."""
    backend = tables.flannel_backend
    usual = OVERLAY_PORTS[backend]
    if not usual or overlay.backend not in (None, backend):
        return
    used = overlay.ports(backend)
    missing = {
        family: port for family, port in used.items() if not _named(rows, Protocol.UDP, port)
    }
    if not missing:
        return
    ports = tuple(dict.fromkeys({**usual, **used}.values()))
    at = _rows_at(rows, Protocol.UDP, usual.values())
    row = at[0] if at else None
    names = [device.name for device in overlay.flannels] or ["flannel"]
    problem = messages.tunnel_without_a_row(names, tuple(missing.values()), row, backend, ports)
    yield Contradiction(Protocol.UDP, tuple(missing.values()), problem, row)


def _plugin(
    tables: Tables, rows: tuple[Row, ...], overlay: OverlayFacts
) -> Iterator[Contradiction]:
    """The tunnels of another network plugin whose ports no row names."""
    if tables.flannel_backend is not FlannelBackend.NONE:
        return
    for device in overlay.devices or ():
        port = device.port
        if is_tunnel_of_other_plugin(device.name) and port and not _named(rows, Protocol.UDP, port):
            problem = messages.plugin_without_a_row(device.name, port)
            yield Contradiction(Protocol.UDP, (port,), problem)


def unproven_pods(node: str, tables: Tables, role: Role) -> Iterator[Check]:
    """A verdict on pods where no packet through an overlay of flannel's can prove their path."""
    if tables.flannel_backend is FlannelBackend.NONE and any(map(is_pod_row, tables.rows_of(role))):
        problem = messages.plugin_is_not_asked()
        yield Check(
            source="",
            to=node,
            description="pods of other nodes",
            status=Status.UNPROVEN,
            evidence=problem.text,
            see=problem.see,
        )


# -- services of K3s ------------------------------------------------------------------------------


def _moved(
    rows: tuple[Row, ...], services: NodeServices, unnamed: Iterable[Listener]
) -> Iterator[Contradiction]:
    """K3s on a port that no row names, while it does not listen on that of its row."""
    elsewhere = [each for each in unnamed if each.port not in _SPECIAL]
    silent = [
        row
        for row in rows
        if (row in _rows_at(rows, Protocol.TCP, _MOVABLE) or row.name in _MOVABLE.values())
        and not listening_on(services.listeners, row.protocol, row.ports)
    ]
    if not elsewhere:
        return
    ports = tuple(each.port for each in elsewhere)
    row = silent[0] if len(silent) == len(elsewhere) == 1 else None
    process = elsewhere[0].process
    if row is not None:
        yield Contradiction(Protocol.TCP, ports, messages.moved(process, ports[0], row), row)
    else:
        problem = messages.listens_without_a_row(process, ports)
        yield Contradiction(Protocol.TCP, ports, problem)


# Services of K3s that have their own findings.
_SPECIAL: Mapping[int, tuple[str, str]] = {
    2381: ("etcd_metrics", "etcd metrics"),
    3380: ("kine", "kine T4 peering"),
    _REGISTRY_PORT: ("spegel", "Spegel Registry Mirror"),
}


def _without_row(unnamed: Iterable[Listener]) -> Iterator[Contradiction]:
    for each in unnamed:
        if each.port in _SPECIAL:
            name, what = _SPECIAL[each.port]
            source = "server" if each.port == 3380 else "any"
            problem = messages.service_without_a_row(each, name, what, source)
            yield Contradiction(Protocol.TCP, (each.port,), problem)


def _registry(tables: Tables, unnamed: Iterable[Listener]) -> Iterator[Contradiction]:
    """The ports of the embedded registry on an agent: all nodes need them of all nodes."""
    found = tuple(unnamed)
    if found:
        ports = tuple(each.port for each in found)
        rows = {port: _row_on_servers(tables, port) for port in ports}
        problem = messages.registry_on_agent(found[0].process, rows)
        yield Contradiction(Protocol.TCP, ports, problem)


def _row_on_servers(tables: Tables, port: int) -> tuple[str, str]:
    """Table and name of the row that opens the port on servers: known, or the usual one."""
    known = (
        row
        for row in _rows_at(tables.peer_rows or (), Protocol.TCP, [port])
        if row.ports == (PortRange(port, port),)
    )
    usual = "supervisor" if port == _API_PORT else "spegel"
    return next(((row.table, row.name) for row in known), ("cluster", usual))


def _no_etcd(rows: tuple[Row, ...], services: NodeServices) -> Iterator[Contradiction]:
    """A row for etcd on a server that keeps the cluster's state in something else."""
    if services.datastore is Datastore.ETCD:
        return
    for row in _rows_at(rows, Protocol.TCP, _ETCD_PORTS):
        only_etcd = all(span.low in _ETCD_PORTS and span.high in _ETCD_PORTS for span in row.ports)
        if only_etcd and not listening_on(services.listeners, row.protocol, row.ports):
            problem = messages.no_etcd(row, services.datastore)
            yield Contradiction(Protocol.TCP, _ETCD_PORTS, problem, row)
